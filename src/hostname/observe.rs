//! Reads from the machine what a plan is made of. Changes nothing.

use anyhow::Context;

use super::plan::Observed;
use crate::system::root::Root;
use crate::system::{files, hostname};

/// Where the host name is between two boots (hostname(5)).
pub const HOSTNAME_FILE: &str = "/etc/hostname";

/// Where names have addresses without any DNS (hosts(5)).
pub const HOSTS_FILE: &str = "/etc/hosts";

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
    })
}
