//! Running scripts one after the other, from a private directory that is gone afterwards.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use anyhow::Context;
use log::{info, warn};

use super::find::{Found, Occasion, Script};
use super::interpreter::interpreter;
use super::output::Lines;
use crate::config::settings::MetadataScripts;
use crate::system::files::{self, Attributes, PrivateDirectory};
use crate::system::processes::stream::stream;
use crate::system::processes::{self, Invocation};

/// Where the private directory is made without `run_dir`.
const RUN_DIRECTORY: &str = "/run";

/// What scripts find in their environment: what a login of root would have, and nothing of ours.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("HOME", "/root"),
    ("USER", "root"),
    ("LOGNAME", "root"),
    ("SHELL", "/bin/bash"),
    ("LANG", "C.UTF-8"),
    ("PATH", processes::SEARCH_PATH),
];

/// Runs what was found, in order. A script that fails, or cannot even start, costs itself; the others run.
///
/// # Errors
/// The private directory cannot be made.
pub fn run(found: &Found, occasion: Occasion, settings: &MetadataScripts) -> anyhow::Result<()> {
    let logger = occasion.logger();
    info!(target: logger, "Starting {} scripts.", occasion.name());
    for key in &found.unsupported {
        warn!(target: logger, "{key} is not available yet; only inline scripts are run.");
    }
    if found.scripts.is_empty() {
        info!(target: logger, "No {} scripts found in metadata.", occasion.name());
    } else {
        run_scripts(&found.scripts, occasion, settings)?;
    }
    info!(target: logger, "Finished running {} scripts.", occasion.name());
    Ok(())
}

fn run_scripts(
    scripts: &[Script],
    occasion: Occasion,
    settings: &MetadataScripts,
) -> anyhow::Result<()> {
    let base = settings
        .run_dir
        .as_deref()
        .filter(|base| !base.is_empty())
        .unwrap_or(RUN_DIRECTORY);
    let directory = PrivateDirectory::create(Path::new(base), &format!("{}-", occasion.name()))
        .with_context(|| {
            format!("create a private directory in {base} (MetadataScripts.run_dir)")
        })?;
    for script in scripts {
        let (logger, key) = (occasion.logger(), &script.key);
        info!(target: logger, "Found {key} in metadata.");
        match run_script(script, &directory, occasion, settings) {
            // The predecessors' form: a negative number is the signal that ended it (spec/core.md 10.4).
            Ok(status) => info!(target: logger, "{key}: Return code {}.", return_code(status)),
            Err(error) => warn!(target: logger, "{key}: cannot be run: {error:#}"),
        }
    }
    Ok(())
}

fn run_script(
    script: &Script,
    directory: &PrivateDirectory,
    occasion: Occasion,
    settings: &MetadataScripts,
) -> anyhow::Result<ExitStatus> {
    let path = directory.path().join(&script.key);
    files::replace(&path, script.body.as_bytes(), &Attributes::mode(0o700))
        .with_context(|| format!("write {}", path.display()))?;
    let mut words = interpreter(&script.body, &settings.default_shell)
        .into_iter()
        .map(OsString::from);
    let program = words.next().context("find the interpreter")?;
    let invocation = Invocation::new(program, words.chain([path.into_os_string()]));
    let mut lines = Lines::default();
    let log = |line: &str| info!(target: occasion.logger(), "{}: {line}", script.key);
    let status = stream(&invocation, &ENVIRONMENT, |bytes| lines.take(bytes, log))?;
    lines.finish(log);
    Ok(status)
}

fn return_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| -signal))
        .unwrap_or_default()
}
