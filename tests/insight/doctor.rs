//! The doctor: each of its findings is made for real, found with what to do about it, and gone once it is mended.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use gce_guest::emulator::{Fault, Kind};
use serde_json::Value;

use super::support::vm::{PATIENCE, Vm, entry, reread_configuration};
use super::support::{Daemon, PROGRAM, attempt, in_sandbox, in_sandbox_with, poll_until, run};
use super::{gce_guest, json_of};

/// What a check finds: texts with their fixes.
fn findings(check: &str) -> Vec<String> {
    let verdicts = json_of(&["doctor", "--json"]);
    let mut verdicts = verdicts.as_array().unwrap().iter();
    let verdict = verdicts.find(|verdict| verdict["check"] == check);
    let verdict = verdict.unwrap_or_else(|| panic!("no check {check}"));
    let told = |finding: &Value| {
        let part = |name: &str| finding[name].as_str().unwrap().to_owned();
        assert!(!part("fix").is_empty(), "{finding}");
        format!("{}: {} => {}", part("weight"), part("text"), part("fix"))
    };
    verdict["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(told)
        .collect()
}

/// Expects nothing of a check, then something that says all of `expected`, and nothing again.
fn finds(check: &str, expected: &[&str], make: impl FnOnce(), mend: impl FnOnce()) {
    assert_eq!(findings(check), [""; 0], "{check} before");
    make();
    let found = findings(check);
    let is_found = |text: &&String| expected.iter().all(|word| text.contains(word));
    assert!(
        found.iter().any(|text| is_found(&text)),
        "{check}: {expected:?} in {found:#?}"
    );
    mend();
    assert_eq!(findings(check), [""; 0], "{check} after {expected:?}");
}

fn write(path: &str, text: &str) {
    fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A program that waits, under another name.
fn pose_as(name: &str) -> Daemon {
    let path = format!("/tmp/{name}");
    fs::copy("/bin/sleep", &path).unwrap();
    Daemon::start(name, [path.as_str(), "300"])
}

#[test]
fn what_is_wrong_with_the_machine_is_found() {
    let name = "doctor::what_is_wrong_with_the_machine_is_found";
    in_sandbox_with(&["--allow-mounts"], name, || {
        for (options, expected) in [
            (
                "size=512k",
                ["failure: the file system of /var/log is full", "du -xhd1"],
            ),
            (
                "size=16m,nr_inodes=1",
                ["has no room for another file (inodes)", "--inodes"],
            ),
            (
                "ro",
                [
                    "warning: the file system of /var/log is read-only",
                    "remount,rw",
                ],
            ),
        ] {
            finds(
                "disk",
                &expected,
                || {
                    drop(run([
                        "mount", "-t", "tmpfs", "-o", options, "none", "/var/log",
                    ]));
                },
                || drop(run(["umount", "/var/log"])),
            );
        }

        let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        write("/tmp/tsc", "tsc\n");
        write("/tmp/acpi_pm", "acpi_pm\n");
        run(["mount", "--bind", "/tmp/tsc", source]);
        finds(
            "clock source",
            &[
                "warning: the kernel reads the time from acpi_pm",
                "kvm-clock",
            ],
            || drop(run(["mount", "--bind", "/tmp/acpi_pm", source])),
            || drop(run(["umount", source])),
        );

        let template = "/etc/default/instance_configs.cfg.template";
        write(template, "[Accounts]\ngroups = video\n");
        finds(
            "permissions",
            &[
                "failure: /etc/default/instance_configs.cfg.template has mode 0666",
                "chmod 0644",
            ],
            || drop(run(["chmod", "0666", template])),
            || drop(run(["chmod", "0644", template])),
        );
        finds(
            "permissions",
            &["belongs to the user with id 65534", "chown root"],
            || drop(run(["chown", "65534", template])),
            || drop(run(["chown", "root", template])),
        );
        finds(
            "configuration",
            &["instance_configs.cfg.template:2", "grups"],
            || write(template, "[Accounts]\ngrups = video\n"),
            || write(template, "[Accounts]\ngroups = video\n"),
        );
        assert_eq!(findings("network"), [""; 0]);
        let backends = [pose_as("NetworkManager"), pose_as("systemd-networkd")];
        poll_until(PATIENCE, "both backends are found", || {
            findings("network")
                .iter()
                .any(|text| text.contains("both run"))
        });
        drop(backends);
    });
}

#[test]
fn what_predecessors_have_left_is_found() {
    let name = "doctor::what_predecessors_have_left_is_found";
    in_sandbox(name, || {
        assert_eq!(findings("predecessors"), [""; 0]);
        let daemon = pose_as("google_guest_agent");
        poll_until(PATIENCE, "the daemon is found", || {
            let found = findings("predecessors");
            found.iter().any(|text| {
                text.contains("google_guest_agent runs (process")
                    && text.contains("systemctl disable --now google-guest-agent,")
            })
        });
        drop(daemon);
        // The Python daemons run under the name of their interpreter.
        write(
            "/tmp/google_accounts_daemon",
            "import time\ntime.sleep(300)\n",
        );
        let daemon = Daemon::start("python", ["python3", "/tmp/google_accounts_daemon"]);
        poll_until(PATIENCE, "the Python daemon is found", || {
            findings("predecessors")
                .iter()
                .any(|text| text.contains("google_accounts_daemon runs"))
        });
        drop(daemon);
        // A link of ours with that name is us.
        std::os::unix::fs::symlink(PROGRAM, "/tmp/google_network_daemon").unwrap();
        let ours = Daemon::start("ours", ["/tmp/google_network_daemon"]);
        poll_until(PATIENCE, "our daemon holds its lock", || {
            !gce_guest(&["status"]).1.contains("agent     not running")
        });
        assert_eq!(findings("predecessors"), [""; 0]);
        assert_eq!(findings("locks"), [""; 0]);
        drop(ours);

        for (path, fix) in [
            (
                "/etc/netplan/20-google-guest-agent-ethernet.yaml",
                "rm /etc/netplan/20-google-guest-agent-ethernet.yaml",
            ),
            (
                "/etc/systemd/system/multi-user.target.wants/google-accounts-daemon.service",
                "systemctl disable google-accounts-daemon.service",
            ),
        ] {
            finds(
                "leftovers",
                &[path, fix],
                || write(path, ""),
                || fs::remove_file(path).unwrap(),
            );
        }
        // Units of ours with names of theirs are no leftovers.
        let wants = "/etc/systemd/system/multi-user.target.wants";
        for unit in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/units")).unwrap() {
            let unit = unit.unwrap().path();
            let place = Path::new(wants).join(unit.file_name().unwrap());
            fs::create_dir_all(wants).unwrap();
            std::os::unix::fs::symlink(unit, place).unwrap();
        }
        assert_eq!(findings("leftovers"), [""; 0]);

        assert_eq!(findings("locks"), [""; 0]);
        let holder = Daemon::start(
            "holder",
            ["flock", "/var/lock/google_accounts.lock", "sleep", "300"],
        );
        poll_until(PATIENCE, "the holder is named", || {
            let found = findings("locks");
            found.iter().any(|text| {
                text.contains("flock (process") && text.contains("/var/lock/google_accounts.lock")
            })
        });
        drop(holder);
    });
}

#[test]
fn what_is_wrong_with_log_ins_is_found() {
    let name = "doctor::what_is_wrong_with_log_ins_is_found";
    in_sandbox(name, || {
        run(["ssh-keygen", "-A"]);
        let sshd = fs::read_to_string("/etc/ssh/sshd_config").unwrap();
        let with = |line: &str| format!("{line}\n{sshd}");
        for (line, expected) in [
            (
                "PubkeyAuthentication no",
                ["failure: sshd takes no keys at all", "remove that line"],
            ),
            (
                "AuthorizedKeysFile /etc/keys/%u",
                ["/etc/keys/nobody", "AuthorizedKeysFile"],
            ),
            ("NoSuchOption yes", ["sshd -T failed", "sshd -t"]),
        ] {
            finds(
                "sshd",
                &expected,
                || write("/etc/ssh/sshd_config", &with(line)),
                || write("/etc/ssh/sshd_config", &sshd),
            );
        }
        let set = |path: &str, text: &str| {
            write(path, text);
            run(["chmod", "0440", path]);
        };
        finds(
            "sudoers",
            &[
                "failure: sudo refuses its configuration",
                "/etc/sudoers.d/broken",
                "visudo -f",
            ],
            || set("/etc/sudoers.d/broken", "this is no rule\n"),
            || fs::remove_file("/etc/sudoers.d/broken").unwrap(),
        );
        let sudoers = fs::read_to_string("/etc/sudoers").unwrap();
        set(
            "/etc/sudoers.d/google_sudoers",
            "%google-sudoers ALL=(ALL:ALL) NOPASSWD:ALL\n",
        );
        finds(
            "sudoers",
            &[
                "sudo does not read /etc/sudoers.d/google_sudoers",
                "@includedir /etc/sudoers.d",
            ],
            || set("/etc/sudoers", "root ALL=(ALL:ALL) ALL\n"),
            || set("/etc/sudoers", &sudoers),
        );
    });
}

#[test]
fn what_is_wrong_with_metadata_and_the_agent_is_found() {
    let name = "doctor::what_is_wrong_with_metadata_and_the_agent_is_found";
    in_sandbox(name, || {
        let unreachable = findings("metadata");
        assert!(
            unreachable[0].contains("cannot reach the metadata server")
                && unreachable[0].contains("ip route get"),
            "{unreachable:?}"
        );
        // A server that lives an hour ahead.
        let listener = TcpListener::bind(("169.254.169.254", 80)).unwrap();
        let server = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let _ = connection.read(&mut [0; 4096]).unwrap();
            let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
            let date = ahead.strftime("%a, %d %b %Y %H:%M:%S GMT");
            let head = "HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nContent-Type: application/text\r\nConnection: close";
            write!(
                connection,
                "{head}\r\nDate: {date}\r\nContent-Length: 1\r\n\r\n1"
            )
            .unwrap();
        });
        let found = findings("clock");
        assert!(
            found[0].contains("behind the metadata server's, so keys expire too late"),
            "{found:?}"
        );
        assert!(found[0].contains("time daemon"), "{found:?}");
        server.join().unwrap();

        let vm = Vm::new();
        assert_eq!(findings("clock"), [""; 0]);
        finds(
            "metadata",
            &["it is not the metadata server's", "something else answers"],
            || vm.live.inject(Fault::always(Kind::NoFlavor)),
            || vm.live.set_faults(Vec::new()),
        );
        finds(
            "managers",
            &["warning: accounts: line 1 of instance/attributes/ssh-keys"],
            || vm.set_keys(&["this is no line".into()]),
            || vm.set_keys(&[]),
        );
        let found = findings("agent");
        assert!(
            found[0].contains("no agent runs") && found[0].contains("systemctl enable --now"),
            "{found:?}"
        );
        let agent = vm.agent();
        vm.recorded(&agent);
        assert_eq!(findings("agent"), [""; 0]);
        write(
            "/etc/default/instance_configs.cfg",
            "[Accounts]\nuseradd_cmd = false\n",
        );
        reread_configuration(&agent);
        vm.set_keys(&[entry("alice")]);
        poll_until(PATIENCE, "the failure is found", || {
            findings("agent").iter().any(|text| {
                text.contains("failure: accounts fails since") && text.contains("user alice")
            })
        });

        let (status, page) = gce_guest(&["doctor"]);
        assert_eq!(status, Some(3), "{page}");
        assert!(
            page.contains("FAIL  agent") && page.contains("fix: "),
            "{page}"
        );
        assert!(
            page.lines().all(|line| line.chars().count() <= 80),
            "{page}"
        );
        let other = attempt([
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            PROGRAM,
            "doctor",
        ]);
        assert_eq!(other.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&other.stderr).contains("run it as root"));
    });
}
