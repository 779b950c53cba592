//! IP addresses of interfaces.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NlasIterator, parse_ip};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressHeader, AddressScope};

use super::{NetlinkError, Request, Socket, request};
use crate::system::order::InOrder;

/// `sizeof(struct ifaddrmsg)`.
const HEADER_LENGTH: usize = 8;

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The index of the interface.
    pub interface: u32,
    /// The address with the length of its network prefix; host bits as they are.
    pub address: IpNet,
}

impl Address {
    /// Reads an `RTM_NEWADDR` message; `None` for other families than IP.
    pub(super) fn parse(payload: &[u8]) -> Result<Option<Self>, NetlinkError> {
        let header = AddressHeader::parse(payload).map_err(NetlinkError::malformed)?;
        let (mut local, mut address) = (None, None);
        for attribute in NlasIterator::new(&payload[HEADER_LENGTH..]) {
            let attribute = attribute.map_err(NetlinkError::malformed)?;
            match attribute.kind() {
                libc::IFA_LOCAL => local = parse_ip(attribute.value()).ok(),
                libc::IFA_ADDRESS => address = parse_ip(attribute.value()).ok(),
                _ => {}
            }
        }
        // On a point-to-point link IFA_ADDRESS is the other end; IPv6 has IFA_LOCAL only there.
        let Some(own) = local.or(address) else {
            return Ok(None);
        };
        let address = IpNet::new(own, header.prefix_len).map_err(NetlinkError::malformed)?;
        Ok(Some(Self {
            interface: header.index,
            address,
        }))
    }

    /// A request of this kind about it.
    fn request(&self, kind: u16, flags: u16) -> Request {
        let address = self.address.addr();
        let header = AddressHeader {
            family: family(address),
            prefix_len: self.address.prefix_len(),
            scope: AddressScope::Universe,
            index: self.interface,
            ..AddressHeader::default()
        };
        let attributes = [
            request::address(libc::IFA_LOCAL, address),
            request::address(libc::IFA_ADDRESS, address),
        ];
        Request::new(kind, flags, &header, &attributes)
    }
}

/// The address family of an IP address.
pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

impl Socket {
    /// Lists the addresses of all interfaces, by interface and address.
    ///
    /// # Errors
    /// Those of a listing: never a part of it.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let everything = Request::new(libc::RTM_GETADDR, 0, &AddressHeader::default(), &[]);
        let mut addresses = Vec::new();
        for answer in self.list(&everything)? {
            if answer.kind == libc::RTM_NEWADDR {
                addresses.extend(Address::parse(&answer.payload)?);
            }
        }
        addresses.put_in_order();
        Ok(addresses)
    }

    /// Adds an address to an interface.
    ///
    /// # Errors
    /// Those of [`Socket::request`]; `EEXIST` when it is there.
    pub fn add_address(&mut self, interface: u32, address: IpNet) -> Result<(), NetlinkError> {
        let address = Address { interface, address };
        self.request(address.request(libc::RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL))
    }

    /// Deletes an address of an interface.
    ///
    /// # Errors
    /// Those of [`Socket::request`]; `EADDRNOTAVAIL` when it is not there.
    pub fn delete_address(&mut self, interface: u32, address: IpNet) -> Result<(), NetlinkError> {
        let address = Address { interface, address };
        self.request(address.request(libc::RTM_DELADDR, 0))
    }
}
