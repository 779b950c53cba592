//! Host keys: when they are made, by whom they are served, and what a cut or a bad machine costs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::support::vm::{Vm, contents};
use crate::support::{
    Daemon, PROGRAM, attempt, in_sandbox, in_sandbox_with, poll_until, run, text_of,
};
use crate::{
    INSTANCE, PATIENCE, Ran, configure, fingerprints, image_host_keys, remove_host_keys, set_up,
};

/// Types that are made at once.
const QUICK: &str = "[InstanceSetup]\nhost_key_types = ecdsa, ed25519\n";

/// The keys that an sshd on this machine serves, by algorithm, as ssh-keyscan sees them.
fn served() -> BTreeMap<String, String> {
    let scanned = attempt(["ssh-keyscan", "-T", "20", "127.0.0.1"]);
    let text = String::from_utf8_lossy(&scanned.stdout).into_owned();
    let keys = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        Some(((*words.get(1)?).to_owned(), (*words.get(2)?).to_owned()))
    });
    keys.collect()
}

/// The public keys on disk by algorithm, without those that sshd no longer serves.
fn on_disk() -> BTreeMap<String, String> {
    let text = text_of(["sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub"]);
    let keys = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[0].to_owned(), words[1].to_owned())
    });
    keys.filter(|(name, _)| name != "ssh-dss").collect()
}

fn wait_until_served() {
    poll_until(PATIENCE, "sshd serves the keys on disk", || {
        served() == on_disk()
    });
}

#[test]
fn a_new_instance_gets_host_keys_that_sshd_serves_and_publishes() {
    in_sandbox(
        "host_keys::a_new_instance_gets_host_keys_that_sshd_serves_and_publishes",
        || {
            let vm = Vm::new();
            vm.set("instance/attributes/enable-guest-attributes", "TRUE");
            // The keys of the image, one of a type that nobody configured.
            remove_host_keys();
            let image = ["rsa", "dsa"];
            for key_type in image {
                let file = format!("/etc/ssh/ssh_host_{key_type}_key");
                run(["ssh-keygen", "-q", "-t", key_type, "-N", "", "-f", &file]);
            }
            run(["chmod", "644", "/etc/ssh/ssh_host_rsa_key.pub"]);
            let before = fingerprints();
            let first = set_up();
            assert_eq!(first.status, 0, "{}", first.log);
            let made = fingerprints();
            let types: Vec<&str> = made.keys().map(String::as_str).collect();
            assert_eq!(types, ["dsa", "ecdsa", "ed25519", "rsa"]);
            for key_type in image {
                assert_ne!(made[key_type], before[key_type], "{key_type}");
            }
            for (end, mode) in [("", 0o600), (".pub", 0o644)] {
                let file = fs::metadata(format!("/etc/ssh/ssh_host_rsa_key{end}")).unwrap();
                assert_eq!((file.mode() & 0o7777, file.uid(), file.gid()), (mode, 0, 0));
            }
            let hidden = text_of(["sh", "-c", "ls -A /etc/ssh | grep '^[.]' || true"]);
            assert_eq!(hidden, "", "nothing is left of the making");
            assert_eq!(contents("/etc/google_instance_id").trim(), INSTANCE);
            assert!(contents("/etc/default/instance_configs.cfg").contains(INSTANCE));
            wait_until_served();
            for (name, key) in on_disk() {
                let path = format!(
                    "http://169.254.169.254/computeMetadata/v1/instance/guest-attributes/hostkeys/{name}"
                );
                let header = "Metadata-Flavor: Google";
                assert_eq!(text_of(["curl", "-sf", "-H", header, &path]), key);
            }
            // Another run, as after an upgrade of the package, and at each boot.
            let again = set_up();
            assert_eq!((again.status, again.result("host-keys")), (0, "unchanged"));
            assert_eq!(again.result("publish-host-keys"), "unchanged");
            assert_eq!(fingerprints(), made);
            // The disk comes to another instance, whose sshd was started with the image's keys.
            vm.set("instance/id", 77);
            let clone = set_up();
            assert_eq!((clone.status, clone.result("host-keys")), (0, "done"));
            let other = fingerprints();
            assert!(made.iter().all(|(key_type, key)| other[key_type] != *key));
            wait_until_served();
            let kept = text_of(["ls", "/var/lib/gce-guest/instances"]);
            assert_eq!(kept, "77", "nothing of the other instance is left");
        },
    );
}

#[test]
fn keys_of_a_predecessor_stay_and_its_instance_id_is_taken_over() {
    in_sandbox(
        "host_keys::keys_of_a_predecessor_stay_and_its_instance_id_is_taken_over",
        || {
            let _vm = Vm::new();
            configure(QUICK);
            let before = image_host_keys();
            let python = format!("[Instance]\ninstance_id = {INSTANCE}\n");
            for (path, text) in [
                ("/etc/default/instance_configs.cfg", python.as_str()),
                ("/etc/google_instance_id", INSTANCE),
            ] {
                // Neither is there, then one after the other.
                run(["rm", "-rf", "/etc/google_instance_id", "/var/lib/gce-guest"]);
                run(["rm", "-f", "/etc/default/instance_configs.cfg"]);
                fs::write(path, text).unwrap();
                let ran = set_up();
                assert_eq!((ran.status, ran.result("host-keys")), (0, "unchanged"));
                assert_eq!(fingerprints(), before, "{path}");
                assert_eq!(contents("/etc/google_instance_id").trim(), INSTANCE);
            }
            // A package that comes to a running machine keeps what its users know.
            run(["rm", "-rf", "/etc/google_instance_id", "/var/lib/gce-guest"]);
            run(["rm", "-f", "/etc/default/instance_configs.cfg"]);
            let kept = crate::set_up_with(&["--keep-host-keys"]);
            assert_eq!((kept.status, kept.result("host-keys")), (0, "unchanged"));
            assert_eq!(fingerprints(), before);
            assert_eq!(set_up().result("host-keys"), "unchanged");
        },
    );
}

/// An ssh-keygen in front of the real one that hangs for one type.
fn hang_for(key_type: &str) {
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *\" -t {key_type} \"*) echo > /tmp/hangs; exec sleep 1000;; esac\nexec /usr/bin/ssh-keygen \"$@\"\n"
    );
    fs::write("/usr/local/sbin/ssh-keygen", script).unwrap();
    run(["chmod", "755", "/usr/local/sbin/ssh-keygen"]);
}

#[test]
fn a_run_that_is_killed_goes_on_where_it_was() {
    in_sandbox(
        "host_keys::a_run_that_is_killed_goes_on_where_it_was",
        || {
            let _vm = Vm::new();
            configure("[InstanceSetup]\nhost_key_types = ecdsa, ed25519, rsa\n");
            let before = image_host_keys();
            fs::create_dir_all("/usr/local/sbin").unwrap();
            hang_for("rsa");
            let mut cut = Daemon::start("cut", [PROGRAM, "setup", "--debug"]);
            let made = "/var/lib/gce-guest/instances/4242424242424242424/made-host-keys.json";
            poll_until(PATIENCE, "two of three are made", || {
                let made = contents(made);
                made.contains("ecdsa") && made.contains("ed25519")
            });
            cut.signal("KILL");
            cut.wait(PATIENCE);
            fs::remove_file("/usr/local/sbin/ssh-keygen").unwrap();
            assert_eq!(contents("/etc/google_instance_id"), "", "stored last");
            let after_cut = fingerprints();
            assert!(!after_cut.contains_key("rsa"));
            assert_ne!(after_cut["ecdsa"], before["ecdsa"]);
            let next = set_up();
            assert_eq!(next.status, 0, "{}", next.log);
            let whole = fingerprints();
            assert!(whole.contains_key("rsa"));
            assert_eq!(whole["ecdsa"], after_cut["ecdsa"], "made only once");
            assert_eq!(whole["ed25519"], after_cut["ed25519"]);
            assert_eq!(contents("/etc/google_instance_id").trim(), INSTANCE);
            let hidden = text_of(["sh", "-c", "ls -A /etc/ssh | grep '^[.]' || true"]);
            assert_eq!(hidden, "", "what the killed run left is swept");
        },
    );
}

/// The step of the host keys has failed, and all others have not.
fn only_host_keys_failed(ran: &Ran, reason: &str) {
    assert_eq!(ran.status, 1, "{}", ran.log);
    let failures = ran.failures();
    let expected = |step: &&str| step.ends_with("host-keys");
    assert!(failures.iter().all(expected), "{failures:?}\n{}", ran.log);
    assert!(failures.contains(&"host-keys"), "{failures:?}");
    assert!(ran.log.contains(reason), "{reason}: {}", ran.log);
}

#[test]
fn what_is_wrong_with_the_machine_costs_the_step_and_the_next_run_completes_it() {
    in_sandbox_with(
        &["--allow-mounts"],
        "host_keys::what_is_wrong_with_the_machine_costs_the_step_and_the_next_run_completes_it",
        || {
            let vm = Vm::new();
            image_host_keys();
            configure(QUICK);
            let completes = || {
                let before = fingerprints();
                let next = set_up();
                assert_eq!(next.status, 0, "{}", next.log);
                let after = fingerprints();
                assert!(
                    ["ecdsa", "ed25519"]
                        .iter()
                        .all(|key_type| after.contains_key(*key_type))
                );
                assert!(before.iter().all(|(key_type, key)| after[key_type] != *key));
            };
            // No ssh-keygen.
            run(["mv", "/usr/bin/ssh-keygen", "/usr/bin/away"]);
            only_host_keys_failed(&set_up(), "ssh-keygen is not installed");
            run(["mv", "/usr/bin/away", "/usr/bin/ssh-keygen"]);
            completes();
            // A directory that cannot be written.
            vm.set("instance/id", 2);
            run(["mount", "--bind", "/etc/ssh", "/etc/ssh"]);
            run(["mount", "-o", "remount,ro,bind", "/etc/ssh"]);
            only_host_keys_failed(&set_up(), "Read-only file system");
            run(["umount", "/etc/ssh"]);
            completes();
            // A full disk: no key is lost, and none is half.
            vm.set("instance/id", 3);
            run(["cp", "-a", "/etc/ssh", "/tmp/ssh"]);
            run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/etc/ssh"]);
            run([
                "sh",
                "-c",
                "cp -a /tmp/ssh/ssh_host_* /etc/ssh/; head -c 2000000 /dev/zero > /etc/ssh/filler || true",
            ]);
            let before = fingerprints();
            only_host_keys_failed(&set_up(), "No space left on device");
            assert_eq!(fingerprints(), before);
            assert_eq!(contents("/etc/google_instance_id").trim(), "2");
            run(["rm", "/etc/ssh/filler"]);
            completes();
        },
    );
}

#[test]
fn without_room_for_records_the_steps_are_done_all_the_same() {
    in_sandbox_with(
        &["--allow-mounts"],
        "host_keys::without_room_for_records_the_steps_are_done_all_the_same",
        || {
            let _vm = Vm::new();
            let before = image_host_keys();
            configure(QUICK);
            let place = "/var/lib/gce-guest";
            fs::create_dir_all(place).unwrap();
            run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", place]);
            let forgetful = set_up();
            let told = "What became of the steps cannot be recorded: No space left on device";
            assert_eq!(forgetful.log.matches(told).count(), 1, "{}", forgetful.log);
            assert_eq!(forgetful.result("boto"), "done");
            assert_eq!(forgetful.result("instance-configs"), "done");
            assert_eq!(fingerprints().len(), before.len(), "no key is lost");
            run(["umount", place]);
            let next = set_up();
            assert_eq!(next.status, 0, "{}", next.log);
            let after = fingerprints();
            assert!(before.iter().all(|(name, key)| after[name] != *key));
        },
    );
}

#[test]
fn a_type_that_nobody_knows_costs_itself() {
    in_sandbox("host_keys::a_type_that_nobody_knows_costs_itself", || {
        let _vm = Vm::new();
        remove_host_keys();
        configure("[InstanceSetup]\nhost_key_types = ecdsa, foo, ../x\n");
        let first = set_up();
        assert_eq!(first.status, 1, "{}", first.log);
        for words in [
            "Could not create SSH key /etc/ssh/ssh_host_foo_key.",
            "\"../x\" cannot be a type of host keys",
        ] {
            assert!(first.log.contains(words), "{}", first.log);
        }
        assert_eq!(contents("/etc/google_instance_id").trim(), INSTANCE);
        let made = fingerprints();
        assert!(made.contains_key("ecdsa"));
        // It is tried again, and nothing else is.
        let again = set_up();
        assert_eq!((again.status, again.failures()), (1, vec!["host-keys"]));
        assert_eq!(fingerprints(), made);
        configure("[InstanceSetup]\nhost_key_types = ecdsa\n");
        let mended = set_up();
        assert_eq!(
            (mended.status, mended.result("host-keys")),
            (0, "unchanged")
        );
    });
}

#[test]
fn an_sshd_that_was_let_go_too_early_is_told_of_the_renewal() {
    in_sandbox_with(
        &["--allow-mounts"],
        "host_keys::an_sshd_that_was_let_go_too_early_is_told_of_the_renewal",
        || {
            let vm = Vm::new();
            image_host_keys();
            configure(QUICK);
            fs::create_dir_all("/run/systemd/system").unwrap();
            run(["mount", "-t", "tmpfs", "tmpfs", "/sys/class"]);
            fs::create_dir_all("/sys/class/dmi/id").unwrap();
            fs::write("/sys/class/dmi/id/product_uuid", "machine 1\n").unwrap();
            let log = "/tmp/systemctl";
            fs::create_dir_all("/usr/local/sbin").unwrap();
            fs::write(
                "/usr/local/sbin/systemctl",
                format!("#!/bin/sh\necho \"$*\" >> {log}\n"),
            )
            .unwrap();
            run(["chmod", "755", "/usr/local/sbin/systemctl"]);
            let socket = "/tmp/notify";
            let manager = std::os::unix::net::UnixDatagram::bind(socket).unwrap();
            manager.set_nonblocking(true).unwrap();
            let set_up = || {
                let mut command = Command::new(PROGRAM);
                command
                    .args(["setup", "--debug"])
                    .env("NOTIFY_SOCKET", socket);
                let status = Daemon::start_command("setup", &mut command).wait(PATIENCE);
                assert_eq!(status.code(), Some(0));
                let mut told = Vec::new();
                let mut buffer = [0; 100];
                while let Ok(length) = manager.recv(&mut buffer) {
                    told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
                }
                told.retain(|state| state.starts_with("READY"));
                assert_eq!(told, ["READY=1"]);
            };
            set_up();
            assert_eq!(contents(log), "", "systemd starts sshd after the set-up");
            set_up();
            assert_eq!(contents(log), "");
            // The firmware says that this is the same machine, and metadata that it is another instance.
            vm.set("instance/id", 2);
            set_up();
            assert_eq!(
                contents(log),
                "--no-block try-reload-or-restart ssh.service\n--no-block try-reload-or-restart sshd.service\n"
            );
        },
    );
}
