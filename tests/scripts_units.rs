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

/// It hangs the console up, as systemd does at the end of a getty there (TIOCVHANGUP of asm-generic/ioctls.h): whoever has it
/// open must open it again.
const SHUTDOWN_SCRIPT: &str = "echo script begins >> /var/order; sleep 1; systemctl is-system-running >> /var/order; \
    python3 -c 'import fcntl, os; fcntl.ioctl(os.open(\"/dev/console\", os.O_WRONLY | os.O_NOCTTY), 0x5437)' || exit; \
    echo script ends >> /var/order; echo last words";

#[test]
fn scripts_run_at_boot_and_before_network_and_containers_go_at_shutdown() {
    on_machine(
        "scripts_run_at_boot_and_before_network_and_containers_go_at_shutdown",
        |root, vm| {
            let network = "Before=network.target\nWants=network.target";
            add_service(root, "a-network", network);
            add_service(root, "docker", "");
            let script = "echo the machine is up\nsetsid sleep 1000 & exit 4";
            vm.set("instance/attributes/startup-script", script);
            vm.set("instance/attributes/shutdown-script", SHUTDOWN_SCRIPT);
        },
        |machine| {
            let started = Instant::now();
            poll_until(Duration::from_secs(120), "the boot is over", || {
                matches!(machine.state().as_str(), "running" | "degraded")
            });
            println!("up after another {:?}", started.elapsed());
            look_at_the_startup(&machine);
            // Stopped by hand, started again, or called: nothing runs.
            machine.attempt(["systemctl", "restart", "google-shutdown-scripts"]);
            let called = machine.attempt(["google_metadata_script_runner", "shutdown"]);
            let said = String::from_utf8_lossy(&called.stderr).into_owned();
            assert!(called.status.success(), "{said}");
            assert_eq!(Machine::contents("/var/order"), "");
            let started = Instant::now();
            machine.power_off();
            println!("off after {:?}", started.elapsed());
            let order = Machine::contents("/var/order");
            let order: Vec<&str> = order.lines().collect();
            assert_eq!(order[..3], ["script begins", "stopping", "script ends"]);
            for stopped in ["docker stops", "a-network stops"] {
                assert!(order[3..].contains(&stopped), "{order:?}");
            }
            let console = Machine::console();
            assert!(console.contains("shutdown-script: last words"), "{console}");
        },
    );
}

/// What a boot has left: lines in the journal and on the console, the unit's result, and a process in the background.
fn look_at_the_startup(machine: &Machine) {
    const UNIT: &str = "google-startup-scripts.service";
    machine.attempt(["journalctl", "--sync"]);
    let journal = machine.text(["journalctl", "--no-pager", "-u", UNIT]);
    for line in [
        "startup-script: the machine is up",
        "startup-script: Return code 4.",
    ] {
        assert_eq!(journal.matches(line).count(), 1, "{journal}");
        poll_until(PATIENCE, "it is on the console", || {
            Machine::console().contains(line)
        });
    }
    assert!(
        !journal.contains("<6>"),
        "priorities are for the journal: {journal}"
    );
    let warnings = machine.text(["journalctl", "--no-pager", "-p", "warning", "-u", UNIT]);
    assert!(!warnings.contains("the machine is up"), "{warnings}");
    let verified = machine.attempt([
        "systemd-analyze",
        "verify",
        "--man=no",
        UNIT,
        "google-shutdown-scripts.service",
    ]);
    assert!(verified.status.success(), "{verified:?}");
    assert_eq!(String::from_utf8_lossy(&verified.stderr), "");
    let result = || machine.text(["systemctl", "show", "--property=Result,ActiveState", UNIT]);
    assert_eq!(
        result(),
        "Result=success\nActiveState=inactive",
        "as it always was"
    );
    let background = machine.attempt(["pgrep", "-f", "sleep 1000"]);
    assert!(background.status.success(), "the background lives on");
    let configuration = "[MetadataScripts]\nfail_on_error = true\n";
    fs::write("/run/root/etc/default/instance_configs.cfg", configuration).unwrap();
    machine.attempt(["systemctl", "start", UNIT]);
    assert!(result().starts_with("Result=exit-code"), "as configured");
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

/// Installs, installs again, upgrades, removes and installs.
fn come_and_go(machine: &Machine, first: &str, second: &str) {
    for words in [
        ["dpkg", "--install", first],
        ["dpkg", "--install", first],
        ["dpkg", "--install", second],
        ["dpkg", "--remove", "gce-guest"],
        ["dpkg", "--install", second],
    ] {
        let done = machine.attempt(words);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{words:?}: {said}");
    }
    let packages = Machine::contents("/var/packages");
    assert_eq!(
        packages.matches("postinst configure").count(),
        4,
        "{packages}"
    );
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
            come_and_go(&machine, &first, &second);
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
