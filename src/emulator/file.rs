//! A file as the source of a store: read at the start, followed while it is edited.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;

use crate::emulator::live::Live;
use crate::emulator::store::{Store, StoreError};
use crate::system::events::{FileWatch, Waker};
use crate::system::files;
use crate::system::threads;

/// The largest file that is read.
const LIMIT: u64 = 16 * 1024 * 1024;

/// How long the file must have been quiet before it is read.
const QUIET: Duration = Duration::from_millis(3);

/// Why a file gives no store.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {reason}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: StoreError,
    },
}

/// Reads a store from a file.
///
/// # Errors
/// [`FileError`], which names the file, and the line and column of a syntax error.
pub fn read(path: &Path) -> Result<Store, FileError> {
    let unreadable = |reason| FileError::Unreadable {
        path: path.to_path_buf(),
        reason,
    };
    let bytes = files::read(path, LIMIT)
        .and_then(|bytes| bytes.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(unreadable)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    Store::parse(&text).map_err(|reason| FileError::Wrong {
        path: path.to_path_buf(),
        reason,
    })
}

/// Keeps a store in step with a file, in a thread of its own, until it is dropped.
///
/// A file that is broken, or gone for a moment, leaves the store as it is.
#[derive(Debug)]
pub struct Follower {
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts following. Every new state of the file is reported: whether it was taken, or why not.
    ///
    /// # Errors
    /// Those of watching the file and of starting the thread.
    pub fn start(
        path: &Path,
        live: &Live,
        report: impl Fn(Result<(), FileError>) + Send + 'static,
    ) -> io::Result<Self> {
        let watch = FileWatch::new(path)?;
        let waker = Arc::new(Waker::new()?);
        let stop = Arc::clone(&waker);
        let (path, live) = (path.to_path_buf(), live.clone());
        let thread = threads::start("emulator-file", move || {
            follow(&path, &live, &watch, &stop, &report);
        })?;
        Ok(Self {
            waker,
            thread: Some(thread),
        })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told by the panic hook already.
            let _ = thread.join();
        }
    }
}

fn follow(
    path: &Path,
    live: &Live,
    watch: &FileWatch,
    stop: &Waker,
    report: &dyn Fn(Result<(), FileError>),
) {
    loop {
        match watch.wait(stop, QUIET) {
            Ok(true) => {}
            Ok(false) => return,
            Err(reason) => {
                let path = path.to_path_buf();
                report(Err(FileError::Unreadable { path, reason }));
                return;
            }
        }
        match read(path) {
            Err(error) => report(Err(error)),
            Ok(store) => {
                let changed = live.change(|present| {
                    let changed = present.tree() != store.tree();
                    *present = store;
                    changed
                });
                if changed {
                    report(Ok(()));
                }
            }
        }
    }
}
