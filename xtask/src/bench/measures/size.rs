//! The program as a file. Measured outside, without a sandbox.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::bench::sample::{Sample, Who};
use crate::bench::subject::{Places, Subject};
use crate::commands::cargo;

/// Sizes of programs, how many crates are in ours, and, in the long run, how long a build from nothing takes.
pub(crate) fn measure(places: &Places, quick: bool) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut add = |line: &str, subject, value: f64| {
        samples.push(Sample {
            line: line.to_owned(),
            who: Who::Subject(subject),
            size: 0,
            value,
        });
    };
    add(
        "binary",
        Subject::GceGuest,
        fs::metadata(places.release())?.len() as f64,
    );
    if places.has(Subject::Go) {
        let bin = places.foreign().join("debian/root/usr/bin");
        let programs = ["google_guest_agent", "google_metadata_script_runner"];
        let sizes = programs
            .iter()
            .filter_map(|name| fs::metadata(bin.join(name)).ok());
        add(
            "binary",
            Subject::Go,
            sizes.map(|file| file.len()).sum::<u64>() as f64,
        );
    }
    add("crates", Subject::GceGuest, crates()?.len() as f64);
    if !quick {
        add(
            "build",
            Subject::GceGuest,
            cold_build(&places.own().join("build"))?,
        );
    }
    Ok(samples)
}

/// Every crate that is linked into the program.
fn crates() -> Result<BTreeSet<String>> {
    let output = cargo([
        "tree",
        "--package",
        "gce-guest",
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
    ])
    .output()
    .context("run cargo tree")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
    Ok(text
        .lines()
        .filter_map(name)
        .filter(|name| name != "gce-guest")
        .collect())
}

/// Seconds from an empty directory to the program, with the sources of the crates at hand.
fn cold_build(directory: &Path) -> Result<f64> {
    let clear = || match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    clear()?;
    let started = Instant::now();
    let mut command = cargo(["build", "--quiet", "--release", "--package", "gce-guest"]);
    crate::commands::succeed(command.env("CARGO_TARGET_DIR", directory))?;
    let took = started.elapsed().as_secs_f64();
    clear()?;
    Ok(took)
}
