//! Files for systemd-networkd (systemd.network(5)), in /run: they end with the boot.

use std::path::{Path, PathBuf};

use super::File;
use super::ini::{ini, value};
use super::nics::{Nic, Vlan};

/// Where the files are. Of the same name, one in /etc/systemd/network wins over ours.
pub const DIRECTORY: &str = "/run/systemd/network";

/// The end of the predecessors' file names, so that ours takes the place of one of theirs in /usr/lib.
const SUFFIX: &str = "-google-guest-agent.network";

/// The file of an interface.
#[must_use]
pub fn path(interface: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("20-{interface}{SUFFIX}"))
}

/// Whether a name in [`DIRECTORY`] may be one of ours.
#[must_use]
pub fn is_candidate(name: &str) -> bool {
    name.starts_with("20-") && name.ends_with(SUFFIX)
}

/// The files for an interface and its VLANs.
#[must_use]
pub fn files(nic: &Nic) -> Vec<File> {
    let own = nic.managed.then(|| file(nic));
    own.into_iter()
        .chain(nic.vlans.iter().map(|vlan| vlan_file(nic, vlan)))
        .collect()
}

fn file(nic: &Nic) -> File {
    let mtu = value(nic.mtu);
    let metric = value(nic.metric());
    let secondary = |value: &'static str| (!nic.is_primary()).then(|| value.into());
    let from_lease = mtu.is_none().then(|| "true".into());
    let contents = ini(&[
        (
            "Match",
            &[
                ("MACAddress", value(Some(nic.mac))),
                ("Name", Some((&nic.name).into())),
            ],
        ),
        (
            "Link",
            &[
                ("MTUBytes", mtu),
                // A boot does not wait for it.
                ("RequiredForOnline", secondary("no")),
            ],
        ),
        (
            "Network",
            &[
                ("DHCP", Some(families(nic).into())),
                ("DNSDefaultRoute", value(Some(nic.is_primary()))),
            ],
        ),
        (
            "DHCPv4",
            &[
                ("RouteMetric", metric.clone()),
                ("RoutesToDNS", secondary("false")),
                ("RoutesToNTP", secondary("false")),
                ("UseDomains", secondary("false")),
                ("UseHostname", secondary("false")),
                ("UseMTU", from_lease),
            ],
        ),
        (
            "DHCPv6",
            &[
                ("UseDomains", secondary("false")),
                ("UseHostname", secondary("false")),
            ],
        ),
        (
            "IPv6AcceptRA",
            &[("RouteMetric", metric), ("UseDomains", secondary("false"))],
        ),
    ]);
    File::new(path(&nic.name), contents, 0o644)
}

/// The value of `DHCP=`.
pub(super) fn families(nic: &Nic) -> &'static str {
    match (nic.ipv4, nic.ipv6) {
        (true, true) => "yes",
        (false, true) => "ipv6",
        (_, false) => "ipv4",
    }
}

/// A VLAN's file. The link itself is made apart from it: networkd makes one only on a parent that it is told to, and the
/// parent may be the primary interface, which has a file of somebody else.
fn vlan_file(nic: &Nic, vlan: &Vlan) -> File {
    let metric = value(Some(vlan_metric(nic, vlan)));
    let no = || Some("false".into());
    let contents = ini(&[
        (
            "Match",
            &[
                ("Name", Some((&vlan.name).into())),
                ("Type", Some("vlan".into())),
            ],
        ),
        (
            "Link",
            &[
                ("MACAddress", value(Some(vlan.mac))),
                ("MTUBytes", value(vlan.mtu)),
                ("RequiredForOnline", Some("no".into())),
            ],
        ),
        (
            "Network",
            &[
                ("DHCP", Some(if vlan.ipv6 { "yes" } else { "ipv4" }.into())),
                ("DNSDefaultRoute", no()),
            ],
        ),
        (
            "DHCPv4",
            &[
                ("RouteMetric", metric.clone()),
                ("RoutesToDNS", no()),
                ("RoutesToNTP", no()),
                ("UseDomains", no()),
                ("UseHostname", no()),
            ],
        ),
        ("IPv6AcceptRA", &[("RouteMetric", metric)]),
    ]);
    File::new(path(&vlan.name), contents, 0o644)
}

/// The metric of a VLAN's routes: above those of every interface (spec/beyond.md 7.10).
pub(super) fn vlan_metric(nic: &Nic, vlan: &Vlan) -> u32 {
    let position = u32::try_from(nic.position).unwrap_or(u32::MAX);
    position
        .saturating_mul(5_000)
        .saturating_add(20_200)
        .saturating_add(vlan.id.into())
}
