//! Reads from the machine what a plan is made of. Changes nothing.

use anyhow::Context;

use super::plan::{HOSTNAME_FILE, HOSTS_FILE, Observed};
use crate::system::root::Root;
use crate::system::{files, hostname};

/// The largest file that is read, in bytes: people keep block lists in /etc/hosts.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Reads the kernel's host name and both files.
///
/// # Errors
/// A file that is there and cannot be read: it is not taken for an empty one.
pub fn observe(root: &Root) -> anyhow::Result<Observed> {
    let read =
        |path: &str| files::read(&root.path(path), LIMIT).with_context(|| format!("read {path}"));
    Ok(Observed {
        kernel: hostname::read(),
        file: read(HOSTNAME_FILE)?,
        hosts: read(HOSTS_FILE)?,
        kept: [HOSTNAME_FILE, HOSTS_FILE]
            .into_iter()
            .filter_map(|path| Some((path, keeper(root, path)?)))
            .collect(),
    })
}

/// Why a file is not ours to replace: whoever made a link of it, or mounted something there as containers do, keeps it
/// somewhere else, and would find another one in its place.
fn keeper(root: &Root, path: &str) -> Option<String> {
    let place = root.path(path);
    if let Some(target) = files::link_target(&place) {
        return Some(format!("it is a link to {}", target.display()));
    }
    let is_mounted = files::is_mount_point(&place).unwrap_or_default();
    is_mounted.then(|| "something is mounted there, as in a container".into())
}
