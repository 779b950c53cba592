//! The main job, end to end: a key in metadata is a real SSH login, and its removal is the end of it.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "test code: a failure is a panic, programs are started directly, and a scenario reads best whole"
)]

mod support;

use std::process::Output;
use std::time::Instant;

use support::vm::{PATIENCE, Vm, contents, groups, passwd};
use support::{Daemon, attempt, in_sandbox, poll_until, run, text_of};

const KEY: &str = "/tmp/visitor";

/// A real sshd with PAM, as Debian configures it, and a key pair for whoever visits it.
fn start_sshd() -> Daemon {
    for file in [KEY, "/tmp/host"] {
        run([
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "visitor",
            "-f",
            file,
        ]);
    }
    let options = [
        "HostKey=/tmp/host",
        "ListenAddress=127.0.0.1",
        "PidFile=none",
        "UsePAM=yes",
    ];
    let mut words = vec!["/usr/sbin/sshd", "-D", "-e"];
    words.extend(options.iter().flat_map(|option| ["-o", option]));
    let sshd = Daemon::start("sshd", words);
    poll_until(PATIENCE, "sshd listens", || {
        sshd.said().contains("Server listening")
    });
    sshd
}

fn ssh(user: &str, command: &str) -> Output {
    let options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
    ];
    let target = format!("{user}@127.0.0.1");
    let mut words = vec!["ssh", "-F", "/dev/null", "-i", KEY];
    words.extend(options.iter().flat_map(|option| ["-o", option]));
    words.extend([target.as_str(), command]);
    attempt(words)
}

fn visitors_key() -> String {
    contents("/tmp/visitor.pub").trim().to_owned()
}

#[test]
fn a_key_in_metadata_is_a_login_and_its_removal_is_the_end_of_it() {
    in_sandbox(
        "a_key_in_metadata_is_a_login_and_its_removal_is_the_end_of_it",
        || {
            let (vm, _sshd) = (Vm::new(), start_sshd());
            let agent = vm.agent();
            vm.settled(&agent);
            assert!(
                !ssh("alice", "true").status.success(),
                "nobody is let in before"
            );

            let changed = Instant::now();
            vm.set_keys(&[format!("alice:{}", visitors_key())]);
            poll_until(PATIENCE, "alice logs in", || {
                ssh("alice", "true").status.success()
            });
            println!("from the change to a login: {:?}", changed.elapsed());

            let session = ssh(
                "alice",
                "id -un && sudo -n true && sudo -n id -u && echo \"$HOME $SHELL\"",
            );
            assert_eq!(
                String::from_utf8_lossy(&session.stdout),
                "alice\n0\n/home/alice /bin/bash\n",
                "{session:?}"
            );
            assert_eq!(
                text_of(["stat", "-c", "%U:%G %a", "/home/alice/.ssh/authorized_keys"]),
                "alice:alice 600"
            );
            assert_eq!(
                text_of(["stat", "-c", "%U:%G %a", "/home/alice/.ssh"]),
                "alice:alice 700"
            );
            assert_eq!(
                text_of(["stat", "-c", "%U:%G %a", "/etc/sudoers.d/google_sudoers"]),
                "root:root 440"
            );
            run(["visudo", "-cq", "-f", "/etc/sudoers.d/google_sudoers"]);

            vm.set_keys(&[]);
            poll_until(PATIENCE, "alice is locked out", || {
                !ssh("alice", "true").status.success()
            });
            vm.settled(&agent);
            assert!(!groups("alice").contains(&"google-sudoers".to_owned()));
            assert!(
                passwd("alice").starts_with("alice:"),
                "the account stays without deprovision_remove"
            );
            assert!(!ssh("alice", "sudo -n true").status.success());

            vm.set_keys(&[format!("alice:{}", visitors_key())]);
            poll_until(PATIENCE, "alice logs in again", || {
                ssh("alice", "sudo -n true").status.success()
            });
        },
    );
}

#[test]
fn an_agent_that_is_killed_in_the_middle_converges_at_its_next_start() {
    in_sandbox(
        "an_agent_that_is_killed_in_the_middle_converges_at_its_next_start",
        || {
            let vm = Vm::new();
            // Few enough to be created one by one; many at once are killed in accounts_scale.rs.
            let users: Vec<String> = (0..9).map(|number| format!("user{number}")).collect();
            let entries: Vec<String> = users.iter().map(|user| support::vm::entry(user)).collect();
            vm.set_keys(&entries);
            let mut kills = 0;
            let made = || users.iter().filter(|user| !passwd(user).is_empty()).count();
            loop {
                // Before it starts: it may make them all before they are counted.
                let so_far = made();
                let mut agent = vm.agent();
                if so_far < users.len() {
                    poll_until(PATIENCE, "another user", || made() > so_far);
                    agent.signal("KILL");
                    agent.wait(PATIENCE);
                    kills += 1;
                    continue;
                }
                vm.settled(&agent);
                break;
            }
            println!("killed {kills} times");
            assert!(kills >= 1, "the agent was not caught in the middle");
            for user in &users {
                assert!(
                    groups(user).contains(&"google-sudoers".to_owned()),
                    "{user}"
                );
                let keys = contents(&format!("/home/{user}/.ssh/authorized_keys"));
                assert_eq!(
                    keys,
                    format!("# Added by Google\n{}\n", support::vm::KEY),
                    "{user}"
                );
                let left = text_of(["ls", "-A", &format!("/home/{user}/.ssh")]);
                assert_eq!(
                    left, "authorized_keys",
                    "no temporary file is left of {user}"
                );
            }
            run(["pwck", "-qr"]);
            assert_eq!(
                contents("/var/lib/google/google_users").lines().count(),
                users.len()
            );

            // Every one of them is known to be ours, whenever the agent was killed: they can be deleted.
            std::fs::write(
                "/etc/default/instance_configs.cfg",
                "[Accounts]\ndeprovision_remove = true\n",
            )
            .unwrap();
            let agent = vm.agent();
            vm.set_keys(&[]);
            poll_until(PATIENCE, "all users are deleted", || {
                users.iter().all(|user| passwd(user).is_empty())
            });
            vm.settled(&agent);
            assert_eq!(contents("/var/lib/google/google_users"), "");
        },
    );
}
