//! The kernel's network configuration over rtnetlink(7): typed messages on a blocking socket, no program, no text.
//!
//! [`Socket`] speaks the protocol: sequence numbers, listings in several parts, acknowledgements, refusals with the
//! kernel's own reason. The verbs are beside what they are about: `links`, `addresses`, `routes`. Nothing here knows
//! what the links, addresses and routes are for. A socket belongs to the network namespace of the thread that opened it.

mod addresses;
mod events;
mod links;
mod request;
mod routes;

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    Emitable, ErrorBuffer, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader, NlasIterator, parse_string,
};
use netlink_sys::{SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use rustix::net::sockopt;
use thiserror::Error;

pub use addresses::Address;
pub use events::{Event, Subscription};
pub use links::{Link, MacAddress, MalformedMac};
pub use request::Request;
pub use routes::{LOCAL_TABLE, MAIN_TABLE, Route, RouteKind, RouteScope};

/// Larger than any datagram that the kernel makes of a listing (32 KiB, `NETLINK_MAX_RECVMSG_SIZE` of af_netlink.c).
const DATAGRAM_LIMIT: usize = 64 * 1024;

/// How many requests go out in one system call. Were all of them refused, that must fit into the default receive buffer.
const BATCH_SIZE: usize = 128;

/// How often a listing is begun again because the kernel's tables changed while it was read.
const LISTING_ATTEMPTS: usize = 8;

/// The kernel answers at once or never: a longer silence means that an answer was lost.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// `sizeof(struct nlmsghdr)`: what is before each request, and what a capped error message repeats of it before its
/// attributes.
const HEADER_LENGTH: usize = 16;

/// Why the kernel's network configuration could not be read or changed.
#[derive(Debug, Error)]
pub enum NetlinkError {
    /// The kernel refused the request.
    #[error("{}", told(.errno, .reason.as_deref()))]
    Refused {
        /// Its error number.
        errno: Errno,
        /// Its own words, where it has any (the extended acknowledgement).
        reason: Option<String>,
    },
    /// The socket failed.
    #[error("netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// The kernel sent what we do not understand.
    #[error("the kernel's answer is not understood: {0}")]
    Malformed(String),
    /// It is unknown whether the request was done: the exchange that it was part of failed.
    #[error("the kernel did not answer")]
    Unanswered,
    /// A listing never held still.
    #[error("the listing changed each of {LISTING_ATTEMPTS} times that it was read")]
    Unstable,
}

fn told(errno: &Errno, reason: Option<&str>) -> String {
    let errno = io::Error::from(*errno);
    reason.map_or_else(|| errno.to_string(), |reason| format!("{reason} ({errno})"))
}

impl NetlinkError {
    /// The kernel's error number, where the kernel refused.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Socket(_) | Self::Malformed(_) | Self::Unanswered | Self::Unstable => None,
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    fn malformed(error: impl ToString) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<Errno> for NetlinkError {
    fn from(errno: Errno) -> Self {
        Self::Socket(errno.into())
    }
}

impl From<NetlinkError> for io::Error {
    fn from(error: NetlinkError) -> Self {
        match error {
            NetlinkError::Refused {
                errno,
                reason: None,
            } => errno.into(),
            NetlinkError::Socket(error) => error,
            NetlinkError::Refused { errno, .. } => {
                Self::new(Self::from(errno).kind(), error.to_string())
            }
            NetlinkError::Malformed(_) | NetlinkError::Unanswered | NetlinkError::Unstable => {
                Self::other(error)
            }
        }
    }
}

/// One message of the kernel: its type and what follows the header.
struct Answer {
    kind: u16,
    payload: Vec<u8>,
}

/// A blocking rtnetlink socket for requests.
#[derive(Debug)]
pub struct Socket {
    socket: netlink_sys::Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket into the network namespace of the calling thread.
    ///
    /// # Errors
    /// Those of socket(2), bind(2) and connect(2).
    pub fn open() -> Result<Self, NetlinkError> {
        let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_DEADLINE))?;
        // Better messages (Linux 4.12), shorter ones (4.3) and filtered listings (4.20). We work without them as well.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Vec::with_capacity(DATAGRAM_LIMIT),
        })
    }

    /// Does one request.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`] when the kernel refuses, [`NetlinkError::Socket`] when the socket fails.
    pub fn request(&mut self, request: Request) -> Result<(), NetlinkError> {
        self.exchange(request).map(drop)
    }

    /// Does many requests, in this order, a hundred or so in each system call. A refused one costs only itself.
    ///
    /// The kernel is asked to acknowledge the last of a hundred only: refusals it reports in any case, and before that.
    ///
    /// The result has one entry for each request, in the same order. When the socket fails, the first request without
    /// an answer has that error and those after it are [`NetlinkError::Unanswered`].
    pub fn batch(&mut self, requests: &[Request]) -> Vec<Result<(), NetlinkError>> {
        let mut results = Vec::with_capacity(requests.len());
        for chunk in requests.chunks(BATCH_SIZE) {
            let answered = self
                .send(chunk, 0, NLM_F_ACK)
                .and_then(|first| self.refusals(first, chunk.len()));
            match answered {
                Ok(mut answers) => results.append(&mut answers),
                Err(error) => {
                    results.push(Err(error));
                    break;
                }
            }
        }
        results.resize_with(requests.len(), || Err(NetlinkError::Unanswered));
        results
    }

    /// Sends requests in one system call, with these bits and, on the last, those. Returns the sequence number of the first.
    fn send(
        &mut self,
        requests: &[Request],
        bits: u16,
        bits_of_last: u16,
    ) -> Result<u32, NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        for (position, request) in requests.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            let mut header = NetlinkHeader::default();
            header.message_type = request.kind;
            header.flags = NLM_F_REQUEST | bits | request.flags;
            if position + 1 == requests.len() {
                header.flags |= bits_of_last;
            }
            header.sequence_number = self.sequence;
            let length = HEADER_LENGTH + request.payload.len();
            header.length = u32::try_from(length).map_err(NetlinkError::malformed)?;
            let start = datagram.len();
            datagram.resize(start + HEADER_LENGTH, 0);
            header.emit(&mut datagram[start..]);
            datagram.extend_from_slice(&request.payload);
            datagram.resize(start + length.next_multiple_of(4), 0);
        }
        let sent = self.socket.send(&datagram, 0)?;
        if sent == datagram.len() {
            Ok(first)
        } else {
            Err(NetlinkError::malformed("a request was cut short"))
        }
    }

    /// Collects what the kernel refuses of `count` requests from sequence number `first` on, until it acknowledges the last.
    fn refusals(
        &mut self,
        first: u32,
        count: usize,
    ) -> Result<Vec<Result<(), NetlinkError>>, NetlinkError> {
        let mut results = Vec::new();
        results.resize_with(count, || Ok(()));
        let mut is_over = false;
        while !is_over {
            self.receive(&mut |header, payload| {
                let position = header.sequence.wrapping_sub(first) as usize;
                if header.kind == NLMSG_ERROR
                    && let Some(result) = results.get_mut(position)
                {
                    *result = verdict(header.kind, payload)?;
                    is_over |= position + 1 == count;
                }
                Ok(())
            })?;
        }
        Ok(results)
    }

    /// Sends one request and collects what the kernel says to it until its acknowledgement.
    fn exchange(&mut self, request: Request) -> Result<Vec<Answer>, NetlinkError> {
        let sequence = self.send(&[request], 0, NLM_F_ACK)?;
        let mut answers = Vec::new();
        let mut end = None;
        while end.is_none() {
            self.receive(&mut |header, payload| {
                if header.sequence != sequence {
                    // The rest of an earlier exchange that failed half-way.
                } else if header.kind == NLMSG_ERROR {
                    end = Some(verdict(header.kind, payload)?);
                } else {
                    answers.push(header.answer(payload));
                }
                Ok(())
            })?;
        }
        end.unwrap_or(Ok(())).map(|()| answers)
    }

    /// Lists everything that the request asks for; begins again when the kernel says that the list is inconsistent.
    fn list(&mut self, request: &Request) -> Result<Vec<Answer>, NetlinkError> {
        for _ in 0..LISTING_ATTEMPTS {
            if let Some(answers) = self.list_once(request)? {
                return Ok(answers);
            }
        }
        Err(NetlinkError::Unstable)
    }

    /// One listing; `None` when it changed while it was read.
    fn list_once(&mut self, request: &Request) -> Result<Option<Vec<Answer>>, NetlinkError> {
        let sequence = self.send(std::slice::from_ref(request), NLM_F_DUMP, 0)?;
        let mut answers = Vec::new();
        let mut interrupted = false;
        let mut end = None;
        while end.is_none() {
            self.receive(&mut |header, payload| {
                if header.sequence != sequence {
                    return Ok(());
                }
                interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                match header.kind {
                    NLMSG_ERROR | NLMSG_DONE => end = Some(verdict(header.kind, payload)?),
                    _ => answers.push(header.answer(payload)),
                }
                Ok(())
            })?;
        }
        end.unwrap_or(Ok(()))?;
        Ok((!interrupted).then_some(answers))
    }

    /// Waits for one datagram and hands out its messages.
    fn receive(&mut self, each: &mut Each<'_>) -> Result<(), NetlinkError> {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer, 0) {
            Ok(_) => messages(&self.buffer, each),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What takes messages, each with its header.
type Each<'a> = dyn FnMut(&Header, &[u8]) -> Result<(), NetlinkError> + 'a;

/// What the program reads of a message's header.
struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
}

impl Header {
    fn answer(&self, payload: &[u8]) -> Answer {
        Answer {
            kind: self.kind,
            payload: payload.to_vec(),
        }
    }
}

/// Hands out the messages of one datagram.
fn messages(mut datagram: &[u8], each: &mut Each<'_>) -> Result<(), NetlinkError> {
    while !datagram.is_empty() {
        let message = NetlinkBuffer::new_checked(datagram).map_err(NetlinkError::malformed)?;
        if message.message_type() == NLMSG_OVERRUN {
            return Err(NetlinkError::malformed("messages were lost"));
        }
        let header = Header {
            kind: message.message_type(),
            flags: message.flags(),
            sequence: message.sequence_number(),
        };
        each(&header, message.payload())?;
        let length = (message.length() as usize).next_multiple_of(4);
        datagram = datagram.get(length..).unwrap_or_default();
    }
    Ok(())
}

/// The outcome that an acknowledgement, an error or the end of a listing reports.
fn verdict(kind: u16, payload: &[u8]) -> Result<Result<(), NetlinkError>, NetlinkError> {
    if payload.is_empty() {
        // The end of a listing may come without a code.
        return Ok(Ok(()));
    }
    let error = ErrorBuffer::new_checked(payload).map_err(NetlinkError::malformed)?;
    let Some(code) = error.code() else {
        return Ok(Ok(()));
    };
    if code.get() > 0 {
        // Only negative numbers are errors.
        return Ok(Ok(()));
    }
    Ok(Err(NetlinkError::Refused {
        errno: Errno::from_raw_os_error(code.get().saturating_neg()),
        reason: match kind {
            NLMSG_DONE => reason(error.payload()),
            _ => error.payload().get(HEADER_LENGTH..).and_then(reason),
        },
    }))
}

/// The kernel's own words among the attributes of an error.
fn reason(attributes: &[u8]) -> Option<String> {
    /// `NLMSGERR_ATTR_MSG` of linux/netlink.h.
    const MESSAGE: u16 = 1;
    NlasIterator::new(attributes)
        .flatten()
        .find(|attribute| attribute.kind() == MESSAGE)
        .and_then(|attribute| parse_string(attribute.value()).ok())
}

/// A whole number from the four bytes of an attribute, in the machine's byte order.
fn number(value: &[u8]) -> Result<u32, NetlinkError> {
    value
        .try_into()
        .map(u32::from_ne_bytes)
        .map_err(|_| NetlinkError::malformed("a number is not four bytes long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    use netlink_packet_route::AddressFamily;
    use netlink_packet_route::route::RouteHeader;

    #[test]
    fn refusals_carry_the_number_and_the_words_of_the_kernel() {
        let error = NetlinkError::Refused {
            errno: Errno::NODEV,
            reason: None,
        };
        assert_eq!(error.errno(), Some(Errno::NODEV));
        assert_eq!(
            io::Error::from(error).raw_os_error(),
            Some(Errno::NODEV.raw_os_error())
        );
        let error = NetlinkError::Refused {
            errno: Errno::ACCESS,
            reason: Some("IPv6 is disabled on nexthop device".into()),
        };
        assert!(error.to_string().starts_with("IPv6 is disabled"), "{error}");
        assert_eq!(
            io::Error::from(error).kind(),
            io::ErrorKind::PermissionDenied
        );
    }

    #[test]
    fn a_refused_listing_is_an_error_and_no_empty_list() {
        let header = RouteHeader {
            address_family: AddressFamily::Inet,
            // Listings cannot be limited to a scope, and with strict checking the kernel says so.
            scope: RouteScope::Host,
            ..RouteHeader::default()
        };
        let request = Request::new(libc::RTM_GETROUTE, 0, &header, &[]);
        let mut socket = Socket::open().unwrap();
        let error = socket.list(&request).err().unwrap();
        assert_eq!(error.errno(), Some(Errno::INVAL), "{error}");
        assert!(error.to_string().contains("Invalid values"), "{error}");
        // The socket goes on working.
        assert!(socket.links().unwrap().iter().any(|link| link.name == "lo"));
    }

    #[test]
    fn a_garbled_datagram_is_an_error_and_no_panic() {
        for bytes in [&[0_u8; 3][..], &[0; 16], &[255; 16], &[4; 40]] {
            assert!(messages(bytes, &mut |_, _| Ok(())).is_err(), "{bytes:?}");
        }
        assert!(verdict(NLMSG_ERROR, &[1]).is_err());
    }
}
