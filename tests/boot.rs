//! A machine's life with the package, under a real systemd: first boot, log-in, reboot, upgrade, a new instance, removal. What
//! comes of it is looked at from outside: by ssh, in the journal, and by systemd's own word.
//!
//! Debian packages: mmdebstrap, systemd-container, openssh-client.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use serde_json::json;
use support::lan::{self, PRIMARY_ADDRESS, PRIMARY_MAC, SECONDARY_ADDRESS, SECONDARY_MAC};
use support::machine::{Machine, on_machine_with};
use support::visitor;
use support::vm::Vm;
use support::{Boot, package, poll_until, run};

/// How long a boot may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

const AGENT: &str = "google-guest-agent.service";
const SETUP: &str = "google-instance-setup.service";
const STARTUP: &str = "google-startup-scripts.service";
const SHUTDOWN: &str = "google-shutdown-scripts.service";

/// Everything that a machine has before its first boot, the package among it, as in an image.
fn prepare(root: &Path, vm: &Vm, built: &Path) {
    let newer = package::with_version(built, "99.1-1", Path::new("/run"));
    fs::copy(built, root.join("root/first.deb")).unwrap();
    fs::copy(newer, root.join("root/second.deb")).unwrap();
    let place = root.to_str().unwrap();
    run(["chroot", place, "dpkg", "--install", "/root/first.deb"]);
    enable(root, "ssh.service");
    fs::write(root.join("etc/of-the-image"), host_keys()).unwrap();
    fs::write(
        root.join("etc/hosts"),
        "127.0.0.1 localhost\n127.0.1.1 machine\n",
    )
    .unwrap();
    fs::write(root.join("etc/hostname"), "machine\n").unwrap();
    add_cloud_init(root);
    let hook = root.join("etc/gce-guest/hooks.d/users/note");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\necho $GCE_HOOK_COUNT >> /var/hook\n").unwrap();
    run(["chmod", "755", hook.to_str().unwrap()]);
    vm.set("instance/hostname", "shop.corp.internal");
    let settings = "[Hostname]\nmode = static\n";
    vm.set("instance/attributes/google-instance-configs", settings);
    let network = "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\n";
    fs::create_dir_all(root.join("etc/systemd/network")).unwrap();
    fs::write(root.join("etc/systemd/network/10-primary.network"), network).unwrap();
    enable(root, "systemd-networkd.service");
    vm.set(
        "instance/networkInterfaces",
        json!([
            {"mac": PRIMARY_MAC, "ip": PRIMARY_ADDRESS, "mtu": 1460, "forwardedIps": ["203.0.113.1"]},
            {"mac": SECONDARY_MAC, "ip": SECONDARY_ADDRESS, "mtu": 1400},
        ]),
    );
    visitor::make_key();
    vm.set_keys(&[visitor::key_of("alice")]);
    let order = "echo startup of $GCE_INSTANCE_ID by $(id -un) >> /var/order; getent passwd alice >> /var/order";
    vm.set("instance/attributes/startup-script", order);
    let order = "echo shutdown >> /var/order";
    vm.set("instance/attributes/shutdown-script", order);
}

/// Units in the places of cloud-init's on Debian and Ubuntu, the last of them after multi-user.target.
fn add_cloud_init(root: &Path) {
    let early = "DefaultDependencies=no\nAfter=systemd-networkd-wait-online.service\n\
                 Before=network-online.target sshd-keygen.service sshd.service systemd-user-sessions.service";
    let last = "After=network-online.target cloud-config.service multi-user.target\nBefore=apt-daily.service";
    for (name, order) in [
        ("cloud-init", early),
        (
            "cloud-config",
            "After=network-online.target snapd.seeded.service\nWants=network-online.target",
        ),
        ("cloud-final", last),
    ] {
        let text = format!(
            "[Unit]\n{order}\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n\
             [Install]\nWantedBy=cloud-init.target\n"
        );
        fs::write(
            root.join(format!("etc/systemd/system/{name}.service")),
            text,
        )
        .unwrap();
        enable(root, &format!("{name}.service"));
    }
    let target = "[Unit]\nAfter=multi-user.target\n[Install]\nWantedBy=multi-user.target\n";
    fs::write(root.join("etc/systemd/system/cloud-init.target"), target).unwrap();
    enable(root, "cloud-init.target");
}

fn enable(root: &Path, unit: &str) {
    let root = format!("--root={}", root.display());
    run(["systemctl", "--quiet", &root, "enable", unit]);
}

/// Logs in from outside and runs a command.
fn ssh(command: &str) -> Output {
    visitor::ssh(&format!("alice@{PRIMARY_ADDRESS}"), command)
}

fn log_in() {
    let mut last = None;
    poll_until(PATIENCE, "alice logs in", || {
        let session = ssh("sudo -n id -un");
        let done = session.stdout == b"root\n";
        if !done && last.as_ref() != Some(&session.stderr) {
            println!("{}", String::from_utf8_lossy(&session.stderr));
            last = Some(session.stderr);
        }
        done
    });
}

/// The host keys of the machine.
fn host_keys() -> String {
    ["ecdsa", "ed25519", "rsa"]
        .map(|kind| Machine::contents(&format!("/etc/ssh/ssh_host_{kind}_key.pub")))
        .concat()
}

/// What systemd says of a unit.
fn property(machine: &Machine, unit: &str, name: &str) -> String {
    let property = format!("--property={name}");
    machine.text(["systemctl", "show", "--value", &property, unit])
}

/// What the journal has of this boot, all that was said until now among it.
fn journal(machine: &Machine, words: &[&str]) -> String {
    machine.attempt(["journalctl", "--sync"]);
    let all = ["journalctl", "--no-pager", "-b"];
    machine.text(all.iter().chain(words))
}

/// When a unit reached a state in this boot, in microseconds of the machine's clock.
fn moment(machine: &Machine, unit: &str, name: &str) -> u64 {
    let name = format!("{name}TimestampMonotonic");
    let text = property(machine, unit, &name);
    let moment = text.parse().unwrap();
    assert!(moment > 0, "{unit} has no {name}");
    moment
}

/// Waits until everything is started, and looks at the order in which it was.
fn is_booted(machine: &Machine, boot: &str) {
    poll_until(PATIENCE, "the boot is over", || {
        matches!(machine.state().as_str(), "running" | "degraded")
    });
    let failed = machine.text(["systemctl", "--failed", "--plain", "--no-legend"]);
    let everything = || machine.text(["journalctl", "--no-pager", "-o", "short-monotonic", "-b"]);
    assert!(!failed.contains("google"), "{failed}\n{}", everything());
    let moments = Boot::of(|command| machine.text(command.split(' ')));
    assert!(moments.is_in_order(), "{}", everything());
    println!("\n{boot}");
    println!("{}", moments.timeline());
    println!("{}", machine.text(["systemd-analyze", "time"]));
    println!("{}", machine.text(["gce-guest", "analyze"]));
}

/// systemd finds nothing wrong with the units, no order of them is a circle, and what docs/units.md says of them is so.
fn units_are_sound(machine: &Machine) {
    let units = [AGENT, SETUP, STARTUP, SHUTDOWN, "gce-guest.service"];
    let verify = ["systemd-analyze", "verify", "--man=no"];
    let verified = machine.attempt(verify.iter().chain(&units));
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && said.is_empty(), "{said}");
    let said = journal(machine, &[]);
    assert!(!said.contains("ordering cycle"), "{said}");
    for name in [
        "gce-guest",
        "google-accounts-daemon",
        "google-network-daemon",
        "google-clock-skew-daemon",
    ] {
        assert_eq!(property(machine, &format!("{name}.service"), "Id"), AGENT);
    }
    let after = moment(machine, "cloud-config.service", "ActiveEnter");
    assert!(after <= moment(machine, STARTUP, "ExecMainStart"));
    let rows = include_str!("../docs/units.md").lines().filter_map(|line| {
        let mut cells = line.split(" | ");
        let unit = cells.next()?.strip_prefix("| ")?;
        let exposure = cells.next()?.strip_suffix(" |")?;
        exposure.parse::<f32>().ok().map(|_| (unit, exposure))
    });
    let mut count = 0;
    for (unit, exposure) in rows {
        let looked = machine.text(["systemd-analyze", "security", "--no-pager", unit]);
        let last = looked.lines().last().unwrap_or_default();
        assert!(
            last.contains(&format!(": {exposure} ")),
            "{last}, and {exposure} in docs/units.md"
        );
        count += 1;
    }
    assert_eq!(count, 4, "the table of exposures");
}

/// What the agent does within the limits of its unit, besides users and routes.
fn limits_leave_room(machine: &Machine) {
    poll_until(PATIENCE, "the host name", || {
        machine.text(["hostname"]) == "shop"
    });
    assert!(Machine::contents("/etc/hosts").contains("shop.corp.internal"));
    poll_until(PATIENCE, "the hook has run", || {
        Machine::contents("/var/hook").contains('1')
    });
    poll_until(PATIENCE, "the address of the second interface", || {
        let address = ["ip", "-4", "-o", "address", "show", "dev", "eth1"];
        machine.text(address).contains(SECONDARY_ADDRESS)
    });
    poll_until(PATIENCE, "the route of the forwarded address", || {
        let routes = ["ip", "route", "show", "table", "local", "proto", "66"];
        machine.text(routes).contains("203.0.113.1")
    });
}

/// Nothing of ours warns, and neither does systemd about us.
fn nothing_warns(machine: &Machine) {
    for unit in [AGENT, SETUP, STARTUP, SHUTDOWN] {
        let warnings = journal(machine, &["-p", "warning", "-u", unit]);
        assert!(
            warnings.contains("No entries") || warnings.is_empty(),
            "{warnings}"
        );
    }
}

/// Installs a newer package: the agent is another process afterwards, and nothing else has been touched.
fn upgrade(machine: &Machine) {
    let agent = property(machine, AGENT, "MainPID");
    let others = |machine: &Machine| {
        [SETUP, STARTUP, SHUTDOWN, "ssh.service"].map(|unit| {
            ["InvocationID", "StateChangeTimestampMonotonic"]
                .map(|name| property(machine, unit, name))
        })
    };
    let before = others(machine);
    dpkg(machine, &["--install", "/root/second.deb"]);
    assert_ne!(property(machine, AGENT, "MainPID"), agent);
    assert_eq!(property(machine, AGENT, "ActiveState"), "active");
    assert_eq!(others(machine), before);
}

/// An agent that is killed again and again waits longer each time, which its unit says; one that is restarted by hand does not.
fn pauses_grow(machine: &Machine) {
    let says = |words: &str| property(machine, AGENT, "StatusText").contains(words);
    let pid = || property(machine, AGENT, "MainPID");
    let bad_end = |signal: &str, words: &str| {
        let before = pid();
        let signal = format!("--signal={signal}");
        machine.attempt(["systemctl", "kill", "--kill-whom=main", &signal, AGENT]);
        poll_until(PATIENCE, words, || {
            !["0", &before].contains(&pid().as_str()) && says(words)
        });
    };
    // Until the next boot the watchdog has less patience.
    let place = "/run/systemd/system/google-guest-agent.service.d";
    let short = format!(
        "mkdir -p {place} && printf '[Service]\\nWatchdogSec=10s\\n' > {place}/short.conf && \
         systemctl daemon-reload && systemctl restart {AGENT}"
    );
    assert!(machine.attempt(["sh", "-c", &short]).status.success());
    bad_end("STOP", "accounts: ok");
    let result = journal(machine, &["-u", AGENT]);
    assert!(result.contains("Watchdog timeout"), "{result}");
    // What it says while it waits has passed before a loaded machine looks.
    bad_end("KILL", "accounts: ok");
    let said = journal(machine, &["-u", AGENT]);
    assert_eq!(said.matches("waits 5 s before").count(), 1, "{said}");
    bad_end("KILL", "waits 15 s before");
    // systemd is told first.
    poll_until(PATIENCE, "that is told", || {
        machine
            .text(["gce-guest", "status"])
            .contains("fails since")
    });
    let restarted = machine.attempt(["systemctl", "restart", AGENT]);
    assert!(restarted.status.success(), "{restarted:?}");
    poll_until(PATIENCE, "it works", || says("accounts: ok"));
    let said = journal(machine, &["-u", AGENT]);
    assert_eq!(said.matches("times in a row").count(), 2, "{said}");
    let unknown = journal(machine, &["-t", "systemd"]);
    assert!(!unknown.contains("Unknown key"), "{unknown}");
}

/// Removes the package: no unit of ours is left, and users and keys are still there.
fn remove(machine: &Machine) {
    let keys = host_keys();
    dpkg(machine, &["--remove", "gce-guest"]);
    let units = machine.text([
        "systemctl",
        "list-units",
        "--all",
        "--plain",
        "--no-legend",
        "google-*",
    ]);
    let running = machine.attempt(["pgrep", "gce-guest"]);
    assert!(running.stdout.is_empty(), "{running:?}");
    assert!(!units.contains(" running"), "{units}");
    log_in();
    assert_eq!(host_keys(), keys);
    dpkg(machine, &["--purge", "gce-guest"]);
    let left = machine.text([
        "find",
        "/etc/systemd",
        "/usr/lib/systemd",
        "-name",
        "google-*",
    ]);
    assert_eq!(left, "");
    log_in();
}

fn dpkg(machine: &Machine, words: &[&str]) {
    let done = machine.attempt(["dpkg"].iter().chain(words));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{words:?}: {said}");
}

#[test]
fn a_machine_from_its_first_boot_to_the_end_of_the_package() {
    let mut servers = Vec::new();
    let package = package::for_test("boot");
    on_machine_with(
        "a_machine_from_its_first_boot_to_the_end_of_the_package",
        &lan::OPTIONS,
        |root, vm| {
            servers = lan::make();
            prepare(root, vm, &package);
        },
        |machine| {
            is_booted(&machine, "The first boot");
            log_in();
            limits_leave_room(&machine);
            units_are_sound(&machine);
            nothing_warns(&machine);
            let first = Machine::contents("/var/order");
            assert!(
                first.starts_with("startup of 4242424242424242424 by root\nalice:"),
                "{first}"
            );
            assert_eq!(first.lines().count(), 2, "{first}");
            let keys = host_keys();
            let of_image = Machine::contents("/etc/of-the-image");
            assert!(
                of_image.contains("ssh-ed25519 ") && keys != of_image,
                "{keys}"
            );

            let vm = machine.power_off();
            lan::switch_off();
            let machine = Machine::boot_with(vm, &lan::OPTIONS);
            is_booted(&machine, "The second boot, of the same instance");
            log_in();
            nothing_warns(&machine);
            assert_eq!(host_keys(), keys, "the same instance has the same keys");
            upgrade(&machine);
            assert_eq!(host_keys(), keys, "an upgrade makes no keys");
            log_in();
            nothing_warns(&machine);
            pauses_grow(&machine);

            let vm = machine.power_off();
            let once = format!("{first}shutdown\n");
            let order = Machine::contents("/var/order");
            let expected = once.repeat(2);
            assert_eq!(order, expected, "once a boot and once a shutdown");
            // The disk comes to another instance.
            vm.set("instance/id", 77);
            fs::remove_file("/run/known").unwrap();
            lan::switch_off();
            let machine = Machine::boot_with(vm, &lan::OPTIONS);
            is_booted(&machine, "The disk comes to another instance");
            log_in();
            assert_ne!(host_keys(), keys, "another instance has others");
            remove(&machine);
            drop(machine.power_off());
            let shutdowns = Machine::contents("/var/order").matches("shutdown").count();
            assert_eq!(shutdowns, 2, "who is removed runs nothing");
        },
    );
}
