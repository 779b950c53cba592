//! Mounts: the table of those that are there, and the few kinds that a private root is made of (mount(2)).
//!
//! Everything here acts on the caller's mount namespace. Errors say what was to be mounted where.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::files;
use crate::system::order::InOrder;

/// Where the kernel lists the mounts of the calling process (proc(5)).
const MOUNT_INFO: &str = "/proc/self/mountinfo";

/// How much of the table is read, in bytes: some hundred thousand mounts.
const TABLE_LIMIT: u64 = 64 * 1024 * 1024;

/// One line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted, as seen from the caller's root.
    pub point: PathBuf,
    /// The type of the file system: `ext4`, `tmpfs`, `overlay`.
    pub kind: OsString,
    /// The options of the mount point itself, those that a later remount has to repeat.
    pub flags: MountFlags,
}

/// The mounts of the calling process, parents before what is mounted below them.
///
/// # Errors
/// Those of reading the table.
pub fn table() -> io::Result<Vec<Mount>> {
    let text = files::read(Path::new(MOUNT_INFO), TABLE_LIMIT)?
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no /proc/self/mountinfo"))?;
    Ok(parse(&text))
}

/// The table from its text: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw` (proc(5)).
fn parse(text: &[u8]) -> Vec<Mount> {
    let lines = text.split(|byte| *byte == b'\n');
    let mut mounts: Vec<Mount> = lines.filter_map(parse_line).collect();
    mounts.put_in_order_by(|mount| mount.point.components().count());
    mounts
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let separator = fields.iter().position(|field| *field == b"-")?;
    Some(Mount {
        point: PathBuf::from(unescape(fields.get(4)?)),
        kind: OsString::from_vec(fields.get(separator + 1)?.to_vec()),
        flags: flags(fields.get(5)?),
    })
}

/// A path of the table, in which space, tab, newline and backslash are three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    OsString::from_vec(path)
}

/// The options of a mount point that the kernel insists on when it is remounted.
fn flags(options: &[u8]) -> MountFlags {
    let mut flags = MountFlags::empty();
    for option in options.split(|byte| *byte == b',') {
        flags |= match option {
            b"ro" => MountFlags::RDONLY,
            b"nosuid" => MountFlags::NOSUID,
            b"nodev" => MountFlags::NODEV,
            b"noexec" => MountFlags::NOEXEC,
            b"noatime" => MountFlags::NOATIME,
            b"nodiratime" => MountFlags::NODIRATIME,
            b"relatime" => MountFlags::RELATIME,
            b"nosymfollow" => MountFlags::NOSYMFOLLOW,
            _ => MountFlags::empty(),
        };
    }
    flags
}

/// Keeps every later mount and unmount in this namespace from the namespaces that it was copied from.
///
/// # Errors
/// Those of mount(2).
pub fn make_private() -> io::Result<()> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .map_err(told("make the mounts below", Path::new("/")))
}

/// Mounts a file system that has no source: `proc`, `sysfs`, `tmpfs`, `devpts`.
///
/// # Errors
/// Those of mount(2).
pub fn mount(kind: &str, target: &Path, flags: MountFlags, data: &str) -> io::Result<()> {
    let data = CString::new(data)?;
    rustix::mount::mount(kind, target, kind, flags, data.as_c_str())
        .map_err(told(&format!("mount {kind} on"), target))
}

/// Mounts an overlay: `lower` shows through, writes go to `layers`, an empty directory on a file system in memory.
///
/// Devices do not open in it. The root of the overlay has the owner and the mode of `lower`. `mapped` is for a user
/// namespace, where the overlay has to keep its notes in `user.` attributes (overlayfs.rst, "User xattr").
///
/// # Errors
/// Those of mkdir(2), chown(2) and mount(2); `EINVAL` and `EPERM` where the kernel cannot have an overlay on `lower`.
pub fn overlay(lower: &Path, layers: &Path, target: &Path, mapped: bool) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lower_fd = fs::open(lower, flags, Mode::empty()).map_err(told("open", lower))?;
    let layers_directory = files::create_directories(layers, 0o700)?;
    let status = fs::fstat(&lower_fd)?;
    let (upper, _) =
        layers_directory.open_or_create_directory(OsStr::new("upper"), status.st_mode & 0o7777)?;
    layers_directory.open_or_create_directory(OsStr::new("work"), 0o700)?;
    let (uid, gid) = (
        fs::Uid::from_raw(status.st_uid),
        fs::Gid::from_raw(status.st_gid),
    );
    // An owner that a user namespace does not map cannot be given; the directory is then root's, which is as safe.
    let _ = fs::fchown(&upper, Some(uid), Some(gid));
    fs::fchmod(&upper, Mode::from_raw_mode(status.st_mode & 0o7777))?;
    // By descriptor, because the option's own syntax gives a meaning to colons and commas in a path.
    let mut options = format!("lowerdir=/proc/self/fd/{}", lower_fd.as_raw_fd()).into_bytes();
    options.extend_from_slice(b",upperdir=");
    options.extend_from_slice(layers.join("upper").as_os_str().as_bytes());
    options.extend_from_slice(b",workdir=");
    options.extend_from_slice(layers.join("work").as_os_str().as_bytes());
    if mapped {
        options.extend_from_slice(b",userxattr");
    }
    let options = CString::new(options)?;
    rustix::mount::mount(
        "overlay",
        target,
        "overlay",
        MountFlags::NODEV,
        options.as_c_str(),
    )
    .map_err(told(&format!("overlay {} on", lower.display()), target))
}

/// Shows a file or directory, with everything that is mounted below it, at a second place.
///
/// # Errors
/// Those of mount(2).
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    rustix::mount::mount_bind_recursive(source, target)
        .map_err(told(&format!("bind {} to", source.display()), target))
}

/// Adds flags such as `RDONLY` to the mount at `target` and to every mount below it. What is mounted stays as it was at
/// other places.
///
/// # Errors
/// Those of reading the table and of mount(2).
pub fn restrict(target: &Path, flags: MountFlags) -> io::Result<()> {
    for mount in table()? {
        if mount.point.starts_with(target) {
            remount(&mount.point, mount.flags | flags)?;
        }
    }
    Ok(())
}

/// Takes away the mount at `target` and every mount below it, also while they are in use.
///
/// # Errors
/// Those of umount2(2).
pub fn unmount(target: &Path) -> io::Result<()> {
    rustix::mount::unmount(target, UnmountFlags::DETACH).map_err(told("unmount", target))
}

/// Makes the one mount at `target` writable again.
///
/// # Errors
/// Those of mount(2); `EPERM` where a user namespace may not.
pub fn make_writable(target: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    remount(target, flags)
}

fn remount(target: &Path, flags: MountFlags) -> io::Result<()> {
    rustix::mount::mount_remount(target, MountFlags::BIND | flags, "")
        .map_err(told("remount", target))
}

/// Makes `root` the root directory of every process of this mount namespace and lets go of the former one.
///
/// # Errors
/// Those of chdir(2), pivot_root(2) and umount2(2).
pub fn change_root(root: &Path) -> io::Result<()> {
    rustix::process::chdir(root).map_err(told("enter", root))?;
    // The old root is put on top of the new one and taken off again: no directory for it is needed (pivot_root(2)).
    rustix::process::pivot_root(".", ".").map_err(told("change the root to", root))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(told("leave the root for", root))?;
    rustix::process::chdir("/").map_err(told("enter", Path::new("/")))
}

fn told(act: &str, path: &Path) -> impl Fn(rustix::io::Errno) -> io::Error {
    let what = format!("cannot {act} {}", path.display());
    move |error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("{what}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_parsed_with_escapes_and_optional_fields() {
        let text = b"41 24 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            43 42 0:5 / /home/a\\040b\\134c/d ro,nosuid,nodev,noexec,noatime master:1 shared:7 - nfs4 h:/x rw\n\
            42 41 0:31 /sub /home rw - tmpfs tmpfs rw\n\
            broken line\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[0].point, Path::new("/"));
        assert_eq!(mounts[0].flags, MountFlags::RELATIME);
        assert_eq!(mounts[1].point, Path::new("/home"));
        assert_eq!(mounts[1].kind, "tmpfs");
        assert_eq!(mounts[2].point, Path::new("/home/a b\\c/d"));
        let flags = MountFlags::RDONLY
            | MountFlags::NOSUID
            | MountFlags::NODEV
            | MountFlags::NOEXEC
            | MountFlags::NOATIME;
        assert_eq!(mounts[2].flags, flags);
    }

    #[test]
    fn a_backslash_without_three_digits_is_itself() {
        assert_eq!(unescape(b"/a\\04"), "/a\\04");
        assert_eq!(unescape(b"/a\\999"), "/a\\999");
        assert_eq!(unescape(b"\\011"), "\t");
    }

    #[test]
    fn this_machine_has_a_root_and_proc() {
        let mounts = table().unwrap();
        assert_eq!(mounts[0].point, Path::new("/"));
        assert!(mounts.iter().any(|mount| mount.kind == "proc"));
    }
}
