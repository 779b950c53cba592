//! One thin file per verb: arguments, the rooms that do the work, what the person sees, the exit status.

pub mod accounts;
pub mod agent;
pub mod analyze;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod emulator;
mod explain;
pub mod history;
pub mod hooks;
pub mod hostname;
pub mod image_clean;
mod input;
pub mod legacy;
pub mod metadata;
pub mod network;
pub mod nic_name;
pub mod nvme_id;
mod output;
pub mod pass;
pub(crate) mod sandbox;
pub mod scripts;
pub mod setup;
pub mod status;
pub mod r#try;
pub mod tune;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use crate::system::credentials;

/// Writes to standard output, with success also when whoever reads it has had enough.
pub(crate) fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        // Whoever reads has had enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        result => result
            .map(|()| ExitCode::SUCCESS)
            .context("write to standard output"),
    }
}

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
