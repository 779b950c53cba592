//! Licences, bans, duplicate versions and sources of the dependencies, by `cargo deny`, and advisories where their
//! database can be had.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::commands::{self, cargo};
use crate::tools::Tool;
use crate::verdict::Verdict;

/// With the version that deny.toml is written for.
const TOOL: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};

/// How long the advisory database may take to come, before it counts as out of reach.
const DATABASE_LIMIT: Duration = Duration::from_secs(60);

/// Runs the checks.
///
/// # Errors
/// A check failed, or this is CI and the tool could not be had.
pub(crate) fn check() -> Result<Verdict> {
    let found = if crate::verdict::in_ci() {
        Some(TOOL.provide()?)
    } else {
        TOOL.find()
    };
    let Some(tool) = found else {
        return Ok(Verdict::not_run(format!("not run here: {}", TOOL.advice())));
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

fn deny(tool: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(tool);
    command
        .args(arguments)
        .current_dir(crate::top())
        // git must not ask a person for a password when the database is out of reach.
        .env("GIT_TERMINAL_PROMPT", "0");
    command
}
