//! Lock files by flock(2), with the predecessors' names so that old and new daemons exclude each other
//! (spec/core.md 11.1).

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

/// Why a lock was not taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is locked by another process", .0.display())]
    Held(PathBuf),
    /// The lock file cannot be opened or locked.
    #[error("cannot lock {}: {source}", .path.display())]
    Failed {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A lock that is held until it is dropped. The file is left in place.
#[derive(Debug)]
pub struct FileLock {
    _fd: OwnedFd,
}

impl FileLock {
    /// Takes the lock without waiting.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process has it, [`LockError::Failed`] for everything else.
    pub fn try_take(path: &Path) -> Result<Self, LockError> {
        let failed = |error: Errno| LockError::Failed {
            path: path.to_path_buf(),
            source: error.into(),
        };
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::open(path, flags, Mode::from_raw_mode(0o644)).map_err(failed)?;
        match fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _fd: fd }),
            Err(Errno::WOULDBLOCK) => Err(LockError::Held(path.to_path_buf())),
            Err(error) => Err(failed(error)),
        }
    }
}
