//! Which interface is the NIC with a given MAC address. Pure: a list of links in, one of them out.
//!
//! Several interfaces may have the address of one NIC: a bond, bridge, VLAN, macvlan or ipvlan on top of it takes it
//! over, and a bond gives one address to all its ports. The NIC is the hardware underneath (spec/core.md BUG 17).

use crate::system::netlink::{Link, MacAddress};

/// The link that is the NIC with this MAC address; `None` when it is not (yet) there.
///
/// Hardware comes first, and only where none has the address a veth, which is what a container has for a NIC. Other
/// virtual interfaces never count. The address that the hardware was made with counts more than the present one. Among
/// equals the lowest index wins, so that the answer does not depend on the order of the list.
#[must_use]
pub fn find(links: &[Link], mac: MacAddress) -> Option<&Link> {
    links
        .iter()
        .filter_map(|link| Some((rank(link, mac)?, link)))
        .min_by_key(|(rank, link)| (*rank, link.index))
        .map(|(_, link)| link)
}

/// The bond, the bridge or the like that a link is a port of, and which has the addresses in its place. A VRF is none: its
/// ports keep theirs.
#[must_use]
pub fn controller<'a>(links: &'a [Link], port: &Link) -> Option<&'a Link> {
    let index = port.controller?;
    let controller = links.iter().find(|link| link.index == index)?;
    (controller.kind.as_deref() != Some("vrf")).then_some(controller)
}

/// How well a link fits, the best first; `None` when it does not.
fn rank(link: &Link, mac: MacAddress) -> Option<(Sort, Match)> {
    let address = if link.permanent_mac == Some(mac) {
        Match::Permanent
    } else if link.mac == Some(mac) && !borrows_address(link) {
        Match::Present
    } else {
        return None;
    };
    Some((sort(link)?, address))
}

/// Whether the link's present address is that of the bond, or the like, that it is a port of.
fn borrows_address(link: &Link) -> bool {
    link.controller.is_some() && link.permanent_mac.is_some() && link.permanent_mac != link.mac
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    Permanent,
    Present,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    /// There is a device behind it.
    Device,
    /// It is of no virtual kind: what can be known of hardware on kernels that do not tell the device.
    NotVirtual,
    /// The NIC of a container.
    Veth,
}

fn sort(link: &Link) -> Option<Sort> {
    if !link.ethernet {
        return None;
    }
    match link.kind.as_deref() {
        None if link.device.is_some() => Some(Sort::Device),
        None => Some(Sort::NotVirtual),
        Some("veth") => Some(Sort::Veth),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddress = MacAddress([0x42, 1, 10, 128, 0, 2]);
    const B: MacAddress = MacAddress([0x42, 1, 10, 128, 0, 3]);

    fn link(index: u32, mac: MacAddress) -> Link {
        Link {
            index,
            name: format!("if{index}"),
            mac: Some(mac),
            up: true,
            ethernet: true,
            ..Link::default()
        }
    }

    fn hardware(index: u32, mac: MacAddress) -> Link {
        Link {
            device: Some(format!("virtio{index}")),
            permanent_mac: Some(mac),
            ..link(index, mac)
        }
    }

    fn virtual_link(index: u32, kind: &str, mac: MacAddress) -> Link {
        Link {
            kind: Some(kind.into()),
            ..link(index, mac)
        }
    }

    /// The index that is found, whatever the order of the list.
    fn found(mut links: Vec<Link>, mac: MacAddress) -> Option<u32> {
        let index = find(&links, mac).map(|link| link.index);
        links.reverse();
        assert_eq!(find(&links, mac).map(|link| link.index), index);
        index
    }

    #[test]
    fn the_nic_is_the_hardware_below_what_is_stacked_on_it() {
        for kind in [
            "bond", "bridge", "vlan", "macvlan", "macvtap", "ipvlan", "team", "dummy", "vrf", "tun",
        ] {
            let stacked = virtual_link(2, kind, A);
            assert_eq!(
                found(vec![stacked.clone(), hardware(5, A)], A),
                Some(5),
                "{kind}"
            );
            assert_eq!(found(vec![stacked], A), None, "{kind} alone");
        }
    }

    #[test]
    fn a_veth_is_the_nic_of_a_container_and_nothing_beside_hardware() {
        let veth = virtual_link(2, "veth", A);
        assert_eq!(
            found(vec![veth.clone(), virtual_link(3, "macvlan", A)], A),
            Some(2)
        );
        assert_eq!(found(vec![veth, hardware(4, A)], A), Some(4));
    }

    #[test]
    fn the_ports_of_a_bond_are_told_apart_by_the_address_they_were_made_with() {
        let first = Link {
            controller: Some(9),
            ..hardware(2, A)
        };
        let second = Link {
            mac: Some(A),
            controller: Some(9),
            ..hardware(3, B)
        };
        let bond = virtual_link(9, "bond", A);
        let links = vec![bond.clone(), second.clone(), first];
        assert_eq!(found(links.clone(), A), Some(2));
        assert_eq!(found(links, B), Some(3));
        // With the first one unplugged the second keeps the borrowed address, and is still not the first.
        assert_eq!(found(vec![bond, second], A), None);
    }

    #[test]
    fn old_kernels_that_tell_no_device_are_served() {
        assert_eq!(
            found(vec![virtual_link(2, "bridge", A), link(3, A)], A),
            Some(3)
        );
        assert_eq!(found(vec![link(2, A), hardware(3, A)], A), Some(3));
    }

    #[test]
    fn the_lowest_index_wins_among_equals_and_other_addresses_do_not_count() {
        assert_eq!(found(vec![link(7, A), link(4, A), link(5, A)], A), Some(4));
        assert_eq!(found(vec![hardware(1, B)], A), None);
        assert_eq!(found(vec![], A), None);
    }

    #[test]
    fn an_address_that_the_administrator_gave_counts_too() {
        let renumbered = Link {
            mac: Some(A),
            ..hardware(2, B)
        };
        assert_eq!(found(vec![renumbered.clone()], A), Some(2));
        assert_eq!(found(vec![renumbered, hardware(3, A)], A), Some(3));
    }

    #[test]
    fn loopback_and_tunnels_are_no_nics() {
        let loopback = Link {
            ethernet: false,
            ..link(1, MacAddress([0; 6]))
        };
        assert_eq!(found(vec![loopback], MacAddress([0; 6])), None);
    }
}
