//! Telling the service manager: the sd_notify(3) datagram, without its library.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The socket of the service manager, if one started us.
#[derive(Debug)]
pub struct ServiceManager {
    address: Option<SocketAddr>,
}

impl ServiceManager {
    /// From the value of `NOTIFY_SOCKET`: a path, or an abstract name after `@`. Anything else is nobody to tell.
    #[must_use]
    pub fn new(notify_socket: Option<&OsStr>) -> Self {
        let address = notify_socket.and_then(|socket| match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
            [b'/', ..] => SocketAddr::from_pathname(socket).ok(),
            _ => None,
        });
        Self { address }
    }

    /// Sends a state such as `READY=1` or `STOPPING=1`. Without a service manager nothing happens.
    ///
    /// # Errors
    /// Those of socket(2) and sendto(2).
    pub fn notify(&self, state: &str) -> io::Result<()> {
        let Some(address) = &self.address else {
            return Ok(());
        };
        let socket = UnixDatagram::unbound()?;
        // A service manager that does not read must not hold us up.
        socket.set_nonblocking(true)?;
        socket.send_to_addr(state.as_bytes(), address).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_arrive_at_an_abstract_socket_and_nowhere_without_one() {
        let name = format!("gce-guest-notify-{}", std::process::id());
        let receiver =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        ServiceManager::new(Some(OsStr::new(&format!("@{name}"))))
            .notify("READY=1")
            .unwrap();
        let mut buffer = [0; 64];
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
        ServiceManager::new(None).notify("READY=1").unwrap();
    }
}
