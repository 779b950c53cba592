//! What has to be there before anything is measured: the release, and the predecessors.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::registry;
use super::subject::{Places, Subject};
use crate::commands;
use crate::package;

/// How long a download may take.
const DOWNLOAD: Duration = Duration::from_secs(600);

/// Builds the program of the packages and puts two copies of it aside: one that is measured, and one for what is beside it.
///
/// # Errors
/// The build fails, or the copy cannot be written.
pub(crate) fn release(places: &Places) -> Result<()> {
    let program = package::program()?;
    copy(&program, &places.release())?;
    copy(&program, &places.tool())
}

/// Puts the shell script where sandboxes can see it, or takes an earlier one away.
///
/// # Errors
/// It cannot be read or written.
pub(crate) fn set_multiqueue(places: &Places, script: Option<&Path>) -> Result<()> {
    match script {
        Some(script) => copy(script, &places.set_multiqueue()),
        None => match fs::remove_file(places.set_multiqueue()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        },
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("copy {} to {}", from.display(), to.display());
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory).with_context(what)?;
    }
    // Not over a program that may be running.
    if to.exists() {
        fs::remove_file(to).with_context(what)?;
    }
    fs::copy(from, to).with_context(what)?;
    Ok(())
}

/// Fetches the predecessors that are not there. Returns those who are, and why others are not.
pub(crate) fn subjects(places: &Places) -> (Vec<Subject>, Vec<String>) {
    let run: registry::Run = &|command| {
        commands::succeed_within(command, DOWNLOAD).map_err(|error| format!("{error:#}"))
    };
    let place = places.foreign();
    let mut notes = Vec::new();
    for (subject, result) in [
        (Subject::Python, registry::python(&place, run)),
        (Subject::Go, registry::debian(&place, run)),
    ] {
        if let Err(error) = result {
            notes.push(format!("{} cannot be had here: {error}", subject.title()));
        }
    }
    let there = Subject::ALL
        .into_iter()
        .filter(|subject| places.has(*subject))
        .collect();
    (there, notes)
}

/// The machine and the versions, for the document.
pub(crate) fn circumstances(places: &Places) -> Vec<(&'static str, String)> {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = file("/proc/cpuinfo");
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let count = processors
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let load = file("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?").to_owned();
    vec![
        ("Processor", format!("{model}, {count} of them")),
        (
            "Kernel",
            file("/proc/sys/kernel/osrelease").trim().to_owned(),
        ),
        ("Load at the beginning", load),
        ("Rust", said(Command::new("rustc").arg("--version"))),
        ("gce-guest", said(&mut places.gce_guest(&["--version"]))),
        ("google-compute-engine", python_version(places)),
        ("google-guest-agent", debian_version(places)),
    ]
}

fn said(command: &mut Command) -> String {
    let output = command
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&output).into_owned();
    text.lines().next().unwrap_or("unknown").to_owned()
}

fn python_version(places: &Places) -> String {
    let mut command = Command::new(places.foreign().join("venv/bin/python"));
    let program = "import importlib.metadata as m, platform; print(m.version('google-compute-engine'), 'with Python', platform.python_version())";
    said(command.args(["-c", program]))
}

/// From the name of the package's file: it is unpacked and not installed.
fn debian_version(places: &Places) -> String {
    let packages = fs::read_dir(places.foreign().join("debian/packages"));
    packages
        .into_iter()
        .flatten()
        .flatten()
        .find_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let version = name
                .strip_prefix("google-guest-agent_")?
                .split('_')
                .next()?;
            Some(version.to_owned())
        })
        .unwrap_or_else(|| "absent".to_owned())
}
