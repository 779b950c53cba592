//! What there is room for, who may write, and where a link leads: questions about a path that open nothing.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, StatVfsMountFlags, StatxAttributes, StatxFlags};
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

/// The path of the file that a path leads to: itself, or what is behind the links of whoever keeps the file elsewhere, as
/// authselect does with nsswitch.conf. Written there, the links stay.
///
/// # Errors
/// Those of realpath(3), and `PermissionDenied` for a link into a directory that is not root's alone.
pub fn behind_links(path: &Path) -> io::Result<PathBuf> {
    if !path.is_symlink() {
        return Ok(path.to_owned());
    }
    let target = path.canonicalize()?;
    let directory = target.parent().unwrap_or(&target);
    match owner_and_mode(directory)? {
        Some((0, mode)) if mode & 0o022 == 0 => Ok(target),
        _ => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "it is a link, and {} is not root's alone",
                directory.display()
            ),
        )),
    }
}

/// Where a path leads, when it is a symbolic link.
#[must_use]
pub fn link_target(path: &Path) -> Option<PathBuf> {
    path.read_link().ok()
}

/// Whether a path is where something is mounted, as single files are in containers: such a file cannot be replaced by
/// another one. Older kernels do not tell (Linux 5.8).
///
/// # Errors
/// Those of statx(2) but `ENOENT`.
pub fn is_mount_point(path: &Path) -> io::Result<bool> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    match fs::statx(fs::CWD, path, flags, StatxFlags::empty()) {
        Ok(status) => Ok(status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
