//! A sandbox as it looks from outside: what runs in it, what it leaves, and what the machine is like.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use super::{PROGRAM, output_within, text_of};

/// How long anything may take that should take some milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a shell script in a sandbox, from outside.
pub(crate) fn sandboxed(options: &[&str], script: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    command
        .arg("sandbox")
        .args(options)
        .args(["--", "sh", "-c", script]);
    output_within(&mut command, PATIENCE)
}

/// What a program wrote to its standard output, and then what to its standard error.
pub(crate) fn said(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    format!("{stdout}{stderr}").trim().to_owned()
}

/// A number of seconds that no other process sleeps for, by which a sandbox's processes are found from outside.
pub(crate) fn unique_sleep() -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() % 1_000_000_000;
    format!("4000.{}{now:09}", std::process::id())
}

/// A process, as seen from outside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its process id.
    pub(crate) id: String,
    /// Its command line.
    pub(crate) command: String,
}

/// The processes of the machine whose command line has this in it.
pub(crate) fn processes_with(mark: &str) -> Vec<Process> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        // One that has ended meanwhile, and a thread of the kernel, have none.
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(mark) {
            let id = entry.file_name().into_string().unwrap();
            found.push(Process { id, command });
        }
    }
    found
}

/// How many of these run the program sleep.
pub(crate) fn sleeping(processes: &[Process]) -> usize {
    let sleeps = |process: &&Process| process.command.starts_with("sleep");
    processes.iter().filter(sleeps).count()
}

/// What a sandbox could have changed of the machine.
pub(crate) fn machine() -> String {
    let files = "/etc/passwd /etc/shadow /etc/group /etc/gshadow /etc/hosts /etc/hostname";
    text_of([
        "sh",
        "-c",
        &format!(
            "md5sum {files} 2>&1; ls -la /home; ls /run; hostname; cat /proc/self/mountinfo; ip -o link | cut -d: -f2; \
             ip -o addr | awk '{{print $2, $4}}'; ip route; stat -c %a /dev/null; cat /proc/sys/vm/swappiness"
        ),
    ])
}
