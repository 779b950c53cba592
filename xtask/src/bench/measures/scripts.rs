//! Startup scripts.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::median;
use crate::bench::stage::{Changes, PATIENCE, Stage, drain};
use crate::bench::witness;

const SCRIPT: &str = "instance/attributes/startup-script";

/// How many times a script is started in one run.
const STARTS: usize = 7;

/// From the start of the runner to the first command of the script.
pub(crate) fn start(stage: &mut Stage) -> Result<()> {
    fs::create_dir("/tmp/mark")?;
    stage
        .server
        .set(SCRIPT, &json!("#!/bin/sh\n: > /tmp/mark/started\n"))?;
    let changes = Changes::of("/tmp/mark")?;
    let mut took = Vec::new();
    for _ in 0..STARTS {
        let mut command = stage.subject.script_runner(&stage.places);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let started = Instant::now();
        let mut runner = command.spawn().context("start the script runner")?;
        changes.wait_for("the script", || {
            fs::exists("/tmp/mark/started").unwrap_or(false)
        })?;
        took.push(started.elapsed());
        runner.wait()?;
        fs::remove_file("/tmp/mark/started")?;
    }
    stage.emit("script-start", median(took));
    Ok(())
}

/// So many MiB of lines that a script prints, until the runner has ended and the log has them.
pub(crate) fn output(stage: &mut Stage) -> Result<()> {
    let bytes = u64::from(stage.size) * 1024 * 1024;
    let line = format!(
        "{}\n",
        "a line that a startup script prints, as build tools do, ".repeat(2)
    );
    let mut text = line.repeat(usize::try_from(bytes)? / line.len());
    text.truncate(text.trim_end().len());
    let length = text.len() - text.matches('\n').count();
    fs::File::create("/tmp/output")?.write_all(text.as_bytes())?;
    drop(text);
    stage
        .server
        .set(SCRIPT, &json!("#!/bin/sh\ncat /tmp/output\n"))?;
    let mut command = stage.subject.script_runner(&stage.places);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = Instant::now();
    let mut runner = command.spawn().context("start the script runner")?;
    drain(runner.stdout.take().context("its output")?, &stage.logged);
    drain(runner.stderr.take().context("its errors")?, &stage.logged);
    let mut most = 0;
    while runner.try_wait()?.is_none() {
        ensure!(started.elapsed() < PATIENCE, "the script does not end");
        most = witness::highest_resident(runner.id()).max(most);
        std::thread::sleep(Duration::from_millis(5));
    }
    let logged = || stage.logged.load(Ordering::Relaxed);
    let took = started.elapsed();
    // What is still in pipes and sockets is taken in a moment; what never comes was lost.
    let deadline = Instant::now() + Duration::from_secs(2);
    while logged() < length as u64 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    stage.emit("output", took.as_secs_f64());
    stage.emit("output-memory", most as f64);
    // The prefix of each line counts as well: a share of at least one is a whole log.
    let share = (logged() as f64 / length as f64).min(1.0);
    stage.emit("output-share", share);
    Ok(())
}
