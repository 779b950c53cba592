//! The lock of the local files of users and groups: the one that useradd, usermod, gpasswd, vipw and systemd take.
//!
//! lckpwdf(3) is a record lock of fcntl(2) on `/etc/.pwd.lock`. The tools of shadow take it before anything else and hold
//! it as long as their own lock files (`/etc/passwd.lock` and its sisters, with a process id inside), so whoever has it
//! keeps all of them out. We take it, respect lock files of living processes, and make none: a lock file that a killed
//! process leaves behind blocks every tool once its process id is used again, a record lock ends with its process.
//!
//! The lock file is never made here. Where it is missing, no tool of this machine has ever taken the lock, and what would
//! keep them out is not known.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::CreateError;
use super::tables::Table;
use crate::system::files::Directory;
use crate::system::locks::{self, LockError};

/// The lock file's name in `/etc`.
const FILE: &str = ".pwd.lock";

/// How often a held lock is tried again.
const STEP: Duration = Duration::from_millis(10);

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct PasswordLock {
    _fd: OwnedFd,
}

impl PasswordLock {
    /// Takes the lock of the files in `etc`, waiting for `patience` at most.
    ///
    /// # Errors
    /// [`CreateError::Locked`] with who holds it, [`CreateError::Unsuitable`] where the lock is not used,
    /// [`CreateError::Failed`] for everything else.
    pub(super) fn take(etc: &Directory, patience: Duration) -> Result<Self, CreateError> {
        let until = Instant::now() + patience;
        loop {
            match Self::try_take(etc)? {
                Ok(lock) => return Ok(lock),
                Err(held) if Instant::now() >= until => return Err(CreateError::Locked(held)),
                Err(_) => thread::sleep(STEP),
            }
        }
    }

    fn try_take(etc: &Directory) -> Result<Result<Self, LockError>, CreateError> {
        let path = etc.path().join(FILE);
        let failed = |error: Errno| CreateError::Failed {
            path: path.clone(),
            begun: false,
            source: error.into(),
        };
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match fs::openat(etc, FILE, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => {
                let told = format!("{} is missing", path.display());
                return Err(super::Unsuitable::new(told).into());
            }
            Err(error) => return Err(failed(error)),
        };
        match fs::fcntl_lock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => {
                let holder = locks::record_lock_on(&fd).ok().flatten();
                let holder = holder.unwrap_or_default();
                return Ok(Err(LockError::Held { path, holder }));
            }
            Err(error) => return Err(failed(error)),
        }
        for table in Table::ALL {
            let name = format!("{}.lock", table.file());
            if let Some(pid) = living_holder(etc, &name) {
                let path = etc.path().join(name);
                return Ok(Err(LockError::Held {
                    path,
                    holder: locks::of_process(pid),
                }));
            }
        }
        Ok(Ok(Self { _fd: fd }))
    }
}

/// The living process that a lock file of shadow names. One that names nobody who lives is stale: shadow removes it.
fn living_holder(etc: &Directory, name: &str) -> Option<u32> {
    let contents = match etc.read(name.as_ref(), 64) {
        Ok(contents) => contents?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(_) => return Some(0),
    };
    let text = String::from_utf8_lossy(&contents);
    let pid: u32 = text.trim_end_matches(['\0', '\n']).parse().ok()?;
    Path::new("/proc")
        .join(pid.to_string())
        .exists()
        .then_some(pid)
}
