//! At rest: memory and wake-ups.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::bench::stage::{KEY, SSH_KEYS, Stage, USER, entry, has_key};
use crate::bench::witness;

/// How long the idle machine is watched.
const WATCHED: Duration = Duration::from_secs(60);

/// How long after the last change a machine counts as at rest.
const QUIET: Duration = Duration::from_secs(10);

/// Memory of everything that runs, with one user.
pub(crate) fn memory(stage: &mut Stage) -> Result<()> {
    stage.settle_with_a_user()?;
    std::thread::sleep(QUIET);
    let memory = stage.memory()?;
    for (line, bytes) in [
        ("rss", memory.resident),
        ("pss", memory.proportional),
        ("anonymous", memory.anonymous),
    ] {
        stage.emit(line, bytes as f64);
    }
    Ok(())
}

/// What happens in a minute in which nothing happens.
pub(crate) fn idle(stage: &mut Stage) -> Result<()> {
    stage.settle_with_a_user()?;
    std::thread::sleep(Duration::from_secs(3));
    let running = stage.running();
    let (before, started) = (witness::work(&running), Instant::now());
    std::thread::sleep(WATCHED);
    let now = witness::work(&running);
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    stage.emit("idle-ticks", (now.ticks - before.ticks) as f64 / 100.0);
    let nanoseconds = now.nanoseconds.saturating_sub(before.nanoseconds);
    stage.emit("idle-time", nanoseconds as f64 / 1e9 / minutes);
    let switches = now.switches.saturating_sub(before.switches);
    stage.emit("idle-switches", switches as f64 / minutes);
    Ok(())
}

/// Memory along many changes: keys and addresses that come and go.
pub(crate) fn changes(stage: &mut Stage) -> Result<()> {
    stage.settle_with_a_user()?;
    // What has been used once stays: caches and thread stacks. Growth is what comes after that.
    let points = 20;
    for point in 0..=points {
        if point > 0 {
            for number in 0..stage.size / points {
                change(stage, (point - 1) * stage.size / points + number)?;
            }
            stage.settle()?;
        }
        let memory = stage.memory()?;
        let size = point * stage.size / points;
        stage.emit_sized("changes-rss", size, memory.resident as f64);
        stage.emit_sized("changes-anonymous", size, memory.anonymous as f64);
    }
    Ok(())
}

fn change(stage: &mut Stage, number: u32) -> Result<()> {
    let mark = format!("change-{number}");
    stage.server.set(
        SSH_KEYS,
        &json!(format!("{}\n{USER}:{KEY} {mark}", entry(USER))),
    )?;
    let address = format!("198.18.{}.{}", number / 250 % 250, number % 250 + 1);
    let path = "instance/networkInterfaces/0/forwardedIps";
    stage.server.set(path, &json!([address]))?;
    stage.wait_for("a change", || has_key(USER, &mark))?;
    Ok(())
}
