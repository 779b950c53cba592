//! New home directories, filled as useradd(8) fills them from the skeleton.
//!
//! A home that is not complete belongs to root and has no permission bits at all, so nobody reaches into it while it is
//! filled, and one that a killed process left is recognised and filled again.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::{Account, Unsuitable};
use crate::system::files::Directory;

/// The largest file of a skeleton, in bytes.
const SIZE_LIMIT: u64 = 4 * 1024 * 1024;

/// The most entries of a skeleton, at every depth.
const ENTRY_LIMIT: usize = 200;

/// What a new home is filled with.
#[derive(Debug, Default)]
pub(super) struct Skeleton {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: OsString,
    mode: u32,
    times: Timestamps,
    kind: EntryKind,
}

#[derive(Debug)]
enum EntryKind {
    File(Vec<u8>),
    Directory(Vec<Entry>),
    Link(PathBuf),
}

impl Skeleton {
    /// Reads a skeleton; a missing one is empty.
    ///
    /// # Errors
    /// It cannot be read, or holds something whose copy by useradd is not imitated.
    pub(super) fn read(path: &Path) -> Result<Self, Unsuitable> {
        let told = |error: io::Error| Unsuitable::new(format!("{}: {error}", path.display()));
        match Directory::open(path) {
            Ok(directory) => {
                let mut room = ENTRY_LIMIT;
                let entries = read_entries(&directory, path, &mut room).map_err(told)?;
                Ok(Self { entries })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(told(error)),
        }
    }

    /// Makes an account's home in `homes`, or completes one that was left incomplete. A complete one is not touched.
    ///
    /// # Errors
    /// Those of the system calls, for this home only.
    pub(super) fn make_home(
        &self,
        homes: &Directory,
        account: &Account,
        mode: u32,
    ) -> io::Result<()> {
        let name = account.home.file_name().unwrap_or_default();
        match fs::mkdirat(homes, name, Mode::empty()) {
            Ok(()) => {}
            Err(Errno::EXIST) if homes.status_of(name)?.is_some_and(is_incomplete) => {}
            Err(Errno::EXIST) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let home = homes.open_directory(name)?;
        let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
        fill(&home, &self.entries, uid, gid)?;
        // The owner first: from the moment that the mode says something, the home is its owner's.
        fs::fchown(&home, Some(uid), Some(gid))?;
        home.set_mode(mode)
    }
}

/// Whether this is a home whose making was cut short.
fn is_incomplete(status: Stat) -> bool {
    FileType::from_raw_mode(status.st_mode).is_dir()
        && status.st_uid == 0
        && status.st_mode & 0o7777 == 0
}

fn read_entries(
    directory: &Directory,
    skeleton: &Path,
    room: &mut usize,
) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for name in directory.names()? {
        *room = room
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("too many entries"))?;
        let odd = |what: &str| io::Error::other(format!("{what} ({})", name.to_string_lossy()));
        let status = directory.status_of(&name)?.ok_or(io::ErrorKind::NotFound)?;
        let kind = match FileType::from_raw_mode(status.st_mode) {
            FileType::RegularFile => {
                has_no_attributes(directory, &name)?;
                EntryKind::File(directory.read(&name, SIZE_LIMIT)?.unwrap_or_default())
            }
            FileType::Directory => {
                has_no_attributes(directory, &name)?;
                EntryKind::Directory(read_entries(
                    &directory.open_directory(&name)?,
                    skeleton,
                    room,
                )?)
            }
            FileType::Symlink => {
                let target = directory.read_link(&name)?;
                if target.starts_with(skeleton) {
                    return Err(odd("a link into the skeleton"));
                }
                EntryKind::Link(target)
            }
            _ => return Err(odd("neither a file nor a directory nor a link")),
        };
        entries.push(Entry {
            mode: status.st_mode & 0o7777,
            times: times(&status),
            kind,
            name,
        });
    }
    Ok(entries)
}

/// Refuses an entry with access control lists or other attributes, which useradd would copy.
fn has_no_attributes(directory: &Directory, name: &OsStr) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = fs::openat(directory, name, flags, Mode::empty())?;
    let mut names = Vec::with_capacity(4096);
    match fs::flistxattr(&fd, rustix::buffer::spare_capacity(&mut names)) {
        Ok(0) | Err(Errno::NOTSUP) => Ok(()),
        Ok(_) => Err(io::Error::other(format!(
            "{} has extended attributes",
            name.to_string_lossy()
        ))),
        Err(error) => Err(error.into()),
    }
}

fn times(status: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(status.st_atime, status.st_atime_nsec),
        last_modification: time(status.st_mtime, status.st_mtime_nsec),
    }
}

fn fill(directory: &Directory, entries: &[Entry], uid: Uid, gid: Gid) -> io::Result<()> {
    for entry in entries {
        match &entry.kind {
            EntryKind::File(contents) => {
                let mut file = File::from(create_file(directory, &entry.name)?);
                file.write_all(contents)?;
                finish(&file, entry, uid, gid)?;
            }
            EntryKind::Directory(entries) => {
                let (made, _) = directory.open_or_create_directory(&entry.name, 0o700)?;
                fill(&made, entries, uid, gid)?;
                finish(&made, entry, uid, gid)?;
            }
            EntryKind::Link(target) => {
                directory.remove(&entry.name)?;
                directory.create_link(&entry.name, target)?;
                fs::chownat(
                    directory,
                    &entry.name,
                    Some(uid),
                    Some(gid),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?;
                fs::utimensat(
                    directory,
                    &entry.name,
                    &entry.times,
                    AtFlags::SYMLINK_NOFOLLOW,
                )?;
            }
        }
    }
    Ok(())
}

/// Makes a file that is not there; one that a killed process left goes first.
fn create_file(directory: &Directory, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || fs::openat(directory, name, flags, Mode::from_raw_mode(0o600));
    match create() {
        Err(Errno::EXIST) => {
            fs::unlinkat(directory, name, AtFlags::empty())?;
            Ok(create()?)
        }
        result => Ok(result?),
    }
}

fn finish(fd: impl AsFd, entry: &Entry, uid: Uid, gid: Gid) -> io::Result<()> {
    let fd = fd.as_fd();
    fs::fchown(fd, Some(uid), Some(gid))?;
    fs::fchmod(fd, Mode::from_raw_mode(entry.mode))?;
    fs::futimens(fd, &entry.times)?;
    Ok(())
}

/// Makes an empty mailbox. One that is there is left alone, and without one mail makes it: useradd takes neither for a
/// failure, and so there is none.
pub(super) fn make_mailbox(
    mailboxes: &Path,
    name: &str,
    uid: u32,
    mail_group: Option<u32>,
    own_group: u32,
) {
    let Ok(directory) = Directory::open(mailboxes) else {
        return;
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = OsStr::from_bytes(name.as_bytes());
    let Ok(fd) = fs::openat(&directory, name, flags, Mode::empty()) else {
        return;
    };
    let (gid, mode) = mail_group.map_or((own_group, 0o600), |gid| (gid, 0o660));
    let owned = fs::fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    if owned.is_ok() {
        // As useradd: what cannot be given is left as it is, closed to everybody.
        let _ = fs::fchmod(&fd, Mode::from_raw_mode(mode));
    }
}
