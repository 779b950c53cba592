//! The units of the scripts under a real systemd: boot, shutdown, and packages that come and go meanwhile.
//!
//! Debian packages: mmdebstrap, systemd-container.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use support::machine::{Machine, on_machine};
use support::vm::PATIENCE;
use support::{poll_until, run};

/// A service that says in /var/order when it is stopped.
fn add_service(root: &Path, name: &str, ordering: &str) {
    let unit = format!(
        "[Unit]\n{ordering}\n[Service]\nType=oneshot\nRemainAfterExit=true\nExecStart=/bin/true\n\
         ExecStop=/bin/sh -c 'echo {name} stops >> /var/order'\n[Install]\nWantedBy=multi-user.target\n"
    );
    fs::write(
        root.join(format!("etc/systemd/system/{name}.service")),
        unit,
    )
    .unwrap();
    let link = root.join(format!(
        "etc/systemd/system/multi-user.target.wants/{name}.service"
    ));
    std::os::unix::fs::symlink(format!("../{name}.service"), link).unwrap();
}

#[test]
fn scripts_run_at_boot_and_before_network_and_containers_go_at_shutdown() {
    on_machine(
        "scripts_run_at_boot_and_before_network_and_containers_go_at_shutdown",
        |root, vm| {
            add_service(
                root,
                "a-network",
                "Before=network.target\nWants=network.target",
            );
            add_service(root, "docker", "");
            vm.set(
                "instance/attributes/startup-script",
                "echo the machine is up\nsetsid sleep 100 & exit 4",
            );
            vm.set(
                "instance/attributes/shutdown-script",
                "echo script begins >> /var/order; sleep 1; systemctl is-system-running >> /var/order; echo script ends >> /var/order; echo last words",
            );
        },
        |machine| {
            let started = Instant::now();
            poll_until(Duration::from_secs(60), "the boot is over", || {
                matches!(machine.state().as_str(), "running" | "degraded")
            });
            println!("the machine was up after another {:?}", started.elapsed());
            let journal = machine.text([
                "journalctl",
                "--no-pager",
                "-u",
                "google-startup-scripts.service",
            ]);
            assert!(
                journal.contains("startup-script: the machine is up"),
                "{journal}"
            );
            assert!(
                journal.contains("startup-script: Return code 4."),
                "{journal}"
            );
            let result = |unit: &str| {
                machine.text(["systemctl", "show", "--property=Result,ActiveState", unit])
            };
            assert_eq!(
                result("google-startup-scripts"),
                "Result=success\nActiveState=inactive",
                "as it always was"
            );
            assert!(
                machine
                    .attempt(["pgrep", "-f", "sleep 100"])
                    .status
                    .success(),
                "the background lives on"
            );
            fs::write(
                "/run/root/etc/default/instance_configs.cfg",
                "[MetadataScripts]\nfail_on_error = true\n",
            )
            .unwrap();
            machine.attempt(["systemctl", "start", "google-startup-scripts"]);
            assert!(
                result("google-startup-scripts").starts_with("Result=exit-code"),
                "as configured"
            );
            // Stopped by hand, started again: nothing runs.
            machine.attempt(["systemctl", "restart", "google-shutdown-scripts"]);
            machine.attempt(["google_metadata_script_runner", "shutdown"]);
            assert_eq!(Machine::contents("/var/order"), "");
            let started = Instant::now();
            machine.power_off();
            println!("off after {:?}", started.elapsed());
            let order = Machine::contents("/var/order");
            let order: Vec<&str> = order.lines().collect();
            assert_eq!(order[..3], ["script begins", "stopping", "script ends"]);
            assert!(
                order[3..].contains(&"docker stops") && order[3..].contains(&"a-network stops"),
                "{order:?}"
            );
            assert!(
                Machine::console().contains("shutdown-script: last words"),
                "{}",
                Machine::console()
            );
        },
    );
}

#[test]
fn a_startup_script_that_still_runs_does_not_hold_the_shutdown_up() {
    on_machine(
        "a_startup_script_that_still_runs_does_not_hold_the_shutdown_up",
        |_, vm| {
            vm.set(
                "instance/attributes/startup-script",
                "while :; do echo still; sleep 0.1; done",
            );
            vm.set(
                "instance/attributes/shutdown-script",
                "echo script ran >> /var/order",
            );
        },
        |machine| {
            poll_until(PATIENCE, "the script runs", || {
                machine
                    .attempt(["pgrep", "-f", "startup-[0-9a-f]*/startup-script"])
                    .status
                    .success()
            });
            let started = Instant::now();
            machine.power_off();
            println!("off after {:?}", started.elapsed());
            assert_eq!(Machine::contents("/var/order"), "script ran\n");
        },
    );
}

/// Builds a package of what is installed, of a version, whose scripts do to the units what bad packages have done.
fn package(version: &str) -> String {
    let tree = format!("/run/package-{version}");
    for directory in ["DEBIAN", "usr/bin", "usr/lib/systemd/system"] {
        fs::create_dir_all(format!("{tree}/{directory}")).unwrap();
    }
    fs::copy(
        "/run/root/usr/bin/gce-guest",
        format!("{tree}/usr/bin/gce-guest"),
    )
    .unwrap();
    for unit in [
        "google-startup-scripts.service",
        "google-shutdown-scripts.service",
    ] {
        let unit = format!("usr/lib/systemd/system/{unit}");
        fs::copy(format!("/run/root/{unit}"), format!("{tree}/{unit}")).unwrap();
    }
    let control = format!(
        "Package: gce-guest\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@example>\nDescription: x\n"
    );
    fs::write(format!("{tree}/DEBIAN/control"), control).unwrap();
    for (script, line) in [
        ("prerm", "systemctl stop google-shutdown-scripts.service"),
        (
            "postinst",
            "systemctl daemon-reload; systemctl restart google-shutdown-scripts.service",
        ),
    ] {
        let path = format!("{tree}/DEBIAN/{script}");
        fs::write(
            &path,
            format!("#!/bin/sh\n{line}\necho {script} $1 >> /var/packages\n"),
        )
        .unwrap();
        run(["chmod", "755", &path]);
    }
    run([
        "dpkg-deb",
        "--build",
        "-Znone",
        &tree,
        &format!("/run/root/root/{version}.deb"),
    ]);
    format!("/root/{version}.deb")
}

#[test]
fn packages_that_come_and_go_leave_a_running_startup_script_alone() {
    on_machine(
        "packages_that_come_and_go_leave_a_running_startup_script_alone",
        |_, vm| {
            vm.set(
                "instance/attributes/startup-script",
                "echo begins >> /var/startup\nuntil [ -e /var/go ]; do echo waits; sleep 0.05; done\necho ends >> /var/startup",
            );
            vm.set(
                "instance/attributes/shutdown-script",
                "echo ran >> /var/shutdown",
            );
        },
        |machine| {
            let (first, second) = (package("1"), package("2"));
            poll_until(PATIENCE, "the script runs", || {
                Machine::contents("/var/startup") == "begins\n"
            });
            for words in [
                ["dpkg", "--install", &first],
                ["dpkg", "--install", &first],
                ["dpkg", "--install", &second],
                ["dpkg", "--remove", "gce-guest"],
                ["dpkg", "--install", &second],
            ] {
                let done = machine.attempt(words);
                assert!(
                    done.status.success(),
                    "{words:?}: {}",
                    String::from_utf8_lossy(&done.stderr)
                );
            }
            let packages = Machine::contents("/var/packages");
            assert_eq!(
                packages
                    .lines()
                    .filter(|line| line.starts_with("postinst"))
                    .count(),
                4,
                "{packages}"
            );
            assert_eq!(
                Machine::contents("/var/shutdown"),
                "",
                "no shutdown script for a package"
            );
            assert_eq!(
                Machine::contents("/var/startup"),
                "begins\n",
                "still there, and not started again"
            );
            fs::write("/run/root/var/go", "").unwrap();
            poll_until(PATIENCE, "the script ends as it would have", || {
                Machine::contents("/var/startup") == "begins\nends\n"
            });
            machine.power_off();
            assert_eq!(Machine::contents("/var/startup"), "begins\nends\n");
            assert_eq!(
                Machine::contents("/var/shutdown"),
                "ran\n",
                "but for the machine"
            );
        },
    );
}
