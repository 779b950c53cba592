//! Outside: runs a row's measurements, each in a sandbox of its own, one subject after the other and round after round.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::rows::{Measure, Row};
use super::sample::{LOOK, Sample};
use super::subject::{Places, Subject};
use super::witness;

/// How long one measurement may take.
const LIMIT: Duration = Duration::from_secs(900);

/// What came of a row.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) samples: Vec<Sample>,
    /// What is not there, and why.
    pub(crate) notes: Vec<String>,
}

/// Measures a row with those subjects that are there.
pub(crate) fn row(row: &Row, subjects: &[Subject], places: &Places, quick: bool) -> Outcome {
    let mut outcome = Outcome::default();
    if let Measure::Outside(measure) = row.measure {
        match measure(places, quick) {
            Ok(samples) => outcome.samples = samples,
            Err(error) => outcome.notes.push(format!("{}: {error:#}", row.name)),
        }
        return outcome;
    }
    for size in (row.sizes)(quick) {
        let runs = |subject: &Subject| (row.runs)(*subject, *size, quick);
        let most = subjects.iter().map(runs).max().unwrap_or(0);
        let mut failed: Vec<Subject> = Vec::new();
        for round in 0..most {
            let wanted: Vec<Subject> = subjects
                .iter()
                .copied()
                .filter(|subject| round < runs(subject) && !failed.contains(subject))
                .collect();
            for (subject, result) in one_round(row, &wanted, *size, places, quick) {
                match result {
                    Ok(samples) => outcome.samples.extend(samples),
                    Err(error) => {
                        // One that has failed fails again, and there may be minutes in it.
                        failed.push(subject);
                        let what = format!("{}, {}, size {size}", row.name, subject.title());
                        println!("  {what}: {error:#}");
                        let reason = format!("{error:#}");
                        let reason = reason.lines().next().unwrap_or_default();
                        outcome.notes.push(format!("{what}: {reason}"));
                    }
                }
            }
        }
    }
    outcome
}

/// One run of each of these subjects.
fn one_round(
    row: &Row,
    subjects: &[Subject],
    size: u32,
    places: &Places,
    quick: bool,
) -> Vec<(Subject, Result<Vec<Sample>>)> {
    let one = |subject: Subject| (subject, in_sandbox(row, subject, size, places, quick));
    if matches!(row.measure, Measure::Together(_)) {
        return std::thread::scope(|scope| {
            let threads: Vec<_> = subjects
                .iter()
                .map(|subject| scope.spawn(move || one(*subject)))
                .collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .collect()
        });
    }
    subjects.iter().map(|subject| one(*subject)).collect()
}

fn in_sandbox(
    row: &Row,
    subject: Subject,
    size: u32,
    places: &Places,
    quick: bool,
) -> Result<Vec<Sample>> {
    let mut command = Command::new(places.tool());
    command
        .args(["sandbox", "--"])
        .arg(std::env::current_exe()?)
        .args(["bench-inside", row.name, subject.name(), &size.to_string()])
        .args(quick.then_some("--quick"))
        // What could change what is measured: settings of the one who runs this.
        .env_remove("PYTHONPATH")
        .env_remove("PYTHONDONTWRITEBYTECODE")
        .env_remove("GODEBUG")
        .env_remove("GOMAXPROCS")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut sandbox = command.spawn().context("start the sandbox")?;
    let (ended, is_ended) = mpsc::channel::<()>();
    let id = sandbox.id();
    let watchdog = std::thread::spawn(move || {
        if is_ended.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout)
            && let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw)
        {
            // The kernel ends everything inside with it.
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let complaints = sandbox.stderr.take().context("its errors")?;
    let complaints =
        std::thread::spawn(move || std::io::read_to_string(complaints).unwrap_or_default());
    let samples = follow(&mut sandbox);
    let status = sandbox.wait()?;
    drop(ended);
    let _ = watchdog.join();
    let complaints = complaints.join().unwrap_or_default();
    let samples = samples?;
    if !status.success() {
        bail!(
            "{}",
            failure(&complaints).unwrap_or_else(|| status.to_string())
        );
    }
    ensure!(!samples.is_empty(), "it says nothing");
    Ok(samples)
}

/// Takes samples as they come, and looks at memory where it is asked to.
fn follow(sandbox: &mut Child) -> Result<Vec<Sample>> {
    let output = sandbox.stdout.take().context("its output")?;
    let mut input = sandbox.stdin.take().context("its input")?;
    let mut samples = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        if let Some(sample) = Sample::read(&line) {
            samples.push(sample);
        } else if let Some(ids) = line.strip_prefix(LOOK) {
            let inside: Vec<u32> = ids
                .split_whitespace()
                .filter_map(|id| id.parse().ok())
                .collect();
            let found = witness::from_inside(sandbox.id(), &inside);
            let answer = match witness::memory(&found) {
                Ok(memory) if found.len() == inside.len() => {
                    format!(
                        "{} {} {}",
                        memory.resident, memory.proportional, memory.anonymous
                    )
                }
                Ok(_) => "not all of its processes are seen from outside".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            writeln!(input, "{answer}")?;
        }
    }
    Ok(samples)
}

/// What xtask inside said last.
fn failure(complaints: &str) -> Option<String> {
    complaints
        .split("cargo xtask: ")
        .nth(1)
        .or(complaints.lines().last())
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}
