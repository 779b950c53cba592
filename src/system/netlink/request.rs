//! Requests to the kernel: the header by its type, attributes by their numbers, as answers are read as well.
//!
//! Not by `RouteNetlinkMessage`: what writes that writes everything that rtnetlink knows, and we need a dozen attributes.

use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, Emitable};

/// One request to the kernel: what, and the `NLM_F_*` bits besides those that [`super::Socket`] sets itself.
#[derive(Clone, Debug)]
pub struct Request {
    /// One of the `RTM_*`.
    pub(super) kind: u16,
    pub(super) flags: u16,
    /// What follows the header of the message.
    pub(super) payload: Vec<u8>,
}

impl Request {
    /// A request about what `header` and the attributes say.
    pub(super) fn new(
        kind: u16,
        flags: u16,
        header: &impl Emitable,
        attributes: &[DefaultNla],
    ) -> Self {
        Self {
            kind,
            flags,
            payload: payload(header, attributes),
        }
    }
}

/// The bytes of a header with attributes behind it.
pub(super) fn payload(header: &impl Emitable, attributes: &[DefaultNla]) -> Vec<u8> {
    let length = header.buffer_len();
    let mut bytes = vec![0; length + attributes.buffer_len()];
    header.emit(&mut bytes[..length]);
    attributes.emit(&mut bytes[length..]);
    bytes
}

/// An attribute that is a number of four bytes, in the machine's byte order.
pub(super) fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().to_vec())
}

/// An attribute that is a text; the kernel's end with a NUL.
pub(super) fn text(kind: u16, value: &str) -> DefaultNla {
    DefaultNla::new(kind, [value.as_bytes(), b"\0"].concat())
}

/// An attribute that is an address of either family.
pub(super) fn address(kind: u16, value: IpAddr) -> DefaultNla {
    let octets = match value {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    DefaultNla::new(kind, octets)
}

/// An attribute that consists of attributes.
pub(super) fn nested(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    DefaultNla::new(kind, bytes)
}
