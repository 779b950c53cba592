//! The rules of accounts on a real machine: clashes, directories that are late, expiry, clones, options, OS Login.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "test code: a failure is a panic, programs are started directly, and a scenario reads best whole"
)]

mod support;

use std::time::{Duration, Instant};

use support::vm::{
    BACK_OFF, KEY, PATIENCE, Vm, contents, entry, groups, passwd, reread_configuration,
};
use support::{Daemon, PROGRAM, in_sandbox, in_sandbox_with, poll_until, run, text_of};

fn configure(text: &str) {
    std::fs::write("/etc/default/instance_configs.cfg", text).unwrap();
}

fn keys_of(user: &str) -> String {
    contents(&format!("/home/{user}/.ssh/authorized_keys"))
}

fn has_key(user: &str) -> bool {
    keys_of(user).contains(KEY)
}

/// The members of the sudoers group.
fn sudoers() -> Vec<String> {
    let group = contents("/etc/group");
    let line = group
        .lines()
        .find_map(|line| line.strip_prefix("google-sudoers:"));
    let members = line
        .and_then(|line| line.rsplit(':').next())
        .unwrap_or_default();
    members.split(',').map(String::from).collect()
}

/// Writes an executable file that comes before the real program of that name.
fn replace_program(name: &str, script: &str) {
    let path = format!("/usr/local/sbin/{name}");
    std::fs::create_dir_all("/usr/local/sbin").unwrap();
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    run(["chmod", "755", &path]);
}

#[test]
fn a_group_of_the_same_name_is_used_only_when_it_means_nothing() {
    in_sandbox(
        "a_group_of_the_same_name_is_used_only_when_it_means_nothing",
        || {
            run(["groupadd", "unused"]);
            run(["groupadd", "shared"]);
            run(["useradd", "-G", "shared", "somebody"]);
            run(["groupadd", "--system", "docker"]);
            configure("[Accounts]\ngroups =\n");
            let vm = Vm::new();
            let agent = vm.agent();
            // `operator` and `users` are groups of every Debian system.
            let users = ["unused", "shared", "docker", "operator", "users", "plain"];
            vm.set_keys(&users.map(entry));
            vm.settled(&agent);
            for user in users {
                assert!(has_key(user), "{user}: {}", agent.said());
            }
            for (user, expected) in [
                ("unused", vec!["google-sudoers", "unused"]),
                ("plain", vec!["google-sudoers", "plain"]),
                ("shared", vec!["google-sudoers", "users"]),
                ("docker", vec!["google-sudoers", "users"]),
                ("operator", vec!["google-sudoers", "users"]),
                ("users", vec!["google-sudoers", "users"]),
            ] {
                assert_eq!(groups(user), expected, "{user}");
            }
        },
    );
}

/// Builds a source for nsswitch.conf that answers as /run/directory says: `late`, `again`, not at all while it says `hang`,
/// or it knows the user `dora`.
fn install_directory() {
    let source = r#"
        #include <errno.h>
        #include <nss.h>
        #include <pwd.h>
        #include <stdio.h>
        #include <string.h>
        #include <unistd.h>
        enum nss_status _nss_stub_getpwnam_r(const char *name, struct passwd *pw, char *buf, size_t len, int *errnop) {
            char state[16] = "";
            do {
                if (state[0]) usleep(20000);
                FILE *file = fopen("/run/directory", "r");
                if (file) { if (!fgets(state, sizeof state, file)) state[0] = 0; fclose(file); }
            } while (!strncmp(state, "hang", 4));
            if (!strncmp(state, "late", 4)) { *errnop = ECONNREFUSED; return NSS_STATUS_UNAVAIL; }
            if (!strncmp(state, "again", 5)) { *errnop = EAGAIN; return NSS_STATUS_TRYAGAIN; }
            if (strcmp(name, "dora")) { *errnop = ENOENT; return NSS_STATUS_NOTFOUND; }
            snprintf(buf, len, "dora");
            pw->pw_name = buf; pw->pw_passwd = "*"; pw->pw_uid = 7001; pw->pw_gid = 100;
            pw->pw_gecos = ""; pw->pw_dir = "/home/dora"; pw->pw_shell = "/bin/sh";
            return NSS_STATUS_SUCCESS;
        }
    "#;
    std::fs::write("/tmp/stub.c", source).unwrap();
    let library = format!(
        "{}/libnss_stub.so.2",
        text_of(["sh", "-c", "dirname $(readlink -f /lib/*/libc.so.6)"])
    );
    run(["cc", "-shared", "-fPIC", "-o", &library, "/tmp/stub.c"]);
    let nsswitch = contents("/etc/nsswitch.conf");
    let lines = nsswitch.lines().map(|line| {
        if line.starts_with("passwd:") {
            "passwd: files stub"
        } else {
            line
        }
    });
    std::fs::write(
        "/etc/nsswitch.conf",
        lines.map(|line| format!("{line}\n")).collect::<String>(),
    )
    .unwrap();
}

#[test]
fn no_clashing_account_is_made_while_the_directory_is_late() {
    in_sandbox(
        "no_clashing_account_is_made_while_the_directory_is_late",
        || {
            install_directory();
            run(["useradd", "-m", "local"]);
            let vm = Vm::new();
            for state in ["late", "again"] {
                std::fs::write("/run/directory", state).unwrap();
                let agent = vm.agent();
                vm.set_keys(&["dora", "local"].map(entry));
                vm.settled(&agent);
                assert!(
                    has_key("local"),
                    "{state}: users of other sources are not held up"
                );
                assert!(
                    !contents("/etc/passwd").contains("dora"),
                    "{state}: {}",
                    agent.said()
                );
                assert!(
                    agent
                        .said()
                        .contains("User dora: the name service could not be asked"),
                    "{}",
                    agent.said()
                );
            }
            std::fs::write("/run/directory", "up").unwrap();
            let agent = vm.agent();
            vm.set_keys(&["dora", "local", "newcomer"].map(entry));
            vm.settled(&agent);
            assert!(
                !contents("/etc/passwd").contains("dora"),
                "the account is the directory's"
            );
            assert_eq!(
                text_of(["stat", "-c", "%u:%g %a", "/home/dora"]),
                "7001:100 755"
            );
            assert_eq!(
                text_of(["stat", "-c", "%u:%g %a", "/home/dora/.ssh/authorized_keys"]),
                "7001:100 600"
            );
            assert!(has_key("dora") && has_key("newcomer"));
            assert!(text_of(["getent", "group", "google-sudoers"]).contains("dora"));
        },
    );
}

#[test]
fn a_directory_that_hangs_costs_only_the_users_that_need_it() {
    in_sandbox(
        "a_directory_that_hangs_costs_only_the_users_that_need_it",
        || {
            install_directory();
            run(["useradd", "-m", "local"]);
            std::fs::write("/run/directory", "hang").unwrap();
            let vm = Vm::new();
            let mut agent = vm.agent();
            // More than a few, so that those who would hang are many.
            let unknown: Vec<String> = (0..20).map(|number| format!("new-{number}")).collect();
            let mut lines = vec![entry("another"), entry("dora"), entry("local")];
            lines.extend(unknown.iter().map(|name| entry(name)));
            vm.set_keys(&lines);
            vm.passed(&agent);
            assert!(has_key("local"), "{}", agent.said());
            assert!(sudoers().contains(&"local".to_owned()));
            let told = "User dora: the name service could not be asked: it does not answer";
            assert!(agent.said().contains(told), "{}", agent.said());
            let threads = || {
                let count = format!("ls /proc/{}/task | wc -l", agent.id());
                text_of(["sh", "-c", &count]).parse::<usize>().unwrap()
            };
            let before = threads();
            // Neither waited for again each time, nor told again; and what needs no directory goes on.
            for round in 0..5 {
                vm.set_keys(&lines[round % 2..]);
                vm.passed(&agent);
            }
            lines.retain(|line| !line.starts_with("local:"));
            vm.set_keys(&lines);
            vm.passed(&agent);
            assert!(!has_key("local"), "what is to go goes all the same");
            assert!(!sudoers().contains(&"local".to_owned()));
            assert_eq!(agent.said().matches(told).count(), 1, "{}", agent.said());
            // Threads that are about to end may be there for a moment; one that hangs stays.
            poll_until(PATIENCE, "one thread more at most", || {
                threads() <= before + 1
            });
            let passwd = contents("/etc/passwd");
            assert!(!passwd.contains("dora") && !passwd.contains("new-"));
            // People are told as well, and are not kept waiting.
            let listed = text_of([PROGRAM, "accounts", "list"]);
            assert!(listed.contains("it does not answer"), "{listed}");
            agent.signal("TERM");
            assert!(agent.wait(PATIENCE).success());

            let agent = vm.agent();
            vm.passed(&agent);
            std::fs::write("/run/directory", "up").unwrap();
            poll_until(BACK_OFF, "the directory answers", || {
                has_key("dora") && unknown.iter().all(|name| has_key(name))
            });
            assert!(!contents("/etc/passwd").contains("dora"));
        },
    );
}

#[test]
fn a_directory_that_is_asked_first_and_hangs_holds_no_key_up() {
    in_sandbox(
        "a_directory_that_is_asked_first_and_hangs_holds_no_key_up",
        || {
            install_directory();
            run([
                "sed",
                "-i",
                "s/^passwd:.*/passwd: stub files/",
                "/etc/nsswitch.conf",
            ]);
            let users = ["one", "two", "three"];
            for user in users {
                run(["useradd", "-m", user]);
            }
            std::fs::write("/run/directory", "hang").unwrap();
            let vm = Vm::new();
            let agent = vm.agent();
            vm.set_keys(&users.map(entry));
            vm.passed(&agent);
            for user in users {
                assert!(has_key(user), "{user}: {}", agent.said());
            }
            // gpasswd(1) would hang for each of them.
            let told = "User two: the name service does not answer, and gpasswd";
            assert!(agent.said().contains(told), "{}", agent.said());
            std::fs::write("/run/directory", "up").unwrap();
            poll_until(BACK_OFF, "sudo follows", || {
                users
                    .iter()
                    .all(|user| sudoers().contains(&(*user).to_owned()))
            });
        },
    );
}

#[test]
fn keys_come_although_the_right_to_sudo_cannot_be_given() {
    in_sandbox(
        "keys_come_although_the_right_to_sudo_cannot_be_given",
        || {
            run(["useradd", "-m", "alice"]);
            replace_program("gpasswd", "echo no >&2; exit 1");
            let vm = Vm::new();
            let agent = vm.agent();
            vm.set_keys(&[entry("alice")]);
            vm.settled(&agent);
            assert!(has_key("alice"), "{}", agent.said());
            assert!(
                agent.said().contains("User alice: gpasswd"),
                "{}",
                agent.said()
            );
            run(["rm", "/usr/local/sbin/gpasswd"]);
            poll_until(BACK_OFF, "sudo follows", || {
                sudoers().contains(&"alice".to_owned())
            });
        },
    );
}

#[test]
fn a_missing_home_is_made_only_where_nobody_but_root_decides() {
    in_sandbox(
        "a_missing_home_is_made_only_where_nobody_but_root_decides",
        || {
            run(["useradd", "-m", "-d", "/srv/mallory", "mallory"]);
            // Where mallory could lead root: to any directory, for an account below his own.
            run(["useradd", "-M", "-d", "/srv/mallory/sub/victim", "victim"]);
            run(["ln", "-s", "/etc", "/srv/mallory/sub"]);
            // A link of root's is as good as a directory.
            run([
                "sh",
                "-c",
                "mkdir /var/homes && ln -s ../var/homes /srv/homes",
            ]);
            run(["useradd", "-M", "-d", "/srv/homes/erin", "erin"]);
            let vm = Vm::new();
            let agent = vm.agent();
            vm.set_keys(&["victim", "erin"].map(entry));
            vm.settled(&agent);
            assert!(!std::path::Path::new("/etc/victim").exists());
            let told = "/srv/mallory is not root's alone, so no home is made there";
            assert!(agent.said().contains(told), "{}", agent.said());
            assert!(contents("/var/homes/erin/.ssh/authorized_keys").contains(KEY));
            assert_eq!(
                text_of([
                    "stat",
                    "-c",
                    "%U %a",
                    "/var/homes/erin",
                    "/var/homes/erin/.ssh"
                ]),
                "erin 755\nerin 700"
            );
        },
    );
}

#[test]
fn a_key_goes_within_a_second_of_its_expiry() {
    in_sandbox("a_key_goes_within_a_second_of_its_expiry", || {
        let vm = Vm::new();
        let agent = vm.agent();
        vm.set_keys(&[entry("alice"), entry("bob")]);
        vm.settled(&agent);
        // Long enough for one pass on a loaded machine; the users are there already.
        let expires = text_of(["date", "-u", "-d", "+15 seconds", "+%Y-%m-%dT%H:%M:%S+0000"]);
        let at: u64 = text_of(["date", "-u", "-d", &expires, "+%s"])
            .parse()
            .unwrap();
        let temporary = KEY.replace(
            "a@example",
            &format!("google-ssh {{\"userName\":\"a@example.com\",\"expireOn\":\"{expires}\"}}"),
        );
        vm.set_keys(&[format!("alice:{temporary}"), entry("bob")]);
        poll_until(PATIENCE, "the key is there", || {
            keys_of("alice").contains("google-ssh")
        });
        poll_until(BACK_OFF, "the key is gone", || keys_of("alice").is_empty());
        // When its file went: this test may have looked later.
        let now: f64 = text_of(["stat", "-c", "%.9Y", "/home/alice/.ssh"])
            .parse()
            .unwrap();
        #[allow(
            clippy::cast_precision_loss,
            reason = "seconds since 1970 are exact in an f64"
        )]
        let late = now - at as f64;
        println!("the key was gone {late:.3} s after its expiry");
        // Metadata comes round every minute by itself; times of files are those of the last tick of the clock.
        assert!((-0.01..20.0).contains(&late), "{late}");
        assert!(has_key("bob"));
        poll_until(PATIENCE, "the sudo right is gone", || {
            !groups("alice").contains(&"google-sudoers".to_owned())
        });
    });
}

#[test]
fn the_ledger_of_a_cloned_image_removes_nobody() {
    in_sandbox("the_ledger_of_a_cloned_image_removes_nobody", || {
        configure("[Accounts]\ndeprovision_remove = true\n");
        let vm = Vm::new();
        let agent = vm.agent();
        vm.set_keys(&[entry("packer")]);
        vm.settled(&agent);
        drop(agent);
        // The image of this machine boots as another instance, whose metadata does not know that user.
        vm.set_keys(&[]);
        vm.set("instance/id", 777);
        let agent = vm.agent();
        let log = vm.settled(&agent);
        assert!(
            has_key("packer") && passwd("packer").starts_with("packer:"),
            "{log}"
        );
        assert_eq!(log.matches("another instance's").count(), 1, "{log}");
        vm.set_keys(&[entry("packer")]);
        vm.settled(&agent);
        vm.set_keys(&[]);
        vm.settled(&agent);
        assert!(
            passwd("packer").starts_with("packer:"),
            "on the clone it was there before"
        );
        assert!(keys_of("packer").is_empty());
    });
}

#[test]
fn a_predecessors_ledger_is_taken_over_and_stays_readable() {
    in_sandbox(
        "a_predecessors_ledger_is_taken_over_and_stays_readable",
        || {
            run(["groupadd", "google-sudoers"]);
            run(["useradd", "-m", "-G", "google-sudoers", "alice"]);
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
            std::fs::write(
                "/home/alice/.ssh/authorized_keys",
                format!("# Added by Google\n{KEY}\n"),
            )
            .unwrap();
            run(["chown", "alice:alice", "/home/alice/.ssh/authorized_keys"]);
            run(["chmod", "600", "/home/alice/.ssh/authorized_keys"]);
            std::fs::create_dir_all("/var/lib/google").unwrap();
            std::fs::write("/var/lib/google/google_users", "alice\n").unwrap();
            std::fs::write(
                "/etc/sudoers.d/google_sudoers",
                "%google-sudoers ALL=(ALL:ALL) NOPASSWD:ALL",
            )
            .unwrap();
            run(["chmod", "440", "/etc/sudoers.d/google_sudoers"]);
            let vm = Vm::new();
            vm.set_keys(&[entry("alice")]);
            let agent = vm.agent();
            let log = vm.settled(&agent);
            assert!(
                log.contains(": 0 changes"),
                "nothing is to be done after a migration:\n{log}"
            );
            assert_eq!(contents("/var/lib/google/google_users"), "alice\n");
            vm.set_keys(&[]);
            vm.settled(&agent);
            assert_eq!(contents("/home/alice/.ssh/authorized_keys"), "");
            assert_eq!(groups("alice"), ["alice"], "the predecessor gave sudo");
        },
    );
}

#[test]
fn the_options_say_who_gets_sudo_and_whom_to_leave_alone() {
    in_sandbox(
        "the_options_say_who_gets_sudo_and_whom_to_leave_alone",
        || {
            configure(
                "[Accounts]\ngroups = adm,video\nsudo = alice\nignore_users = carol\nallow_root = false\nsudoers_rule = ALL=(root) NOPASSWD: /usr/bin/id\n",
            );
            let root_before = contents("/root/.ssh/authorized_keys");
            let vm = Vm::new();
            let agent = vm.agent();
            vm.set_keys(&["alice", "bob", "carol", "root"].map(entry));
            vm.settled(&agent);
            assert_eq!(groups("alice"), ["adm", "alice", "google-sudoers", "video"]);
            assert_eq!(
                groups("bob"),
                ["bob", "video"],
                "no group that is as good as root without sudo"
            );
            assert_eq!(passwd("carol"), "");
            assert_eq!(contents("/root/.ssh/authorized_keys"), root_before);
            assert!(agent.said().contains("allow_root"), "{}", agent.said());
            run(["visudo", "-cq", "-f", "/etc/sudoers.d/google_sudoers"]);
            assert_eq!(
                text_of([
                    "runuser",
                    "-u",
                    "alice",
                    "--",
                    "sudo",
                    "-n",
                    "/usr/bin/id",
                    "-u"
                ]),
                "0"
            );
            assert!(
                !support::attempt([
                    "runuser",
                    "-u",
                    "alice",
                    "--",
                    "sudo",
                    "-n",
                    "/usr/bin/true"
                ])
                .status
                .success()
            );
        },
    );
}

#[test]
fn an_invalid_sudo_rule_is_not_installed() {
    in_sandbox("an_invalid_sudo_rule_is_not_installed", || {
        configure("[Accounts]\nsudoers_rule = this is (no rule\n");
        let vm = Vm::new();
        let agent = vm.agent();
        vm.set_keys(&[entry("alice")]);
        vm.settled(&agent);
        assert!(!std::path::Path::new("/etc/sudoers.d/google_sudoers").exists());
        assert!(
            agent
                .said()
                .contains("Sudo rights: the sudo rule is not valid (Accounts.sudoers_rule)"),
            "{}",
            agent.said()
        );
        assert!(has_key("alice"), "the users are not held up by it");
        for _ in 0..3 {
            vm.settled(&agent);
        }
        assert_eq!(
            agent.said().matches("the sudo rule is not valid").count(),
            1,
            "it is told once: {}",
            agent.said()
        );
    });
}

#[test]
fn a_home_that_was_left_behind_is_reused_with_its_ids() {
    in_sandbox("a_home_that_was_left_behind_is_reused_with_its_ids", || {
        run(["useradd", "-m", "-u", "4242", "alice"]);
        std::fs::write("/home/alice/kept", "kept").unwrap();
        run(["chown", "alice:alice", "/home/alice/kept"]);
        run(["userdel", "alice"]);
        configure("[Accounts]\nreuse_homedir = true\n");
        let vm = Vm::new();
        let agent = vm.agent();
        vm.set_keys(&["alice", "bob"].map(entry));
        vm.settled(&agent);
        assert!(
            passwd("alice").starts_with("alice:x:4242:4242:"),
            "{} {}",
            passwd("alice"),
            agent.said()
        );
        assert_eq!(
            text_of(["stat", "-c", "%U:%G", "/home/alice/kept"]),
            "alice:alice"
        );
        assert!(has_key("alice") && has_key("bob"));
    });
}

#[test]
fn custom_commands_are_run_exactly_as_configured() {
    in_sandbox("custom_commands_are_run_exactly_as_configured", || {
        replace_program(
            "site-useradd",
            "echo \"useradd $*\" >>/tmp/calls; exec /usr/sbin/useradd -m -s /bin/sh \"$2\"",
        );
        replace_program(
            "site-gpasswd",
            "echo \"gpasswd $*\" >>/tmp/calls; exec /usr/bin/gpasswd -a \"$1\" \"$2\"",
        );
        configure(
            "[Accounts]\ngroups = video\nuseradd_cmd = site-useradd --for {user}\ngpasswd_add_cmd = site-gpasswd {user} {group}\n",
        );
        let vm = Vm::new();
        let agent = vm.agent();
        vm.set_keys(&[entry("alice")]);
        vm.settled(&agent);
        assert_eq!(
            contents("/tmp/calls"),
            "useradd --for alice\ngpasswd alice google-sudoers\n"
        );
        assert_eq!(groups("alice"), ["alice", "google-sudoers", "video"]);
        assert!(has_key("alice"), "{}", agent.said());
    });
}

/// A control program that keeps its state in files and writes its calls down.
fn install_oslogin() {
    replace_program(
        "google_oslogin_control",
        r#"
        echo "$*" >>/tmp/calls
        case "$1" in
            status) [ -e /run/oslogin ] && { [ "$2" != --twofactor ] || [ -e /run/oslogin-2fa ]; } ;;
            activate) [ ! -e /run/broken ] && touch /run/oslogin && { rm -f /run/oslogin-2fa; [ "$2" != --twofactor ] || touch /run/oslogin-2fa; } ;;
            deactivate) rm -f /run/oslogin /run/oslogin-2fa ;;
        esac"#,
    );
    replace_program(
        "google_oslogin_nss_cache",
        "echo cache >>/tmp/calls; touch /etc/oslogin_passwd.cache",
    );
}

/// The calls since the last look, without those that only ask.
fn calls() -> Vec<String> {
    let calls = contents("/tmp/calls");
    std::fs::write("/tmp/calls", "").unwrap();
    calls
        .lines()
        .filter(|call| !call.starts_with("status"))
        .map(String::from)
        .collect()
}

#[test]
fn oslogin_is_switched_by_the_table_and_takes_over_only_when_it_is_active() {
    in_sandbox(
        "oslogin_is_switched_by_the_table_and_takes_over_only_when_it_is_active",
        || {
            configure("[Accounts]\ndeprovision_remove = true\n");
            let vm = Vm::new();
            let agent = vm.agent();
            vm.set_keys(&[entry("alice")]);
            // Asked for where it is not installed: nobody is locked out.
            vm.set("project/attributes/enable-oslogin", "TRUE");
            vm.settled(&agent);
            assert!(has_key("alice"));
            assert_eq!(
                agent.said().matches("not installed").count(),
                1,
                "{}",
                agent.said()
            );
            vm.set("instance/attributes/unrelated", "1");
            vm.settled(&agent);
            assert_eq!(
                agent.said().matches("not installed").count(),
                1,
                "{}",
                agent.said()
            );

            // Installed, and the switch fails: tried again with back-off, keys go on working.
            std::fs::write("/run/broken", "").unwrap();
            install_oslogin();
            let began = Instant::now();
            for number in 0..12 {
                vm.set("instance/attributes/unrelated", format!("2.{number}"));
                vm.settled(&agent);
            }
            // The waits are at least 1, 2, 4, 8 s, and the first attempt is made at once.
            let tried = calls();
            let most = 1 + (began.elapsed().as_secs() + 1).ilog2();
            assert!(tried.iter().all(|call| call == "activate"), "{tried:?}");
            assert!(
                (1..=most as usize).contains(&tried.len()),
                "no storm of attempts: {tried:?} after {:?}",
                began.elapsed()
            );
            assert!(has_key("alice"));
            run(["rm", "/run/broken"]);
            poll_until(BACK_OFF, "OS Login is active", || {
                agent.said().contains("Activated OS Login")
            });
            poll_until(PATIENCE, "the keys of metadata are gone", || {
                !has_key("alice")
            });
            assert!(
                passwd("alice").starts_with("alice:"),
                "switching OS Login on never deletes an account"
            );
            let mut last = calls();
            // One more may have failed since the last look.
            last.drain(..last.len().saturating_sub(2));
            assert_eq!(last, ["activate", "cache"]);

            for (attribute, value, expected) in [
                (
                    "instance/attributes/enable-oslogin-2fa",
                    "true",
                    vec!["activate --twofactor", "cache"],
                ),
                (
                    "instance/attributes/enable-oslogin-2fa",
                    "false",
                    vec!["deactivate", "activate"],
                ),
                ("instance/attributes/unrelated", "4", vec![]),
                (
                    "instance/attributes/enable-oslogin",
                    "false",
                    vec!["deactivate"],
                ),
            ] {
                vm.set(attribute, value);
                vm.settled(&agent);
                assert_eq!(calls(), expected, "{attribute} {value}\n{}", agent.said());
            }
            assert!(!std::path::Path::new("/etc/oslogin_passwd.cache").exists());
            assert!(has_key("alice"), "back to the keys of metadata");

            // The image's owner has the last word.
            std::fs::write(
                "/etc/default/instance_configs.cfg.template",
                "[Lock]\ndisable = oslogin\n",
            )
            .unwrap();
            reread_configuration(&agent);
            vm.set("instance/attributes/enable-oslogin", "true");
            vm.settled(&agent);
            assert!(calls().is_empty() && has_key("alice"), "{}", agent.said());
        },
    );
}

#[test]
fn a_user_who_swaps_directories_all_the_time_gains_nothing() {
    in_sandbox(
        "a_user_who_swaps_directories_all_the_time_gains_nothing",
        || {
            for user in ["mallory", "victim"] {
                run(["useradd", "-m", user]);
                run([
                    "install",
                    "-d",
                    "-m",
                    "700",
                    "-o",
                    user,
                    "-g",
                    user,
                    &format!("/home/{user}/.ssh"),
                ]);
            }
            run(["sh", "-ec", "
            mkdir -m 700 /root/.ssh || true; echo root-only >/root/.ssh/authorized_keys
            echo victims-own >/home/victim/.ssh/authorized_keys; chown victim: /home/victim/.ssh/authorized_keys
        "]);
            let targets = [
                "/root/.ssh",
                "/root/.ssh/authorized_keys",
                "/home/victim/.ssh",
                "/home/victim/.ssh/authorized_keys",
                "/etc/passwd",
            ];
            let look = || {
                let mut words = vec!["stat", "-c", "%n %U:%G %a %i %s %Z"];
                words.extend(targets);
                text_of(words)
            };
            let before = look();
            // As mallory: .ssh is by turns a directory, a link to root's or the victim's, and so is the file in it.
            let swap = r#"
            cd /home/mallory
            while :; do
                for target in /root/.ssh /home/victim/.ssh; do
                    mv .ssh .real 2>/dev/null; ln -sfn $target .ssh; rm -f .ssh; mv .real .ssh 2>/dev/null || mkdir .ssh
                    rm -f .ssh/authorized_keys; ln -s $target/authorized_keys .ssh/authorized_keys
                    rm -f .ssh/authorized_keys; ln /home/mallory/bait .ssh/authorized_keys 2>/dev/null
                    rm -f .ssh/authorized_keys; mkfifo .ssh/authorized_keys; rm -f .ssh/authorized_keys
                done
            done"#;
            run([
                "sh",
                "-c",
                "echo bait >/home/mallory/bait; chown mallory: /home/mallory/bait",
            ]);
            let racer = Daemon::start(
                "racer",
                ["runuser", "-u", "mallory", "--", "sh", "-c", swap],
            );
            let vm = Vm::new();
            let agent = vm.agent();
            vm.settled(&agent);
            let until = Instant::now() + Duration::from_secs(6);
            let mut rounds = 0;
            // On a loaded machine until there were enough of them.
            while Instant::now() < until || rounds <= 20 {
                let keys = [entry("mallory"), format!("mallory:{KEY} {rounds}")];
                vm.set_keys(&keys[..rounds % 3 % 2 + usize::from(rounds % 3 != 2)]);
                vm.settled(&agent);
                rounds += 1;
            }
            // Two programs: runuser and its shell.
            run(["pkill", "-KILL", "-u", "mallory"]);
            drop(racer);
            poll_until(PATIENCE, "the racer has ended", || {
                !support::attempt(["pgrep", "-u", "mallory"])
                    .status
                    .success()
            });
            println!("{rounds} rounds");
            assert_eq!(look(), before);
            assert_eq!(contents("/root/.ssh/authorized_keys"), "root-only\n");
            assert_eq!(
                contents("/home/victim/.ssh/authorized_keys"),
                "victims-own\n"
            );
            // Left in peace, mallory gets the keys like anybody else.
            run(["sh", "-c", "cd /home/mallory; rm -rf .ssh .real"]);
            vm.set_keys(&[entry("mallory")]);
            vm.settled(&agent);
            poll_until(PATIENCE, "mallory's key", || has_key("mallory"));
        },
    );
}

#[test]
fn any_sequence_of_metadata_ends_in_what_the_last_one_asks_for() {
    in_sandbox(
        "any_sequence_of_metadata_ends_in_what_the_last_one_asks_for",
        || {
            // Every third call of an account command fails before it does anything.
            for program in ["useradd", "gpasswd", "userdel"] {
                let real = text_of(["sh", "-c", &format!("command -v {program}")]);
                replace_program(
                    program,
                    &format!(
                        "[ ! -e /run/unreliable ] || {{ n=$(cat /tmp/count 2>/dev/null || echo 0); echo $((n + 1)) >/tmp/count; \
                     [ $((n % 3)) != 0 ] || exit 1; }}\nexec {real} \"$@\""
                    ),
                );
            }
            run(["useradd", "-m", "image"]);
            let users = ["image", "ann", "ben"];
            let vm = Vm::new();
            let agent = vm.agent();
            let mut random = fastrand::Rng::with_seed(20_261_122);
            for round in 0..12 {
                std::fs::write("/run/unreliable", "").unwrap();
                let mut wanted: Vec<(&str, usize)> = Vec::new();
                for _ in 0..random.usize(1..4) {
                    wanted.clear();
                    for user in users {
                        if random.bool() {
                            wanted.push((user, random.usize(1..3)));
                        }
                    }
                    let line = |(user, count): &(&str, usize)| {
                        (0..*count)
                            .map(|number| format!("{user}:{KEY} {number}"))
                            .collect::<Vec<_>>()
                    };
                    vm.set_keys(&wanted.iter().flat_map(line).collect::<Vec<_>>());
                    let blocked = if random.bool() { "true" } else { "false" };
                    vm.set("instance/attributes/block-project-ssh-keys", blocked);
                    std::thread::sleep(Duration::from_millis(random.u64(0..40)));
                }
                std::fs::remove_file("/run/unreliable").unwrap();
                let right = || {
                    users.iter().all(|user| {
                        let keys = wanted
                            .iter()
                            .find(|(name, _)| name == user)
                            .map_or(0, |(_, count)| *count);
                        let exists = !passwd(user).is_empty();
                        // `id` may fail while useradd is between the two files.
                        let sudo = exists && sudoers().contains(&(*user).to_owned());
                        keys_of(user).matches("# Added by Google").count() == keys
                            && sudo == (keys > 0)
                            && (exists || keys == 0)
                    })
                };
                poll_until(
                    Duration::from_secs(60),
                    &format!("round {round}: {wanted:?}\n{}", agent.said()),
                    right,
                );
            }
        },
    );
}

#[test]
fn users_are_listed_explained_and_brought_in_line_without_the_agent() {
    in_sandbox(
        "users_are_listed_explained_and_brought_in_line_without_the_agent",
        || {
            let vm = Vm::new();
            vm.set_keys(&[entry("alice"), "bob:no key".into()]);
            run(["useradd", "-m", "old"]);
            let failing = support::attempt([PROGRAM, "explain", "user", "alice"]);
            assert_eq!(failing.status.code(), Some(1));
            assert!(
                String::from_utf8_lossy(&failing.stdout)
                    .contains("FAIL  the account does not exist yet"),
                "{failing:?}"
            );

            assert!(
                text_of([PROGRAM, "accounts", "sync", "--once"]).contains("created user alice")
            );
            assert!(has_key("alice"));
            assert_eq!(text_of([PROGRAM, "accounts", "sync"]), "nothing to do");
            assert!(
                text_of([PROGRAM, "explain", "user", "alice"])
                    .contains("the ledger says that we created it")
            );
            let refused = support::attempt([PROGRAM, "explain", "user", "bob"]);
            let told = String::from_utf8_lossy(&refused.stdout).into_owned();
            assert!(
                told.contains(
                    "FAIL  line 2 of instance/attributes/ssh-keys: there is no SSH public key"
                ),
                "{told}"
            );

            let list: serde_json::Value =
                serde_json::from_str(&text_of([PROGRAM, "accounts", "list", "--json"])).unwrap();
            let no_key = "line 2 of instance/attributes/ssh-keys: there is no SSH public key after the user name";
            let expected = serde_json::json!([
                {"user": "alice", "origin": "created", "keys": 1, "next_expiry": null, "state": "in line", "error": null},
                {"user": "bob", "origin": null, "keys": 0, "next_expiry": null, "state": no_key, "error": no_key}
            ]);
            assert_eq!(list, expected);
            let table = text_of([PROGRAM, "accounts", "list"]);
            assert!(
                table
                    .lines()
                    .nth(1)
                    .unwrap()
                    .starts_with("alice                created     1  -"),
                "{table}"
            );

            let agent = vm.agent();
            vm.settled(&agent);
            // What only shows when it is tried: another name for a file of somebody else's, whose group is not the user's.
            run([
                "sh",
                "-c",
                "install -d -o old -g old -m 700 /home/old/.ssh; echo x > /home/file; chown old /home/file
                 ln /home/file /home/old/.ssh/authorized_keys",
            ]);
            vm.set_keys(&["alice", "old"].map(entry));
            vm.recorded(&agent);
            let reason = "cannot use /home/old/.ssh/authorized_keys: Operation not permitted (os error 1) (it belongs \
                          to somebody else or may not be changed; remove it)";
            for words in [["accounts", "list"].as_slice(), &["explain", "user", "old"]] {
                let all = [PROGRAM].iter().chain(words);
                let told = support::attempt(all).stdout;
                let told = String::from_utf8_lossy(&told).into_owned();
                assert!(told.contains(reason), "{told}");
            }
            let busy = support::attempt([PROGRAM, "accounts", "sync"]);
            assert_eq!(busy.status.code(), Some(1));
            assert!(
                String::from_utf8_lossy(&busy.stderr)
                    .contains("is in the hands of gce-guest (process"),
                "{busy:?}"
            );
        },
    );
}

#[test]
fn keys_go_where_sshd_looks_for_them_or_nowhere() {
    in_sandbox("keys_go_where_sshd_looks_for_them_or_nowhere", || {
        run(["ssh-keygen", "-A"]);
        let vm = Vm::new();
        for (setting, place) in [
            (
                "AuthorizedKeysFile %h/.keys/metadata\n",
                Some("/home/alice/.keys/metadata"),
            ),
            (
                "AuthorizedKeysFile /etc/ssh/keys/%u .ssh/authorized_keys\n",
                Some("/home/alice/.ssh/authorized_keys"),
            ),
            (
                "Match User alice\n  AuthorizedKeysFile .ssh/special\n",
                Some("/home/alice/.ssh/special"),
            ),
            ("AuthorizedKeysFile /etc/ssh/keys/%u\n", None),
        ] {
            support::attempt(["userdel", "-r", "alice"]);
            std::fs::write("/etc/ssh/sshd_config.d/site.conf", setting).unwrap();
            run(["sshd", "-t"]);
            let agent = vm.agent();
            vm.set_keys(&[entry("alice")]);
            let log = vm.settled(&agent);
            match place {
                Some(place) => assert_eq!(
                    contents(place),
                    format!("# Added by Google\n{KEY}\n"),
                    "{setting}{log}"
                ),
                None => {
                    assert!(
                        log.contains("sshd looks for keys in /etc/ssh/keys/alice only"),
                        "{log}"
                    );
                    assert!(!std::path::Path::new("/home/alice/.ssh").exists());
                }
            }
            drop(agent);
            vm.set_keys(&[]);
            let agent = vm.agent();
            vm.settled(&agent);
            assert_eq!(place.map(contents).unwrap_or_default(), "", "{setting}");
        }
    });
}

#[test]
fn sshd_is_asked_about_a_user_once_until_its_configuration_changes() {
    in_sandbox(
        "sshd_is_asked_about_a_user_once_until_its_configuration_changes",
        || {
            run(["ssh-keygen", "-A"]);
            let site = "/etc/ssh/sshd_config.d/site.conf";
            let setting = |name: &str| format!("Match User alice\n  AuthorizedKeysFile {name}\n");
            std::fs::write(site, setting(".ssh/special")).unwrap();
            replace_program(
                "sshd",
                "echo \"$*\" >>/tmp/asked; exec /usr/sbin/sshd \"$@\"",
            );
            let vm = Vm::new();
            vm.set_keys(&[entry("alice"), entry("bob")]);
            let agent = vm.agent();
            vm.settled(&agent);
            let asked = || contents("/tmp/asked").lines().count();
            // SIGHUP makes the agent look at everybody.
            let look = || {
                let before = agent.said().matches("Pass of accounts").count();
                agent.signal("HUP");
                poll_until(PATIENCE, "a pass", || {
                    agent.said().matches("Pass of accounts").count() > before
                });
            };
            // Files that have just been written are not trusted to be the same.
            poll_until(PATIENCE, "a pass without a question", || {
                let before = asked();
                look();
                asked() == before
            });
            assert!(contents("/tmp/asked").contains("user=bob,"));
            std::fs::write(site, setting(".ssh/other")).unwrap();
            poll_until(PATIENCE, "the new answer counts", || {
                look();
                contents("/home/alice/.ssh/other").contains(KEY)
            });
        },
    );
}

/// Blocks every open in a directory until it is ended, as a dead file server does.
const BLOCKER: &str = r#"
import ctypes, os, signal, sys
libc = ctypes.CDLL("libc.so.6", use_errno=True)
group = libc.fanotify_init(0x04, os.O_RDONLY)
mark = libc.fanotify_mark(group, 1, ctypes.c_uint64(0x10000 | 0x40000000 | 0x08000000), -100, sys.argv[1].encode())
print("blocking" if group >= 0 and mark == 0 else os.strerror(ctypes.get_errno()), flush=True)
signal.pause()
"#;

#[test]
fn a_home_that_does_not_answer_delays_only_its_user() {
    let name = "a_home_that_does_not_answer_delays_only_its_user";
    in_sandbox_with(&["--allow-mounts"], name, || {
        for user in ["stuck", "alice"] {
            run(["useradd", "-m", user]);
            run([
                "install",
                "-d",
                "-m",
                "700",
                "-o",
                user,
                "-g",
                user,
                &format!("/home/{user}/.ssh"),
            ]);
        }
        let blocker = Daemon::start(
            "blocker",
            ["/usr/bin/python3", "-c", BLOCKER, "/home/stuck/.ssh"],
        );
        poll_until(PATIENCE, "the home is blocked", || {
            blocker.said().contains("blocking")
        });
        let vm = Vm::new();
        let mut agent = vm.agent();
        vm.set_keys(&["stuck", "alice", "bob"].map(entry));
        vm.passed(&agent);
        assert!(has_key("alice") && has_key("bob"), "{}", agent.said());
        let threads = || {
            let counted = text_of(["sh", "-c", &format!("ls /proc/{}/task | wc -l", agent.id())]);
            counted.parse::<usize>().unwrap()
        };
        let threads_at_first = threads();
        // It is not waited for again and again, and told once.
        for _ in 0..5 {
            vm.passed(&agent);
        }
        assert_eq!(
            agent
                .said()
                .matches("the home directory does not answer")
                .count(),
            1,
            "{}",
            agent.said()
        );
        vm.set_keys(&["stuck", "bob"].map(entry));
        vm.passed(&agent);
        assert!(!has_key("alice"));
        // Seven passes have been made; one of them at most has a thread left that waits. Others are about to end.
        poll_until(PATIENCE, "no thread is left for every pass", || {
            threads() <= threads_at_first + 1
        });
        // SIGTERM is answered even so.
        agent.signal("TERM");
        assert!(agent.wait(PATIENCE).success());
        let agent = vm.agent();
        vm.passed(&agent);
        drop(blocker);
        poll_until(BACK_OFF, "the key is there once the home answers", || {
            has_key("stuck")
        });
        vm.settled(&agent);
    });
}

#[test]
fn a_new_key_file_has_the_context_of_the_policy_and_a_replaced_one_keeps_its_own() {
    let name = "a_new_key_file_has_the_context_of_the_policy_and_a_replaced_one_keeps_its_own";
    in_sandbox_with(&["--allow-mounts"], name, || {
        // What a kernel with SELinux shows, and the policy's tool; the label itself is a real extended attribute.
        run(["mount", "-t", "tmpfs", "selinux", "/sys/fs"]);
        run([
            "sh",
            "-c",
            "mkdir /sys/fs/selinux && echo 1 >/sys/fs/selinux/enforce",
        ]);
        replace_program(
            "matchpathcon",
            "echo asked >> /tmp/asked
             for path; do case $path in
                 */authorized_keys) printf '%s\\tsystem_u:object_r:ssh_home_t:s0\\n' \"$path\" ;;
                 */.ssh) printf '%s\\tsystem_u:object_r:ssh_dir_t:s0\\n' \"$path\" ;;
                 *) printf '%s\\t<<none>>\\n' \"$path\" ;;
             esac; done",
        );
        run(["rm", "-rf", "/root/.ssh"]);
        let context_of = |path: &str| {
            let read = format!("import os; print(os.getxattr('{path}', 'security.selinux'))");
            text_of(["/usr/bin/python3", "-c", &read])
        };
        let context = || context_of("/root/.ssh/authorized_keys");
        let asked = || contents("/tmp/asked").lines().count();
        let vm = Vm::new();
        let agent = vm.agent();
        // The policy is asked once for all.
        let mut lines: Vec<String> = (0..6)
            .map(|number| entry(&format!("new-{number}")))
            .collect();
        vm.set_keys(&lines);
        vm.settled(&agent);
        assert!((0..6).all(|number| has_key(&format!("new-{number}"))));
        assert_eq!(asked(), 1);
        lines.push(entry("root"));
        vm.set_keys(&lines);
        vm.settled(&agent);
        assert!(
            contents("/root/.ssh/authorized_keys").contains(KEY),
            "{}",
            agent.said()
        );
        assert_eq!(context(), "b'system_u:object_r:ssh_home_t:s0\\x00'");
        assert_eq!(
            context_of("/root/.ssh"),
            "b'system_u:object_r:ssh_dir_t:s0\\x00'"
        );
        assert_eq!(asked(), 2);
        let relabel = "import os; os.setxattr('/root/.ssh/authorized_keys', 'security.selinux', b'site_u:object_r:own_t:s0\\x00')";
        run(["/usr/bin/python3", "-c", relabel]);
        lines.push(format!("root:{KEY} second"));
        vm.set_keys(&lines);
        vm.settled(&agent);
        assert!(contents("/root/.ssh/authorized_keys").contains("second"));
        assert_eq!(asked(), 2, "a file that is replaced keeps its own");
        assert_eq!(context(), "b'site_u:object_r:own_t:s0\\x00'");
    });
}

#[test]
fn long_keys_and_as_much_metadata_as_there_can_be_are_no_trouble() {
    in_sandbox(
        "long_keys_and_as_much_metadata_as_there_can_be_are_no_trouble",
        || {
            // The longest key that OpenSSH takes: made of random bits, since finding primes takes minutes.
            let make = "import base64, os, struct; part = lambda data: struct.pack('>I', len(data)) + data; \
                        print(base64.b64encode(part(b'ssh-rsa') + part(b'\\1\\0\\1') + part(b'\\0' + b'\\x80' + os.urandom(2047))).decode())";
            let long = format!(
                "ssh-rsa {} {}",
                text_of(["/usr/bin/python3", "-c", make]),
                "c".repeat(1400)
            );
            assert!(long.len() > 4000);
            let mut lines = vec![format!("alice:{long}")];
            while lines.iter().map(String::len).sum::<usize>() < 500_000 {
                lines.push(format!("bob:{KEY} {}", lines.len()));
            }
            let vm = Vm::new();
            let agent = vm.agent();
            vm.set_keys(&lines);
            vm.settled(&agent);
            assert_eq!(keys_of("alice").lines().nth(1), Some(long.trim()));
            assert_eq!(
                keys_of("bob").matches("# Added by Google").count(),
                lines.len() - 1
            );
            assert_eq!(
                text_of(["ssh-keygen", "-l", "-f", "/home/alice/.ssh/authorized_keys"])
                    .split(' ')
                    .next(),
                Some("16384")
            );
        },
    );
}
#[test]
fn a_kill_before_the_record_leaves_no_right_that_nobody_takes_back() {
    in_sandbox(
        "a_kill_before_the_record_leaves_no_right_that_nobody_takes_back",
        || {
            run(["useradd", "-m", "there"]);
            // Making the second user takes until the kill, so the first one's record is not written after the pass.
            replace_program("useradd", "touch /run/creating; sleep 600");
            let vm = Vm::new();
            let mut agent = vm.agent();
            vm.set_keys(&["there", "new"].map(entry));
            poll_until(PATIENCE, "the second user is being made", || {
                std::path::Path::new("/run/creating").exists()
            });
            assert!(has_key("there"), "{}", agent.said());
            agent.signal("KILL");
            agent.wait(PATIENCE);
            run(["rm", "/usr/local/sbin/useradd"]);
            vm.set_keys(&[]);
            let agent = vm.agent();
            let log = vm.settled(&agent);
            assert!(!has_key("there"), "{log}");
            assert_eq!(groups("there"), ["there"], "{log}");
        },
    );
}

#[test]
fn neither_links_nor_modes_keep_a_key_or_sudo() {
    in_sandbox("neither_links_nor_modes_keep_a_key_or_sudo", || {
        for user in ["there", "there_linked"] {
            run(["useradd", "-m", user]);
        }
        let vm = Vm::new();
        let agent = vm.agent();
        let users = ["mode", "home", "link", "there", "there_linked"];
        vm.set_keys(&users.map(entry));
        vm.settled(&agent);
        run([
            "sh",
            "-ec",
            "
            chmod 100 /home/mode/.ssh /home/there/.ssh
            chmod 100 /home/home
            for user in link there_linked; do
                mv /home/$user/.ssh /home/$user/elsewhere
                ln -s elsewhere /home/$user/.ssh
                chown -h $user:$user /home/$user/.ssh
            done
        ",
        ]);
        vm.set_keys(&[]);
        let log = vm.settled(&agent);
        for user in users {
            let groups = groups(user);
            assert!(
                !groups.contains(&"google-sudoers".into()),
                "{user}: {groups:?}\n{log}"
            );
        }
        for user in ["mode", "home", "link", "there"] {
            assert!(!has_key(user), "{user}: {log}");
        }
        assert!(
            !std::path::Path::new("/home/link/.ssh").exists(),
            "the link goes"
        );
        assert!(
            contents("/home/link/elsewhere/authorized_keys").contains(KEY),
            "and not what it points to"
        );
        assert!(
            log.contains("WARNING User there_linked: cannot use"),
            "{log}"
        );
    });
}

#[test]
fn a_state_file_that_cannot_be_read_is_named() {
    in_sandbox("a_state_file_that_cannot_be_read_is_named", || {
        std::fs::create_dir_all("/var/lib/google/google_users.json").unwrap();
        let vm = Vm::new();
        let agent = vm.agent();
        vm.set_keys(&[entry("alice")]);
        let log = vm.settled(&agent);
        assert!(
            log.contains("accounts: /var/lib/google/google_users.json: not a regular file"),
            "{log}"
        );
        assert_eq!(passwd("alice"), "", "who is managed is not known: {log}");
    });
}

#[test]
fn a_full_disk_holds_no_removal_up() {
    let name = "a_full_disk_holds_no_removal_up";
    in_sandbox_with(&["--allow-mounts"], name, || {
        let vm = Vm::new();
        let agent = vm.agent();
        vm.set_keys(&["alice", "bob"].map(entry));
        vm.settled(&agent);
        drop(agent);
        run([
            "sh",
            "-ec",
            "
            cp /var/lib/google/google_users* /tmp
            mount -t tmpfs -o size=16k none /var/lib/google
            cp /tmp/google_users* /var/lib/google
            cat /dev/zero > /var/lib/google/fill 2> /dev/null || true
        ",
        ]);
        let agent = vm.agent();
        vm.set_keys(&["bob", "new"].map(entry));
        let log = vm.settled(&agent);
        assert!(log.contains("The ledger: write"), "{log}");
        assert!(!has_key("alice"), "{log}");
        assert_eq!(
            passwd("new"),
            "",
            "nothing is given that nobody records: {log}"
        );
        run(["rm", "/var/lib/google/fill"]);
        poll_until(BACK_OFF, "the new user is there", || has_key("new"));
        // The agent may still be writing there.
        poll_until(PATIENCE, "nobody is there", || {
            support::attempt(["umount", "/var/lib/google"])
                .status
                .success()
        });
    });
}
