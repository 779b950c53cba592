//! `gce-guest analyze`: what the time of the set-up went into.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::setup::{chart, state};
use crate::system::root::Root;

/// Arguments of `gce-guest analyze`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Exit status: 0 shown, 1 no set-up has run since the boot, or its record cannot
be read.

Examples:
  gce-guest analyze           the set-up of the boot, step by step
  gce-guest analyze --last    the last one, such as one by hand
  gce-guest analyze --json    the same for programs")]
pub struct Arguments {
    /// The last run, and not the first since the boot.
    #[arg(long)]
    last: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Shows the recorded times.
///
/// # Errors
/// There are none, or they cannot be read.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let run =
        state::run(&Root::machine(), arguments.last).context("read the record of the set-up")?;
    let Some(run) = run else {
        bail!("no set-up has run since the boot: `gce-guest setup` runs it")
    };
    let text = if arguments.json {
        serde_json::to_string_pretty(&run)? + "\n"
    } else {
        chart::draw(&run)
    };
    super::print(text.as_bytes())
}
