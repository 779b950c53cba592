//! The founding document's SetPermissions: mode, owner and SELinux context of a path, in one call.
//!
//! For paths of the system only, which root alone controls. Inside home directories see [`super::files::Directory`].

use std::io;
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid};

use super::files;
use super::root::Root;
use super::selinux;

/// Sets mode, owner and context of an existing path, or makes it a directory first when `create_directory` is set and
/// nothing is there. `None` leaves that property as it is; zero is an id like any other (spec/core.md BUG 37).
///
/// # Errors
/// Those of open(2), mkdir(2), fchmod(2) and fchown(2). A context that cannot be set is no error, as in the original.
pub fn set_permissions(
    path: &Path,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    create_directory: bool,
) -> io::Result<()> {
    if create_directory && !path.exists() {
        files::create_directories(path, mode.unwrap_or(0o755))?;
    }
    let fd = rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // The owner first: chown(2) clears the set-id bits of a mode that was set before it.
    if uid.is_some() || gid.is_some() {
        rustix::fs::fchown(&fd, uid.map(Uid::from_raw), gid.map(Gid::from_raw))?;
    }
    if let Some(mode) = mode {
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
    }
    if let Some(context) = selinux::default_context(&Root::machine(), path) {
        files::set_label(&fd, &context);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::{Directory, PrivateDirectory};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn mode_and_owner_are_set_and_what_is_not_given_stays() {
        let place =
            PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-permissions-").unwrap();
        let path = place.path().join("directory");
        set_permissions(&path, Some(0o750), None, None, true).unwrap();
        let made = path.metadata().unwrap();
        assert!(made.is_dir());
        assert_eq!(made.mode() & 0o7777, 0o750);
        // Its own ids, whatever they are, zero included, are ids like any other.
        let (uid, gid) = (Some(made.uid()), Some(made.gid()));
        set_permissions(&path, Some(0o2700), uid, gid, false).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o2700);
        set_permissions(&path, None, None, None, true).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o2700);
        let missing = place.path().join("missing");
        assert!(set_permissions(&missing, Some(0o700), None, None, false).is_err());
        Directory::open(place.path())
            .unwrap()
            .remove_directory("directory".as_ref())
            .unwrap();
    }
}
