//! Network interfaces as the kernel knows them ("links").

use std::fmt;
use std::str::FromStr;

use netlink_packet_core::{
    DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NlaBuffer, NlasIterator, parse_string,
};
use netlink_packet_route::link::{LinkFlags, LinkHeader, LinkLayerType};
use rustix::io::Errno;
use thiserror::Error;

use super::{NetlinkError, Request, Socket, number, request};
use crate::system::order::InOrder;

/// `sizeof(struct ifinfomsg)`.
const HEADER_LENGTH: usize = 16;

/// `RTEXT_FILTER_SKIP_STATS` of linux/rtnetlink.h.
const SKIP_STATISTICS: u32 = 1 << 3;

/// `VETH_INFO_PEER` of linux/veth.h.
const VETH_PEER: u16 = 1;

/// `IFLA_VLAN_ID`, `IFLA_VLAN_FLAGS` of linux/if_link.h, and the bit `VLAN_FLAG_REORDER_HDR` of linux/if_vlan.h.
const VLAN_ID: u16 = 1;
const VLAN_FLAGS: u16 = 2;
const VLAN_REORDERS_HEADERS: u32 = 1;

/// A 48-bit hardware address. Written in lower case with colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

/// A text that is not six pairs of hexadecimal digits with colons between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a MAC address (six pairs of hexadecimal digits with colons between them)")]
pub struct MalformedMac;

impl FromStr for MacAddress {
    type Err = MalformedMac;

    /// Reads six pairs of hexadecimal digits, in any letter case, with colons between them.
    fn from_str(text: &str) -> Result<Self, MalformedMac> {
        let mut octets = [0; 6];
        let mut pairs = text.split(':');
        for octet in &mut octets {
            let pair = pairs.next().ok_or(MalformedMac)?;
            if pair.len() != 2 || !pair.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(MalformedMac);
            }
            *octet = u8::from_str_radix(pair, 16).map_err(|_| MalformedMac)?;
        }
        match pairs.next() {
            None => Ok(Self(octets)),
            Some(_) => Err(MalformedMac),
        }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number: it stays when the interface is renamed and is not given to another one.
    pub index: u32,
    /// Its present name.
    pub name: String,
    /// Its present hardware address, where it has one of six bytes.
    pub mac: Option<MacAddress>,
    /// The address that the hardware was made with, where the driver tells it (Linux 5.6). Bonds change the other one.
    pub permanent_mac: Option<MacAddress>,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it is Ethernet (`ARPHRD_ETHER`); loopback and tunnels are not.
    pub ethernet: bool,
    /// What sort of virtual interface it is ("veth", "bridge", "vlan", ...); `None` for hardware.
    pub kind: Option<String>,
    /// The bus name of the device behind it ("virtio0"), where there is one and the kernel tells it (Linux 5.14).
    pub device: Option<String>,
    /// The index of the bond, bridge or the like that it is a port of.
    pub controller: Option<u32>,
    /// The index of the interface that it is stacked on; the peer's, for a veth.
    pub lower: Option<u32>,
}

impl Link {
    /// Reads the part of an `RTM_NEWLINK` message that we use. What we do not know we skip: kernels add attributes.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, NetlinkError> {
        let header = LinkHeader::parse(payload).map_err(NetlinkError::malformed)?;
        let mut link = Self {
            index: header.index,
            up: header.flags.contains(LinkFlags::Up),
            ethernet: header.link_layer_type == LinkLayerType::Ether,
            ..Self::default()
        };
        for attribute in NlasIterator::new(&payload[HEADER_LENGTH..]) {
            link.take(&attribute.map_err(NetlinkError::malformed)?)?;
        }
        Ok(link)
    }

    fn take(&mut self, attribute: &NlaBuffer<&[u8]>) -> Result<(), NetlinkError> {
        let value = attribute.value();
        match attribute.kind() {
            libc::IFLA_IFNAME => {
                self.name = parse_string(value).map_err(NetlinkError::malformed)?;
            }
            libc::IFLA_ADDRESS => self.mac = value.try_into().ok().map(MacAddress),
            libc::IFLA_PERM_ADDRESS => {
                self.permanent_mac = value.try_into().ok().map(MacAddress);
            }
            libc::IFLA_MASTER => self.controller = Some(number(value)?),
            libc::IFLA_LINK => self.lower = Some(number(value)?),
            libc::IFLA_PARENT_DEV_NAME => self.device = parse_string(value).ok(),
            libc::IFLA_LINKINFO => {
                self.kind = NlasIterator::new(value)
                    .flatten()
                    .find(|nested| nested.kind() == libc::IFLA_INFO_KIND)
                    .and_then(|nested| parse_string(nested.value()).ok());
            }
            _ => {}
        }
        Ok(())
    }
}

impl Socket {
    /// Lists the network interfaces, by index.
    ///
    /// # Errors
    /// Those of a listing: never a part of it.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        // Without this the kernel adds a kilobyte of counters to every interface.
        let attributes = [request::number(libc::IFLA_EXT_MASK, SKIP_STATISTICS)];
        let request = Request::new(libc::RTM_GETLINK, 0, &LinkHeader::default(), &attributes);
        let mut links = self
            .list(&request)?
            .iter()
            .filter(|answer| answer.kind == libc::RTM_NEWLINK)
            .map(|answer| Link::parse(&answer.payload))
            .collect::<Result<Vec<_>, _>>()?;
        links.put_in_order_by(|link| link.index);
        Ok(links)
    }

    /// The network interface of this name; `None` when there is none.
    ///
    /// # Errors
    /// Those of [`Socket::request`] but `ENODEV`.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let attributes = [request::text(libc::IFLA_IFNAME, name)];
        let request = Request::new(libc::RTM_GETLINK, 0, &LinkHeader::default(), &attributes);
        match self.exchange(request) {
            Ok(answers) => answers
                .iter()
                .find(|answer| answer.kind == libc::RTM_NEWLINK)
                .map(|answer| Link::parse(&answer.payload))
                .transpose(),
            Err(error) if error.errno() == Some(Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets an interface up or down.
    ///
    /// # Errors
    /// Those of [`Socket::request`].
    pub fn set_link_up(&mut self, index: u32, up: bool) -> Result<(), NetlinkError> {
        let header = LinkHeader {
            index,
            change_mask: LinkFlags::Up,
            flags: if up {
                LinkFlags::Up
            } else {
                LinkFlags::empty()
            },
            ..LinkHeader::default()
        };
        self.request(Request::new(libc::RTM_SETLINK, 0, &header, &[]))
    }

    /// Gives an interface another name.
    ///
    /// # Errors
    /// Those of [`Socket::request`]; `EEXIST` when the name is taken, `EBUSY` when the interface is up and the kernel is old.
    pub fn rename_link(&mut self, index: u32, name: &str) -> Result<(), NetlinkError> {
        let attributes = [request::text(libc::IFLA_IFNAME, name)];
        self.request(Request::new(
            libc::RTM_SETLINK,
            0,
            &numbered(index),
            &attributes,
        ))
    }

    /// Creates a pair of virtual Ethernet interfaces. The MAC address is that of `name`; its peer gets a random one.
    ///
    /// # Errors
    /// Those of [`Socket::request`]; `EEXIST` when one of the names is taken.
    pub fn create_veth(
        &mut self,
        name: &str,
        mac: MacAddress,
        peer: &str,
    ) -> Result<(), NetlinkError> {
        let other = [request::text(libc::IFLA_IFNAME, peer)];
        let other = request::payload(&LinkHeader::default(), &other);
        self.create(
            &LinkHeader::default(),
            &[
                request::text(libc::IFLA_IFNAME, name),
                DefaultNla::new(libc::IFLA_ADDRESS, mac.0.to_vec()),
                kind("veth", &[DefaultNla::new(VETH_PEER, other)]),
            ],
        )
    }

    /// Creates a VLAN interface on top of another, up, which keeps the headers of packets as they came.
    ///
    /// # Errors
    /// Those of [`Socket::request`]; `EOPNOTSUPP` when the kernel has no VLANs, `EEXIST` when the name or id is taken.
    pub fn create_vlan(
        &mut self,
        parent: u32,
        name: &str,
        id: u16,
        mac: MacAddress,
        mtu: Option<u32>,
    ) -> Result<(), NetlinkError> {
        let header = LinkHeader {
            flags: LinkFlags::Up,
            change_mask: LinkFlags::Up,
            ..LinkHeader::default()
        };
        // The flags that are set, and which ones this is about (`struct ifla_vlan_flags`).
        let flags = [0_u32.to_ne_bytes(), VLAN_REORDERS_HEADERS.to_ne_bytes()].concat();
        let data = [
            DefaultNla::new(VLAN_ID, id.to_ne_bytes().to_vec()),
            DefaultNla::new(VLAN_FLAGS, flags),
        ];
        let mut attributes = vec![
            request::number(libc::IFLA_LINK, parent),
            request::text(libc::IFLA_IFNAME, name),
            DefaultNla::new(libc::IFLA_ADDRESS, mac.0.to_vec()),
            kind("vlan", &data),
        ];
        attributes.extend(mtu.map(|mtu| request::number(libc::IFLA_MTU, mtu)));
        self.create(&header, &attributes)
    }

    fn create(
        &mut self,
        header: &LinkHeader,
        attributes: &[DefaultNla],
    ) -> Result<(), NetlinkError> {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.request(Request::new(libc::RTM_NEWLINK, flags, header, attributes))
    }

    /// Deletes a virtual interface, and the other end of a pair with it.
    ///
    /// # Errors
    /// Those of [`Socket::request`].
    pub fn delete_link(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.request(Request::new(libc::RTM_DELLINK, 0, &numbered(index), &[]))
    }
}

/// A header that says which interface is meant.
fn numbered(index: u32) -> LinkHeader {
    LinkHeader {
        index,
        ..LinkHeader::default()
    }
}

/// What sort of virtual interface it is to be, with what only that sort has.
fn kind(name: &str, data: &[DefaultNla]) -> DefaultNla {
    let attributes = [
        request::text(libc::IFLA_INFO_KIND, name),
        request::nested(libc::IFLA_INFO_DATA, data),
    ];
    request::nested(libc::IFLA_LINKINFO, &attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn mac_addresses_are_read_in_any_letter_case_and_nothing_else_is() {
        let mac = MacAddress([0x42, 0x01, 0x0a, 0x80, 0xff, 0x02]);
        assert_eq!("42:01:0a:80:ff:02".parse(), Ok(mac));
        assert_eq!("42:01:0A:80:fF:02".parse(), Ok(mac));
        for text in [
            "",
            "42",
            "42:01:0a:80:ff",
            "42:01:0a:80:ff:02:03",
            "42-01-0a-80-ff-02",
            "4:201:0a:80:ff:02",
            "+2:01:0a:80:ff:02",
            " 42:01:0a:80:ff:02",
            "gg:01:0a:80:ff:02",
        ] {
            assert_eq!(text.parse::<MacAddress>(), Err(MalformedMac), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn printed_mac_addresses_are_read_back(octets: [u8; 6]) {
            let mac = MacAddress(octets);
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
            prop_assert_eq!(mac.to_string().to_uppercase().parse(), Ok(mac));
        }

        #[test]
        fn arbitrary_bytes_are_no_panic(payload: Vec<u8>) {
            let _ = Link::parse(&payload);
        }
    }
}
