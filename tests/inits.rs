//! Machines whose first process is not systemd: what `packaging/init` holds for them, started for real by sysvinit, OpenRC
//! and runit. A user of the metadata logs in by ssh, the scripts of the owner run at the boot and at the shutdown, and the
//! agent is stopped and started.
//!
//! Debian packages: mmdebstrap, systemd-container, openssh-client.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use support::machine::{self, Image, Machine, OPENRC, RUNIT, SYSVINIT, on_machine_of};
use support::visitor::{self, key_of};
use support::vm::Vm;
use support::{attempt, package, poll_until, run, text_of};

/// How long a boot may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The order in which things happened on the machine.
const ORDER: &str = "/var/order";

/// A key by which the machine is known.
const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key.pub";

/// The same at the moment when sshd was started, where a test has that noted.
const AT_SSHD: &str = "/var/host-key-at-sshd";

/// What init systems have in common, in their own words.
struct Init {
    image: Image,
    /// Puts the files where the packages of a distribution would.
    install: fn(&Path),
    stop: &'static [&'static str],
    start: &'static [&'static str],
    restart: &'static [&'static str],
    /// Whether it leaves the agent alone.
    is_at_rest: fn(&Machine) -> bool,
    power_off: &'static [&'static str],
}

/// Installs files of `packaging/init/KIND`.
fn copy(root: &Path, kind: &str, place: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("packaging/init")
        .join(kind);
    let to = root.join(place);
    fs::create_dir_all(&to).unwrap();
    run([
        "cp",
        "-r",
        &format!("{}/.", from.display()),
        to.to_str().unwrap(),
    ]);
}

const NAMES: [&str; 4] = [
    "google-instance-setup",
    "google-guest-agent",
    "google-startup-scripts",
    "google-shutdown-scripts",
];

/// From the first boot to the end: users log in with keys of their own machine, the owner's scripts run once each.
fn lives(name: &str, init: &Init) {
    on_machine_of(
        &init.image,
        name,
        &[],
        |root, vm| {
            machine::install_program(root);
            prepare(root, vm);
            (init.install)(root);
        },
        |machine| {
            poll_until(PATIENCE, "the startup script has run", || {
                Machine::contents(ORDER).contains("startup\n")
            });
            log_in();
            let keys = Machine::contents(HOST_KEY);
            assert!(keys.starts_with("ssh-ed25519 "), "{keys}");
            let at_sshd = Machine::contents(AT_SSHD);
            assert!(
                at_sshd.is_empty() || at_sshd == keys,
                "sshd waits: {at_sshd}"
            );
            assert_ne!(keys, Machine::contents("/etc/of-the-image"));
            let status = || machine.text(["gce-guest", "status"]);
            // Told when the pass is over, which may be after the log-in.
            poll_until(PATIENCE, "that is told", || {
                status().contains("accounts  in line")
            });
            let done = machine.attempt(init.stop);
            poll_until(PATIENCE, &format!("the agent stops: {done:?}"), || {
                status().contains("agent     not running")
            });
            assert!(!log_in_as("bob"));
            machine.vm.set_keys(&[key_of("alice"), key_of("bob")]);
            let done = machine.attempt(init.start);
            poll_until(PATIENCE, &format!("the agent starts: {done:?}"), || {
                log_in_as("bob")
            });
            begins_again(&machine, init);
            gives_way(&machine, init);
            machine.power_off_by(init.power_off);
            assert_eq!(
                Machine::contents(ORDER),
                "startup\nalice is there\nshutdown\n",
                "each once:\n{}",
                Machine::console()
            );
        },
    );
}

/// The process of the agent. While it starts something there is another of the same name for a moment, and while it is started
/// again there is none.
fn agent(machine: &Machine) -> String {
    let mut agent = String::new();
    poll_until(PATIENCE, "there is one agent", || {
        agent = agents(machine);
        agent.parse::<u32>().is_ok()
    });
    agent
}

fn agents(machine: &Machine) -> String {
    machine.text(["pgrep", "--full", "gce-guest agent"])
}

/// An agent that ends badly is started again by whoever supervises it, and counts: the second time it waits. Whoever stops it
/// in order and starts it begins anew.
fn begins_again(machine: &Machine, init: &Init) {
    let bad_ends = || machine.text(["sh", "-c", "cat /run/gce-guest/starts/*"]);
    for user in ["carol", "dave"] {
        let before = agent(machine);
        machine.attempt(["kill", "-KILL", &before]);
        machine.vm.set_keys(&[key_of("alice"), key_of(user)]);
        poll_until(PATIENCE, "another agent works", || log_in_as(user));
        assert_ne!(agent(machine), before);
    }
    assert_eq!(bad_ends(), r#"{"bad_ends":2}"#);
    machine.attempt(init.stop);
    poll_until(PATIENCE, "it is stopped", || agents(machine).is_empty());
    machine.attempt(init.start);
    poll_until(PATIENCE, "it is started", || {
        bad_ends() == r#"{"bad_ends":0}"#
    });
}

/// Where another agent has everything, ours is not started again and again, until somebody starts it.
fn gives_way(machine: &Machine, init: &Init) {
    machine.attempt(init.stop);
    poll_until(PATIENCE, "it is stopped", || agents(machine).is_empty());
    machine.attempt(["sh", "-c", "gce-guest agent >/dev/null 2>&1 &"]);
    let ready = machine.attempt(["gce-guest", "status", "--wait", "--timeout", "60"]);
    assert!(ready.status.success(), "{ready:?}");
    let another = agent(machine);
    machine.attempt(init.start);
    poll_until(PATIENCE, "ours is not wanted any more", || {
        (init.is_at_rest)(machine)
    });
    assert_eq!(agent(machine), another);
    machine.attempt(["kill", &another]);
    poll_until(PATIENCE, "it ends", || agents(machine).is_empty());
    machine.attempt(init.start);
    // A restart that is asked for is none that waits.
    let before = agent(machine);
    let restarted = machine.attempt(init.restart);
    assert!(restarted.status.success(), "{restarted:?}");
    assert_ne!(agent(machine), before);
}

fn prepare(root: &Path, vm: &Vm) {
    visitor::make_key();
    let image = root.join("etc/ssh/ssh_host_ed25519_key.pub");
    fs::copy(image, root.join("etc/of-the-image")).unwrap();
    fs::write(
        root.join("etc/hosts"),
        "127.0.0.1 localhost\n127.0.1.1 machine\n",
    )
    .unwrap();
    fs::write(root.join("etc/hostname"), "machine\n").unwrap();
    vm.set_keys(&[key_of("alice")]);
    let script = format!("echo startup >> {ORDER}; id alice && echo alice is there >> {ORDER}");
    vm.set("instance/attributes/startup-script", script);
    let script = format!("echo shutdown >> {ORDER}");
    vm.set("instance/attributes/shutdown-script", script);
}

fn log_in() {
    poll_until(PATIENCE, "alice logs in", || log_in_as("alice"));
}

/// Whether a user logs in, and may become root.
fn log_in_as(user: &str) -> bool {
    let target = format!("{user}@127.0.0.1");
    visitor::ssh(&target, "sudo -n id -un").stdout == b"root\n"
}

#[test]
fn sysvinit_starts_and_stops_everything() {
    let init = Init {
        image: SYSVINIT,
        install: |root| {
            copy(root, "sysvinit", "etc/init.d");
            for name in NAMES {
                run([
                    "chroot",
                    root.to_str().unwrap(),
                    "update-rc.d",
                    name,
                    "defaults",
                ]);
            }
        },
        stop: &["service", "google-guest-agent", "stop"],
        start: &["service", "google-guest-agent", "start"],
        restart: &["service", "google-guest-agent", "restart"],
        is_at_rest: |machine| {
            let status = machine.attempt(["service", "google-guest-agent", "status"]);
            !status.status.success()
        },
        power_off: &["/sbin/shutdown", "-h", "-P", "now"],
    };
    lives("sysvinit_starts_and_stops_everything", &init);
}

#[test]
fn openrc_starts_and_stops_everything() {
    let init = Init {
        image: OPENRC,
        install: |root| {
            copy(root, "openrc", "etc/init.d");
            for name in NAMES {
                let link = root.join("etc/runlevels/default").join(name);
                symlink(format!("/etc/init.d/{name}"), link).unwrap();
            }
        },
        stop: &["rc-service", "google-guest-agent", "stop"],
        start: &["rc-service", "google-guest-agent", "start"],
        restart: &["rc-service", "google-guest-agent", "restart"],
        is_at_rest: |machine| {
            let status = machine.text(["rc-service", "google-guest-agent", "status"]);
            status.contains("status: stopped")
        },
        power_off: &["/sbin/shutdown", "-h", "-P", "now"],
    };
    lives("openrc_starts_and_stops_everything", &init);
}

#[test]
fn runit_starts_and_stops_everything() {
    let init = Init {
        image: RUNIT,
        install: |root| {
            copy(root, "runit", "etc/sv");
            for name in &NAMES[..3] {
                let link = root.join("etc/runit/runsvdir/default").join(name);
                symlink(format!("/etc/sv/{name}"), link).unwrap();
            }
            // What docs/units.md has the administrator add.
            let run_file = root.join("etc/sv/ssh/run");
            let text = fs::read_to_string(&run_file).unwrap();
            let waits = "set -e\n[ -e /run/google-instance-setup.done ] || exit 1\n";
            let text = text.replacen("set -e\n", waits, 1);
            // And what is there when sshd starts.
            let looks = format!("cp {HOST_KEY} {AT_SSHD}\nexec /usr/sbin/sshd");
            let text = text.replace("exec /usr/sbin/sshd", &looks);
            assert!(text.contains(waits) && text.contains(AT_SSHD), "{text}");
            fs::write(run_file, text).unwrap();
            let shutdown = root.join("etc/runit/rc.shutdown");
            fs::write(&shutdown, "#!/bin/sh\n. /etc/sv/shutdown-scripts.sh\n").unwrap();
            run(["chmod", "755", shutdown.to_str().unwrap()]);
        },
        stop: &["sv", "stop", "google-guest-agent"],
        start: &["sv", "start", "google-guest-agent"],
        restart: &["sv", "restart", "google-guest-agent"],
        is_at_rest: |machine| {
            let status = machine.text(["sv", "status", "google-guest-agent"]);
            status.starts_with("down:") && !status.contains("want up")
        },
        power_off: &["/sbin/init", "0"],
    };
    lives("runit_starts_and_stops_everything", &init);
}

/// What comes and goes with the package, below the root directory: files of ours, and links to our scripts.
fn remains(root: &Path) -> String {
    let root = root.to_str().unwrap();
    let mut words = vec![
        "chroot", root, "find", "/etc", "/run", "/usr", "/var", "-xdev",
    ];
    words.extend(["(", "-name", "*google*", "-o", "-name", "*gce*", ")"]);
    // What dpkg keeps, and what of the owner's users and of this instance stays even after a purge.
    for kept in [
        "/var/lib/dpkg/*",
        "/var/log/*",
        "/var/lib/google*",
        "/etc/sudoers.d/google_sudoers",
        "/etc/google_instance_id",
    ] {
        words.extend(["-not", "-path", kept]);
    }
    text_of(words)
}

/// Runs dpkg on the machine.
fn dpkg(machine: &Machine, words: &[&str]) {
    let all = ["env", "DEBIAN_FRONTEND=noninteractive", "dpkg"];
    let done = machine.attempt(all.iter().chain(words));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(done.status.success(), "{words:?}: {said}");
    for complaint in ["systemctl", "not found", "warning", "error"] {
        assert!(!said.contains(complaint), "{words:?}: {said}");
    }
}

/// Upgrades, a removal, an installation after that, and a purge, on the machine.
fn come_and_go(machine: &Machine) {
    let sshd = || machine.text(["pgrep", "--oldest", "sshd"]);
    let (first_agent, first_sshd) = (agent(machine), sshd());
    dpkg(machine, &["--install", "/root/second.deb"]);
    assert_ne!(agent(machine), first_agent);
    machine.vm.set_keys(&[key_of("alice"), key_of("bob")]);
    poll_until(PATIENCE, "bob logs in", || log_in_as("bob"));
    // Who has stopped the agent finds it stopped after an upgrade.
    machine.attempt(["service", "google-guest-agent", "stop"]);
    dpkg(machine, &["--install", "/root/second.deb"]);
    assert_eq!(agents(machine), "");
    machine.attempt(["service", "google-guest-agent", "start"]);
    agent(machine);
    dpkg(machine, &["--remove", "gce-guest"]);
    assert_eq!(machine.text(["pgrep", "--full", "gce-guest"]), "");
    dpkg(machine, &["--install", "/root/second.deb"]);
    agent(machine);
    log_in();
    dpkg(machine, &["--purge", "gce-guest"]);
    assert_eq!(machine.text(["pgrep", "--full", "gce-guest"]), "");
    assert_eq!(sshd(), first_sshd, "nothing else was started anew");
}

#[test]
fn the_debian_package_comes_works_and_goes_without_systemd() {
    let built = package::for_test("inits");
    let before = Cell::new(String::new());
    on_machine_of(
        &SYSVINIT,
        "the_debian_package_comes_works_and_goes_without_systemd",
        &[],
        |root, vm| {
            prepare(root, vm);
            let newer = package::with_version(&built, "99.1-1", Path::new("/run"));
            fs::copy(&built, root.join("root/first.deb")).unwrap();
            fs::copy(newer, root.join("root/second.deb")).unwrap();
            before.set(remains(root));
            let place = root.to_str().unwrap();
            assert!(!root.join("usr/bin/systemctl").exists());
            run(["chroot", place, "dpkg", "--install", "/root/first.deb"]);
            let started = attempt(["pgrep", "--full", "gce-guest agent"]);
            assert!(
                started.stdout.is_empty(),
                "nothing starts in an image: {started:?}"
            );
        },
        |machine| {
            log_in();
            poll_until(PATIENCE, "the startup script has run", || {
                Machine::contents(ORDER).ends_with("alice is there\n")
            });
            let keys = Machine::contents(HOST_KEY);
            assert_ne!(keys, Machine::contents("/etc/of-the-image"));
            come_and_go(&machine);
            assert_eq!(remains(Path::new(Machine::ROOT)), before.take());
            log_in();
            assert_eq!(Machine::contents(HOST_KEY), keys);
            machine.power_off_by(&["/sbin/shutdown", "-h", "-P", "now"]);
            let order = Machine::contents(ORDER);
            assert_eq!(
                order, "startup\nalice is there\n",
                "no script for a package"
            );
        },
    );
}
