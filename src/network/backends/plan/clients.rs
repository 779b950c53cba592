//! DHCP clients without a backend around them, and ifupdown, which is one of Debian's ways to start them.

use std::path::PathBuf;
use std::time::Duration;

use super::File;
use super::nics::Nic;
use crate::network::backends::MARK;
use crate::network::backends::observed::{Client, Family, OUR_DHCLIENT, Observed};
use crate::system::processes::Invocation;

/// The file with the interfaces that ifup is given; nothing else reads it.
pub const INTERFACES: &str = "/run/gce-guest/interfaces";

/// How long ifup may take: dhclient in it gives up after a minute, and its hooks take their time.
const IFUP_DEADLINE: Duration = Duration::from_secs(90);

/// The clients go into the background at once.
const CLIENT_DEADLINE: Duration = Duration::from_secs(20);

/// An interface that is to have an address of a family by DHCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease<'a> {
    /// The name of the interface.
    pub interface: &'a str,
    /// Its number, where it is there.
    pub index: Option<u32>,
    /// The family.
    pub family: Family,
    /// The metric of its routes.
    pub metric: Option<u32>,
}

/// What an interface and its VLANs are to have. IPv6 is asked for on the primary too, as the Python daemon does
/// (spec/core.md 8.5); that touches nothing that is there.
#[must_use]
pub fn leases<'a>(nic: &'a Nic, observed: &Observed) -> Vec<Lease<'a>> {
    let mut leases = Vec::new();
    let mut add = |interface: &'a str, family, metric| {
        let link = observed.links.iter().find(|link| link.name == interface);
        leases.push(Lease {
            interface,
            index: link.map(|link| link.index),
            family,
            metric,
        });
    };
    if nic.managed && nic.ipv4 {
        add(&nic.name, Family::V4, nic.metric());
    }
    if nic.ipv6 {
        add(&nic.name, Family::V6, nic.metric());
    }
    for vlan in &nic.vlans {
        let metric = Some(super::networkd::vlan_metric(nic, vlan));
        add(&vlan.name, Family::V4, metric);
        if vlan.ipv6 {
            add(&vlan.name, Family::V6, metric);
        }
    }
    leases
}

/// Whether somebody sees to it already: a client for that family, or an address.
#[must_use]
pub fn is_served(lease: &Lease<'_>, observed: &Observed) -> bool {
    let client = |client: &Client| client.serves(lease.interface, lease.family);
    observed.clients.iter().any(client)
        || lease
            .index
            .is_some_and(|index| observed.has_address(index, lease.family))
}

/// Starts dhclient for one family on one interface, in the background. Its files have names of ours, by which only such
/// clients are ever stopped (spec/beyond.md D 16).
#[must_use]
pub fn dhclient(lease: &Lease<'_>) -> Invocation {
    let mut words = vec![lease.family.option().to_owned(), "-nw".to_owned()];
    if let Some(metric) = lease.metric {
        words.extend(["-e".to_owned(), format!("IF_METRIC={metric}")]);
    }
    words.extend(dhclient_files(lease.interface, lease.family));
    words.push(lease.interface.to_owned());
    Invocation::new("dhclient", words).within(CLIENT_DEADLINE)
}

/// Has a dhclient of ours give its IPv6 lease back and end.
#[must_use]
pub fn release(client: &Client, interface: &str) -> Invocation {
    let mut words = vec![client.family_option().to_owned(), "-r".to_owned()];
    let family = if client.ipv6 { Family::V6 } else { Family::V4 };
    words.extend(dhclient_files(interface, family));
    words.push(interface.to_owned());
    Invocation::new("dhclient", words).within(CLIENT_DEADLINE)
}

fn dhclient_files(interface: &str, family: Family) -> [String; 4] {
    let name = format!("/run/{OUR_DHCLIENT}{interface}.{}", family.word());
    [
        "-pf".to_owned(),
        format!("{name}.pid"),
        "-lf".to_owned(),
        format!("{name}.lease"),
    ]
}

/// Starts dhcpcd on one interface, in the background, or has the one that runs take it up.
#[must_use]
pub fn dhcpcd(interface: &str, families: &[Family], metric: Option<u32>) -> Invocation {
    let mut words = vec!["--background".to_owned()];
    if let [family] = families {
        words.push(family.option().to_owned());
    }
    if let Some(metric) = metric {
        // The name servers and the host name are the primary's.
        let hooks = [
            "--nohook",
            "resolv.conf",
            "--nohook",
            "hostname",
            "--metric",
        ];
        words.extend(hooks.map(String::from));
        words.push(metric.to_string());
    }
    words.push(interface.to_owned());
    Invocation::new("dhcpcd", words).within(CLIENT_DEADLINE)
}

/// The file for ifup, with every interface that gets an IPv4 address; none without any.
#[must_use]
pub fn interfaces_file(leases: &[Lease<'_>]) -> Option<File> {
    let mut text = format!("{MARK}\n");
    let mut any = false;
    for lease in leases.iter().filter(|lease| lease.family == Family::V4) {
        any = true;
        text.push_str(&format!("\niface {} inet dhcp\n", lease.interface));
        if let Some(metric) = lease.metric {
            text.push_str(&format!("    metric {metric}\n"));
        }
    }
    any.then(|| File::new(PathBuf::from(INTERFACES), text, 0o644))
}

/// Brings an interface of our file up. `--force`, because ifupdown believes its own notes and not the kernel.
#[must_use]
pub fn ifup(interface: &str) -> Invocation {
    let words = ["--force", "--interfaces", INTERFACES, interface];
    Invocation::new("ifup", words).within(IFUP_DEADLINE)
}
