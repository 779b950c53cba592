//! Stamps: whether a file is still the one that was read, without reading it again.

use std::path::Path;

use rustix::fs;

/// How old a change must be, in seconds, before a stamp tells it from the next one. The kernel's clock for files ticks in
/// milliseconds; the rest is for file systems that count in seconds.
const SETTLED_AFTER: i64 = 2;

/// What stat(2) says of a file at one moment. Whoever changes the file's bytes, owner or mode, or puts another file in its
/// place, changes this: the change time cannot be set by anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(Option<Identity>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    changed: (i64, u64),
    settled: bool,
}

impl Stamp {
    /// The stamp of what is at a path now, at `now` in seconds since 1970. Symbolic links are followed.
    #[must_use]
    pub fn of(path: &Path, now: i64) -> Self {
        let identity = fs::stat(path).ok().map(|status| Identity {
            device: status.st_dev,
            inode: status.st_ino,
            size: status.st_size,
            changed: (status.st_ctime, status.st_ctime_nsec),
            settled: status.st_ctime + SETTLED_AFTER < now,
        });
        Self(identity)
    }

    /// Whether there was nothing.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.0.is_none()
    }

    /// Whether equal stamps mean equal files: the last change was long enough ago that another would show.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.0.as_ref().is_none_or(|identity| identity.settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::{Attributes, PrivateDirectory, replace};
    use crate::system::time;

    #[test]
    fn a_stamp_tells_files_apart_once_they_are_settled() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-stamp-").unwrap();
        let path = place.path().join("file");
        let now = time::now().as_second();
        let absent = Stamp::of(&path, now);
        assert!(absent.is_settled() && absent == Stamp::of(&path, now));
        replace(&path, b"one", &Attributes::mode(0o600)).unwrap();
        let fresh = Stamp::of(&path, now);
        assert!(
            !fresh.is_settled(),
            "another change in the same tick would not show"
        );
        let later = now + 100;
        let settled = Stamp::of(&path, later);
        assert!(settled.is_settled() && settled == Stamp::of(&path, later) && settled != absent);
        replace(&path, b"two", &Attributes::mode(0o600)).unwrap();
        assert_ne!(Stamp::of(&path, later), settled);
    }
}
