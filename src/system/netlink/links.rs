//! Network interfaces as the kernel knows them ("links").

use std::fmt;
use std::str::FromStr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NlaBuffer, NlasIterator, parse_string};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader,
    LinkInfo, LinkLayerType, LinkMessage, VlanFlags,
};
use rustix::io::Errno;
use thiserror::Error;

use super::{NetlinkError, Request, Socket, number};

/// `sizeof(struct ifinfomsg)`.
const HEADER_LENGTH: usize = 16;

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
        let mut message = LinkMessage::default();
        // Without this the kernel adds a kilobyte of counters to every interface.
        message
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let request = Request::new(RouteNetlinkMessage::GetLink(message), 0);
        let mut links = self
            .list(&request)?
            .iter()
            .filter(|answer| answer.kind == libc::RTM_NEWLINK)
            .map(|answer| Link::parse(&answer.payload))
            .collect::<Result<Vec<_>, _>>()?;
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The network interface of this name; `None` when there is none.
    ///
    /// # Errors
    /// Those of [`Socket::request`] but `ENODEV`.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        match self.exchange(Request::new(RouteNetlinkMessage::GetLink(message), 0)) {
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
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.change_mask = LinkFlags::Up;
        if up {
            message.header.flags = LinkFlags::Up;
        }
        self.request(Request::new(RouteNetlinkMessage::SetLink(message), 0))
    }

    /// Gives an interface another name.
    ///
    /// # Errors
    /// Those of [`Socket::request`]; `EEXIST` when the name is taken, `EBUSY` when the interface is up and the kernel is old.
    pub fn rename_link(&mut self, index: u32, name: &str) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::IfName(name.into()));
        self.request(Request::new(RouteNetlinkMessage::SetLink(message), 0))
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
        let mut other = LinkMessage::default();
        other.attributes.push(LinkAttribute::IfName(peer.into()));
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.into()),
            LinkAttribute::Address(mac.0.to_vec()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
            ]),
        ];
        self.request(Request::new(
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        ))
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
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        let data = vec![
            InfoVlan::Id(id),
            InfoVlan::Flags((VlanFlags::empty(), VlanFlags::ReorderHdr)),
        ];
        message.attributes = vec![
            LinkAttribute::Link(parent),
            LinkAttribute::IfName(name.into()),
            LinkAttribute::Address(mac.0.to_vec()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(data)),
            ]),
        ];
        message.attributes.extend(mtu.map(LinkAttribute::Mtu));
        self.request(Request::new(
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        ))
    }

    /// Deletes a virtual interface, and the other end of a pair with it.
    ///
    /// # Errors
    /// Those of [`Socket::request`].
    pub fn delete_link(&mut self, index: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.request(Request::new(RouteNetlinkMessage::DelLink(message), 0))
    }
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
