//! `gce-guest try`: what a newcomer sees, and that nothing of it stays.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "test code: a failure is a panic, programs are started directly, and a scenario reads best whole"
)]

mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Daemon, PROGRAM, attempt, poll_until, text_of};

const PATIENCE: Duration = Duration::from_secs(60);

/// What must be the same before and after, whatever runs beside.
fn machine() -> String {
    text_of([
        "sh",
        "-c",
        "md5sum /etc/passwd /etc/shadow /etc/group /etc/hosts; ls -a /home /etc/sudoers.d /var/lib; ip route show table all proto 66",
    ])
}

/// A directory of its own on the machine, gone afterwards.
struct Place(std::path::PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gce-guest-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn the_scene_shows_the_main_job_and_leaves_nothing_behind() {
    let before = machine();
    let output = attempt([PROGRAM, "try"]);
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{said}");
    for expected in [
        "metadata  instance/attributes/ssh-keys gets a key for alice",
        "agent     Created user alice with sudo",
        "google-sudoers",
        "agent     Wrote 1 key of user alice to authorized_keys",
        "machine   $ id -nG alice",
        "metadata  instance/network-interfaces/0/forwarded-ips gets 203.0.113.10",
        "agent     Changing eth0 IPs from None to [203.0.113.10]",
        "script    startup-script: hello from example, running as root",
        "script    startup-script: Return code 0",
        "agent     Removed the authorized_keys of user alice",
        "agent     Removed user alice from google-sudoers",
    ] {
        assert!(said.contains(expected), "{expected}:\n{said}");
    }
    assert!(
        said.matches(" ms\n").count() >= 5,
        "every reaction has its time:\n{said}"
    );
    assert!(!said.contains('\x1b'), "piped output has no colours");
    // The tests bring OpenSSH and sudo, so the scene has a real login.
    assert!(
        said.contains("$ ssh alice@localhost sudo -n id -un\n  machine     root"),
        "{said}"
    );
    assert!(said.contains("Permission denied"), "{said}");
    assert_eq!(machine(), before);
}

#[test]
fn a_command_runs_inside_with_the_agent_and_its_status_is_ours() {
    let script = "id alice >/dev/null 2>&1 && exit 1; getent hosts metadata.google.internal | cut -d' ' -f1; \
                  gce-guest status --wait >/dev/null && echo waited; exit 7";
    let output = attempt([PROGRAM, "try", "--", "sh", "-c", script]);
    assert_eq!(
        output.status.code(),
        Some(7),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The program is found by its name, which is on no PATH outside.
    assert_eq!(output.stdout, b"169.254.169.254\nwaited\n");
    assert_eq!(
        attempt([PROGRAM, "try", "--", "no-such-command"])
            .status
            .code(),
        Some(1)
    );
}

#[test]
fn a_metadata_file_is_followed_while_it_is_edited() {
    let place = Place::new("follow");
    let file = place.0.join("vm.json");
    let write = |keys: &str| {
        let tree = serde_json::json!({
            "instance": {"id": 1, "attributes": {"ssh-keys": keys}, "networkInterfaces": []},
            "project": {"attributes": {}},
        });
        std::fs::write(&file, tree.to_string()).unwrap();
    };
    write("");
    let mut command = Command::new(PROGRAM);
    command.args(["try", "--metadata"]).arg(&file);
    let mut followed =
        Daemon::start_command(&format!("follow-{}", std::process::id()), &mut command);
    poll_until(PATIENCE, "the file as it is", || {
        followed.said().contains("the file as it is")
    });
    write(&support::vm::entry("alice"));
    poll_until(PATIENCE, "alice", || {
        followed
            .said()
            .contains("Wrote 1 key of user alice to authorized_keys")
    });
    assert!(
        followed
            .said()
            .contains("metadata  instance/attributes/ssh-keys has changed"),
        "{}",
        followed.said()
    );
    std::fs::write(&file, "{\"instance\": {\n  broken").unwrap();
    poll_until(PATIENCE, "the broken file is told", || {
        followed.said().contains("line 2")
    });
    write("");
    poll_until(PATIENCE, "alice is locked out", || {
        followed
            .said()
            .contains("Removed the authorized_keys of user alice")
    });
    let started = Instant::now();
    followed.signal("INT");
    followed.wait(PATIENCE);
    println!("ended {:?} after Ctrl-C", started.elapsed());
}

#[test]
fn ctrl_c_leaves_no_process_and_no_mount() {
    let processes = || -> BTreeSet<String> {
        let listed = text_of(["pgrep", "-fa", "gce-guest (sandbox-|try|agent|emulator)"]);
        listed.lines().map(String::from).collect()
    };
    let mine = |all: BTreeSet<String>, mark: &str| {
        all.into_iter().filter(|line| line.contains(mark)).count()
    };
    let mark = format!("{}.25", 3_000 + std::process::id());
    for signal in ["INT", "TERM", "KILL"] {
        let mut trial = Daemon::start(
            &format!("ctrl-c-{}", std::process::id()),
            // A shell's background job ignores SIGINT, and so would what it starts.
            [
                "env",
                "--default-signal=INT",
                PROGRAM,
                "try",
                "--",
                "sleep",
                &mark,
            ],
        );
        poll_until(PATIENCE, "the command runs", || {
            attempt(["pgrep", "-fx", &format!("sleep {mark}")])
                .status
                .success()
        });
        assert!(mine(processes(), &mark) >= 2);
        let mounts = text_of(["cat", "/proc/self/mounts"]);
        trial.signal(signal);
        trial.wait(PATIENCE);
        poll_until(PATIENCE, "all processes are gone", || {
            !attempt(["pgrep", "-f", &mark]).status.success()
        });
        assert_eq!(text_of(["cat", "/proc/self/mounts"]), mounts, "{signal}");
    }
}

#[test]
fn a_missing_or_broken_metadata_file_is_told_before_anything_starts() {
    let missing = attempt([PROGRAM, "try", "--metadata", "/nonexistent/vm.json"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent/vm.json"));
    let place = Place::new("broken");
    let file = place.0.join("vm.json");
    std::fs::write(&file, "{\n  oops").unwrap();
    let broken = attempt([PROGRAM, "try", "--metadata", file.to_str().unwrap()]);
    assert_eq!(broken.status.code(), Some(1));
    let said = String::from_utf8_lossy(&broken.stderr);
    assert!(said.contains(file.to_str().unwrap()), "{said}");
    assert_eq!(said.matches("line 2").count(), 1, "{said}");
}
