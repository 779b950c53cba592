//! Which interfaces of metadata are set up, and how.

use crate::config::Settings;
use crate::metadata::Document;
use crate::metadata::document::{NetworkInterface, VlanInterface};
use crate::network::interfaces;
use crate::network::plan::is_switched_off;
use crate::network::routes::shortened;
use crate::system::netlink::{Link, MacAddress};
use crate::system::order::Map;

use super::Problem;

/// The longest name of an interface (`IFNAMSIZ` of linux/if.h without its end).
const LONGEST_NAME: usize = 15;

/// The smallest and the largest MTU that is believed (RFC 791, and the largest that the kernel takes).
const MTU: std::ops::RangeInclusive<u32> = 576..=65_535;

/// An interface that is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its position in metadata; 0 is the primary.
    pub position: usize,
    /// Its name now.
    pub name: String,
    /// Its number in the kernel.
    pub index: u32,
    /// Its MAC address.
    pub mac: MacAddress,
    /// Whether the hardware was made with that address: some programs match no other.
    pub permanent: bool,
    /// Whether it gets an IPv4 address by DHCP.
    pub ipv4: bool,
    /// Whether it gets an IPv6 address by DHCPv6: metadata has `dhcpv6Refresh`.
    pub ipv6: bool,
    /// The MTU in metadata.
    pub mtu: Option<u32>,
    /// Whether the backend sets it up; the primary has somebody who does, unless the configuration says otherwise.
    pub managed: bool,
    /// The VLANs on top of it.
    pub vlans: Vec<Vlan>,
}

impl Nic {
    /// Whether it is the primary interface.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.position == 0
    }

    /// The metric of its routes: a secondary interface is never preferred (spec/core.md BUG 23). `None` leaves the default.
    #[must_use]
    pub fn metric(&self) -> Option<u32> {
        let position = u32::try_from(self.position).unwrap_or(u32::MAX);
        (!self.is_primary()).then(|| position.saturating_mul(100).saturating_add(10_000))
    }
}

/// A VLAN interface that is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The VLAN id.
    pub id: u16,
    /// Its name, `gcp.<parent>.<id>`.
    pub name: String,
    /// Its MAC address.
    pub mac: MacAddress,
    /// The MTU in metadata.
    pub mtu: Option<u32>,
    /// Whether it has an IPv6 address.
    pub ipv6: bool,
}

/// Whether interfaces are left as they are, by any of the switches.
#[must_use]
pub fn is_off(document: &Document, settings: &Settings) -> bool {
    !settings.daemons.network_daemon
        || !settings.network_interfaces.setup
        || is_switched_off(document, settings)
}

/// The interfaces to set up, in the order of metadata, and what stands in the way of others.
///
/// `None` when nothing is to be touched: switched off, or metadata does not say which interfaces there are.
#[must_use]
pub fn wanted(
    document: &Document,
    settings: &Settings,
    links: &[Link],
) -> Option<(Vec<Nic>, Vec<Problem>)> {
    let options = &settings.network_interfaces;
    if is_off(document, settings) {
        return None;
    }
    let interfaces = document.instance.network_interfaces.present()?;
    let (mut nics, mut problems) = (Vec::new(), Vec::new());
    let mut taken: Map<u32, usize> = Map::new();
    for (position, interface) in interfaces.iter().enumerate() {
        // One that is unreadable, or not there yet, is told of with its addresses.
        let Ok(mac) = interface.mac.parse() else {
            continue;
        };
        let Some(link) = interfaces::find(links, mac) else {
            continue;
        };
        if let Some(first) = taken.get(&link.index) {
            problems.push(Problem::SameInterface {
                nic: position,
                first: *first,
                name: link.name.clone(),
            });
        } else if is_plain(&link.name) {
            taken.insert(link.index, position);
            let managed = position != 0 || options.manage_primary_nic;
            let nic = nic(position, interface, link, mac, managed, &mut problems);
            nics.push(leave_port(nic, links, link, &mut problems));
        } else {
            problems.push(Problem::Name(shortened(&link.name)));
        }
    }
    if options.vlan_setup_enabled {
        let vlans = document.instance.vlan_network_interfaces.present();
        for vlan in vlans.into_iter().flatten() {
            add_vlan(vlan, &mut nics, &mut problems);
        }
    }
    Some((nics, problems))
}

fn nic(
    position: usize,
    interface: &NetworkInterface,
    link: &Link,
    mac: MacAddress,
    managed: bool,
    problems: &mut Vec<Problem>,
) -> Nic {
    let ipv6 = interface.dhcpv6_refresh.is_some();
    Nic {
        position,
        name: link.name.clone(),
        index: link.index,
        mac,
        permanent: link.permanent_mac == Some(mac),
        // An interface without either has lost its `ip`, and wants it by DHCP.
        ipv4: !interface.ip.is_empty() || !ipv6,
        ipv6,
        mtu: usable_mtu(interface.mtu, &link.name, problems),
        managed,
        vlans: Vec::new(),
    }
}

/// Leaves a port of a bond, a bridge or the like alone: what is on top of it has the addresses.
fn leave_port(nic: Nic, links: &[Link], link: &Link, problems: &mut Vec<Problem>) -> Nic {
    let controller = match interfaces::controller(links, link) {
        Some(controller) if nic.managed || nic.ipv6 => controller,
        _ => return nic,
    };
    problems.push(Problem::Port {
        name: nic.name.clone(),
        controller: controller.name.clone(),
    });
    Nic {
        managed: false,
        ipv6: false,
        ..nic
    }
}

fn usable_mtu(mtu: Option<u32>, name: &str, problems: &mut Vec<Problem>) -> Option<u32> {
    let mtu = mtu?;
    if !MTU.contains(&mtu) {
        problems.push(Problem::Mtu {
            name: name.to_owned(),
            mtu,
        });
        return None;
    }
    Some(mtu)
}

fn add_vlan(vlan: &VlanInterface, nics: &mut [Nic], problems: &mut Vec<Problem>) {
    let mut refuse = |reason| {
        problems.push(Problem::Vlan {
            id: vlan.vlan,
            parent: vlan.parent,
            reason,
        });
    };
    let Some(parent) = nics.iter_mut().find(|nic| nic.position == vlan.parent) else {
        return refuse("its parent interface is not there");
    };
    let Ok(mac) = vlan.mac.parse() else {
        return refuse("its MAC address is not readable");
    };
    let name = format!("gcp.{}.{}", parent.name, vlan.vlan);
    if name.len() > LONGEST_NAME {
        return refuse("the name of its interface would be too long");
    }
    if parent.vlans.iter().any(|other| other.id == vlan.vlan) {
        return refuse("there are two of that id");
    }
    parent.vlans.push(Vlan {
        id: vlan.vlan,
        mtu: usable_mtu(vlan.mtu, &name, problems),
        name,
        mac,
        ipv6: !vlan.ipv6.is_empty(),
    });
}

/// Whether a name means itself in every format: no pattern, no quote, no comment.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte))
}
