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

/// The exit status of a command; an error is told on standard error.
pub(crate) fn conclude(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        // Whoever reads our output has had enough of it, as with `| head`.
        let is_closed = error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
        if is_closed {
            return ExitCode::SUCCESS;
        }
        tell(&format!("gce-guest: {error:#}"));
        ExitCode::FAILURE
    })
}

/// Prints what the parser of the arguments says: help and version are no failure.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    // Help that nobody gets is a failure, but for a reader that has had enough.
    let is_lost = printed.is_err_and(|error| error.kind() != std::io::ErrorKind::BrokenPipe);
    if is_lost && error.exit_code() == 0 {
        return ExitCode::FAILURE;
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// One line on standard error, for the person who typed the command. A reader that has gone away is no reason to fail
/// differently.
pub(crate) fn tell(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
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
