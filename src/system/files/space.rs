//! What there is room for, and who may write: questions about a path that open nothing.

use std::io;
use std::path::Path;

use rustix::fs::{self, StatVfsMountFlags};
use rustix::io::Errno;

/// How much room a file system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its device, by which two paths on the same one are known.
    pub device: u64,
    /// Bytes that are free for everybody.
    pub bytes: u64,
    /// How many more files it takes; `None` where it does not count them.
    pub files: Option<u64>,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// The room on the file system of a path.
///
/// # Errors
/// Those of stat(2) and statvfs(3).
pub fn space(path: &Path) -> io::Result<Space> {
    let status = fs::stat(path)?;
    let volume = fs::statvfs(path)?;
    Ok(Space {
        device: status.st_dev,
        bytes: volume.f_bavail.saturating_mul(volume.f_frsize),
        files: (volume.f_files > 0).then_some(volume.f_favail),
        read_only: volume.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}

/// The owner's id and the permission bits of what a path leads to; `None` when there is nothing.
///
/// # Errors
/// Those of stat(2) but `ENOENT`.
pub fn owner_and_mode(path: &Path) -> io::Result<Option<(u32, u32)>> {
    match fs::stat(path) {
        Ok(status) => Ok(Some((status.st_uid, status.st_mode & 0o7777))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
