//! A run as a whole: what does not wait, what is waited for, and what is told and kept of it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::vm::{Vm, contents};
use crate::support::{
    Daemon, PROGRAM, attempt, in_sandbox, in_sandbox_with, poll_until, run, text_of,
};
use crate::{
    INSTANCE, PATIENCE, configure, fingerprints, image_host_keys, remove_host_keys, set_up,
};

const QUICK: &str = "[InstanceSetup]\nhost_key_types = ecdsa\n";

#[test]
fn without_metadata_boot_goes_on_and_the_next_run_completes_it() {
    in_sandbox(
        "run::without_metadata_boot_goes_on_and_the_next_run_completes_it",
        || {
            remove_host_keys();
            configure(&format!("{QUICK}network_timeout = 1\n"));
            let alone = set_up();
            assert_eq!(alone.status, 1);
            let left = [
                "metadata",
                "host-keys",
                "publish-host-keys",
                "boto",
                "instance-configs",
            ];
            assert!(
                left.iter().all(|step| alone.failures().contains(step)),
                "{}",
                alone.log
            );
            for words in [
                "Waiting for the network and the metadata server, for at most 1 s",
                "no metadata within 1 s",
                "The next run completes it.",
            ] {
                assert!(alone.log.contains(words), "{words}: {}", alone.log);
            }
            // What a machine without host keys needs does not wait.
            assert_eq!(alone.result("missing-host-keys"), "done");
            let made = fingerprints();
            assert_eq!(made.len(), 1);
            assert_eq!(contents("/etc/google_instance_id"), "");
            let _vm = Vm::new();
            let next = set_up();
            assert_eq!(next.status, 0, "{}", next.log);
            assert_eq!(fingerprints(), made, "they were this machine's all along");
            assert_eq!(contents("/etc/google_instance_id").trim(), INSTANCE);
            assert!(contents("/etc/boto.cfg").contains("default_project_id = example-project\n"));
        },
    );
}

#[test]
fn keys_made_in_an_earlier_boot_are_renewed_when_the_instance_is_known() {
    in_sandbox(
        "run::keys_made_in_an_earlier_boot_are_renewed_when_the_instance_is_known",
        || {
            remove_host_keys();
            configure(&format!("{QUICK}network_timeout = 1\n"));
            assert_eq!(set_up().status, 1);
            let made = fingerprints();
            // An image is made of this machine meanwhile: the record is that of another boot, if it is there at all.
            let record = "/run/gce-guest/setup/made-host-keys-of-boot.json";
            let text = contents(record);
            let boot = contents("/proc/sys/kernel/random/boot_id");
            assert!(text.contains(boot.trim()));
            fs::write(record, text.replace(boot.trim(), "another")).unwrap();
            let _vm = Vm::new();
            assert_eq!(set_up().status, 0);
            assert_ne!(fingerprints(), made);
        },
    );
}

#[test]
fn an_answer_with_gaps_costs_the_steps_that_need_what_is_missing() {
    in_sandbox(
        "run::an_answer_with_gaps_costs_the_steps_that_need_what_is_missing",
        || {
            let vm = Vm::new();
            configure(QUICK);
            let before = image_host_keys();
            for path in ["instance/id", "instance/machineType", "project/projectId"] {
                assert!(vm.live.remove(path));
            }
            let ran = set_up();
            assert_eq!(ran.status, 1);
            assert_eq!(
                (ran.result("host-keys"), ran.result("boto")),
                ("failed", "failed")
            );
            assert_eq!(ran.result("instance-configs"), "done");
            assert!(ran.log.contains("Instance ID was not found in metadata."));
            assert!(ran.detail("boto").contains("does not name the project"));
            assert_eq!(fingerprints(), before, "nobody knows whose they are");
            vm.set("instance/id", 5);
            vm.set("project/projectId", "p");
            assert_eq!(set_up().status, 0);
        },
    );
}

#[test]
fn a_second_set_up_waits_for_the_first() {
    in_sandbox("run::a_second_set_up_waits_for_the_first", || {
        image_host_keys();
        configure(&format!("{QUICK}network_timeout = 0\n"));
        let mut first = Daemon::start("first", [PROGRAM, "setup", "--debug"]);
        poll_until(PATIENCE, "the first waits for the network", || {
            first
                .said()
                .contains("Waiting for the network and the metadata server, without limit")
        });
        let mut second = Daemon::start("second", [PROGRAM, "setup", "--debug"]);
        let words = format!(
            "Another set-up is under way (gce-guest (process {}))",
            first.id()
        );
        poll_until(PATIENCE, "the second says whom it waits for", || {
            second.said().contains(&words)
        });
        assert!(!second.said().contains("Step"), "it has not begun");
        let _vm = Vm::new();
        for daemon in [&mut first, &mut second] {
            assert_eq!(daemon.wait(PATIENCE).code(), Some(0));
        }
        assert!(
            first.said().contains("made ecdsa, ed25519"),
            "{}",
            first.said()
        );
        assert!(
            second.said().contains("Step host-keys unchanged"),
            "{}",
            second.said()
        );
    });
}

#[test]
fn sshd_of_a_known_machine_does_not_wait_for_the_network() {
    in_sandbox_with(
        &["--allow-mounts"],
        "run::sshd_of_a_known_machine_does_not_wait_for_the_network",
        || {
            image_host_keys();
            configure(&format!("{QUICK}network_timeout = 0\n"));
            run(["mount", "-t", "tmpfs", "tmpfs", "/sys/class"]);
            fs::create_dir_all("/sys/class/dmi/id").unwrap();
            fs::write("/sys/class/dmi/id/product_uuid", "machine 1\n").unwrap();
            {
                let _vm = Vm::new();
                assert_eq!(set_up().status, 0);
            }
            let socket = "/tmp/notify";
            let manager = std::os::unix::net::UnixDatagram::bind(socket).unwrap();
            manager.set_read_timeout(Some(PATIENCE)).unwrap();
            let start = || {
                let mut command = Command::new(PROGRAM);
                command
                    .args(["setup", "--debug"])
                    .env("NOTIFY_SOCKET", socket);
                Daemon::start_command("setup", &mut command)
            };
            let receive = || {
                let mut buffer = [0; 100];
                let length = manager.recv(&mut buffer).unwrap();
                String::from_utf8_lossy(&buffer[..length]).into_owned()
            };
            // The same machine: sshd may start while metadata is still waited for.
            let known = start();
            let said = [receive(), receive()];
            assert!(said.contains(&"READY=1".to_owned()), "{said:?}");
            assert!(
                said.contains(&"STATUS=Waiting for the metadata server".to_owned()),
                "{said:?}"
            );
            drop(known);
            // A copy of its disk in another machine: it waits until the keys are renewed.
            fs::write("/sys/class/dmi/id/product_uuid", "machine 2\n").unwrap();
            let copied = start();
            assert_eq!(receive(), "STATUS=Waiting for the metadata server");
            manager
                .set_read_timeout(Some(Duration::from_secs(2)))
                .unwrap();
            let mut buffer = [0; 100];
            assert!(manager.recv(&mut buffer).is_err(), "{}", copied.said());
            drop(copied);
        },
    );
}

#[test]
fn the_time_of_the_boot_is_shown_as_a_chart_and_as_json() {
    in_sandbox(
        "run::the_time_of_the_boot_is_shown_as_a_chart_and_as_json",
        || {
            let none = attempt([PROGRAM, "analyze"]);
            assert_eq!(none.status.code(), Some(1));
            assert!(
                String::from_utf8_lossy(&none.stderr).contains("no set-up has run since the boot")
            );
            let _vm = Vm::new();
            image_host_keys();
            configure(QUICK);
            let (first, second) = (set_up(), set_up());
            let shown = |options: &[&str]| text_of([&[PROGRAM, "analyze"], options].concat());
            let chart = shown(&[]);
            let line = chart.lines().find(|line| line.starts_with("host-keys"));
            assert!(line.unwrap().ends_with('#'), "{chart}");
            assert!(
                chart.lines().all(|line| line.chars().count() <= 80),
                "{chart}"
            );
            for (options, ran) in [(&["--json"][..], &first), (&["--json", "--last"], &second)] {
                let json: serde_json::Value = serde_json::from_str(&shown(options)).unwrap();
                assert_eq!(json, ran.record);
            }
        },
    );
}

#[test]
fn the_legacy_program_takes_its_options_and_does_the_same() {
    in_sandbox(
        "run::the_legacy_program_takes_its_options_and_does_the_same",
        || {
            let _vm = Vm::new();
            image_host_keys();
            configure(QUICK);
            std::os::unix::fs::symlink(PROGRAM, "/tmp/google_instance_setup").unwrap();
            let ran = attempt(["/tmp/google_instance_setup", "--deb", "ignored"]);
            let log = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert_eq!(ran.status.code(), Some(0), "{log}");
            assert_eq!(String::from_utf8_lossy(&ran.stdout), "");
            assert!(
                log.contains("instance-setup: INFO Generating SSH host keys for instance"),
                "{log}"
            );
            assert_eq!(
                attempt(["/tmp/google_instance_setup", "--unknown"])
                    .status
                    .code(),
                Some(2)
            );
        },
    );
}
