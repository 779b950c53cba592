//! What an ntpd on this machine says of itself: the control messages of the network time protocol (RFC 9327), which `ntpq`
//! speaks, and which every ntpd but OpenNTPD answers where its configuration lets this machine ask.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Version 2, mode 6; the operation "read variables" of the system (association 0), with the sequence number 1.
const QUESTION: [u8; 12] = [0x16, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

/// The leap indicator of a clock that is not synchronised.
const UNKNOWN: u8 = 3;

/// Whether it says that the clock is synchronised.
///
/// # Errors
/// `ConnectionRefused` when nobody listens, `WouldBlock` when nobody answers in time, `InvalidData` for something else than
/// an answer.
pub fn is_synchronized() -> io::Result<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect((Ipv4Addr::LOCALHOST, 123))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&QUESTION)?;
    let mut answer = [0; 1024];
    let length = socket.recv(&mut answer)?;
    leap_indicator(&answer[..length])
        .map(|leap| leap != UNKNOWN)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer of an ntpd"))
}

/// The leap indicator: the first two bits of the system's status word. `None` when it is no answer to our question.
fn leap_indicator(answer: &[u8]) -> Option<u8> {
    let (mode, operation) = (answer.first()? & 7, answer.get(1)?);
    let is_answer = mode == 6 && operation & 0xc0 == 0x80 && operation & 0x1f == QUESTION[1];
    let status = answer.get(4)?;
    is_answer.then_some(status >> 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leap_indicator_is_in_the_status_word() {
        for (answer, leap) in [
            (&[0x16, 0x82, 0, 1, 0x06, 0x15, 0, 0][..], Some(0)),
            // As an ntpd says it that has just been started: it has a leap indicator of its own in front.
            (&[0xd6, 0x82, 0, 1, 0xc0, 0x16, 0, 0], Some(UNKNOWN)),
            // One of several parts.
            (&[0x16, 0xa2, 0, 1, 0x46, 0x15, 0, 0], Some(1)),
            // An error, another operation, another mode, and less than an answer.
            (&[0x16, 0xc2, 0, 1, 0x06, 0x15, 0, 0], None),
            (&[0x16, 0x81, 0, 1, 0x06, 0x15, 0, 0], None),
            (&[0x14, 0x82, 0, 1, 0x06, 0x15, 0, 0], None),
            (&[0x16, 0x82, 0, 1], None),
            (&[], None),
        ] {
            assert_eq!(leap_indicator(answer), leap, "{answer:?}");
        }
    }
}
