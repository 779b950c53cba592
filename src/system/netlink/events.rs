//! What the kernel tells on its own account: changes of links, addresses and routes.

use std::io;
use std::time::Duration;

use netlink_packet_core::NLM_F_REPLACE;
use netlink_sys::{SocketAddr, protocols::NETLINK_ROUTE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;

use super::{Address, DATAGRAM_LIMIT, Header, Link, NetlinkError, Route, messages};

/// Room for some ten thousand events between two looks, asked for as root. Past it we hear that events were lost.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// The groups that a subscription listens to: links, addresses and routes of IPv4 and IPv6.
const GROUPS: [u32; 5] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
];

/// Something that happened to the network configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A link is there, perhaps in a new state. Comes often without a difference.
    Link(Link),
    /// A link is gone.
    LinkGone(Link),
    /// An address is there. Comes often without a difference.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// A route is there.
    Route {
        /// The route; its first way, where it has several.
        route: Route,
        /// Whether it took the place of another one.
        replaces: bool,
    },
    /// A route is gone. The kernel does not tell this of IPv4 routes that go with an address or a link.
    RouteGone(Route),
    /// There were more events than fit: anything may have happened.
    Lost,
}

/// A socket that hears of every change in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Subscription {
    socket: netlink_sys::Socket,
    buffer: Vec<u8>,
}

impl Subscription {
    /// Opens it. Events from now on are heard.
    ///
    /// # Errors
    /// Those of socket(2), bind(2) and setsockopt(2).
    pub fn open() -> Result<Self, NetlinkError> {
        let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        // Only root may go over the system's limit; the default buffer works, and tells when it is full.
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER);
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(DATAGRAM_LIMIT),
        })
    }

    /// Waits for events, at most `timeout` (`None`: for ever). Empty when the time is up.
    ///
    /// # Errors
    /// Those of poll(2) and recv(2), and [`NetlinkError::Malformed`].
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Vec<Event>, NetlinkError> {
        let timeout = timeout
            .map(Timespec::try_from)
            .transpose()
            .map_err(io::Error::other)?;
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut polled, timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer, libc::MSG_DONTWAIT) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                return Ok(vec![Event::Lost]);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        }
        let mut events = Vec::new();
        messages(&self.buffer, &mut |header, payload| {
            events.extend(event(header, payload)?);
            Ok(())
        })?;
        Ok(events)
    }
}

/// Reads one notification; `None` for what we do not listen to.
fn event(header: &Header, payload: &[u8]) -> Result<Option<Event>, NetlinkError> {
    /// `AF_UNSPEC`. Bridges report their ports as links of a family of their own.
    const ALL_FAMILIES: Option<&u8> = Some(&0);
    let about_a_link = matches!(header.kind, libc::RTM_NEWLINK | libc::RTM_DELLINK);
    if about_a_link && payload.first() != ALL_FAMILIES {
        return Ok(None);
    }
    Ok(match header.kind {
        libc::RTM_NEWLINK => Some(Event::Link(Link::parse(payload)?)),
        libc::RTM_DELLINK => Some(Event::LinkGone(Link::parse(payload)?)),
        libc::RTM_NEWADDR => Address::parse(payload)?.map(Event::Address),
        libc::RTM_DELADDR => Address::parse(payload)?.map(Event::AddressGone),
        libc::RTM_NEWROUTE => route(payload)?.map(|route| Event::Route {
            route,
            replaces: header.flags & NLM_F_REPLACE != 0,
        }),
        libc::RTM_DELROUTE => route(payload)?.map(Event::RouteGone),
        _ => None,
    })
}

/// The route that a notification is about; of one with several ways, the first.
fn route(payload: &[u8]) -> Result<Option<Route>, NetlinkError> {
    let mut routes = Vec::new();
    Route::parse(payload, &mut routes)?;
    Ok(routes.into_iter().next())
}
