//! Queues, rings and interrupt moderation of network interfaces, by the ioctl of ethtool (linux/ethtool.h). No program is
//! run and no text is parsed.
//!
//! Every structure of these commands is a row of 32-bit words: the command, then the fields in the header's order.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

const GET_COALESCE: u32 = 0x0e;
const SET_COALESCE: u32 = 0x0f;
const GET_RINGS: u32 = 0x10;
const SET_RINGS: u32 = 0x11;
const GET_CHANNELS: u32 = 0x3c;
const SET_CHANNELS: u32 = 0x3d;

/// How many channels an interface uses, and how many it could. A channel is an interrupt with its queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Channels with a receive and a transmit queue, in use.
    pub combined: u32,
    /// The most that there can be.
    pub maximum: u32,
}

/// How many descriptors the rings of an interface have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Of each receive ring.
    pub receive: u32,
    /// Of each transmit ring.
    pub transmit: u32,
}

/// How long an interface holds an interrupt back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coalescing {
    /// After a packet was received, in microseconds.
    pub receive_microseconds: u32,
    /// After a packet was sent, in microseconds.
    pub transmit_microseconds: u32,
    /// Whether the driver changes the first one as it sees fit.
    pub adaptive_receive: bool,
    /// Whether the driver changes the second one as it sees fit.
    pub adaptive_transmit: bool,
}

/// A socket into the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Ethtool {
    socket: OwnedFd,
}

impl Ethtool {
    /// Opens a socket for the requests.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Self { socket })
    }

    /// The channels of an interface; `None` when its driver knows none.
    ///
    /// # Errors
    /// `ENODEV` when there is no such interface, and the driver's own.
    pub fn channels(&self, interface: &str) -> io::Result<Option<Channels>> {
        let read = self.read::<9>(interface, GET_CHANNELS)?;
        Ok(read.map(|words| Channels {
            combined: words[8],
            maximum: words[4],
        }))
    }

    /// Sets the number of combined channels.
    ///
    /// # Errors
    /// Those of [`Self::channels`], and the driver's own: `EINVAL` past the maximum.
    pub fn set_channels(&self, interface: &str, combined: u32) -> io::Result<()> {
        self.change::<9>(interface, GET_CHANNELS, SET_CHANNELS, |words| {
            words[8] = combined;
        })
    }

    /// The rings of an interface; `None` when its driver does not tell.
    ///
    /// # Errors
    /// Those of [`Self::channels`].
    pub fn rings(&self, interface: &str) -> io::Result<Option<Rings>> {
        let read = self.read::<9>(interface, GET_RINGS)?;
        Ok(read.map(|words| Rings {
            receive: words[5],
            transmit: words[8],
        }))
    }

    /// Sets the length of the rings. Some drivers lose the affinity of the interrupts over it.
    ///
    /// # Errors
    /// Those of [`Self::channels`], and the driver's own.
    pub fn set_rings(&self, interface: &str, rings: Rings) -> io::Result<()> {
        self.change::<9>(interface, GET_RINGS, SET_RINGS, |words| {
            words[5] = rings.receive;
            words[8] = rings.transmit;
        })
    }

    /// The moderation of an interface's interrupts; `None` when its driver does not tell.
    ///
    /// # Errors
    /// Those of [`Self::channels`].
    pub fn coalescing(&self, interface: &str) -> io::Result<Option<Coalescing>> {
        let read = self.read::<23>(interface, GET_COALESCE)?;
        Ok(read.map(|words| Coalescing {
            receive_microseconds: words[1],
            transmit_microseconds: words[5],
            adaptive_receive: words[10] != 0,
            adaptive_transmit: words[11] != 0,
        }))
    }

    /// Sets the moderation of an interface's interrupts.
    ///
    /// # Errors
    /// Those of [`Self::channels`], and the driver's own.
    pub fn set_coalescing(&self, interface: &str, coalescing: Coalescing) -> io::Result<()> {
        self.change::<23>(interface, GET_COALESCE, SET_COALESCE, |words| {
            words[1] = coalescing.receive_microseconds;
            words[5] = coalescing.transmit_microseconds;
            words[10] = u32::from(coalescing.adaptive_receive);
            words[11] = u32::from(coalescing.adaptive_transmit);
        })
    }

    fn read<const LENGTH: usize>(
        &self,
        interface: &str,
        command: u32,
    ) -> io::Result<Option<[u32; LENGTH]>> {
        let mut words = [0; LENGTH];
        words[0] = command;
        match self.ask(interface, &mut words) {
            Ok(()) => Ok(Some(words)),
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the words, has some of them changed and writes all of them back: the kernel knows no single fields.
    fn change<const LENGTH: usize>(
        &self,
        interface: &str,
        get: u32,
        set: u32,
        change: impl FnOnce(&mut [u32; LENGTH]),
    ) -> io::Result<()> {
        let mut words = [0; LENGTH];
        words[0] = get;
        self.ask(interface, &mut words)?;
        change(&mut words);
        words[0] = set;
        self.ask(interface, &mut words)
    }

    /// One request. The words are those of the structure that the command in the first one stands for.
    #[expect(unsafe_code, reason = "rustix has no ioctl for network interfaces")]
    fn ask(&self, interface: &str, words: &mut [u32]) -> io::Result<()> {
        let mut request = libc::ifreq {
            ifr_name: interface_name(interface)?,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_data: words.as_mut_ptr().cast(),
            },
        };
        // SAFETY: the descriptor is open; `request` is an ifreq with a terminated name, whose data pointer is to `words`,
        // which is as long as the structure of its command (9 words for channels and rings, 23 for coalescing) and is
        // borrowed until the call returns.
        let result = unsafe {
            libc::ioctl(
                self.socket.as_raw_fd(),
                libc::SIOCETHTOOL as _,
                &raw mut request,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// The name as the kernel takes it: at most 15 bytes, the rest zeros.
fn interface_name(name: &str) -> io::Result<[libc::c_char; libc::IFNAMSIZ]> {
    let mut field = [0; libc::IFNAMSIZ];
    if name.len() >= field.len() || name.bytes().any(|byte| byte == 0) {
        return Err(Errno::NODEV.into());
    }
    for (place, byte) in field.iter_mut().zip(name.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_no_channels_and_an_absent_interface_is_an_error() {
        let ethtool = Ethtool::open().unwrap();
        assert_eq!(ethtool.channels("lo").unwrap(), None);
        assert_eq!(ethtool.rings("lo").unwrap(), None);
        assert_eq!(ethtool.coalescing("lo").unwrap(), None);
        for name in ["no-such-nic", "a-name-that-no-interface-can-have", "a\0b"] {
            let error = ethtool.channels(name).unwrap_err();
            assert_eq!(
                error.raw_os_error(),
                Some(Errno::NODEV.raw_os_error()),
                "{name}: {error}"
            );
        }
    }
}
