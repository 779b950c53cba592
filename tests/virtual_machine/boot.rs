//! The machine with the package, from its first boot to its second: what is started when, log-ins from outside, the second
//! interface, the clock, and what the owner's scripts find when the machine goes down. Nothing of ours may warn.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::virtual_machine::{Hardware, VirtualMachine};
use crate::support::vm::Vm;
use crate::support::{Boot, Daemon, attempt, lan, poll_until, run};

/// How long something may take on a loaded machine with an emulated processor.
const PATIENCE: Duration = Duration::from_secs(180);

/// The key pair of the visitor, outside.
const KEY: &str = "/run/visitor";

const UNITS: &str =
    "google-instance-setup google-guest-agent google-startup-scripts google-shutdown-scripts";

/// The primary interface has had its address since the first stage of the boot; the others are set up by whoever likes.
const PRIMARY: &str = "[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nKeepConfiguration=yes\n";

const SHUTDOWN_SCRIPT: &str = "gce-guest metadata get instance/id > /var/at-shutdown\n\
    echo shutdown while $(systemctl is-active systemd-networkd) >> /var/order; sync";

/// Installs the package as an image has it, with sshd, and gives the machine a second network.
pub(crate) fn prepare(hardware: &mut Hardware, vm: &Vm, built: &Path) -> Daemon {
    let overlay = hardware.overlay.to_str().unwrap().to_owned();
    run(["dpkg-deb", "--extract", built.to_str().unwrap(), &overlay]);
    let root = format!("--root={overlay}");
    let names = UNITS.split(' ');
    // The scripts of other init systems are not asked.
    let systemctl = [
        "env",
        "SYSTEMCTL_SKIP_SYSV=1",
        "systemctl",
        "--quiet",
        &root,
        "enable",
    ];
    run(systemctl.into_iter().chain(names));
    for (unit, place) in [
        ("ssh", "multi-user.target.wants"),
        ("systemd-networkd", "multi-user.target.wants"),
        (
            "systemd-networkd-wait-online",
            "network-online.target.wants",
        ),
    ] {
        let wants = hardware.overlay.join("etc/systemd/system").join(place);
        fs::create_dir_all(&wants).unwrap();
        let unit = format!("{unit}.service");
        let link = wants.join(&unit);
        std::os::unix::fs::symlink(format!("/lib/systemd/system/{unit}"), link).unwrap();
    }
    hardware.file("/etc/systemd/network/10-primary.network", 0o644, PRIMARY);
    // One kind of key is enough for an emulated processor; the image brings two.
    let template = "/etc/default/instance_configs.cfg.template";
    hardware.file(template, 0o644, "[InstanceSetup]\nhost_key_types = ecdsa\n");

    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY]);
    let key = fs::read_to_string(format!("{KEY}.pub")).unwrap();
    vm.set_keys(&[format!("alice:{}", key.trim())]);
    let script = "id alice && echo startup with alice >> /var/order";
    vm.set("instance/attributes/startup-script", script);
    vm.set("instance/attributes/shutdown-script", SHUTDOWN_SCRIPT);
    vm.set(
        "instance/networkInterfaces",
        json!([
            {"mac": "42:01:0a:80:00:02", "ip": "10.0.2.15", "mtu": 1460, "forwardedIps": ["203.0.113.1"]},
            {"mac": "42:01:0a:80:01:01", "ip": "10.129.0.2", "mtu": 1460},
        ]),
    );
    second_network()
}

/// A DHCP server at the other end of the first card.
fn second_network() -> Daemon {
    lan::keep_tmp();
    for words in [
        "ip link add gw1 type bridge",
        "ip link set card1 master gw1",
        "ip address add 10.129.0.1/20 dev gw1",
        "ip link set gw1 up",
    ] {
        run(words.split(' '));
    }
    lan::serve(1)
}

/// The whole story. It leaves the machine with its second boot behind it, and without an agent.
pub(crate) fn is_sound(machine: &mut VirtualMachine, started: Instant) {
    is_booted(machine);
    let keys = "cat /etc/ssh/ssh_host_*_key.pub";
    let first = machine.run(keys);
    let image = machine.run("cat /etc/of-the-image");
    for key in image.lines() {
        assert!(
            key.starts_with("ssh-") || key.starts_with("ecdsa-"),
            "{image}"
        );
        assert!(!first.contains(key), "the image's keys are gone: {first}");
    }
    log_in(machine);
    networks_are_up(machine);
    println!("first boot looked at after {:?}", started.elapsed());

    machine.reboot();
    machine.wait_for_boot();
    println!("up again after {:?}", started.elapsed());
    is_booted(machine);
    assert_eq!(
        machine.run(keys),
        first,
        "the same instance has the same keys"
    );
    log_in(machine);
    networks_are_up(machine);
    assert_eq!(
        machine.run("cat /var/order"),
        "startup with alice\nshutdown while active\nstartup with alice"
    );
    assert_eq!(machine.run("cat /var/at-shutdown"), "4242424242424242424");
    the_clock_is_kept(machine);
    machine.run(
        "systemctl disable --quiet --now google-guest-agent; systemctl stop systemd-networkd.socket systemd-networkd
         rm -r /etc/systemd/network/10-primary.network /run/systemd/network/*; ip address flush dev eth1; ip link set eth1 down",
    );
    println!("the boots are done after {:?}", started.elapsed());
}

/// Everything was started, in order, and nothing of ours complains.
fn is_booted(machine: &mut VirtualMachine) {
    let script =
        "systemctl is-active google-guest-agent ssh && test -s /run/gce-guest/scripts/startup.json";
    poll_until(PATIENCE, "everything is started", || {
        machine.attempt(script).status == 0
    });
    let moments = Boot::of(|command| machine.run(command));
    println!("{}", moments.timeline());
    assert!(moments.is_in_order());
    for command in [
        "systemd-analyze time",
        "systemd-analyze critical-chain --no-pager google-startup-scripts.service",
        "gce-guest analyze",
    ] {
        println!("{}", machine.attempt(command).stdout);
    }
    let warnings = "journalctl --no-pager --boot --priority=warning --unit='google-*'";
    let warnings = machine.attempt(warnings).stdout;
    let none = warnings.is_empty() || warnings.contains("No entries");
    assert!(
        none,
        "{warnings}\n{}",
        machine.run("journalctl --no-pager -b -u 'google-*'")
    );
    assert_eq!(
        machine.run("systemctl list-units --failed --plain --no-legend 'google-*'"),
        ""
    );
}

/// A user of the metadata logs in from outside, to the keys that were there before if any were.
fn log_in(machine: &mut VirtualMachine) {
    let words = "ssh -F /dev/null -i /run/visitor -o BatchMode=yes -o StrictHostKeyChecking=accept-new \
                 -o UserKnownHostsFile=/run/known -o ConnectTimeout=30 alice@127.0.0.1 sudo -n id -un";
    let mut said = String::new();
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let session = attempt(words.split_whitespace());
        if session.stdout == b"root\n" {
            return;
        }
        said = String::from_utf8_lossy(&session.stderr).into_owned();
    }
    panic!(
        "{said}\n{}",
        machine.run("journalctl --no-pager -b -u ssh -u 'google-*'")
    );
}

/// The second interface has its address, the forwarded address its route, and the way out is the primary's.
fn networks_are_up(machine: &mut VirtualMachine) {
    let script = "ip -4 address show dev eth1 | grep -q 10.129.0.2 && busybox ping -q -c 1 -W 5 -I eth1 10.129.0.1 &&
        ip route show table local proto 66 | grep -q 203.0.113.1 && ip route get 198.51.100.1 | grep -q 'dev eth0'";
    let began = Instant::now();
    while machine.attempt(script).status != 0 {
        let state = "ip address; ip route; networkctl; journalctl --no-pager -b -u 'google-*'";
        assert!(began.elapsed() < PATIENCE, "{}", machine.run(state));
    }
}

/// The agent reads the RTC and sets the clock within the limits of its unit.
fn the_clock_is_kept(machine: &mut VirtualMachine) {
    machine.run("date --set='10 minutes ago' && systemctl restart google-guest-agent");
    let is_right = |machine: &mut VirtualMachine| {
        let printed = machine.attempt("gce-guest clock status --json").stdout;
        let status: Value = serde_json::from_str(&printed).unwrap_or_default();
        status["right"] == true
    };
    poll_until(PATIENCE, "the clock is right", || is_right(machine));
}
