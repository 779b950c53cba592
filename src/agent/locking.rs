//! The locks that keep a manager and the predecessor of the same subject from working at the same time.

use std::path::Path;

use ::log::warn;
use anyhow::Context;

use super::managers::Manager;
use crate::system::files;
use crate::system::locks::{FileLock, LockError};
use crate::system::order::Map;

/// Takes the lock of every manager; those whose lock another process holds are left out with a warning. Managers may
/// share one.
pub(super) fn lock(wanted: &[Manager]) -> anyhow::Result<(Vec<Manager>, Vec<FileLock>)> {
    let mut managers = Vec::new();
    let mut locks: Map<&str, Option<FileLock>> = Map::new();
    for manager in wanted {
        let path = manager.lock();
        if !locks.contains_key(path) {
            locks.insert(path, take_lock(*manager)?);
        }
        if locks.get(path).is_some_and(Option::is_some) {
            managers.push(*manager);
        }
    }
    Ok((managers, locks.into_values().flatten().collect()))
}

/// The lock of a manager; `None`, with a warning, when another process holds it.
fn take_lock(manager: Manager) -> anyhow::Result<Option<FileLock>> {
    let path = Path::new(manager.lock());
    if let Some(directory) = path.parent() {
        files::create_directories(directory, 0o755)
            .with_context(|| format!("create {}", directory.display()))?;
    }
    match FileLock::try_take(path) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Held { path, holder }) => {
            warn!(
                target: manager.logger(),
                "Exception locking {}. File already locked by {holder}, which manages {}; stop it first.",
                path.display(),
                manager.name()
            );
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
