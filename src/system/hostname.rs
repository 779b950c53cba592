//! The kernel's host name (hostname(7)): that of the UTS namespace, which the boot takes from /etc/hostname.
//!
//! Whoever shows the name listens to the kernel (poll(2) on /proc/sys/kernel/hostname: hostnamed, journald, resolved), so
//! that nobody else has to be told.

use std::io;

/// The host name now.
#[must_use]
pub fn read() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Sets the host name until the next boot.
///
/// # Errors
/// Those of sethostname(2): `EPERM` without `CAP_SYS_ADMIN`, `EINVAL` for more than 64 bytes.
pub fn set(name: &str) -> io::Result<()> {
    Ok(rustix::system::sethostname(name.as_bytes())?)
}
