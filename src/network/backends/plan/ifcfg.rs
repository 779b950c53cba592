//! `ifcfg-*` files: of wicked on SUSE (ifcfg(5)) and of the network scripts of Enterprise Linux. Both read /etc only.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::File;
use super::networkd::vlan_metric;
use super::nics::{Nic, Vlan};
use crate::network::backends::MARK;

/// Where wicked's files are.
pub const WICKED: &str = "/etc/sysconfig/network";

/// Where those of the network scripts are.
pub const SCRIPTS: &str = "/etc/sysconfig/network-scripts";

const PREFIX: &str = "ifcfg-";

/// Whether a name in one of the directories may be one of ours.
#[must_use]
pub fn is_candidate(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The file of an interface.
#[must_use]
pub fn path(directory: &str, interface: &str) -> PathBuf {
    Path::new(directory).join(format!("{PREFIX}{interface}"))
}

/// The files of wicked for an interface and its VLANs.
#[must_use]
pub fn wicked(nic: &Nic) -> Vec<File> {
    let own = nic.managed.then(|| {
        let protocol = match (nic.ipv4, nic.ipv6) {
            (true, true) => "dhcp",
            (false, true) => "dhcp6",
            // IPv6 comes by router advertisements where there are any.
            (_, false) => "dhcp4",
        };
        let lines = [
            ("STARTMODE", Some("hotplug".to_owned())),
            ("BOOTPROTO", Some(protocol.into())),
            ("MTU", nic.mtu.map(|mtu| mtu.to_string())),
            (
                "DHCLIENT_ROUTE_PRIORITY",
                nic.metric().map(|metric| metric.to_string()),
            ),
            (
                "DHCLIENT_SET_HOSTNAME",
                (!nic.is_primary()).then(|| "no".into()),
            ),
        ];
        file(WICKED, &nic.name, &lines)
    });
    let vlan = |vlan: &Vlan| {
        let lines = [
            ("STARTMODE", Some("hotplug".to_owned())),
            ("BOOTPROTO", Some("dhcp".into())),
            ("VLAN", Some("yes".into())),
            ("ETHTOOL_OPTIONS", Some("'reorder_hdr off'".into())),
            ("ETHERDEVICE", Some(nic.name.clone())),
            ("VLAN_ID", Some(vlan.id.to_string())),
            ("LLADDR", Some(vlan.mac.to_string())),
            ("MTU", vlan.mtu.map(|mtu| mtu.to_string())),
            (
                "DHCLIENT_ROUTE_PRIORITY",
                Some(vlan_metric(nic, vlan).to_string()),
            ),
        ];
        file(WICKED, &vlan.name, &lines)
    };
    own.into_iter().chain(nic.vlans.iter().map(vlan)).collect()
}

/// The files of the network scripts for an interface and its VLANs.
#[must_use]
pub fn scripts(nic: &Nic) -> Vec<File> {
    let yes_or_no = |yes: bool| Some(if yes { "yes" } else { "no" }.to_owned());
    let own = nic.managed.then(|| {
        let lines = [
            ("DEVICE", Some(nic.name.clone())),
            ("HWADDR", Some(nic.mac.to_string())),
            (
                "BOOTPROTO",
                Some(if nic.ipv4 { "dhcp" } else { "none" }.into()),
            ),
            ("DEFROUTE", yes_or_no(nic.is_primary())),
            ("DHCPV6C", nic.ipv6.then(|| "yes".into())),
            ("IPV6INIT", yes_or_no(nic.ipv6)),
            ("IPV6_DEFROUTE", yes_or_no(nic.is_primary())),
            ("METRIC", nic.metric().map(|metric| metric.to_string())),
            ("MTU", nic.mtu.map(|mtu| mtu.to_string())),
            ("NM_CONTROLLED", Some("no".into())),
            ("NOZEROCONF", Some("yes".into())),
            ("ONBOOT", Some("yes".into())),
            ("PEERDNS", yes_or_no(nic.is_primary())),
            ("PERSISTENT_DHCLIENT", Some("yes".into())),
        ];
        file(SCRIPTS, &nic.name, &lines)
    });
    let vlan = |vlan: &Vlan| {
        let lines = [
            ("DEVICE", Some(vlan.name.clone())),
            ("VLAN", Some("yes".into())),
            ("VID", Some(vlan.id.to_string())),
            ("PHYSDEV", Some(nic.name.clone())),
            ("REORDER_HDR", Some("no".into())),
            ("MACADDR", Some(vlan.mac.to_string())),
            ("MTU", vlan.mtu.map(|mtu| mtu.to_string())),
            ("BOOTPROTO", Some("dhcp".into())),
            ("DEFROUTE", Some("no".into())),
            ("DHCPV6C", vlan.ipv6.then(|| "yes".into())),
            ("IPV6INIT", yes_or_no(vlan.ipv6)),
            ("NM_CONTROLLED", Some("no".into())),
            ("ONBOOT", Some("yes".into())),
            ("PEERDNS", Some("no".into())),
            ("PERSISTENT_DHCLIENT", Some("yes".into())),
        ];
        file(SCRIPTS, &vlan.name, &lines)
    };
    own.into_iter().chain(nic.vlans.iter().map(vlan)).collect()
}

fn file(directory: &str, interface: &str, lines: &[(&str, Option<String>)]) -> File {
    let mut text = format!("{MARK}\n");
    for (key, value) in lines {
        if let Some(value) = value {
            // Writing into a text cannot fail.
            let _ = writeln!(text, "{key}={value}");
        }
    }
    File::new(path(directory, interface), text, 0o644)
}
