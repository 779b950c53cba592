//! One thin file per verb: arguments, the rooms that do the work, what the person sees, the exit status.

pub mod accounts;
pub mod agent;
pub mod config;
pub mod emulator;
mod explain;
pub mod history;
pub mod hostname;
mod input;
pub mod legacy;
pub mod metadata;
mod output;
pub mod pass;
pub(crate) mod sandbox;
pub mod scripts;
pub mod status;
pub mod r#try;

use crate::system::credentials;

/// Refuses to go on as anybody but root.
///
/// # Errors
/// The caller is not root.
fn require_root(to: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        credentials::is_root(),
        "only root may {to}: run it as root, for example with sudo"
    );
    Ok(())
}
