//! `ifcfg-*` files: of wicked on SUSE (ifcfg(5)) and of the network scripts of Enterprise Linux. Both read /etc only.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::File;
use super::ini::{Key, value};
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
            ("STARTMODE", Some("hotplug".into())),
            ("BOOTPROTO", Some(protocol.into())),
            ("MTU", value(nic.mtu)),
            ("DHCLIENT_ROUTE_PRIORITY", value(nic.metric())),
            (
                "DHCLIENT_SET_HOSTNAME",
                (!nic.is_primary()).then(|| "no".into()),
            ),
        ];
        file(WICKED, &nic.name, &lines)
    });
    let vlan = |vlan: &Vlan| {
        let lines = [
            ("STARTMODE", Some("hotplug".into())),
            ("BOOTPROTO", Some("dhcp".into())),
            ("VLAN", Some("yes".into())),
            ("ETHTOOL_OPTIONS", Some("'reorder_hdr off'".into())),
            ("ETHERDEVICE", Some((&nic.name).into())),
            ("VLAN_ID", value(Some(vlan.id))),
            ("LLADDR", value(Some(vlan.mac))),
            ("MTU", value(vlan.mtu)),
            (
                "DHCLIENT_ROUTE_PRIORITY",
                value(Some(vlan_metric(nic, vlan))),
            ),
        ];
        file(WICKED, &vlan.name, &lines)
    };
    own.into_iter().chain(nic.vlans.iter().map(vlan)).collect()
}

/// The files of the network scripts for an interface and its VLANs.
#[must_use]
pub fn scripts(nic: &Nic) -> Vec<File> {
    let yes_or_no = |yes: bool| Some(if yes { "yes" } else { "no" }.into());
    let own = nic.managed.then(|| {
        let lines = [
            ("DEVICE", Some((&nic.name).into())),
            ("HWADDR", value(Some(nic.mac))),
            (
                "BOOTPROTO",
                Some(if nic.ipv4 { "dhcp" } else { "none" }.into()),
            ),
            ("DEFROUTE", yes_or_no(nic.is_primary())),
            ("DHCPV6C", nic.ipv6.then(|| "yes".into())),
            ("IPV6INIT", yes_or_no(nic.ipv6)),
            ("IPV6_DEFROUTE", yes_or_no(nic.is_primary())),
            ("METRIC", value(nic.metric())),
            ("MTU", value(nic.mtu)),
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
            ("DEVICE", Some((&vlan.name).into())),
            ("VLAN", Some("yes".into())),
            ("VID", value(Some(vlan.id))),
            ("PHYSDEV", Some((&nic.name).into())),
            ("REORDER_HDR", Some("no".into())),
            ("MACADDR", value(Some(vlan.mac))),
            ("MTU", value(vlan.mtu)),
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

fn file(directory: &str, interface: &str, lines: &[Key<'_>]) -> File {
    let mut text = format!("{MARK}\n");
    for (key, value) in lines {
        if let Some(value) = value {
            // Writing into a text cannot fail.
            let _ = writeln!(text, "{key}={value}");
        }
    }
    File::new(path(directory, interface), text, 0o644)
}
