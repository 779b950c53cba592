//! Keyfiles for NetworkManager (nm-settings-keyfile(5)), in /run where it reads that.

use std::path::{Path, PathBuf};

use super::File;
use super::ini::{ini, value};
use super::networkd::vlan_metric;
use super::nics::{Nic, Vlan};
use crate::system::netlink::MacAddress;

/// Where profiles are that end with the boot (NetworkManager 1.20).
pub const VOLATILE: &str = "/run/NetworkManager/system-connections";

/// Where they are for older ones.
pub const PERSISTENT: &str = "/etc/NetworkManager/system-connections";

const PREFIX: &str = "google-guest-agent-";

const SUFFIX: &str = ".nmconnection";

/// Whether a name in one of the directories may be one of ours.
#[must_use]
pub fn is_candidate(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// The id of the profile of an interface, as the predecessors had it.
#[must_use]
pub fn id(interface: &str) -> String {
    format!("{PREFIX}{interface}")
}

/// The UUID of the profile of an interface: always the same for the same MAC address (RFC 9562, version 8).
#[must_use]
pub fn uuid(mac: MacAddress, vlan: u16) -> String {
    let node = mac.to_string().replace(':', "");
    format!("6763652d-6775-8573-{:04x}-{node}", 0x8000 | vlan)
}

/// The profiles for an interface and its VLANs.
#[must_use]
pub fn files(nic: &Nic, directory: &str) -> Vec<File> {
    let own = nic.managed.then(|| file(nic, directory));
    own.into_iter()
        .chain(nic.vlans.iter().map(|vlan| vlan_file(nic, vlan, directory)))
        .collect()
}

fn path(interface: &str, directory: &str) -> PathBuf {
    Path::new(directory).join(format!("{PREFIX}{interface}{SUFFIX}"))
}

fn file(nic: &Nic, directory: &str) -> File {
    let metric = value(nic.metric());
    // Its name servers are asked after those of the primary.
    let priority = (!nic.is_primary()).then(|| "200".into());
    let ipv4 = if nic.ipv4 { "auto" } else { "disabled" };
    let contents = ini(&[
        (
            "connection",
            &[
                ("id", Some(id(&nic.name).into())),
                ("uuid", Some(uuid(nic.mac, 0).into())),
                ("type", Some("ethernet".into())),
                ("interface-name", Some((&nic.name).into())),
                ("autoconnect", Some("true".into())),
                ("autoconnect-priority", Some("100".into())),
            ],
        ),
        (
            "ethernet",
            &[
                (
                    "mac-address",
                    nic.permanent
                        .then(|| nic.mac.to_string().to_uppercase().into()),
                ),
                ("mtu", value(nic.mtu)),
            ],
        ),
        (
            "ipv4",
            &[
                ("method", Some(ipv4.into())),
                ("dns-priority", priority.clone()),
                ("route-metric", metric.clone()),
            ],
        ),
        (
            "ipv6",
            &[
                ("method", Some("auto".into())),
                ("dns-priority", priority),
                ("route-metric", metric),
            ],
        ),
    ]);
    File::new(path(&nic.name, directory), contents, 0o600)
}

fn vlan_file(nic: &Nic, vlan: &Vlan, directory: &str) -> File {
    let metric = value(Some(vlan_metric(nic, vlan)));
    let contents = ini(&[
        (
            "connection",
            &[
                ("id", Some(id(&vlan.name).into())),
                ("uuid", Some(uuid(vlan.mac, vlan.id).into())),
                ("type", Some("vlan".into())),
                ("interface-name", Some((&vlan.name).into())),
                ("autoconnect", Some("true".into())),
            ],
        ),
        (
            "ethernet",
            &[
                (
                    "cloned-mac-address",
                    Some(vlan.mac.to_string().to_uppercase().into()),
                ),
                ("mtu", value(vlan.mtu)),
            ],
        ),
        (
            "vlan",
            &[
                ("flags", Some("1".into())),
                ("id", value(Some(vlan.id))),
                ("parent", Some((&nic.name).into())),
            ],
        ),
        (
            "ipv4",
            &[
                ("method", Some("auto".into())),
                ("dns-priority", Some("200".into())),
                ("route-metric", metric.clone()),
            ],
        ),
        (
            "ipv6",
            &[
                ("method", Some("auto".into())),
                ("dns-priority", Some("200".into())),
                ("route-metric", metric),
            ],
        ),
    ]);
    File::new(path(&vlan.name, directory), contents, 0o600)
}
