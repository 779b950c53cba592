//! Interfaces set up through what manages the machine, for real: a machine with systemd as its first process in two networks
//! with a DHCP server in each. What is there is asked of `ip` and of a ping from the second interface's own address.
//!
//! Debian packages: mmdebstrap, systemd-container, dnsmasq-base, iproute2.

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
use std::time::{Duration, Instant};

use serde_json::json;
use support::lan::{
    self, PRIMARY_ADDRESS, PRIMARY_MAC, SECONDARY_ADDRESS, SECONDARY_GATEWAY, SECONDARY_MAC,
};
use support::machine::{self, Machine, on_machine_with};
use support::vm::{Vm, contents, entry, passwd};
use support::{Daemon, in_sandbox_with, poll_until, run};

/// How long a network may take on a loaded machine: duplicate address detection, time-outs of DHCP, and our own pauses.
const PATIENCE: Duration = Duration::from_secs(120);

/// The agent's own unit, within whose limits everything here is done.
const AGENT: &str = "google-guest-agent.service";

/// What the agent of the machine says.
const LOG: &str = "/var/agent.log";

/// Runs `body` on a machine in two networks, with the agent as a service, once its second interface is up.
fn with_two_networks(name: &str, prepare: impl FnOnce(&Path, &Vm), body: impl FnOnce(Machine)) {
    let mut servers = Vec::new();
    let prepare = |root: &Path, vm: &Vm| {
        servers = lan::make();
        describe(vm, &json!({}));
        machine::install_all(root);
        write(
            root,
            &format!("etc/systemd/system/{AGENT}.d/test.conf"),
            &format!(
                "[Service]\nExecStart=\nExecStart=/usr/bin/gce-guest agent --debug\n\
                 StandardOutput=append:{LOG}\nStandardError=append:{LOG}\n"
            ),
        );
        prepare(root, vm);
    };
    on_machine_with(name, &lan::OPTIONS, prepare, |machine| {
        expect_second_interface(&machine);
        body(machine);
    });
    drop(servers);
}

/// Puts both interfaces into metadata; `more` is merged into the second.
fn describe(vm: &Vm, more: &serde_json::Value) {
    let mut second = json!({
        "mac": SECONDARY_MAC.to_uppercase(), "ip": SECONDARY_ADDRESS, "mtu": 1400, "forwardedIps": ["203.0.113.2"]
    });
    let second_object = second.as_object_mut().unwrap();
    second_object.extend(more.as_object().unwrap().clone());
    let first = json!({
        "mac": PRIMARY_MAC, "ip": PRIMARY_ADDRESS, "mtu": 1460, "forwardedIps": ["203.0.113.1"]
    });
    vm.set("instance/networkInterfaces", json!([first, second]));
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Has a unit start at boot.
fn enable(root: &Path, unit: &str) {
    run([
        "systemctl",
        "--quiet",
        &format!("--root={}", root.display()),
        "enable",
        unit,
    ]);
}

fn ip(machine: &Machine, words: &str) -> String {
    machine.text(std::iter::once("ip").chain(words.split(' ')))
}

/// Everything that may say why something did not come about.
fn state(machine: &Machine) -> String {
    format!(
        "{}\n{}\n{}\n{}",
        ip(machine, "address"),
        ip(machine, "route"),
        Machine::contents(LOG),
        machine.text(["journalctl", "--no-pager", "--lines=60"])
    )
}

fn expect(machine: &Machine, what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        let late = Instant::now() > until;
        assert!(!late, "{what}:\n{}", state(machine));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The second interface has its address, traffic from it arrives, and everything else still goes by the first.
fn expect_second_interface(machine: &Machine) {
    expect_second_interface_with(machine, 2);
}

/// The same with so many forwarded addresses.
fn expect_second_interface_with(machine: &Machine, addresses: usize) {
    let address = format!("inet {SECONDARY_ADDRESS}");
    expect(machine, "the second interface has an address", || {
        ip(machine, "-4 address show dev eth1").contains(&address)
    });
    let ping = ["ping", "-c1", "-W2", "-I", "eth1", SECONDARY_GATEWAY];
    expect(machine, "traffic from the second interface arrives", || {
        machine.attempt(ping).status.success()
    });
    let out = || ip(machine, "route get 198.51.100.1").contains("dev eth0");
    expect(machine, "the primary stays the way out", out);
    expect(machine, "the forwarded addresses", || {
        forwarded(machine) == addresses
    });
}

fn forwarded(machine: &Machine) -> usize {
    ip(machine, "route show table local proto 66")
        .lines()
        .count()
}

/// Ten restarts of a service leave the agent, the routes and the primary interface as they were.
fn survives_restarts(machine: &Machine, unit: &str) {
    let pid = || machine.text(["systemctl", "show", "--property=MainPID", AGENT]);
    let primary = || ip(machine, "-o link show dev eth0");
    let (agent, before) = (pid(), primary());
    let mut longest = Duration::ZERO;
    for _ in 0..10 {
        // The limit of starts is systemd's own and not what this is about.
        machine.attempt(["systemctl", "reset-failed", unit]);
        let restarted = machine.attempt(["systemctl", "restart", unit]);
        assert!(restarted.status.success(), "{restarted:?}");
        let started = Instant::now();
        expect(machine, "our routes are back", || forwarded(machine) == 2);
        longest = longest.max(started.elapsed());
    }
    println!("restarts of {unit}: our routes were there after {longest:?} at the latest");
    expect(machine, "the primary has its address", || {
        ip(machine, "-4 address show dev eth0").contains(PRIMARY_ADDRESS)
    });
    expect_second_interface(machine);
    expect(machine, "the primary is as it was", || primary() == before);
    assert_eq!(pid(), agent);
}

/// The lines of the agent's log with this in them.
fn said(words: &str) -> usize {
    let log = Machine::contents(LOG);
    log.lines().filter(|line| line.contains(words)).count()
}

/// With nothing to do, nothing is done.
fn settles(machine: &Machine) {
    let actions = || said(": INFO Ran ") + said(": INFO Wrote ");
    let mut before = actions();
    expect(machine, "nothing more is done", || {
        machine.vm.set("instance/description", before.to_string());
        std::thread::sleep(Duration::from_secs(2));
        let settled = actions() == before;
        before = actions();
        settled
    });
}

#[test]
fn networkd_sets_the_second_interface_up() {
    with_two_networks(
        "networkd_sets_the_second_interface_up",
        |root, _| {
            write(
                root,
                "etc/systemd/network/10-primary.network",
                "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\n",
            );
            enable(root, "systemd-networkd.service");
        },
        |machine| {
            let status = machine.text(["networkctl", "status", "eth1"]);
            let file = "/run/systemd/network/20-eth1-google-guest-agent.network";
            assert!(status.contains(file), "{status}");
            expect(&machine, "its MTU", || {
                ip(&machine, "link show dev eth1").contains("mtu 1400")
            });
            the_way_to_the_metadata_server_is_told(&machine);
            settles(&machine);
            survives_restarts(&machine, "systemd-networkd.service");
            gets_ipv6(&machine);
            a_hang_costs_only_itself(&machine, "systemd-networkd.service");
            is_found_again_and_follows_new_ones(&machine);
            leaves_a_kernel_without_vlans_alone(&machine);
        },
    );
}

/// The metadata server has a route of its own by the first interface, and who asks is told so.
fn the_way_to_the_metadata_server_is_told(machine: &Machine) {
    let way = "169.254.169.254 via 10.128.0.1 dev eth0 proto 66 metric 1";
    expect(machine, "the route", || {
        ip(machine, "route show 169.254.169.254").contains("dev eth0 proto 66 metric 1")
    });
    let explained = machine.attempt(["gce-guest", "explain", "route", "169.254.169.254"]);
    let told = String::from_utf8_lossy(&explained.stdout).into_owned();
    let here = format!("ok    in the kernel: {way}, ours, for ");
    assert!(explained.status.success() && told.contains(&here), "{told}");
    let page = machine.attempt(["gce-guest", "network", "status"]);
    let told = String::from_utf8_lossy(&page.stdout).into_owned();
    let row = told
        .lines()
        .find(|line| line.contains("0/metadata-server"))
        .unwrap_or_default();
    let words: Vec<&str> = row.split_whitespace().take(3).collect();
    assert_eq!(
        words,
        ["169.254.169.254", "0/metadata-server", "present"],
        "{told}"
    );
    assert!(page.status.success(), "{told}");
}

/// A service that hangs keeps nobody but itself from working, is told of, and is used again when it goes on.
fn a_hang_costs_only_itself(machine: &Machine, unit: &str) {
    let signal = |name: &str| {
        let option = format!("--signal={name}");
        let sent = machine.attempt(["systemctl", "kill", "--kill-whom=main", &option, unit]);
        assert!(sent.status.success(), "{sent:?}");
    };
    signal("STOP");
    describe(&machine.vm, &json!({"dhcpv6Refresh": "1", "mtu": 1380}));
    machine.vm.set(
        "instance/networkInterfaces/0/forwardedIps",
        json!(["203.0.113.1", "203.0.113.9"]),
    );
    machine.vm.set_keys(&[entry("alice")]);
    expect(machine, "an account while it hangs", || {
        machine
            .text(["getent", "passwd", "alice"])
            .starts_with("alice:")
    });
    expect(machine, "a route while it hangs", || {
        forwarded(machine) == 3
    });
    machine.vm.set(
        "instance/attributes/startup-script",
        "#!/bin/sh\necho ran >/ran\n",
    );
    let script = machine.attempt(["systemctl", "restart", "google-startup-scripts.service"]);
    assert!(script.status.success(), "{script:?}");
    assert_eq!(Machine::contents("/ran"), "ran\n");
    let status = || machine.text(["gce-guest", "status"]);
    let interfaces = || {
        let status = status();
        let lines = status
            .lines()
            .skip_while(|line| !line.starts_with("interfaces"));
        lines.take(3).collect::<Vec<_>>().join("\n")
    };
    expect(machine, "the hang is told", || {
        interfaces().contains("fails since")
    });
    println!("{unit} hangs:\n{}", status());
    expect(machine, "the accounts are said to be well", || {
        status().contains("accounts  in line")
    });
    assert!(ip(machine, "link show dev eth1").contains("mtu 1400"));
    signal("CONT");
    expect(machine, "it goes on", || {
        ip(machine, "link show dev eth1").contains("mtu 1380")
    });
    expect(machine, "that is told too", || {
        interfaces().contains("in line since")
    });
    expect_second_interface_with(machine, 3);
}

/// An interface that is renamed is the same one, and one that is plugged in later is set up without a restart.
fn is_found_again_and_follows_new_ones(machine: &Machine) {
    for words in [
        "link set eth1 down",
        "link set eth1 name ens9",
        "link set ens9 up",
    ] {
        ip(machine, words);
    }
    let address = format!("inet {SECONDARY_ADDRESS}");
    expect(machine, "the renamed interface has its address", || {
        ip(machine, "-4 address show dev ens9").contains(&address)
    });
    let files = || machine.text(["ls", "/run/systemd/network"]);
    expect(machine, "its file has its new name", || {
        files() == "20-ens9-google-guest-agent.network"
    });
    let third = "42:01:0a:82:00:02";
    let first = json!({"mac": PRIMARY_MAC, "ip": PRIMARY_ADDRESS});
    let second = json!({"mac": SECONDARY_MAC, "ip": SECONDARY_ADDRESS, "dhcpv6Refresh": "1"});
    let all = json!([first, second, {"mac": third, "ip": "10.130.0.2"}]);
    machine.vm.set("instance/networkInterfaces", all);
    expect(machine, "a missing interface is said to be", || {
        said(third) == 1
    });
    let _server = lan::plug("eth2", 2, third);
    expect(machine, "the new interface has an address", || {
        ip(machine, "-4 address show dev eth2").contains("inet 10.130.0.2")
    });
    // And it is pulled out again.
    run(["ip", "link", "delete", "gw2"]);
    expect(machine, "its file is gone, and the others are not", || {
        files() == "20-ens9-google-guest-agent.network"
    });
    settles(machine);
    expect(machine, "all is well again", || {
        let status = machine.text(["gce-guest", "status"]);
        status.contains("interfaces  in line since")
    });
    assert!(ip(machine, "-4 address show dev ens9").contains(&address));
}

/// This kernel has no VLANs: that is said once, and costs nothing else.
fn leaves_a_kernel_without_vlans_alone(machine: &Machine) {
    let vlan = json!({"1": {"5": {
        "mac": "42:01:0a:81:00:05", "vlan": 5, "mtu": 1300, "ip": "10.131.0.2", "ipv6": [], "parentInterface":
        "/computeMetadata/v1/instance/network-interfaces/1/"
    }}});
    machine.vm.set("instance/vlanNetworkInterfaces", vlan);
    let options = "[NetworkInterfaces]\nvlan_setup_enabled = true\n";
    machine
        .vm
        .set("instance/attributes/google-instance-configs", options);
    let refused = "Cannot make the interface gcp.ens9.5 for VLAN 5";
    expect(machine, "the VLAN is refused or made", || {
        said(refused) == 1 || ip(machine, "link show").contains("gcp.ens9.5")
    });
    let file = "/run/systemd/network/20-gcp.ens9.5-google-guest-agent.network";
    assert!(machine.attempt(["test", "-e", file]).status.success());
    settles(machine);
    assert!(said(refused) <= 1);
}

/// With `dhcpv6Refresh` in metadata the second interface has the address that the DHCP server gives, and the sysctl is set on
/// it alone.
fn gets_ipv6(machine: &Machine) {
    describe(&machine.vm, &json!({"dhcpv6Refresh": "1"}));
    expect(machine, "the second interface has an IPv6 address", || {
        ip(machine, "-6 address show dev eth1").contains("inet6 fd20:0:0:129::2/128")
    });
    let ping = [
        "ping",
        "-6",
        "-c1",
        "-W2",
        "-I",
        "fd20:0:0:129::2",
        "fd20:0:0:129::1",
    ];
    expect(machine, "IPv6 from the second interface arrives", || {
        machine.attempt(ping).status.success()
    });
    let sysctl = |interface: &str| {
        let path = format!("/proc/sys/net/ipv6/conf/{interface}/accept_ra_rt_info_max_plen");
        machine.text(["cat", &path])
    };
    expect(machine, "the sysctl", || sysctl("eth1") == "128");
    assert_eq!(sysctl("eth0"), "0");
}

#[test]
fn netplan_sets_the_second_interface_up() {
    with_two_networks(
        "netplan_sets_the_second_interface_up",
        |root, _| {
            let all = "match: {name: \"eth*\"}\n      dhcp4: true\n      dhcp6: true\n";
            let text = format!("network:\n  version: 2\n  ethernets:\n    all-eth:\n      {all}");
            // Not in /etc, where the Go agent removed it.
            write(root, "usr/lib/netplan/10-default.yaml", &text);
            enable(root, "systemd-networkd.service");
        },
        |machine| {
            let status = || machine.text(["networkctl", "status", "eth1"]);
            expect(&machine, "netplan's file is in force", || {
                status().contains("/run/systemd/network/10-netplan-a-eth1.network")
            });
            let merged = machine.text([
                "netplan",
                "get",
                "ethernets.a-eth1.dhcp4-overrides.route-metric",
            ]);
            assert_eq!(merged, "10100");
            let default = Machine::contents("/etc/netplan/90-default.yaml");
            assert!(default.contains("all-en:"), "{default}");
            assert_eq!(
                machine.text(["netplan", "get", "ethernets.all-en.match.name"]),
                "\"en*\""
            );
            settles(&machine);
            survives_restarts(&machine, "systemd-networkd.service");
            gets_ipv6(&machine);
        },
    );
}

#[test]
fn networkmanager_sets_the_second_interface_up() {
    with_two_networks(
        "networkmanager_sets_the_second_interface_up",
        |root, _| enable(root, "NetworkManager.service"),
        |machine| {
            let active = || {
                machine.text([
                    "nmcli",
                    "-g",
                    "GENERAL.CONNECTION",
                    "device",
                    "show",
                    "eth1",
                ])
            };
            expect(&machine, "our profile is active", || {
                active() == "google-guest-agent-eth1"
            });
            settles(&machine);
            survives_restarts(&machine, "NetworkManager.service");
            expect(&machine, "our profile is active again", || {
                active() == "google-guest-agent-eth1"
            });
            gets_ipv6(&machine);
            a_hang_costs_only_itself(&machine, "NetworkManager.service");
        },
    );
}

#[test]
fn ifupdown_sets_the_second_interface_up() {
    with_two_networks(
        "ifupdown_sets_the_second_interface_up",
        |root, _| {
            write(
                root,
                "etc/network/interfaces",
                "auto lo eth0\niface lo inet loopback\niface eth0 inet dhcp\n",
            );
            enable(root, "networking.service");
        },
        |machine| {
            settles(&machine);
            survives_restarts(&machine, "networking.service");
            gets_ipv6(&machine);
        },
    );
}

/// A service that sets the primary interface up, with nothing that manages networks.
fn by_itself(root: &Path, service: &str) {
    let unit = format!(
        "[Unit]\nBefore={AGENT}\n[Service]\n{service}\n[Install]\nWantedBy=multi-user.target\n"
    );
    write(root, "etc/systemd/system/primary.service", &unit);
    enable(root, "primary.service");
}

#[test]
fn dhclient_sets_the_second_interface_up() {
    with_two_networks(
        "dhclient_sets_the_second_interface_up",
        |root, _| {
            by_itself(
                root,
                "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'ip link set eth0 up; \
                 ip address add 10.128.0.2/32 dev eth0; ip route add 10.128.0.1 dev eth0; \
                 ip route add default via 10.128.0.1'",
            );
        },
        |machine| {
            settles(&machine);
            gets_ipv6(&machine);
            // While it goes into the background there are two of it.
            for family in ["-4", "-6"] {
                let pattern = format!("dhclient {family} .* eth1$");
                expect(&machine, "one client of a family", || {
                    machine.text(["pgrep", "-c", "-f", &pattern]) == "1"
                });
            }
        },
    );
}

#[test]
fn dhcpcd_sets_the_second_interface_up() {
    with_two_networks(
        "dhcpcd_sets_the_second_interface_up",
        |root, _| by_itself(root, "ExecStart=/sbin/dhcpcd --nobackground -4 eth0"),
        |machine| {
            settles(&machine);
            gets_ipv6(&machine);
        },
    );
}

/// Runs `body` in a sandbox with a second interface, and with the programs of these names saying this.
fn with_tools(name: &str, tools: &[(&str, &str)], body: impl FnOnce(&Vm)) {
    let second = format!("eth1,{SECONDARY_MAC}");
    let first = format!("eth0,{PRIMARY_MAC},{PRIMARY_ADDRESS}");
    in_sandbox_with(&["--nic", &first, "--nic", &second], name, || {
        for (tool, script) in tools {
            let path = format!("/usr/local/sbin/{tool}");
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            run(["chmod", "755", &path]);
        }
        let vm = Vm::new();
        describe(&vm, &json!({}));
        body(&vm);
    });
}

fn configure(text: &str) {
    fs::write("/etc/default/instance_configs.cfg.template", text).unwrap();
}

/// Runs an agent until every manager has made a pass over this configuration, and returns what `/tmp/ran` says then.
fn ran(vm: &Vm, configuration: &str) -> String {
    configure(configuration);
    let agent = vm.agent();
    vm.settled(&agent);
    contents("/tmp/ran")
}

#[test]
fn a_backend_that_hangs_or_fails_leaves_routes_and_accounts_working() {
    with_tools(
        "a_backend_that_hangs_or_fails_leaves_routes_and_accounts_working",
        &[("dhclient", "echo begun >>/tmp/ran; sleep 1000")],
        |vm| {
            let agent = vm.agent();
            poll_until(PATIENCE, "the backend hangs", || {
                contents("/tmp/ran") == "begun\n"
            });
            vm.set_keys(&[entry("alice")]);
            vm.set(
                "instance/networkInterfaces/0/forwardedIps",
                json!(["203.0.113.9"]),
            );
            poll_until(PATIENCE, "the account", || {
                passwd("alice").starts_with("alice:")
            });
            let route = ["ip", "route", "show", "table", "local", "203.0.113.9"];
            poll_until(PATIENCE, "the route", || {
                support::text_of(route).contains("proto 66")
            });
            assert!(!agent.said().contains("did not finish"), "{}", agent.said());
            let told = |agent: &Daemon, words: &str| agent.said().matches(words).count();
            poll_until(PATIENCE, "the deadline is told", || {
                told(&agent, "did not finish within 20 s") == 1
            });
            fs::write(
                "/usr/local/sbin/dhclient",
                "#!/bin/sh\necho no lease >&2; exit 2\n",
            )
            .unwrap();
            poll_until(PATIENCE, "so is the failure", || {
                told(&agent, ": no lease") == 1
            });
        },
    );
}

/// A DHCP client under which its interface is renamed, or goes, whichever `/tmp/now` says.
const UNSTEADY: &str = "echo \"$@\" >>/tmp/ran
case \"$(cat /tmp/now) $*\" in
rename*eth1) ip link set eth1 down; ip link set eth1 name ens9; ip link set ens9 up ;;
remove*ens9) ip link delete ens9 ;;
*) exit 0 ;;
esac
echo >/tmp/now
echo Cannot find the device >&2
exit 1";

/// How often the client was started for an interface.
fn started(interface: &str) -> usize {
    let ran = contents("/tmp/ran");
    ran.lines().filter(|line| line.ends_with(interface)).count()
}

/// Between the look at an interface and what is done about it, it gets another name, or goes.
#[test]
fn an_interface_renamed_or_removed_in_the_middle_costs_only_itself() {
    with_tools(
        "an_interface_renamed_or_removed_in_the_middle_costs_only_itself",
        &[("dhclient", UNSTEADY)],
        |vm| {
            let third = "42:01:0a:82:00:02";
            let nic = |mac: &str, forwarded: &str| json!({"mac": mac, "ip": "10.9.0.2", "forwardedIps": [forwarded]});
            vm.set(
                "instance/networkInterfaces",
                json!([
                    {"mac": PRIMARY_MAC, "ip": PRIMARY_ADDRESS, "forwardedIps": ["203.0.113.1"]},
                    nic(SECONDARY_MAC, "203.0.113.2"),
                    nic(third, "203.0.113.3")
                ]),
            );
            run("ip link add eth2 address 42:01:0a:82:00:02 type veth peer name eth2p".split(' '));
            fs::write("/tmp/now", "rename").unwrap();
            let agent = vm.agent();
            let told = |words: &str| agent.said().matches(words).count();
            poll_until(PATIENCE, "the client is started for the new name", || {
                started("ens9") > 0
            });
            assert_eq!(started("eth1"), 1, "{}", contents("/tmp/ran"));
            assert!(started("eth2") > 0, "{}", contents("/tmp/ran"));
            assert_eq!(started("eth0"), 0);
            poll_until(PATIENCE, "the failure is over", || {
                told("No longer: interface eth1") == 1
            });
            assert_eq!(told("Cannot find the device"), 2, "{}", agent.said());

            fs::write("/tmp/now", "remove").unwrap();
            poll_until(PATIENCE, "the interface is gone", || {
                told(&format!("not found for MAC address: {SECONDARY_MAC}")) == 1
            });
            poll_until(PATIENCE, "the failure is over", || {
                told("No longer: interface ens9") == 1
            });
            let before = started("ens9");
            run(
                format!("ip link add eth7 address {SECONDARY_MAC} type veth peer name eth7p")
                    .split(' '),
            );
            poll_until(
                PATIENCE,
                "the client is started for the one in its place",
                || started("eth7") > 0,
            );
            assert_eq!(started("ens9"), before);
            let routes = || support::text_of("ip route show table local proto 66".split(' '));
            for route in [
                "203.0.113.1 dev eth0",
                "203.0.113.2 dev eth7",
                "203.0.113.3 dev eth2",
            ] {
                poll_until(PATIENCE, route, || routes().contains(route));
            }
        },
    );
}

#[test]
fn a_port_of_a_bridge_is_left_to_it_and_keeps_its_routes() {
    with_tools(
        "a_port_of_a_bridge_is_left_to_it_and_keeps_its_routes",
        &[("dhclient", "echo \"$@\" >>/tmp/ran")],
        |vm| {
            run("ip link add br0 type bridge".split(' '));
            run("ip link set eth1 master br0".split(' '));
            let agent = vm.agent();
            let log = vm.settled(&agent);
            let told = "The interface eth1 is a port of br0: it is left to whoever made that";
            assert_eq!(log.matches(told).count(), 1, "{log}");
            assert_eq!(contents("/tmp/ran"), "");
            let route = "ip route show table local 203.0.113.2";
            assert!(support::text_of(route.split(' ')).contains("dev eth1"));
            run("ip link set eth1 nomaster".split(' '));
            poll_until(PATIENCE, "it is set up by itself", || started("eth1") > 0);
        },
    );
}

#[test]
fn the_options_of_interfaces() {
    with_tools(
        "the_options_of_interfaces",
        &[
            ("up", "echo up \"$@\" >>/tmp/ran"),
            ("dhclient", "echo dhclient >>/tmp/ran"),
        ],
        |vm| {
            let up = "[NetworkInterfaces]\ndhcp_command = up  -v\n";
            for off in [
                "setup = false\n",
                "[addressManager]\ndisable = true\n",
                "[Daemons]\nnetwork_daemon = false\n",
                "[Lock]\ndisable = interfaces\n",
            ] {
                assert_eq!(ran(vm, &format!("{up}{off}")), "", "{off}");
            }
            vm.set("instance/attributes/disable-address-manager", "true");
            assert_eq!(ran(vm, up), "", "by metadata");
            let on = format!("{up}[addressManager]\ndisable = false\n");
            assert_eq!(ran(vm, &on), "up -v\n", "the configuration is stronger");
            vm.set("instance/attributes/disable-address-manager", "false");
            assert_eq!(ran(vm, up), "up -v\n", "not again for the same interfaces");
            let all = format!("{up}manage_primary_nic = true\n");
            assert_eq!(ran(vm, &all), "up -v\nup -v\n", "for the primary too");
            let ours = "# Written by gce-guest";
            assert!(contents("/run/gce-guest/dhcp-command").starts_with(ours));
            fs::write("/tmp/ran", "").unwrap();
            assert!(
                ran(vm, "").contains("dhclient"),
                "without it the backend does it"
            );
            let failing = "[NetworkInterfaces]\ndhcp_command = false\n";
            configure(failing);
            let agent = vm.agent();
            let log = vm.settled(&agent);
            assert!(
                log.contains("NetworkInterfaces.dhcp_command: false failed (exit status: 1)"),
                "{log}"
            );
        },
    );
}

#[test]
fn the_switches_of_vlans_and_of_debians_default() {
    with_tools(
        "the_switches_of_vlans_and_of_debians_default",
        &[("dhclient", "exit 0")],
        |vm| {
            let index = support::text_of(["cat", "/sys/class/net/eth0/ifindex"]);
            let state = "ADMIN_STATE=configured\nNETWORK_FILE=/run/systemd/network/10-netplan-a-eth0.network\n";
            write(
                Path::new("/"),
                &format!("run/systemd/netif/links/{index}"),
                state,
            );
            fs::write("/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n").unwrap();
            let vlan = json!({"1": {"5": {"mac": "42:01:0a:81:00:05", "vlan": 5}}});
            vm.set("instance/vlanNetworkInterfaces", vlan);
            let default = "/etc/netplan/90-default.yaml";
            let off = "[NetworkInterfaces]\nrestore_debian12_netplan_config = false\n";
            configure(off);
            let agent = vm.agent();
            let log = vm.settled(&agent);
            assert!(
                contents(default).is_empty() && !log.contains("VLAN 5"),
                "{log}"
            );
            drop(agent);
            configure("[NetworkInterfaces]\nvlan_setup_enabled = true\n");
            let agent = vm.agent();
            let log = vm.settled(&agent);
            assert!(
                contents(default).contains("all-eth:") && log.contains("VLAN 5"),
                "{log}"
            );
        },
    );
}
