//! A directory that stands for /, removed at the end.

use std::fs;
use std::path::{Path, PathBuf};

use gce_guest::config::{self, Loaded};
use gce_guest::system::root::Root;

/// An empty root with /etc/default in it.
pub(crate) struct TemporaryRoot(PathBuf);

impl TemporaryRoot {
    pub(crate) fn new() -> Self {
        let name = format!("gce-guest-config-{:016x}", fastrand::u64(..));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(directory.join("etc/default")).unwrap();
        Self(directory)
    }

    /// One with these files, absolute path and text.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let root = Self::new();
        for (path, text) in files {
            root.put(path, text);
        }
        root
    }

    pub(crate) fn root(&self) -> Root {
        Root::at(&self.0)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    pub(crate) fn path(&self, absolute: &str) -> PathBuf {
        self.root().path(absolute)
    }

    pub(crate) fn put(&self, absolute: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(absolute), text).unwrap();
    }

    pub(crate) fn text(&self, absolute: &str) -> String {
        fs::read_to_string(self.path(absolute)).unwrap()
    }

    pub(crate) fn load(&self, metadata: Option<&str>) -> Loaded {
        config::load(&self.root(), metadata)
    }
}

impl Drop for TemporaryRoot {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
