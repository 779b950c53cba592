//! The package manager's locks: a startup script that installs something may wait for them (pains 39).

use std::path::Path;
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::system::locks;
use crate::system::root::Root;

/// The record locks of dpkg, apt and rpm, which every front end of theirs holds while it works.
const LOCKS: [&str; 6] = [
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
    "/var/lib/rpm/.rpm.lock",
    "/usr/lib/sysimage/rpm/.rpm.lock",
];

/// How often they are looked at.
const PERIOD: Duration = Duration::from_millis(500);

/// Waits until no package manager is at work, at most this long. Says in the log who is waited for.
pub fn wait(root: &Root, at_most: Duration, logger: &str) {
    let until = Instant::now() + at_most;
    let mut told = false;
    while let Some((path, holder)) = held(root) {
        if Instant::now() >= until {
            warn!(
                target: logger,
                "{path} is still locked by {holder} after {} s (MetadataScripts.wait_for_package_lock); the scripts start now.",
                at_most.as_secs()
            );
            return;
        }
        if !told {
            info!(
                target: logger,
                "Waiting for the package manager: {path} is locked by {holder} (MetadataScripts.wait_for_package_lock)."
            );
            told = true;
        }
        std::thread::sleep(PERIOD.min(until.saturating_duration_since(Instant::now())));
    }
}

fn held(root: &Root) -> Option<(&'static str, locks::Holder)> {
    LOCKS.iter().find_map(|path| {
        let held = locks::record_lock(&root.path(Path::new(path)));
        // One that cannot be looked at is not waited for.
        Some((*path, held.ok().flatten()?))
    })
}
