//! `cargo xtask boot-test`: machines that boot for real with the package, and the timelines of their boots.
//!
//! The tests are those of `cargo xtask test`; here they are by themselves, and show what they see.

use std::process::ExitCode;

use anyhow::Result;

use crate::commands::{self, cargo};
use crate::packages;

/// Which machines to boot.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only the containers: no virtual machine, which takes some minutes
    #[arg(long)]
    quick: bool,
}

/// The targets of the tests: Debian in a container, other first processes than systemd, and the virtual machine.
const QUICK: [&str; 2] = ["boot", "inits"];
const SLOW: &str = "virtual_machine";

/// Provides what the tests need, and boots.
///
/// # Errors
/// Something is missing, or a machine is not as it should be.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    packages::provide()?;
    let slow = (!options.quick).then_some(SLOW);
    for target in QUICK.into_iter().chain(slow) {
        let words = ["test", "--package", "gce-guest", "--test", target, "--"];
        let mut test = cargo(words);
        commands::succeed(test.args(["--nocapture", "--test-threads=1"]))?;
    }
    Ok(ExitCode::SUCCESS)
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
