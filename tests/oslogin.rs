//! OS Login set up by ourselves, with the real package of Debian 12, a real sshd and the metadata server's directory of users.
//! Witnesses are log-ins, `sshd -T`, `getent` and the bytes of the files.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "test code: a failure is a panic, programs are started directly, and a scenario reads best whole"
)]

mod foreign;
mod support;

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use support::vm::{BACK_OFF, KEY, PATIENCE, Vm, contents, entry};
use support::{Daemon, attempt, in_sandbox, poll_until, run, text_of};

const VISITOR: &str = "/tmp/visitor";
const BOB: &str = "bob_example_com";

/// What is edited.
const FILES: [&str; 5] = [
    "/etc/nsswitch.conf",
    "/etc/pam.d/sshd",
    "/etc/pam.d/su",
    "/etc/security/group.conf",
    "/etc/ssh/sshd_config",
];

fn shell(script: &str) -> String {
    text_of(["sh", "-ec", script])
}

fn configure(text: &str) {
    std::fs::write("/etc/default/instance_configs.cfg.template", text).unwrap();
}

/// The package without its control program, as it is today, and a running sshd; users of the directory, none of metadata.
fn set_up(debian: &Path) -> (Vm, Daemon) {
    foreign::lay_over(debian);
    shell(
        "rm /usr/bin/google_oslogin_control; echo '169.254.169.254 metadata.google.internal' >> /etc/hosts
         mkdir -p /run/sshd; rm -f /etc/ssh/ssh_host_*; ssh-keygen -A > /dev/null
         ssh-keygen -q -t ed25519 -N '' -C visitor -f /tmp/visitor",
    );
    let vm = Vm::new();
    let account = |name: &str, uid: u32| {
        json!({"primary": true, "username": name, "uid": uid, "gid": uid, "shell": "/bin/bash", "gecos": "",
            "homeDirectory": format!("/home/{name}"), "operatingSystemType": "LINUX"})
    };
    let key = contents(&format!("{VISITOR}.pub")).trim().to_owned();
    vm.set(
        "oslogin",
        json!({"users": [
            {"name": "bob@example.com", "policies": ["login", "adminLogin"], "posixAccounts": [account(BOB, 20001)],
             "sshPublicKeys": {"one": {"key": key}}},
            {"name": "eve@example.com", "policies": [], "posixAccounts": [account("eve_example_com", 20002)],
             "sshPublicKeys": {"one": {"key": key}}}]}),
    );
    let words = [
        "/usr/sbin/sshd",
        "-D",
        "-e",
        "-o",
        "ListenAddress=127.0.0.1",
    ];
    let sshd = Daemon::start("sshd", words);
    poll_until(PATIENCE, "sshd listens", || {
        sshd.said().contains("Server listening")
    });
    (vm, sshd)
}

fn ssh(user: &str, command: &str) -> bool {
    let options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
    ];
    let target = format!("{user}@127.0.0.1");
    let mut words = vec!["ssh", "-F", "/dev/null", "-i", VISITOR];
    words.extend(options.iter().flat_map(|option| ["-o", option]));
    words.extend([target.as_str(), command]);
    attempt(words).status.success()
}

/// What sshd itself says of a setting, for a user.
fn sshd_says(setting: &str, user: &str) -> String {
    let connection = format!("user={user},host=localhost,addr=127.0.0.1");
    let all = text_of(["sshd", "-T", "-C", &connection]);
    let line = all.lines().find_map(|line| line.strip_prefix(setting));
    line.unwrap_or_default().trim().to_owned()
}

/// The bytes of all files, and which files they are.
fn files() -> Vec<(String, String)> {
    let one = |path: &str| {
        let status = text_of(["stat", "-c", "%a %U %G", path]);
        (format!("{path} {status}"), contents(path))
    };
    FILES.into_iter().map(one).collect()
}

/// Whether a user of metadata has the key of [`entry`].
fn has_key(user: &str) -> bool {
    contents(&format!("/home/{user}/.ssh/authorized_keys")).contains(KEY)
}

/// Gives carol a key in metadata, and has OS Login take it away.
fn take_over_from_carol(vm: &Vm) {
    vm.set_keys(&[entry("carol")]);
    poll_until(PATIENCE, "carol has a key", || has_key("carol"));
    vm.set("instance/attributes/enable-oslogin", "true");
    poll_until(PATIENCE, "OS Login takes over", || !has_key("carol"));
}

#[test]
fn users_log_in_by_the_directory_and_everything_is_as_before_when_it_goes() {
    let debian = foreign::debian();
    in_sandbox(
        "users_log_in_by_the_directory_and_everything_is_as_before_when_it_goes",
        || {
            let (vm, sshd) = set_up(&debian);
            // A file without a line end, one with a section of the owner's at its end.
            shell(
                "printf 'Match Address 192.0.2.1\\n  X11Forwarding no' >> /etc/ssh/sshd_config
                 printf '# own rule\\n' >> /etc/security/group.conf",
            );
            let before = files();
            let agent = vm.agent();
            let visitor = contents(&format!("{VISITOR}.pub")).trim().to_owned();
            vm.set_keys(&[format!("carol:{visitor}")]);
            poll_until(PATIENCE, "carol logs in", || ssh("carol", "true"));
            assert_eq!(files(), before, "nothing is changed before it is asked for");

            vm.set("project/attributes/enable-oslogin", "TRUE");
            poll_until(PATIENCE, "bob logs in", || ssh(BOB, "true"));
            assert!(
                text_of(["getent", "passwd", BOB]).starts_with("bob_example_com:*:20001:"),
                "the name service knows bob"
            );
            assert_eq!(
                sshd_says("authorizedkeyscommand ", BOB),
                "/usr/bin/google_authorized_keys"
            );
            assert!(
                ssh(BOB, "sudo -n true"),
                "the policy adminLogin gives sudo\n{}",
                sshd.said()
            );
            assert!(!ssh("eve_example_com", "true"), "eve has no policy");
            poll_until(PATIENCE, "carol has to go", || !ssh("carol", "true"));
            poll_until(PATIENCE, "the change is told", || {
                agent
                    .said()
                    .contains("Set OS Login up in /etc/nsswitch.conf")
            });
            run(["visudo", "-cq"]);

            let on =
                shell("stat -c '%i %Y' /etc/nsswitch.conf /etc/ssh/sshd_config /etc/pam.d/sshd");
            vm.settled(&agent);
            assert_eq!(
                shell("stat -c '%i %Y' /etc/nsswitch.conf /etc/ssh/sshd_config /etc/pam.d/sshd"),
                on,
                "what is as it should be is not written again"
            );

            vm.set("instance/attributes/enable-oslogin-2fa", "true");
            poll_until(PATIENCE, "two factors", || {
                sshd_says("authenticationmethods ", BOB) == "publickey,keyboard-interactive"
            });
            assert_eq!(sshd_says("authenticationmethods ", "sa_1"), "publickey");
            assert!(
                contents("/etc/pam.d/sshd")
                    .contains("perm_denied=die default=ignore] pam_oslogin_login.so")
            );
            vm.set("instance/attributes/enable-oslogin-2fa", "false");
            vm.set("instance/attributes/enable-oslogin-sk", "true");
            poll_until(PATIENCE, "security keys", || {
                sshd_says("authorizedkeyscommand ", BOB) == "/usr/bin/google_authorized_keys_sk"
            });
            assert_eq!(sshd_says("authenticationmethods ", BOB), "any");

            vm.set("instance/attributes/enable-oslogin", "false");
            poll_until(PATIENCE, "carol logs in again", || ssh("carol", "true"));
            assert_eq!(files(), before, "to the byte");
            assert!(!Path::new("/etc/sudoers.d/google-oslogin").exists());
            assert!(!attempt(["getent", "passwd", BOB]).status.success());
            assert!(!ssh(BOB, "true"));
            vm.settled(&agent);
            let log = agent.said();
            assert_eq!(log.matches("ook OS Login out of").count(), 1, "{log}");
        },
    );
}

#[test]
fn a_configuration_that_sshd_refuses_and_a_package_that_is_missing_lock_nobody_out() {
    let debian = foreign::debian();
    in_sandbox(
        "a_configuration_that_sshd_refuses_and_a_package_that_is_missing_lock_nobody_out",
        || {
            let (vm, _sshd) = set_up(&debian);
            let before = files();
            shell(
                "mkdir -p /usr/local/sbin; mv /usr/bin/google_authorized_keys /tmp/
                 printf '#!/bin/sh\\nif grep -q google_authorized_keys \"$3\"; then echo line 2: refused >&2; exit 255; fi\\nexec /usr/sbin/sshd \"$@\"\\n' > /usr/local/sbin/sshd
                 chmod 755 /usr/local/sbin/sshd",
            );
            let agent = vm.agent();
            vm.set_keys(&[entry("carol")]);
            vm.set("instance/attributes/enable-oslogin", "true");
            let carol = || has_key("carol");
            poll_until(PATIENCE, "the missing program is told", || {
                agent
                    .said()
                    .contains("program google_authorized_keys is missing")
                    && carol()
            });
            vm.settled(&agent);
            assert_eq!(files(), before);
            assert_eq!(agent.said().matches("is missing").count(), 1);

            shell("mv /tmp/google_authorized_keys /usr/bin/");
            vm.settled(&agent);
            poll_until(BACK_OFF, "the refusal of sshd is told", || {
                agent.said().contains("sshd refuses the configuration that OS Login needs, so nothing was changed: line 2: refused")
            });
            vm.settled(&agent);
            assert_eq!(files(), before);
            assert!(carol());
            assert_eq!(agent.said().matches("sshd refuses").count(), 1);
            // It may be asking sshd again just now.
            poll_until(PATIENCE, "nothing is left in /run", || {
                shell("ls /run | grep -c gce-guest-sshd || true") == "0"
            });

            shell("rm /usr/local/sbin/sshd");
            drop(agent);
            let agent = vm.agent();
            poll_until(PATIENCE, "OS Login takes over", || !carol());
            poll_until(PATIENCE, "and says so", || {
                agent.said().contains("et OS Login up in")
            });
        },
    );
}

#[test]
fn what_the_owner_keeps_is_left_alone() {
    let debian = foreign::debian();
    in_sandbox("what_the_owner_keeps_is_left_alone", || {
        let (vm, _sshd) = set_up(&debian);
        // As authselect has it.
        shell(
            "mkdir -p /etc/authselect; mv /etc/nsswitch.conf /etc/authselect/
             ln -s authselect/nsswitch.conf /etc/nsswitch.conf",
        );
        let before = files();
        let changed = || {
            let now = files();
            let pairs = before.iter().zip(&now).zip(FILES);
            let differing = pairs.filter(|((before, now), _)| before != now);
            differing.map(|(_, path)| path).collect::<Vec<_>>()
        };
        vm.set_keys(&[entry("carol")]);
        vm.set("instance/attributes/enable-oslogin", "true");
        for (option, told, expected) in [
            (
                "manage_sshd",
                "does not ask google_authorized_keys, and OSLogin.manage_sshd is false",
                vec![],
            ),
            (
                "manage_nss",
                "names no oslogin for passwd, and OSLogin.manage_nss is false",
                vec![],
            ),
            ("manage_pam", "et OS Login up in", vec![FILES[0], FILES[4]]),
        ] {
            configure(&format!("[OSLogin]\n{option} = false\n"));
            let agent = vm.agent();
            let log = vm.settled(&agent);
            assert!(log.contains(told), "{option}: {log}");
            assert_eq!(changed(), expected, "{option}");
        }
        configure("");
        let agent = vm.agent();
        vm.settled(&agent);
        assert_eq!(changed(), [FILES[0], FILES[1], FILES[3], FILES[4]]);
        drop(agent);

        // Certificates, where the package can say whose count. Older agents leave a pipe where the authorities belong.
        shell(
            "mkfifo /etc/ssh/oslogin_trustedca.pub
             printf '#!/bin/sh\\n' > /usr/bin/google_authorized_principals; chmod 755 /usr/bin/google_authorized_principals",
        );
        vm.set(
            "oslogin/trustedCertificateAuthorities",
            json!([{"publicKey": KEY}]),
        );
        for (configuration, file, keys) in [
            (
                "",
                "/etc/ssh/oslogin_trustedca.pub",
                "/usr/bin/google_authorized_keys",
            ),
            (
                "[OSLogin]\ncert_authentication = false\n",
                "none",
                "/usr/bin/google_authorized_keys",
            ),
        ] {
            configure(configuration);
            let agent = vm.agent();
            let log = vm.settled(&agent);
            assert_eq!(sshd_says("trustedusercakeys ", BOB), file, "{log}");
            assert_eq!(sshd_says("authorizedkeyscommand ", BOB), keys);
            let authorities = contents("/etc/ssh/oslogin_trustedca.pub");
            assert_eq!(authorities.contains(KEY), configuration.is_empty());
        }
        configure("");
        vm.set("instance/attributes/enable-oslogin-certificates", "true");
        let agent = vm.agent();
        vm.settled(&agent);
        assert_eq!(sshd_says("authorizedkeyscommand ", BOB), "none");
        assert_eq!(
            sshd_says("authorizedprincipalscommand ", BOB),
            "/usr/bin/google_authorized_principals %u %k"
        );
        vm.set("instance/attributes/enable-oslogin", "false");
        vm.settled(&agent);
        assert_eq!(changed(), Vec::<&str>::new());
        assert!(Path::new(FILES[0]).is_symlink(), "a link stays a link");
        assert!(!Path::new("/etc/ssh/oslogin_trustedca.pub").exists());
    });
}

#[test]
fn files_that_cannot_be_read_bring_no_key_back_and_lock_nobody_out() {
    let debian = foreign::debian();
    in_sandbox(
        "files_that_cannot_be_read_bring_no_key_back_and_lock_nobody_out",
        || {
            let (vm, _sshd) = set_up(&debian);
            let agent = vm.agent();
            let carol = || has_key("carol");
            take_over_from_carol(&vm);
            // Larger than any such file: it is there, and nothing can be said about it.
            let break_it = "cp /etc/pam.d/su /tmp/su; truncate -s 2M /etc/pam.d/su";
            let told = "OS Login cannot be looked at";
            shell(break_it);
            vm.settled(&agent);
            assert!(agent.said().contains(told), "{}", agent.said());
            assert!(!carol(), "what was known before goes on");
            drop(agent);
            let agent = vm.agent();
            vm.settled(&agent);
            assert!(agent.said().contains(told), "{}", agent.said());
            assert!(!carol(), "nobody knows who decides, so nothing changes");
            shell("cp /tmp/su /etc/pam.d/su");
            vm.set("instance/attributes/enable-oslogin", "false");
            poll_until(PATIENCE, "carol is back", carol);

            shell(break_it);
            drop(agent);
            let agent = vm.agent();
            vm.settled(&agent);
            assert!(agent.said().contains(told), "{}", agent.said());
            assert!(carol(), "and nobody loses a key by it");
        },
    );
}

#[test]
fn files_that_cannot_be_written_bring_no_key_back_where_oslogin_was_active() {
    let debian = foreign::debian();
    in_sandbox(
        "files_that_cannot_be_written_bring_no_key_back_where_oslogin_was_active",
        || {
            let (vm, _sshd) = set_up(&debian);
            let agent = vm.agent();
            let carol = || has_key("carol");
            take_over_from_carol(&vm);
            poll_until(PATIENCE, "bob logs in", || ssh(BOB, "true"));
            // No program can be told of changes, so none is made; and the owner wants two factors.
            shell("mkdir -p /run/gce-guest/oslogin-reload/in-the-way");
            let (before, told) = (
                files(),
                "OS Login could not be switched: write /run/gce-guest",
            );
            vm.set("instance/attributes/enable-oslogin-2fa", "true");
            poll_until(PATIENCE, "the failure is told", || {
                agent.said().contains(told)
            });
            vm.settled(&agent);
            assert_eq!(files(), before);
            assert!(!carol(), "what was known before goes on");
            assert!(ssh(BOB, "true"));
            let meanwhile = "that did not count do not come back meanwhile";
            assert_eq!(
                agent.said().matches(meanwhile).count(),
                1,
                "{}",
                agent.said()
            );
            // An agent that knows of no earlier pass.
            drop(agent);
            let agent = vm.agent();
            let log = vm.settled(&agent);
            assert!(
                log.contains(told) && log.contains("users stay as they are"),
                "{log}"
            );
            assert!(!carol(), "nobody knows who decides, so nothing changes");
            // Whoever takes OS Login out of metadata has keys back, whatever can be written.
            vm.set("instance/attributes/enable-oslogin", "false");
            poll_until(PATIENCE, "carol is back", carol);
            shell("rm -r /run/gce-guest/oslogin-reload");
            poll_until(BACK_OFF, "it is tried again", || {
                agent.said().contains("ook OS Login out of")
            });
            assert!(carol());
        },
    );
}

#[test]
fn what_somebody_brings_back_of_oslogin_goes_although_nothing_of_it_was_there_before() {
    let debian = foreign::debian();
    in_sandbox(
        "what_somebody_brings_back_of_oslogin_goes_although_nothing_of_it_was_there_before",
        || {
            let (vm, _sshd) = set_up(&debian);
            let before = files();
            let agent = vm.agent();
            vm.settled(&agent);
            vm.set("instance/attributes/enable-oslogin", "TRUE");
            poll_until(PATIENCE, "OS Login is set up", || files() != before);
            vm.settled(&agent);
            shell("cp -a /etc/ssh/sshd_config /tmp/with-oslogin");
            vm.set("instance/attributes/enable-oslogin", "FALSE");
            poll_until(PATIENCE, "OS Login is taken back", || files() == before);
            // Until the files are old enough for their times to say that they are the same, and for passes that find that.
            std::thread::sleep(Duration::from_secs(4));
            for user in ["first", "second"] {
                vm.set_keys(&[entry(user)]);
                poll_until(PATIENCE, user, || has_key(user));
            }
            shell("cat /tmp/with-oslogin > /etc/ssh/sshd_config");
            assert!(files() != before);
            vm.set_keys(&[entry("third")]);
            poll_until(PATIENCE, "it is taken back again", || files() == before);
        },
    );
}
