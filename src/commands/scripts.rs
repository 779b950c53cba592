//! `gce-guest scripts`: the owner's startup and shutdown scripts.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config;
use crate::metadata::{Client, Endpoint};
use crate::scripts::find::{self, Occasion};
use crate::scripts::run as run_found;
use crate::system::log;
use crate::system::root::Root;

/// Arguments of `gce-guest scripts`.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit status: 0 when the scripts have run, whatever they returned (it is in the log), or are switched off;
1 when metadata cannot be read or no private directory can be made.

Example:
  gce-guest scripts startup --debug   run the startup scripts now, output on standard error")]
pub struct Arguments {
    #[command(subcommand)]
    occasion: OccasionArgument,
    /// Log details, and to standard error as well.
    #[arg(short, long, global = true)]
    debug: bool,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum OccasionArgument {
    /// Run the startup scripts.
    Startup,
    /// Run the shutdown scripts.
    Shutdown,
}

/// Runs the scripts that the arguments name.
///
/// # Errors
/// Metadata cannot be read, or the private directory cannot be made.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let occasion = match arguments.occasion {
        OccasionArgument::Startup => Occasion::Startup,
        OccasionArgument::Shutdown => Occasion::Shutdown,
    };
    run_occasion(occasion, arguments.debug)
}

/// Runs the scripts of an occasion.
///
/// # Errors
/// Metadata cannot be read, or the private directory cannot be made.
pub fn run_occasion(occasion: Occasion, debug: bool) -> anyhow::Result<ExitCode> {
    log::start(&log::Options::program(debug));
    let settings = config::load(&Root::machine(), None)
        .settings
        .metadata_scripts;
    let enabled = match occasion {
        Occasion::Startup => settings.startup,
        Occasion::Shutdown => settings.shutdown,
    };
    if enabled {
        let document = Client::new(Endpoint::compute_engine()).get_document()?;
        run_found::run(&find::find(&document, occasion), occasion, &settings)?;
    }
    Ok(ExitCode::SUCCESS)
}
