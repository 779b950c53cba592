//! The SELinux contexts of files and directories that a pass may make, looked up together.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::system::order::Map;
use crate::system::root::Root;
use crate::system::selinux;

/// What the policy has said in this pass; for a path on which it has no opinion that is nothing.
#[derive(Debug, Default)]
pub(super) struct Labels(Mutex<Map<PathBuf, Option<Vec<u8>>>>);

impl Labels {
    /// Asks for these paths, in as few processes as possible.
    pub(super) fn look_up(&self, paths: Vec<PathBuf>) {
        let mut known = self.lock();
        let is_unknown = |path: &PathBuf| !known.contains_key(path);
        let unknown: Vec<PathBuf> = paths.into_iter().filter(is_unknown).collect();
        let found = selinux::default_contexts(&Root::machine(), &unknown);
        let contexts = unknown.into_iter().map(|path| {
            let context = found.get(&path).cloned();
            (path, context)
        });
        known.extend(contexts);
    }

    /// The contexts of these paths, as far as they were asked for.
    pub(super) fn of(&self, paths: &[PathBuf]) -> Map<PathBuf, Vec<u8>> {
        let context = |path: &PathBuf| Some((path.clone(), self.known(path)?));
        paths.iter().filter_map(context).collect()
    }

    /// The context of a path, if it was asked for.
    pub(super) fn known(&self, path: &Path) -> Option<Vec<u8>> {
        self.lock().get(path).cloned().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, Map<PathBuf, Option<Vec<u8>>>> {
        // A poisoned lock is whole: nothing in here can panic between two writes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
