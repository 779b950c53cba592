//! Licences, bans, duplicate versions and sources of the dependencies, by `cargo deny`, and advisories where their
//! database can be had.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::commands::{self, cargo};
use crate::test::Verdict;

/// The version that deny.toml is written for; another patch level of it does as well.
const VERSION: &str = "0.20.2";

/// How long the advisory database may take to come, before it counts as out of reach.
const DATABASE_LIMIT: Duration = Duration::from_secs(60);

/// Runs the checks.
///
/// # Errors
/// A check failed, or this is CI and the tool could not be had.
pub(crate) fn check() -> Result<Verdict> {
    let Some(tool) = provide()? else {
        return Ok(Verdict::not_run(format!(
            "not run here: cargo install --locked cargo-deny --version {VERSION}"
        )));
    };
    // The checks are offline: every crate of the lock file must be here, also those of other systems.
    commands::succeed(&mut cargo(["fetch", "--locked"]))?;
    commands::succeed(&mut deny(
        &tool,
        &["--offline", "check", "licenses", "bans", "sources"],
    ))?;
    let fetched = commands::succeed_within(&mut deny(&tool, &["fetch", "db"]), DATABASE_LIMIT);
    if let Err(error) = fetched {
        println!("the advisory database cannot be had here: {error:#}");
        return Ok(Verdict::passed(
            "advisories not checked: their database is out of reach",
        ));
    }
    commands::succeed(&mut deny(&tool, &["--offline", "check", "advisories"]))?;
    Ok(Verdict::passed("with advisories"))
}

/// The tool: one of our own below target/, or the user's; in CI it is installed when neither is there.
fn provide() -> Result<Option<PathBuf>> {
    let tools = crate::top().join("target/tools");
    let own = tools.join("bin/cargo-deny");
    for candidate in [Some(own.clone()), commands::find("cargo-deny")]
        .into_iter()
        .flatten()
    {
        match version(&candidate) {
            Some(version) if fits(&version) => return Ok(Some(candidate)),
            Some(version) => println!(
                "{} is version {version}; {VERSION} is wanted",
                candidate.display()
            ),
            None => {}
        }
    }
    if !crate::test::in_ci() {
        return Ok(None);
    }
    commands::succeed(
        cargo([
            "install",
            "--locked",
            "cargo-deny",
            "--version",
            VERSION,
            "--root",
        ])
        .arg(&tools),
    )
    .context("install cargo-deny, which CI cannot do without")?;
    if version(&own).is_none() {
        bail!("{} does not run", own.display());
    }
    Ok(Some(own))
}

fn deny(tool: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(tool);
    command
        .args(arguments)
        .current_dir(crate::top())
        // git must not ask a person for a password when the database is out of reach.
        .env("GIT_TERMINAL_PROMPT", "0");
    command
}

fn version(tool: &Path) -> Option<String> {
    let output = Command::new(tool).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().strip_prefix("cargo-deny ")?.to_owned())
}

/// Whether a version reads the same deny.toml: the same up to the patch level, and no older.
fn fits(version: &str) -> bool {
    let parts = |version: &str| -> Option<(String, u64)> {
        let (series, patch) = version.rsplit_once('.')?;
        Some((series.to_owned(), patch.parse().ok()?))
    };
    match (parts(version), parts(VERSION)) {
        (Some((series, patch)), Some((wanted_series, wanted_patch))) => {
            series == wanted_series && patch >= wanted_patch
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_version_that_reads_our_file_fits() {
        for (version, expected) in [
            (VERSION, true),
            ("0.20.9", true),
            ("0.20.1", false),
            ("0.19.2", false),
            ("0.21.2", false),
            ("0.20.2-rc.1", false),
            ("", false),
        ] {
            assert_eq!(fits(version), expected, "{version}");
        }
    }
}
