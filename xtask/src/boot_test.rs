//! `cargo xtask boot-test`: machines that boot for real with the package, and the timelines of their boots.
//!
//! The tests are those of `cargo xtask test`; here they are by themselves, and show what they see.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::commands::{self, cargo};
use crate::packages;

/// Which machines to boot.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only the containers: no virtual machine, which takes some minutes
    #[arg(long)]
    quick: bool,
    /// Only this: boot a container N times, each time with a startup script that becomes a user new to the machine
    #[arg(long, value_name = "N", conflicts_with = "quick")]
    times: Option<u32>,
}

/// The targets of the tests: Debian in a container, other first processes than systemd, and the virtual machine.
const QUICK: [&str; 3] = ["boot", "boots", "inits"];
/// The one that boots often, and what tells it how often.
const OFTEN: (&str, &str) = ("boots", "BOOTS");
const SLOW: &str = "virtual_machine";

/// Provides what the tests need, and boots.
///
/// # Errors
/// Something is missing, or a machine is not as it should be.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    packages::provide()?;
    if let Some(times) = options.times {
        let (target, variable) = OFTEN;
        commands::succeed(test(target).env(variable, times.to_string()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let slow = (!options.quick).then_some(SLOW);
    for target in QUICK.into_iter().chain(slow) {
        commands::succeed(&mut test(target))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One target by itself, showing what it sees.
fn test(target: &str) -> Command {
    let words = ["test", "--package", "gce-guest", "--test", target, "--"];
    let mut test = cargo(words);
    test.args(["--nocapture", "--test-threads=1"]);
    test
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_are_there() {
        for target in QUICK.into_iter().chain([SLOW]) {
            let file = crate::top().join(format!("tests/{target}.rs"));
            assert!(file.is_file(), "{}", file.display());
        }
    }
}
