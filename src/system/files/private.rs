//! Private directories: for what nobody else may see or touch, and for a limited time.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use rustix::fs::{self, Mode};

use super::Directory;

/// A directory of our own that nobody else can enter, removed with what is in it when this is dropped.
#[derive(Debug)]
pub struct PrivateDirectory {
    parent: Directory,
    directory: Directory,
    name: OsString,
}

impl PrivateDirectory {
    /// Makes a directory with mode 0700 and a random name after `prefix`, inside a present one.
    ///
    /// # Errors
    /// Those of open(2) and mkdirat(2).
    pub fn create(parent: &Path, prefix: &str) -> io::Result<Self> {
        let parent = Directory::open(parent)?;
        let name = OsString::from(format!("{prefix}{:016x}", fastrand::u64(..)));
        fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o700))?;
        let directory = parent.open_directory(&name)?;
        Ok(Self {
            parent,
            directory,
            name,
        })
    }

    /// It, open.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What removes it from another thread, when the process ends and nothing will be dropped.
    pub fn remover(&self) -> impl FnOnce() + Send + 'static {
        let (parent, name) = (self.parent.path().to_owned(), self.name.clone());
        move || {
            // Somebody may be writing into it at this moment.
            let attempt = || Directory::open(&parent)?.remove_tree(&name);
            let _ = attempt().or_else(|_| attempt());
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // Best effort: there is nobody to tell, and /run ends with the boot.
        let _ = self.parent.remove_tree(&self.name);
    }
}
