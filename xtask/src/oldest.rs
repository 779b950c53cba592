//! Whether the oldest toolchain that Cargo.toml names still builds the program.

use std::process::Command;

use anyhow::Result;

use crate::commands;
use crate::layout::PROGRAM;
use crate::verdict::Verdict;

/// What `rust-version` in Cargo.toml says.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Has that toolchain check the program: what it lacks is an error there, be it of the language, of the library or of a
/// dependency. clippy's `incompatible_msrv` tells the same of the library on every machine.
///
/// # Errors
/// The program does not pass.
pub(crate) fn check() -> Result<Verdict> {
    if commands::find("rustup").is_none() {
        return Ok(Verdict::not_run(format!(
            "not run here: it needs rustup, to get Rust {OLDEST}"
        )));
    }
    if !is_installed() {
        let install = ["toolchain", "install", OLDEST, "--profile", "minimal"];
        if let Err(error) = commands::succeed(Command::new("rustup").args(install)) {
            println!("{error:#}");
            return Ok(Verdict::not_run(format!(
                "not run here: Rust {OLDEST} cannot be had"
            )));
        }
    }
    commands::succeed(
        Command::new("rustup")
            .args(["run", OLDEST, "cargo", "check", "--locked"])
            .args(["--package", PROGRAM, "--target-dir", "target/oldest"])
            .current_dir(crate::top())
            // Those of the toolchain that runs us.
            .env_remove("CARGO")
            .env_remove("RUSTC"),
    )?;
    Ok(Verdict::passed(format!("Rust {OLDEST}")))
}

fn is_installed() -> bool {
    Command::new("rustup")
        .args(["run", OLDEST, "rustc", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}
