//! What every integration test starts with: a sandbox of its own, and a few things to do in it.
//!
//! A test is plain Rust:
//!
//! ```ignore
//! mod support;
//!
//! #[test]
//! fn a_user_is_made() {
//!     support::in_sandbox("a_user_is_made", || {
//!         support::run(["useradd", "-m", "alice"]);
//!         assert!(support::run(["getent", "passwd", "alice"]).stdout.starts_with(b"alice:"));
//!     });
//! }
//! ```
//!
//! Outside, the test runs its own binary again in `gce-guest sandbox` with only this test; inside, it runs the body, as
//! root of a machine of its own with real tools, a network without neighbours, and an empty `/tmp`. So tests run in
//! parallel, need no clean-up, and cannot harm the machine. A user without the privileges for a sandbox gets a failed
//! test that says what is missing: nothing is skipped.

#![allow(dead_code, reason = "each test file uses its part of what is here")]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

pub(crate) mod lan;
pub(crate) mod machine;
pub(crate) mod outside;
pub(crate) mod package;
pub(crate) mod virtual_machine;
pub(crate) mod visitor;
pub(crate) mod vm;
pub(crate) mod web;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_gce-guest");

/// Set in a sandbox that a test has made for itself.
const MARK: &str = "GCE_GUEST_TEST_SANDBOX";

/// How long a test may take in its sandbox before it is ended, so that a hang is a failure with its output.
const DEADLINE: Duration = Duration::from_secs(300);

/// Runs `body` in a fresh sandbox. `name` is the name of the calling test, as `cargo test` prints it.
pub(crate) fn in_sandbox(name: &str, body: impl FnOnce()) {
    in_sandbox_with(&[], name, body);
}

/// The same with options of `gce-guest sandbox`, such as `--allow-mounts` or `--nic`.
pub(crate) fn in_sandbox_with(options: &[&str], name: &str, body: impl FnOnce()) {
    if is_inside() {
        body();
        return;
    }
    let mut command = Command::new(PROGRAM);
    command
        .arg("sandbox")
        .args(options)
        .arg("--")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(MARK, "1");
    let output = output_within(&mut command, DEADLINE);
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success(),
        "{name} failed in its sandbox ({}):\n{told}",
        output.status
    );
    // A misspelt name runs no test, with success.
    assert!(
        told.contains("test result: ok. 1 passed"),
        "{name} is not the name of the calling test:\n{told}"
    );
    print!("{told}");
}

/// Whether this is the run inside: the mark is set and the first process of this process namespace is a sandbox's.
pub(crate) fn is_inside() -> bool {
    let marked = std::env::var_os(MARK).is_some();
    let first = std::fs::read("/proc/1/cmdline").unwrap();
    let sandbox = first.split(|byte| *byte == 0).nth(1) == Some(b"sandbox-init");
    assert!(
        sandbox || !marked,
        "{MARK} is set, but this is no sandbox: unset it"
    );
    marked
}

/// Runs a program with success, or fails with everything that it said.
pub(crate) fn run(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    let words: Vec<OsString> = words
        .into_iter()
        .map(|word| word.as_ref().to_owned())
        .collect();
    let output = attempt(&words);
    assert!(
        output.status.success(),
        "{words:?} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Runs a program with success and returns what it wrote to its standard output, without space at the ends.
pub(crate) fn text_of(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    String::from_utf8_lossy(&run(words).stdout)
        .trim()
        .to_owned()
}

/// Runs a program that may fail.
pub(crate) fn attempt(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    let words: Vec<OsString> = words
        .into_iter()
        .map(|word| word.as_ref().to_owned())
        .collect();
    output_within(Command::new(&words[0]).args(&words[1..]), DEADLINE)
}

/// Runs a command with nothing on its standard input and takes what it says; kills it at the deadline.
pub(crate) fn output_within(command: &mut Command, deadline: Duration) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    let until = Instant::now() + deadline;
    let mut ended = None;
    while ended.is_none() && Instant::now() < until {
        ended = child.try_wait().unwrap();
        if ended.is_none() {
            thread::sleep(Duration::from_millis(2));
        }
    }
    let status = ended.unwrap_or_else(|| {
        child.kill().unwrap();
        child.wait().unwrap()
    });
    Output {
        status,
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Waits until `condition` holds; fails after `deadline` with `what` was awaited.
pub(crate) fn poll_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < until, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What happened when in a boot under systemd, by the machine's own clock, in microseconds.
pub(crate) struct Boot {
    pub(crate) first_process: u64,
    /// Set-up is ready.
    pub(crate) setup: u64,
    /// The agent is active.
    pub(crate) agent: u64,
    /// sshd is started.
    pub(crate) sshd: u64,
    /// The startup scripts are started.
    pub(crate) scripts: u64,
}

impl Boot {
    /// Asks systemd; `show` runs a command on the machine and returns what it prints, without the end of the line.
    pub(crate) fn of(mut show: impl FnMut(&str) -> String) -> Self {
        let mut moment = |name: &str, unit: &str| -> u64 {
            let property = format!("{name}TimestampMonotonic");
            let command = format!("systemctl show --value --property={property} {unit}");
            let moment = show(command.trim_end()).parse().unwrap();
            assert!(moment > 0, "{unit} has no {property}");
            moment
        };
        Self {
            first_process: moment("Userspace", ""),
            setup: moment("ActiveEnter", "google-instance-setup.service"),
            agent: moment("ActiveEnter", "google-guest-agent.service"),
            sshd: moment("ExecMainStart", "ssh.service"),
            scripts: moment("ExecMainStart", "google-startup-scripts.service"),
        }
    }

    /// What sshd needs is there before, and users are before the owner's scripts.
    pub(crate) fn is_in_order(&self) -> bool {
        self.setup <= self.sshd && self.agent <= self.sshd && self.agent <= self.scripts
    }

    /// In the order in which it happened, for people.
    pub(crate) fn timeline(&self) -> String {
        let mut moments = [
            ("set-up ready: host keys are right", self.setup),
            (
                "agent active: its first pass is done, or five seconds are over",
                self.agent,
            ),
            ("sshd starts", self.sshd),
            ("startup scripts start", self.scripts),
        ];
        moments.sort_by_key(|(_, at)| *at);
        let after = |at: u64| Duration::from_micros(at.saturating_sub(self.first_process));
        let line =
            |(what, at): (&str, u64)| format!("{:>7.2} s  {what}\n", after(at).as_secs_f64());
        let lines: String = moments.into_iter().map(line).collect();
        format!("after the first process\n{lines}")
    }
}

/// A program in the background, killed when it is dropped. What it says goes to a file.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it. `name` names the file of what it says, in `/tmp`.
    pub(crate) fn start(name: &str, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let words: Vec<OsString> = words
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        Self::start_command(name, &mut command)
    }

    /// Starts a command that the caller has prepared (environment, working directory).
    pub(crate) fn start_command(name: &str, command: &mut Command) -> Self {
        let log = Path::new("/tmp").join(format!("{name}.log"));
        let file = File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, log }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far, on both streams.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Sends it a signal by name: `TERM`, `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        run(["kill", &format!("-{name}"), &self.id().to_string()]);
    }

    /// Waits for its end; fails with what it said when it goes on.
    pub(crate) fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let until = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            let said = self.said();
            assert!(
                Instant::now() < until,
                "still running after {deadline:?}:\n{said}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("--- {}:\n{}", self.log.display(), self.said());
        }
    }
}
