//! Lock files by flock(2), with the predecessors' names so that old and new daemons exclude each other
//! (spec/core.md 11.1).
//!
//! The directory of locks is often writable for everybody (`/run/lock` on Debian), and whoever can read a file can lock
//! it. So a lock file of somebody else is replaced, ours cannot be read by others, and a lock that a process of somebody
//! else holds does not count.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType};
use thiserror::Error;

use super::files;

/// For us only.
const LOCK_MODE: u32 = 0o600;

/// How often a file that is not ours is replaced before we give up: somebody else may be as quick.
const ATTEMPTS: usize = 5;

/// Why a lock was not taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is locked by {holder}", .path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as the kernel tells.
        holder: Holder,
    },
    /// The lock file cannot be opened or locked.
    #[error("cannot lock {}: {reason}", .path.display())]
    Failed {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
}

/// A process that holds a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its process id and the name of its program.
    process: Option<(u32, String)>,
    /// Its user id.
    uid: Option<u32>,
}

impl Holder {
    /// Its process id, where the kernel tells.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.process.as_ref().map(|(id, _)| *id)
    }

    /// The name of its program, where the kernel tells; cut to 15 bytes (proc(5)).
    #[must_use]
    pub fn program(&self) -> Option<&str> {
        self.process.as_ref().map(|(_, name)| name.as_str())
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.process {
            Some((pid, name)) => write!(formatter, "{name} (process {pid})"),
            None => formatter.write_str("another process"),
        }
    }
}

/// A lock that is held until it is dropped. The file is left in place.
#[derive(Debug)]
pub struct FileLock {
    fd: OwnedFd,
}

impl Drop for FileLock {
    /// Unlocks, which closing alone does not do at once: a process that another thread has just forked has a copy of the
    /// descriptor until it executes its program.
    fn drop(&mut self) {
        // It cannot fail on a descriptor that is locked, and closing follows.
        let _ = fs::flock(&self.fd, FlockOperation::Unlock);
    }
}

impl FileLock {
    /// Takes the lock without waiting.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process of ours has it, [`LockError::Failed`] for everything else.
    pub fn try_take(path: &Path) -> Result<Self, LockError> {
        let failed = |reason: io::Error| LockError::Failed {
            path: path.to_path_buf(),
            reason,
        };
        let own = rustix::process::geteuid().as_raw();
        for _ in 0..ATTEMPTS {
            let Some(fd) = open(path, own).map_err(failed)? else {
                clear(path).map_err(failed)?;
                continue;
            };
            match fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { fd }),
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(failed(error.into())),
            }
            let status = fs::fstat(&fd).map_err(|error| failed(error.into()))?;
            let holder = holder(&status);
            if holder.uid.is_none_or(|uid| uid == own) {
                return Err(LockError::Held {
                    path: path.to_path_buf(),
                    holder,
                });
            }
            files::remove(path).map_err(failed)?;
        }
        Err(failed(io::Error::other(
            "somebody else keeps putting a file there",
        )))
    }
}

/// Who holds the lock that a [`FileLock`] takes; `None` when nobody does, or there is no such file. The lock is neither taken
/// nor touched.
///
/// # Errors
/// Those of lstat(2) but `ENOENT`.
pub fn holder_of(path: &Path) -> io::Result<Option<Holder>> {
    match fs::lstat(path) {
        Ok(status) => Ok(Some(holder(&status)).filter(|holder| holder.process.is_some())),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Who holds a record lock (fcntl(2)) on a file, as package managers do; `None` when nobody does, or there is no such file.
/// The file is not touched.
///
/// # Errors
/// Those of open(2) but `ENOENT`, and of fcntl(2).
pub fn record_lock(path: &Path) -> io::Result<Option<Holder>> {
    let fd = match fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    record_lock_on(&fd)
}

/// Who else holds a record lock on an open file.
pub(super) fn record_lock_on(fd: &OwnedFd) -> io::Result<Option<Holder>> {
    let wanted = Flock::from(FlockType::WriteLock);
    let held = rustix::process::fcntl_getlk(fd, &wanted)?;
    Ok(held.map(|lock| {
        let pid = lock
            .pid
            .map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        pid.map_or_else(Holder::default, of_process)
    }))
}

/// Opens the lock file, made where it is missing; `None` when it is somebody else's or no regular file.
fn open(path: &Path, own: u32) -> io::Result<Option<OwnedFd>> {
    let flags =
        OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match fs::open(path, flags, Mode::from_raw_mode(LOCK_MODE)) {
        Ok(fd) => fd,
        // A link, a directory, or what fs.protected_regular and its sisters keep us from opening: not ours.
        Err(Errno::LOOP | Errno::ACCESS | Errno::NXIO | Errno::ISDIR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let status = fs::fstat(&fd)?;
    let regular = fs::FileType::from_raw_mode(status.st_mode).is_file();
    if !regular || status.st_uid != own {
        return Ok(None);
    }
    if status.st_mode & 0o077 != 0 {
        fs::fchmod(&fd, Mode::from_raw_mode(LOCK_MODE))?;
    }
    Ok(Some(fd))
}

/// Makes room for the lock file. A directory that is not empty is moved aside, with whatever somebody has put into it.
fn clear(path: &Path) -> io::Result<()> {
    match files::remove(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            let (parent, name) = path
                .parent()
                .zip(path.file_name())
                .ok_or(io::ErrorKind::InvalidInput)?;
            let parent = files::Directory::open(parent)?;
            match parent.remove_directory(name) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                    let mut aside = name.to_owned();
                    aside.push(format!(".not-a-lock-{:016x}", fastrand::u64(..)));
                    parent.rename(name, &aside)
                }
                result => result.map(drop),
            }
        }
        result => result.map(drop),
    }
}

/// Who holds a lock on this file, by /proc/locks (proc(5)).
fn holder(status: &Stat) -> Holder {
    let table = files::read_stream(Path::new("/proc/locks"), 1024 * 1024).unwrap_or_default();
    let Some(pid) = holding_process(&String::from_utf8_lossy(&table), status) else {
        return Holder::default();
    };
    of_process(pid)
}

/// A process as a holder.
pub(super) fn of_process(pid: u32) -> Holder {
    let directory = Path::new("/proc").join(pid.to_string());
    let name = files::read_stream(&directory.join("comm"), 4096).unwrap_or_default();
    let name = String::from_utf8_lossy(&name).trim().to_owned();
    Holder {
        process: Some((pid, name)),
        uid: directory.metadata().ok().map(|entry| entry.uid()),
    }
}

/// The process in a line such as `1: FLOCK  ADVISORY  WRITE 812 00:19:1042 0 EOF`.
fn holding_process(table: &str, status: &Stat) -> Option<u32> {
    let (major, minor) = (fs::major(status.st_dev), fs::minor(status.st_dev));
    let file = format!("{major:02x}:{minor:02x}:{}", status.st_ino);
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_holder = words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&file.as_str());
        is_holder.then(|| words.get(4)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::PrivateDirectory;
    use std::ffi::OsStr;

    fn directory() -> PrivateDirectory {
        PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-locks-").unwrap()
    }

    #[test]
    fn a_lock_is_held_until_it_is_dropped_and_its_holder_is_named() {
        let directory = directory();
        let path = directory.path().join("x.lock");
        let lock = FileLock::try_take(&path).unwrap();
        let told = FileLock::try_take(&path).unwrap_err().to_string();
        assert!(
            told.ends_with(&format!("(process {})", std::process::id())),
            "{told}"
        );
        let holder = holder_of(&path).unwrap().unwrap();
        assert_eq!(holder.process(), Some(std::process::id()));
        drop(lock);
        assert_eq!(holder_of(&path).unwrap(), None);
        assert_eq!(holder_of(&directory.path().join("none")).unwrap(), None);
        drop(FileLock::try_take(&path).unwrap());
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, LOCK_MODE);
    }

    #[test]
    fn a_copy_of_the_descriptor_in_a_forked_process_does_not_hold_it() {
        let directory = directory();
        let path = directory.path().join("x.lock");
        let lock = FileLock::try_take(&path).unwrap();
        let copy = lock.fd.try_clone().unwrap();
        drop(lock);
        drop(FileLock::try_take(&path).unwrap());
        drop(copy);
    }

    #[test]
    fn what_is_no_lock_file_of_ours_is_replaced() {
        let directory = directory();
        let path = directory.path().join("x.lock");
        fs::symlink("/etc/passwd", &path).unwrap();
        drop(FileLock::try_take(&path).unwrap());
        assert!(path.symlink_metadata().unwrap().is_file());
        assert!(Path::new("/etc/passwd").metadata().unwrap().len() > 0);
    }

    #[test]
    fn a_directory_in_the_place_of_a_lock_file_holds_nobody_up() {
        let directory = directory();
        let path = directory.path().join("x.lock");
        for inside in [None, Some("inside")] {
            let parent = directory.directory();
            let (planted, _) = parent
                .open_or_create_directory(OsStr::new("x.lock"), 0o755)
                .unwrap();
            if let Some(name) = inside {
                planted
                    .open_or_create_directory(OsStr::new(name), 0o755)
                    .unwrap();
            }
            drop(FileLock::try_take(&path).unwrap());
            assert!(path.symlink_metadata().unwrap().is_file());
            files::remove(&path).unwrap();
        }
    }

    #[test]
    fn the_table_of_locks_is_read_by_file() {
        let mut status = fs::stat("/").unwrap();
        (status.st_dev, status.st_ino) = (fs::makedev(0, 0x19), 1042);
        let table = "1: POSIX  ADVISORY  WRITE 1 00:19:1042 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 812 00:19:1042 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 900 00:19:1042 0 EOF\n";
        assert_eq!(holding_process(table, &status), Some(812));
        status.st_ino = 1;
        assert_eq!(holding_process(table, &status), None);
    }
}
