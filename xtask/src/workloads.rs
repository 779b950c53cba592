//! `cargo xtask workloads`: how many instructions three fixed pieces of work take, against what is recorded.
//!
//! Instructions and not time: they are the same on a loaded machine. valgrind counts them. The work is in
//! `examples/workloads`, built as the release is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::commands::{self, cargo};
use crate::verdict::Verdict;

/// Where the counts are recorded.
const RECORD: &str = "examples/workloads/instructions.txt";

/// What `examples/workloads` can do.
const WORKLOADS: [&str; 3] = ["users", "routes", "document"];

/// By how many percent a count may grow before it is a failure.
const MARGIN: u64 = 25;

/// What to do with the counts.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Record what was counted, instead of comparing it
    #[arg(long)]
    record: bool,
}

/// Counts, and compares or records.
///
/// # Errors
/// The work cannot be built or counted, or a count has grown too far.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.record {
        let counts = count()?;
        let path = crate::top().join(RECORD);
        fs::write(&path, recorded(&counts, &toolchain()?, &own_record()))
            .context("write the record")?;
        println!("written: {RECORD}");
    } else {
        println!("{}", compare()?);
    }
    Ok(ExitCode::SUCCESS)
}

/// The step of `cargo xtask test`.
///
/// # Errors
/// As for [`run`].
pub(crate) fn check() -> Result<Verdict> {
    compare().map(Verdict::passed)
}

fn compare() -> Result<String> {
    let counts = count()?;
    judge(
        &counts,
        &own_record(),
        std::env::consts::ARCH,
        &toolchain()?,
    )
}

fn own_record() -> String {
    fs::read_to_string(crate::top().join(RECORD)).unwrap_or_default()
}

fn toolchain() -> Result<String> {
    let output = Command::new("rustc")
        .arg("--version")
        .output()
        .context("run rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The instructions of each workload, on this machine.
fn count() -> Result<BTreeMap<String, u64>> {
    commands::succeed(&mut cargo([
        "build",
        "--quiet",
        "--release",
        "--package",
        "gce-guest",
        "--example",
        "workloads",
    ]))?;
    let program = program()?;
    let valgrind = commands::find("valgrind")
        .context("valgrind is not installed (Debian package valgrind)")?;
    let mut counts = BTreeMap::new();
    for name in WORKLOADS {
        let output = Command::new(&valgrind)
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&program)
            .arg(name)
            // What chooses code at run time by what the processor can do would count differently on each.
            .env(
                "GLIBC_TUNABLES",
                "glibc.cpu.hwcaps=-AVX512F,-AVX2,-AVX,-ERMS,-FSRM",
            )
            .output()
            .context("run valgrind")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "valgrind failed ({}):\n{told}",
            output.status
        );
        let count =
            collected(&told).with_context(|| format!("valgrind tells no count:\n{told}"))?;
        println!(
            "{name:<10} {:>12} instructions",
            crate::bench::grouped(count)
        );
        counts.insert(name.to_owned(), count);
    }
    Ok(counts)
}

/// The example, beside the directory from which we run.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).unwrap_or(Path::new("target"));
    Ok(target.join("release/examples/workloads"))
}

/// The number in callgrind's line `==1== Collected : 123`.
fn collected(told: &str) -> Option<u64> {
    told.lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

/// The lines of the record for one architecture: `ARCHITECTURE WORKLOAD INSTRUCTIONS`.
fn counts_of(record: &str, architecture: &str) -> BTreeMap<String, u64> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let is_ours = words.next() == Some(architecture);
        let (name, count) = (words.next()?, words.next()?);
        is_ours.then(|| Some((name.to_owned(), count.parse().ok()?)))?
    };
    record
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(entry)
        .collect()
}

/// The toolchain that an architecture was recorded with.
fn recorded_toolchain<'a>(record: &'a str, architecture: &str) -> &'a str {
    let prefix = format!("# {architecture} with ");
    record
        .lines()
        .find_map(|line| line.strip_prefix(&prefix))
        .unwrap_or("an unknown toolchain")
}

fn judge(
    counts: &BTreeMap<String, u64>,
    record: &str,
    architecture: &str,
    toolchain: &str,
) -> Result<String> {
    let before = counts_of(record, architecture);
    if before.is_empty() {
        return Ok(format!(
            "no counts are recorded for {architecture}: `cargo xtask workloads --record` does it"
        ));
    }
    let mut grown = Vec::new();
    let mut changes = Vec::new();
    for (name, now) in counts {
        let before = *before
            .get(name)
            .with_context(|| format!("{RECORD} has no count of {name} for {architecture}"))?;
        let percent = (*now as f64 / before as f64 - 1.0) * 100.0;
        changes.push(format!("{name} {percent:+.1} %"));
        if now * 100 > before * (100 + MARGIN) {
            grown.push(format!(
                "{name} took {before} instructions and takes {now} ({percent:+.1} %)"
            ));
        }
    }
    if grown.is_empty() {
        return Ok(format!(
            "instructions against the record: {}",
            changes.join(", ")
        ));
    }
    let with = recorded_toolchain(record, architecture);
    let advice = if with == toolchain {
        "Find out why (valgrind --tool=callgrind target/release/examples/workloads NAME). If the work has to be more, record it \
         with `cargo xtask workloads --record` and say why in the commit."
    } else {
        "The record was made with another toolchain. Count the commit before with this one as well; if that is as much, record \
         it with `cargo xtask workloads --record` in a commit of its own."
    };
    bail!(
        "more than {MARGIN} % over the record ({with}; this is {toolchain}):\n  {}\n{advice}",
        grown.join("\n  ")
    )
}

/// The record with the counts of this architecture in place of earlier ones; others stay.
fn recorded(counts: &BTreeMap<String, u64>, toolchain: &str, before: &str) -> String {
    let own = std::env::consts::ARCH;
    let mut text = String::from(
        "# Instructions of the workloads, written by `cargo xtask workloads --record`. A count that grows by more than 25 % fails\n\
         # `cargo xtask test`. Another toolchain counts differently: record anew in a commit of its own then.\n",
    );
    let is_other = |line: &&str| {
        let rest = line.trim_start_matches("# ");
        let first = rest.split_whitespace().next().unwrap_or_default();
        first != own && (!line.starts_with('#') || rest.contains(" with rustc "))
    };
    for line in before.lines().filter(is_other) {
        text += &format!("{line}\n");
    }
    text += &format!("# {own} with {toolchain}\n");
    for (name, count) in counts {
        text += &format!("{own} {name} {count}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(values: [u64; 3]) -> BTreeMap<String, u64> {
        WORKLOADS
            .map(String::from)
            .into_iter()
            .zip(values)
            .collect()
    }

    #[test]
    fn a_count_may_grow_by_a_quarter_and_no_further() {
        let record = recorded(&counts([100, 200, 300]), "rustc 1", "");
        let own = std::env::consts::ARCH;
        for (now, word) in [
            ([100, 200, 300], None),
            ([125, 100, 375], None),
            ([126, 200, 300], Some("Find out why")),
        ] {
            let result = judge(&counts(now), &record, own, "rustc 1");
            assert_eq!(result.is_err(), word.is_some(), "{result:?}");
            if let (Err(error), Some(word)) = (result, word) {
                assert!(error.to_string().contains(word), "{error}");
            }
        }
        let other = judge(&counts([200, 200, 300]), &record, own, "rustc 2");
        assert!(
            other
                .expect_err("too many")
                .to_string()
                .contains("another toolchain")
        );
    }

    #[test]
    fn architectures_are_recorded_side_by_side() {
        let other = "# a comment\n# other with rustc 0\nother users 7\n";
        let record = recorded(&counts([1, 2, 3]), "rustc 1", other);
        assert_eq!(counts_of(&record, "other").get("users"), Some(&7));
        assert_eq!(recorded_toolchain(&record, "other"), "rustc 0");
        assert_eq!(recorded(&counts([1, 2, 3]), "rustc 1", &record), record);
        let unknown = judge(&counts([1, 2, 3]), &record, "unknown", "rustc 1").expect("no failure");
        assert!(unknown.contains("--record"), "{unknown}");
    }

    #[test]
    fn the_count_is_found_in_what_callgrind_says() {
        assert_eq!(
            collected("==1== Events    : Ir\n==1== Collected : 1234\n"),
            Some(1234)
        );
        assert_eq!(collected("nothing"), None);
    }

    #[test]
    fn every_workload_is_recorded() {
        let record = own_record();
        let known = counts_of(&record, "x86_64");
        assert!(
            WORKLOADS.iter().all(|name| known.contains_key(*name)),
            "{record}"
        );
    }
}
