//! One thin file per verb: arguments, the rooms that do the work, what the person sees, the exit status.

pub mod accounts;
pub mod agent;
pub mod analyze;
pub mod config;
pub mod emulator;
pub mod hostname;
pub mod image_clean;
mod input;
pub mod legacy;
pub mod metadata;
pub mod network;
pub(crate) mod sandbox;
pub mod scripts;
pub mod setup;
pub mod r#try;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

/// Writes to standard output, with success also when whoever reads it has had enough.
pub(crate) fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text) {
        // Whoever reads has had enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        result => result
            .map(|()| ExitCode::SUCCESS)
            .context("write to standard output"),
    }
}
