//! Two networks like those of Compute Engine around a machine, with a real DHCP server in each: leases of a single address
//! (/32), routes by option 121, an MTU of 1460, and in the second network IPv6 by router advertisement and DHCPv6.
//!
//! The machine's interfaces eth0 and eth1 are in a network namespace of its own; their other ends, with the gateways'
//! addresses, are where the metadata server is. Debian packages: dnsmasq-base, iproute2.

use super::{Daemon, run};

/// The options of systemd-nspawn for a machine in these networks.
pub(crate) const OPTIONS: [&str; 2] = [
    "--network-namespace-path=/run/netns/machine",
    "--capability=CAP_NET_ADMIN",
];

/// The MAC address of eth0, the first of the example instance.
pub(crate) const PRIMARY_MAC: &str = "42:01:0a:80:00:02";

/// The MAC address of eth1.
pub(crate) const SECONDARY_MAC: &str = "42:01:0a:81:00:02";

/// What eth0 gets.
pub(crate) const PRIMARY_ADDRESS: &str = "10.128.0.2";

/// What eth1 gets.
pub(crate) const SECONDARY_ADDRESS: &str = "10.129.0.2";

/// The other end of eth1's network.
pub(crate) const SECONDARY_GATEWAY: &str = "10.129.0.1";

/// Makes the networks and their servers, which end with what is returned.
#[must_use]
pub(crate) fn make() -> Vec<Daemon> {
    keep_tmp();
    ip("netns add machine");
    ip("-n machine link set lo up");
    for (number, mac) in [(0, PRIMARY_MAC), (1, SECONDARY_MAC)] {
        add_interface(&format!("eth{number}"), number, mac);
    }
    ip("-6 address add fd20:0:0:129::1/64 dev gw1 nodad");
    (0..2).map(serve).collect()
}

/// Has what the servers say go to a `/tmp` of these networks' own. What is in the real one stays in sight: the sources may be.
pub(crate) fn keep_tmp() {
    run(["mkdir", "--parents", "/run/lan/upper", "/run/lan/work"]);
    let layers = "lowerdir=/tmp,upperdir=/run/lan/upper,workdir=/run/lan/work";
    run(["mount", "-t", "overlay", "overlay", "-o", layers, "/tmp"]);
}

/// Takes from the machine's interfaces what only a kernel that goes would: a machine that is switched off has no addresses.
pub(crate) fn switch_off() {
    for number in 0..2 {
        ip(&format!("-n machine link set eth{number} down"));
        ip(&format!("-n machine address flush dev eth{number}"));
    }
}

/// Adds an interface of the machine, and the other end of its wire with the gateway's address.
fn add_interface(name: &str, network: u8, mac: &str) {
    let gateway = format!("gw{network}");
    ip(&format!(
        "link add {gateway} type veth peer name {name} address {mac} netns machine"
    ));
    ip(&format!(
        "address add 10.{}.0.1/20 dev {gateway}",
        128 + network
    ));
    ip(&format!("link set {gateway} up"));
}

/// Plugs an interface into a network that is new, with a server.
#[must_use]
pub(crate) fn plug(name: &str, network: u8, mac: &str) -> Daemon {
    add_interface(name, network, mac);
    serve(network)
}

fn ip(words: &str) {
    run(std::iter::once("ip").chain(words.split(' ')));
}

/// Starts the DHCP server of a network: a single address, behind the interface gwN with the gateway's.
pub(crate) fn serve(network: u8) -> Daemon {
    let subnet = format!("10.{}.0", 128 + network);
    let mut command = std::process::Command::new("dnsmasq");
    command
        .args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
        ])
        .args(["--no-hosts", "--port=0", "--bind-interfaces", "--no-ping"])
        .args(["--user=root", "--dhcp-authoritative", "--dhcp-no-override"])
        .args([
            "--log-dhcp",
            &format!("--log-facility=/run/dnsmasq{network}.log"),
        ])
        .arg(format!("--interface=gw{network}"))
        .arg(format!("--pid-file=/run/dnsmasq{network}.pid"))
        .arg(format!("--dhcp-leasefile=/run/dnsmasq{network}.leases"))
        .arg(format!(
            "--dhcp-range={subnet}.2,{subnet}.2,255.255.240.0,1h"
        ))
        .args(["--dhcp-option=1,255.255.255.255", "--dhcp-option=26,1460"])
        .arg(format!("--dhcp-option=3,{subnet}.1"))
        .arg(format!(
            "--dhcp-option=121,{subnet}.1/32,0.0.0.0,0.0.0.0/0,{subnet}.1"
        ))
        .args([
            "--dhcp-option=6,169.254.169.254",
            "--dhcp-option=15,c.example.internal",
        ])
        .arg("--dhcp-option=12,machine.c.example.internal");
    if network == 1 {
        let range = "fd20:0:0:129::2,fd20:0:0:129::2,64,1h";
        command.args([
            "--enable-ra",
            "--ra-param=gw1,10",
            &format!("--dhcp-range={range}"),
        ]);
    }
    Daemon::start_command(&format!("dnsmasq{network}"), &mut command)
}
