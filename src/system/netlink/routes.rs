//! Routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NlaBuffer, NlasIterator, parse_ip};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteFlags, RouteHeader};
use rustix::io::Errno;

use super::addresses::family;
use super::{NetlinkError, Request, Socket, number, request};

pub use netlink_packet_route::route::{RouteScope, RouteType as RouteKind};

/// The table of the addresses that the machine answers to (`RT_TABLE_LOCAL`).
pub const LOCAL_TABLE: u32 = 255;

/// The table of the ways to other machines (`RT_TABLE_MAIN`).
pub const MAIN_TABLE: u32 = 254;

/// `sizeof(struct rtmsg)`.
const HEADER_LENGTH: usize = 12;

/// A route, as far as the program has to do with routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The number of its table.
    pub table: u32,
    /// Who made it: a number that the kernel stores and gives back ("protocol").
    pub protocol: u8,
    /// What happens to packets for the destination.
    pub kind: RouteKind,
    /// How far the destination is; always [`RouteScope::Universe`] for IPv6.
    pub scope: RouteScope,
    /// The type of service that it is limited to; 0 for all.
    pub type_of_service: u8,
    /// Its rank among routes to the same destination; 0 leaves it to the kernel (0 for IPv4, 1024 for IPv6).
    pub priority: u32,
    /// The destination.
    pub destination: IpNet,
    /// The index of the interface that it goes through; `None` for none.
    pub interface: Option<u32>,
    /// Whether it goes through another machine.
    pub gateway: bool,
    /// The address of that machine, where there is one of the destination's own family.
    pub via: Option<IpAddr>,
    /// Whether this is one of several ways of one route (ECMP). Such a route is listed once for each of its ways.
    pub shared: bool,
}

impl Route {
    /// A route that makes the machine answer to a destination, as `ip route add to local` makes it.
    #[must_use]
    pub fn local(destination: IpNet, interface: u32, protocol: u8) -> Self {
        Self {
            table: LOCAL_TABLE,
            protocol,
            kind: RouteKind::Local,
            scope: match destination {
                IpNet::V4(_) => RouteScope::Host,
                IpNet::V6(_) => RouteScope::Universe,
            },
            type_of_service: 0,
            priority: 0,
            destination,
            interface: Some(interface),
            gateway: false,
            via: None,
            shared: false,
        }
    }

    /// A route of table main to another machine: `via` a gateway that the interface reaches, or without one.
    #[must_use]
    pub fn unicast(destination: IpNet, interface: u32, via: Option<IpAddr>, protocol: u8) -> Self {
        Self {
            table: MAIN_TABLE,
            kind: RouteKind::Unicast,
            scope: match (destination, via) {
                (IpNet::V4(_), None) => RouteScope::Link,
                _ => RouteScope::Universe,
            },
            gateway: via.is_some(),
            via,
            ..Self::local(destination, interface, protocol)
        }
    }

    /// The request that adds it. `EEXIST` when there is a route with this destination and rank, whosever it is.
    #[must_use]
    pub fn addition(&self) -> Request {
        self.request(libc::RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// The request that deletes it, and only it. `ESRCH` when it is not there.
    #[must_use]
    pub fn deletion(&self) -> Request {
        self.request(libc::RTM_DELROUTE, 0)
    }

    /// A request of this kind about it.
    fn request(&self, kind: u16, flags: u16) -> Request {
        let destination = self.destination.addr();
        let header = RouteHeader {
            address_family: family(destination),
            destination_prefix_length: self.destination.prefix_len(),
            tos: self.type_of_service,
            // Tables above 255 are in the attribute alone.
            table: u8::try_from(self.table).unwrap_or_default(),
            protocol: self.protocol.into(),
            scope: self.scope,
            kind: self.kind,
            flags: match self.via {
                // A gateway beside a /32 address is in no network of the interface.
                Some(IpAddr::V4(_)) => RouteFlags::Onlink,
                _ => RouteFlags::empty(),
            },
            ..RouteHeader::default()
        };
        let mut attributes = vec![
            request::number(libc::RTA_TABLE, self.table),
            request::address(libc::RTA_DST, destination),
        ];
        if self.priority != 0 {
            attributes.push(request::number(libc::RTA_PRIORITY, self.priority));
        }
        if let Some(via) = self.via {
            attributes.push(request::address(libc::RTA_GATEWAY, via));
        }
        if let Some(interface) = self.interface {
            attributes.push(request::number(libc::RTA_OIF, interface));
        }
        Request::new(kind, flags, &header, &attributes)
    }

    /// Reads an `RTM_NEWROUTE` or `RTM_DELROUTE` message, and adds what it is about to `routes`: nothing for other families
    /// than IP, and one for each way of a route that has several.
    pub(super) fn parse(payload: &[u8], routes: &mut Vec<Self>) -> Result<(), NetlinkError> {
        let header = RouteHeader::parse(payload).map_err(NetlinkError::malformed)?;
        let anywhere = match header.address_family {
            AddressFamily::Inet => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
            _ => return Ok(()),
        };
        let mut address = anywhere;
        let mut ways = None;
        let mut route = Self {
            table: header.table.into(),
            protocol: header.protocol.into(),
            kind: header.kind,
            scope: header.scope,
            type_of_service: header.tos,
            priority: 0,
            destination: IpNet::from(anywhere),
            interface: None,
            gateway: false,
            via: None,
            shared: false,
        };
        for attribute in NlasIterator::new(&payload[HEADER_LENGTH..]) {
            let attribute = attribute.map_err(NetlinkError::malformed)?;
            match attribute.kind() {
                libc::RTA_DST => {
                    address = parse_ip(attribute.value()).map_err(NetlinkError::malformed)?;
                }
                libc::RTA_MULTIPATH => ways = Some(attribute),
                _ => route.take(&attribute)?,
            }
        }
        route.destination = IpNet::new(address, header.destination_prefix_length)
            .map_err(NetlinkError::malformed)?;
        if let Some(ways) = ways {
            return route.each_way(ways.value(), routes);
        }
        routes.push(route);
        Ok(())
    }

    /// Reads an attribute that a route and each of several ways may have.
    fn take(&mut self, attribute: &NlaBuffer<&[u8]>) -> Result<(), NetlinkError> {
        let value = attribute.value();
        match attribute.kind() {
            libc::RTA_OIF => self.interface = Some(number(value)?),
            libc::RTA_PRIORITY => self.priority = number(value)?,
            libc::RTA_TABLE => self.table = number(value)?,
            libc::RTA_GATEWAY => {
                self.gateway = true;
                self.via = Some(parse_ip(value).map_err(NetlinkError::malformed)?);
            }
            libc::RTA_VIA => self.gateway = true,
            _ => {}
        }
        Ok(())
    }

    /// Reads the ways of a route that has several: each a `struct rtnexthop` (its length, flags and weight, and the index of
    /// the interface) with attributes behind it.
    fn each_way(self, mut ways: &[u8], routes: &mut Vec<Self>) -> Result<(), NetlinkError> {
        const HEADER: usize = 8;
        while ways.len() >= HEADER {
            let length = usize::from(u16::from_ne_bytes([ways[0], ways[1]]));
            let way = ways.get(..length).filter(|_| length >= HEADER);
            let way =
                way.ok_or_else(|| NetlinkError::malformed("a way of a route is cut short"))?;
            let mut route = Self {
                interface: Some(number(&way[4..HEADER])?),
                shared: true,
                ..self
            };
            for attribute in NlasIterator::new(&way[HEADER..]) {
                route.take(&attribute.map_err(NetlinkError::malformed)?)?;
            }
            routes.push(route);
            ways = ways.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

impl Socket {
    /// Lists the routes of a table, of both families, in the kernel's order.
    ///
    /// # Errors
    /// Those of a listing: never a part of it.
    pub fn routes(&mut self, table: u32) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let header = RouteHeader {
                address_family: family,
                table: u8::try_from(table).unwrap_or_default(),
                ..RouteHeader::default()
            };
            let attributes = [request::number(libc::RTA_TABLE, table)];
            let request = Request::new(libc::RTM_GETROUTE, 0, &header, &attributes);
            let answers = match self.list(&request) {
                // A table comes into being with its first route.
                Err(error) if error.errno() == Some(Errno::NOENT) => continue,
                result => result?,
            };
            let mut listed = Vec::with_capacity(answers.len());
            for answer in answers {
                if answer.kind == libc::RTM_NEWROUTE {
                    Route::parse(&answer.payload, &mut listed)?;
                }
            }
            // An older kernel lists every table; one without IPv6 answers for the other family.
            routes.extend(listed.into_iter().filter(|route| {
                route.table == table && super::addresses::family(route.destination.addr()) == family
            }));
        }
        Ok(routes)
    }
}
