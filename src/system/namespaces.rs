//! What a process leaves behind when it moves into namespaces of its own: namespaces, capabilities, descriptors.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use super::files::Directory;

/// Moves the calling process into new namespaces. For those of users and processes it must have one thread
/// (unshare(2)); a new process namespace is for the children, the caller stays where it is.
///
/// # Errors
/// Those of unshare(2); `EINVAL` when `flags` ask for a descriptor table of its own.
#[expect(
    unsafe_code,
    reason = "rustix marks it unsafe for the sake of one flag"
)]
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    if flags.contains(UnshareFlags::FILES) {
        return Err(Errno::INVAL.into());
    }
    // SAFETY: the contract is that no thread relies on descriptors of a table that is no longer shared; FILES, the
    // only flag that parts the table, is refused above.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Has the kernel kill the calling process when its parent ends. Does not say whether the parent has ended already.
///
/// # Errors
/// Those of prctl(2).
pub fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        Signal::KILL,
    ))?)
}

/// Whether the calling process may mount and make namespaces.
#[must_use]
pub fn may_administer() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Gives up every capability but `kept`, for good: out of the bounding set no program that is started later gets it back.
///
/// The calling process must have one thread. The inheritable and ambient sets become empty: root's programs do not need
/// them, and other users' programs must not have them.
///
/// # Errors
/// Those of prctl(2) and capset(2).
pub fn keep_capabilities(kept: CapabilitySet) -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        // The kernel knows fewer than 64: the first unknown number ends the list.
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) if !kept.contains(capability) => {
                rustix::thread::remove_capability_from_bounding_set(capability)?;
            }
            Ok(_) => {}
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let present = rustix::thread::capabilities(None)?.permitted;
    let sets = CapabilitySets {
        effective: present & kept,
        permitted: present & kept,
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Makes the calling process one that nobody has logged in to, so that pam_loginuid may say who does.
///
/// A process whose login id is set needs a capability to change it (pam_loginuid(8)), which is why this comes
/// before [`keep_capabilities`].
///
/// # Errors
/// `ENOENT` from a kernel without auditing, `EPERM` from one that forbids the change.
pub fn forget_login() -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::open("/proc/self/loginuid", flags, Mode::empty())?;
    rustix::io::write(&fd, b"4294967295")?;
    Ok(())
}

/// Takes over a descriptor that the parent process left open under this number, and lets no further program have it.
///
/// # Errors
/// `EBADF` when there is none.
#[expect(unsafe_code, reason = "a number becomes an owned descriptor")]
pub fn take_over(number: RawFd) -> io::Result<OwnedFd> {
    set_inherited(number, false)?;
    // SAFETY: the descriptor is open (the call above succeeded on it), and the caller names one that its parent passed
    // by number for exactly this purpose, so nothing else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Says whether programs that are started from now on have the descriptor.
///
/// # Errors
/// `EBADF` when there is none with this number.
#[expect(
    unsafe_code,
    reason = "descriptors are named by number on a command line"
)]
pub fn set_inherited(number: RawFd, inherited: bool) -> io::Result<()> {
    if number < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the borrow ends with this function, which does not close the descriptor; a number that is not open makes
    // fcntl(2) fail with EBADF and does nothing else. It is not -1, the one forbidden value.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = if inherited {
        FdFlags::empty()
    } else {
        FdFlags::CLOEXEC
    };
    Ok(rustix::io::fcntl_setfd(fd, flags)?)
}

/// Lets programs that are started from now on have the three standard descriptors and `kept`, and no other.
///
/// # Errors
/// Those of reading `/proc/self/fd`, and `EBADF` when one of `kept` is not open.
pub fn inherit_only(kept: &[RawFd]) -> io::Result<()> {
    for name in Directory::open(Path::new("/proc/self/fd"))?.names()? {
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if number > 2 && !kept.contains(&number) {
            match set_inherited(number, false) {
                // The descriptor of the listing itself is gone by now.
                Err(error) if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) => {}
                result => result?,
            }
        }
    }
    kept.iter()
        .try_for_each(|number| set_inherited(*number, true))
}
