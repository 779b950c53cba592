//! Accounts on a real machine: what must not happen to anybody's files, and what must happen all the same.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "test code: a failure is a panic, programs are started directly, and a scenario reads best whole"
)]

mod support;

use std::os::unix::fs::MetadataExt;

use support::vm::{
    BACK_OFF, KEY, PATIENCE, Vm, contents, entry, groups, passwd, reread_configuration,
};
use support::{in_sandbox, in_sandbox_with, poll_until, run, text_of};

const ALICES_KEYS: &str = "/home/alice/.ssh/authorized_keys";

fn our_pair() -> String {
    format!("# Added by Google\n{KEY}\n")
}

/// How often a log has a line that contains all of these. What was late on a loaded machine is not counted.
fn lines_with(log: &str, words: &[&str]) -> usize {
    log.lines()
        .filter(|line| !line.contains("does not answer"))
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .count()
}

#[test]
fn a_new_user_has_the_configured_groups_and_nothing_else_changes() {
    in_sandbox(
        "a_new_user_has_the_configured_groups_and_nothing_else_changes",
        || {
            run(["groupadd", "builders"]);
            let config = "[Accounts]\ngroups = video,builders,no-such-group\n";
            std::fs::write("/etc/default/instance_configs.cfg", config).unwrap();
            let before = contents("/etc/passwd");
            let vm = Vm::new();
            let agent = vm.agent();
            vm.set_keys(&[entry("alice")]);
            vm.settled(&agent);
            assert_eq!(
                groups("alice"),
                ["alice", "builders", "google-sudoers", "video"]
            );
            assert!(passwd("alice").ends_with(":/home/alice:/bin/bash"));
            let shadow = contents("/etc/shadow");
            let alice = shadow
                .lines()
                .find(|line| line.starts_with("alice:"))
                .unwrap();
            assert!(
                alice.starts_with("alice:*:"),
                "no password, and not locked for sshd without PAM"
            );
            assert!(contents("/etc/passwd").starts_with(&before));
            assert_eq!(contents("/var/lib/google/google_users"), "alice\n");
            assert_eq!(
                text_of(["stat", "-c", "%a", "/var/lib/google/google_users"]),
                "600"
            );
        },
    );
}

#[test]
fn a_second_pass_and_a_restart_change_nothing() {
    in_sandbox("a_second_pass_and_a_restart_change_nothing", || {
        let vm = Vm::new();
        vm.set_keys(&[entry("alice"), entry("bob")]);
        let agent = vm.agent();
        vm.settled(&agent);
        let before = text_of([
            "stat",
            "-c",
            "%n %i %Y %Z",
            ALICES_KEYS,
            "/etc/passwd",
            "/etc/group",
            "/var/lib/google/google_users",
        ]);
        vm.set("instance/attributes/unrelated", "1");
        vm.settled(&agent);
        drop(agent);
        let agent = vm.agent();
        let log = vm.settled(&agent);
        assert!(
            log.contains("Pass of accounts") && log.contains(": 0 changes"),
            "{log}"
        );
        let after = text_of([
            "stat",
            "-c",
            "%n %i %Y %Z",
            ALICES_KEYS,
            "/etc/passwd",
            "/etc/group",
            "/var/lib/google/google_users",
        ]);
        assert_eq!(before, after);
    });
}

#[test]
fn an_account_that_was_there_before_is_only_added_to() {
    in_sandbox("an_account_that_was_there_before_is_only_added_to", || {
        run(["useradd", "-m", "-s", "/bin/sh", "alice"]);
        run([
            "install",
            "-d",
            "-m",
            "700",
            "-o",
            "alice",
            "-g",
            "alice",
            "/home/alice/.ssh",
        ]);
        let own = "ssh-rsa AAAAown own key\r\n\n# a remark\nlast line without an end";
        std::fs::write(ALICES_KEYS, own).unwrap();
        run(["chown", "alice:alice", ALICES_KEYS]);
        let entry_before = passwd("alice");
        let home_before = text_of(["stat", "-c", "%U %a %i", "/home/alice", "/home/alice/.ssh"]);
        let config = "[Accounts]\ndeprovision_remove = true\n";
        std::fs::write("/etc/default/instance_configs.cfg", config).unwrap();

        let vm = Vm::new();
        let agent = vm.agent();
        vm.set_keys(&[entry("alice")]);
        vm.settled(&agent);
        assert_eq!(contents(ALICES_KEYS), format!("{own}\n{}", our_pair()));
        assert_eq!(
            groups("alice"),
            ["alice", "google-sudoers"],
            "configured groups are for new users"
        );

        vm.set_keys(&[]);
        vm.settled(&agent);
        assert_eq!(
            contents(ALICES_KEYS),
            format!("{own}\n"),
            "only our pair is gone"
        );
        assert_eq!(groups("alice"), ["alice"]);
        assert_eq!(
            passwd("alice"),
            entry_before,
            "deprovision_remove is for accounts that we made"
        );
        assert_eq!(
            text_of(["stat", "-c", "%U %a %i", "/home/alice", "/home/alice/.ssh"]),
            home_before
        );
    });
}

#[test]
fn an_account_that_we_made_loses_its_keys_or_goes_with_deprovision_remove() {
    in_sandbox(
        "an_account_that_we_made_loses_its_keys_or_goes_with_deprovision_remove",
        || {
            let vm = Vm::new();
            let agent = vm.agent();
            vm.set_keys(&[entry("alice"), entry("bob")]);
            vm.settled(&agent);
            vm.set_keys(&[entry("bob")]);
            vm.settled(&agent);
            assert!(!std::path::Path::new(ALICES_KEYS).exists());
            assert!(passwd("alice").starts_with("alice:"));
            assert!(!groups("alice").contains(&"google-sudoers".to_owned()));

            std::fs::write(
                "/etc/default/instance_configs.cfg",
                "[Accounts]\ndeprovision_remove = true\n",
            )
            .unwrap();
            reread_configuration(&agent);
            vm.set_keys(&[]);
            vm.settled(&agent);
            assert_eq!(passwd("bob"), "");
            assert!(!std::path::Path::new("/home/bob").exists());
            assert!(
                passwd("alice").starts_with("alice:"),
                "alice was let go before"
            );
        },
    );
}

#[test]
fn what_a_user_plants_in_the_home_reaches_nothing_and_costs_that_user() {
    in_sandbox(
        "what_a_user_plants_in_the_home_reaches_nothing_and_costs_that_user",
        || {
            for user in ["linked", "filelink", "fifo", "hard", "directory", "good"] {
                run(["useradd", "-m", user]);
            }
            run(["sh", "-ec", "
            mkdir -m 700 /root/secret && echo root-only > /root/secret/authorized_keys
            ln -s /root/secret /home/linked/.ssh
            for user in filelink fifo hard directory; do install -d -m 700 -o $user -g $user /home/$user/.ssh; done
            ln -s /root/secret/authorized_keys /home/filelink/.ssh/authorized_keys
            mkfifo /home/fifo/.ssh/authorized_keys
            echo victim > /home/good/victim; chmod 600 /home/good/victim; chown good /home/good/victim
            ln /home/good/victim /home/hard/.ssh/authorized_keys
            mkdir /home/directory/.ssh/authorized_keys
            for user in linked filelink fifo hard directory; do chown -hR $user:$user /home/$user/.ssh; done
            chown good /home/good/victim
        "]);
            let secret = || {
                text_of([
                    "stat",
                    "-c",
                    "%U %a %i %s %Z",
                    "/root/secret",
                    "/root/secret/authorized_keys",
                    "/home/good/victim",
                ])
            };
            let before = secret();
            let vm = Vm::new();
            let agent = vm.agent();
            let users = ["linked", "filelink", "fifo", "hard", "directory", "good"];
            vm.set_keys(&users.map(entry));
            vm.settled(&agent);
            poll_until(PATIENCE, "the good user has the key", || {
                contents("/home/good/.ssh/authorized_keys") == our_pair()
            });
            assert_eq!(contents("/root/secret/authorized_keys"), "root-only\n");
            for user in ["linked", "filelink", "fifo", "hard", "directory"] {
                let log = agent.said();
                assert_eq!(
                    lines_with(&log, &["WARNING", &format!("User {user}: ")]),
                    1,
                    "{user}:\n{log}"
                );
            }
            // A file that only its owner may read: it is the file, and not the home, that is in the way.
            let advice = "check owner and mode of the file";
            assert_eq!(lines_with(&agent.said(), &["User hard: ", advice]), 1);
            assert_eq!(secret(), before);

            vm.set_keys(&[]);
            vm.settled(&agent);
            assert_eq!(secret(), before, "removal does not follow links either");
            assert_eq!(contents("/root/secret/authorized_keys"), "root-only\n");
        },
    );
}

#[test]
fn a_full_disk_loses_nothing_and_costs_one_message() {
    in_sandbox_with(
        &["--allow-mounts"],
        "a_full_disk_loses_nothing_and_costs_one_message",
        || {
            run(["useradd", "-M", "alice"]);
            run(["mkdir", "/home/alice"]);
            run([
                "mount",
                "-t",
                "tmpfs",
                "-o",
                "size=64k",
                "tmpfs",
                "/home/alice",
            ]);
            run(["chown", "alice:alice", "/home/alice"]);
            run([
                "install",
                "-d",
                "-m",
                "700",
                "-o",
                "alice",
                "-g",
                "alice",
                "/home/alice/.ssh",
            ]);
            std::fs::write(ALICES_KEYS, "ssh-rsa AAAAown own key\n").unwrap();
            run(["chown", "alice:alice", ALICES_KEYS]);
            support::attempt(["dd", "if=/dev/zero", "of=/home/alice/filler", "bs=1k"]);
            let vm = Vm::new();
            let agent = vm.agent();
            vm.set_keys(&[entry("alice"), entry("bob")]);
            vm.settled(&agent);
            assert_eq!(
                contents("/home/bob/.ssh/authorized_keys"),
                our_pair(),
                "others are not held up"
            );
            assert_eq!(
                contents(ALICES_KEYS),
                "ssh-rsa AAAAown own key\n",
                "the old file is whole"
            );
            assert_eq!(text_of(["ls", "-A", "/home/alice/.ssh"]), "authorized_keys");
            // Retries say it once.
            vm.set("instance/attributes/unrelated", "1");
            vm.settled(&agent);
            assert_eq!(
                lines_with(&agent.said(), &["WARNING", "alice", "disk is full"]),
                1,
                "{}",
                agent.said()
            );
            // Once there is room it converges by itself.
            run(["rm", "/home/alice/filler"]);
            poll_until(BACK_OFF, "alice has the key", || {
                contents(ALICES_KEYS).contains(KEY)
            });
            poll_until(PATIENCE, "the end of the condition is logged", || {
                agent.said().contains("No longer: user alice")
            });
        },
    );
}

#[test]
fn a_bad_line_costs_itself_and_its_key_stays_out_of_the_log() {
    in_sandbox(
        "a_bad_line_costs_itself_and_its_key_stays_out_of_the_log",
        || {
            let vm = Vm::new();
            let agent = vm.agent();
            let lines = [
                "no colon AAAAcanary1".to_owned(),
                "..:ssh-ed25519 AAAAcanary2".into(),
                "-f bob:ssh-ed25519 AAAAcanary3".into(),
                "bob:not a key AAAAcanary4".into(),
                format!(
                    "carol:{} google-ssh {{\"expireOn\": \"whenever canary5\"}}",
                    KEY.rsplit_once(' ').unwrap().0
                ),
                entry("alice"),
            ];
            vm.set_keys(&lines);
            vm.settled(&agent);
            vm.set("instance/attributes/unrelated", "1");
            let log = vm.settled(&agent);
            assert_eq!(contents(ALICES_KEYS), our_pair());
            for user in ["bob", "carol"] {
                assert_eq!(passwd(user), "", "{user}");
            }
            for line in 1..=5 {
                let place = format!("Line {line} of instance/attributes/ssh-keys");
                assert_eq!(
                    lines_with(&log, &["WARNING", &place]),
                    1,
                    "line {line}:\n{log}"
                );
            }
            assert!(!log.contains("canary"), "{log}");
        },
    );
}

#[test]
fn half_an_answer_locks_nobody_out() {
    in_sandbox("half_an_answer_locks_nobody_out", || {
        let vm = Vm::new();
        let agent = vm.agent();
        vm.set_keys(&[entry("alice")]);
        vm.settled(&agent);
        for (path, value) in [
            ("instance/attributes", serde_json::json!("broken")),
            ("project/attributes", serde_json::json!([1])),
        ] {
            vm.set(path, value);
            vm.settled(&agent);
            assert_eq!(contents(ALICES_KEYS), our_pair(), "{path}");
            assert!(
                groups("alice").contains(&"google-sudoers".to_owned()),
                "{path}"
            );
        }
        assert_eq!(
            lines_with(&agent.said(), &["WARNING", "etadata is incomplete"]),
            1,
            "{}",
            agent.said()
        );
    });
}

#[test]
fn a_truncated_sudo_rule_is_repaired_and_a_foreign_one_kept() {
    in_sandbox(
        "a_truncated_sudo_rule_is_repaired_and_a_foreign_one_kept",
        || {
            let rule = "/etc/sudoers.d/google_sudoers";
            std::fs::write(rule, "").unwrap();
            let vm = Vm::new();
            let agent = vm.agent();
            vm.set_keys(&[entry("alice")]);
            vm.settled(&agent);
            assert_eq!(
                contents(rule),
                "%google-sudoers ALL=(ALL:ALL) NOPASSWD:ALL\n"
            );
            assert_eq!(std::fs::metadata(rule).unwrap().mode() & 0o7777, 0o440);
            let foreign = "%google-sudoers ALL=(ALL:ALL) ALL\n";
            std::fs::write(rule, foreign).unwrap();
            vm.set_keys(&[entry("alice"), entry("bob")]);
            vm.settled(&agent);
            assert_eq!(contents(rule), foreign);
        },
    );
}
