//! Queues and interrupts of a machine on paper, by the shell script of Google's images and by our program.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::bench::stage::Stage;

#[path = "../../../../tests/tuning/tree.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "made for tests, where a failure is a panic; here it is a failed row"
)]
mod tree;

/// How many times our program runs for one run of the script.
const RUNS: usize = 10;

/// A machine with two nodes and one NIC with so many queues, tuned by both, each from the beginning.
pub(crate) fn queues(stage: &mut Stage) -> Result<()> {
    let machine = "projects/123456789012/machineTypes/a3-highgpu-8g";
    stage.server.set("instance/machineType", &json!(machine))?;
    let script = stage.places.set_multiqueue();
    let root = machine_on_paper(stage.size);
    let mut command = Command::new("bash");
    command.arg(&script);
    stage.emit_baseline("queues", tune(&mut command, &root)?);
    ensure!(is_tuned(&root), "the script has changed nothing");
    let mut took = Vec::new();
    for _ in 0..RUNS {
        let root = machine_on_paper(stage.size);
        let mut command = stage.places.gce_guest(&["tune", "queues"]);
        took.push(std::time::Duration::from_secs_f64(tune(
            &mut command,
            &root,
        )?));
        ensure!(is_tuned(&root), "our program has changed nothing");
    }
    stage.emit("queues", super::median(took));
    Ok(())
}

fn machine_on_paper(queues: u32) -> String {
    let half = queues / 2;
    let nodes = [(0..half).collect(), (half..queues).collect()];
    let mut tree = tree::Tree::new("bench", &nodes);
    tree.nic("eth0", "gve", 0, queues, &[]);
    tree.path("").display().to_string()
}

fn is_tuned(root: &str) -> bool {
    let path = format!("{root}/sys/class/net/eth0/queues/tx-0/xps_cpus");
    std::fs::read_to_string(path)
        .is_ok_and(|mask| mask.contains(|digit: char| ('1'..='f').contains(&digit)))
}

fn tune(command: &mut Command, root: &str) -> Result<f64> {
    let started = Instant::now();
    let status = command
        .env("GOOGLE_SET_MULTIQUEUE_FAKEROOT", root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("tune")?;
    ensure!(status.success(), "{command:?} failed ({status})");
    Ok(started.elapsed().as_secs_f64())
}
