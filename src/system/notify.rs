//! Telling the service manager: the sd_notify(3) datagram, without its library.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

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

/// How often the service manager wants to hear of us: `WATCHDOG_USEC` in microseconds, unless `WATCHDOG_PID` is another
/// process (sd_watchdog_enabled(3)). The values are those of the environment; `own` is our process id.
#[must_use]
pub fn watchdog(
    microseconds: Option<&OsStr>,
    process: Option<&OsStr>,
    own: u32,
) -> Option<Duration> {
    if process.is_some_and(|process| process.to_str() != Some(own.to_string().as_str())) {
        return None;
    }
    let microseconds: u64 = microseconds?.to_str()?.parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn the_watchdog_is_ours_only_when_it_names_us() {
        let ask = |microseconds: &str, process: &str| {
            let value = |text: &str| (!text.is_empty()).then(|| OsString::from(text));
            watchdog(
                value(microseconds).as_deref(),
                value(process).as_deref(),
                42,
            )
        };
        assert_eq!(ask("", ""), None);
        assert_eq!(ask("3000000", ""), Some(Duration::from_secs(3)));
        assert_eq!(ask("3000000", "42"), Some(Duration::from_secs(3)));
        assert_eq!(ask("3000000", "43"), None);
        assert_eq!(ask("0", "42"), None);
        assert_eq!(ask("soon", "42"), None);
    }

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
