//! VLAN interfaces and bonds, for which a kernel of one's own is needed: two cards of the machine are connected by a cable,
//! with a DHCP server on a VLAN at the far end, and two more are the ports of a bond. systemd-networkd manages the network.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::run;
use crate::support::virtual_machine::{Hardware, VirtualMachine};

/// How long a network may take on a loaded machine with an emulated processor.
const PATIENCE: Duration = Duration::from_secs(180);

/// The MAC addresses of the cards: eth2 has the cable to eth3, eth4 and eth5 are in the bond.
const MAC: [&str; 6] = [
    "42:01:0a:80:00:02",
    "42:01:0a:80:01:01",
    "42:01:0a:80:01:02",
    "42:01:0a:80:01:03",
    "42:01:0a:80:01:04",
    "42:01:0a:80:01:05",
];

const VLAN_MAC: &str = "42:01:0a:85:00:05";

/// The far end of the cable: a DHCP server on VLAN 5, in a network namespace of its own.
const FAR_END: &str = "modprobe 8021q && ip netns add far && ip link set eth3 netns far && cd /run &&
    ip -n far link set eth3 up && ip -n far link add link eth3 name vlan5 type vlan id 5 &&
    ip -n far address add 10.133.0.1/24 dev vlan5 && ip -n far link set vlan5 up && touch /run/leases &&
    printf 'interface vlan5\\nstart 10.133.0.2\\nend 10.133.0.2\\nlease_file /run/leases\\npidfile /run/udhcpd.pid\\n\
option subnet 255.255.255.255\\noption router 10.133.0.1\\noption lease 3600\\n' > /run/udhcpd.conf &&
    systemd-run --quiet --unit=far ip netns exec far busybox udhcpd -f /run/udhcpd.conf";

/// Both cards of a bond have the address of the first from then on.
const BOND: &str =
    "modprobe bonding && ip link add bond0 address 42:01:0a:80:01:04 type bond mode active-backup miimon 100 &&
    for card in eth4 eth5; do ip link set $card down && ip link set $card master bond0; done &&
    ip link set bond0 up && ip address add 10.134.0.2/24 dev bond0";

/// Four cards more; the first two are connected.
pub(crate) fn prepare(hardware: &mut Hardware) {
    let cards = [(); 4].map(|()| hardware.network_card(1));
    run(["ip", "link", "add", "cable", "type", "bridge"]);
    run(["ip", "link", "set", "cable", "up"]);
    for card in &cards[..2] {
        run(["ip", "link", "set", card, "master", "cable"]);
    }
}

/// The whole story. It leaves metadata as it was.
pub(crate) fn is_set_up(machine: &mut VirtualMachine) {
    let before = machine
        .vm
        .live
        .read(|store| store.tree()["instance"]["networkInterfaces"].clone());
    machine.run("systemctl start systemd-networkd");
    machine.run(FAR_END);
    machine.run(BOND);
    let nic = |card: usize, forwarded: &str| json!({"mac": MAC[card].to_uppercase(), "ip": format!("10.20{card}.0.2"), "forwardedIps": [forwarded]});
    let primary = nic(0, "203.0.113.1");
    machine.vm.set(
        "instance/networkInterfaces",
        json!([
            primary,
            nic(2, "203.0.113.2"),
            nic(4, "203.0.113.4"),
            nic(5, "203.0.113.5")
        ]),
    );
    machine.vm.set(
        "instance/attributes/google-instance-configs",
        "[NetworkInterfaces]\nvlan_setup_enabled = true\n",
    );
    set_vlans(machine, &[(1, 5), (0, 7)]);
    the_vlan_is_up(machine);
    the_ports_of_the_bond_are_told_apart(machine);
    set_vlans(machine, &[]);
    expect(
        machine,
        "the VLANs go with metadata",
        "! ip link show gcp.eth2.5 && ! ip link show gcp.eth0.7",
    );
    let files = machine.run("ls /run/systemd/network");
    assert!(!files.contains("gcp."), "{files}");
    machine.run("systemctl stop systemd-networkd far; ip link delete bond0");
    machine.vm.set("instance/networkInterfaces", before);
}

/// Puts VLANs into metadata: the position of the parent, and the id.
fn set_vlans(machine: &VirtualMachine, vlans: &[(usize, u16)]) {
    let mut all = json!({});
    for (parent, id) in vlans {
        all[parent.to_string()][id.to_string()] = json!({
            "mac": VLAN_MAC, "vlan": id, "mtu": 1300, "ip": "10.133.0.2", "ipv6": [],
            "parentInterface": format!("/computeMetadata/v1/instance/network-interfaces/{parent}/")
        });
    }
    machine.vm.set("instance/vlanNetworkInterfaces", all);
}

/// Waits until a script in the guest succeeds.
fn expect(machine: &mut VirtualMachine, what: &str, script: &str) {
    let until = std::time::Instant::now() + PATIENCE;
    while machine.attempt(script).status != 0 {
        let late = std::time::Instant::now() > until;
        assert!(!late, "{what}:\n{}", state(machine));
    }
}

/// Everything that may say why something did not come about.
fn state(machine: &mut VirtualMachine) -> String {
    machine
        .attempt("ip -d link; ip address; ip route; networkctl; journalctl --no-pager --lines=100; ls /run/systemd/network")
        .stdout
}

/// The VLAN has the MAC address and the MTU of metadata and the address of its DHCP server, and traffic arrives.
fn the_vlan_is_up(machine: &mut VirtualMachine) {
    expect(
        machine,
        "the VLAN has an address",
        "ip -4 address show dev gcp.eth2.5 | grep 'inet 10.133.0.2/'",
    );
    let link = machine.run("ip -d link show gcp.eth2.5");
    for part in [
        "gcp.eth2.5@eth2:",
        "mtu 1300",
        VLAN_MAC,
        "vlan protocol 802.1Q id 5",
    ] {
        assert!(link.contains(part), "{part}:\n{link}");
    }
    expect(
        machine,
        "traffic from the VLAN arrives",
        "busybox ping -c1 -W5 -I gcp.eth2.5 10.133.0.1",
    );
    let on_primary = machine.run("ip -d link show gcp.eth0.7");
    assert!(on_primary.contains("id 7"), "{on_primary}");
    let out = machine.run("ip route get 198.51.100.1");
    assert!(out.contains("dev eth0"), "{out}");
    let file = machine.run("networkctl status gcp.eth2.5 --no-pager");
    assert!(
        file.contains("20-gcp.eth2.5-google-guest-agent.network"),
        "{file}"
    );
}

/// Both ports have one MAC address now; metadata knows them by those that they were made with.
fn the_ports_of_the_bond_are_told_apart(machine: &mut VirtualMachine) {
    for card in ["eth4", "eth5", "bond0"] {
        let link = machine.run(&format!("ip -o link show {card}"));
        assert!(link.contains(&format!("link/ether {}", MAC[4])), "{link}");
    }
    let routes = ["203.0.113.4 dev eth4", "203.0.113.5 dev eth5"];
    for route in routes {
        let script = format!("ip route show table local proto 66 | grep 'local {route}'");
        expect(machine, "the route is on its own card", &script);
    }
    let page = machine.attempt("gce-guest network status --json").stdout;
    let page: Value = serde_json::from_str(&page).unwrap();
    let names: Vec<&Value> = (0..4)
        .map(|nic| &page["interfaces"][nic]["interface"])
        .collect();
    assert_eq!(names, ["eth0", "eth2", "eth4", "eth5"], "{page:#}");
    assert_eq!(page["backend"], "systemd-networkd", "{page:#}");
    for card in ["eth4", "eth5"] {
        let told =
            format!("The interface {card} is a port of bond0: it is left to whoever made that");
        let count = format!("journalctl --no-pager -o cat -u agent | grep -c '{told}'");
        assert_eq!(machine.run(&count), "1");
        let file = format!("test -e /run/systemd/network/20-{card}-google-guest-agent.network");
        assert_eq!(machine.attempt(&file).status, 1);
    }
    // Bound to the bond, traffic is nobody's of ours.
    assert!(
        machine
            .run("ip address show dev bond0")
            .contains("10.134.0.2/24")
    );
}
