//! Users and their keys.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::median;
use crate::bench::server::Server;
use crate::bench::stage::{Changes, KEY, SSH_KEYS, Stage, USER, entry, has_key, keys_of, time_of};

/// How often one `useradd` is measured in a sandbox.
const BASELINES: u32 = 5;

/// From the start of the processes to the first user's key.
pub(crate) fn start(stage: &mut Stage) -> Result<()> {
    stage.server.set(SSH_KEYS, &json!(entry(USER)))?;
    // Once on another machine would have warmed the caches of files as well: nobody is measured with a cold disk.
    let started = stage.start_daemons()?;
    stage.wait_for("the first key", || has_key(USER, KEY))?;
    stage.emit("start", started.elapsed().as_secs_f64());
    stage.settle()?;
    baseline(stage, "start")?;
    // Again, with one more user: the group and the sudo rule are there, and one user is made.
    stage.stop_daemons()?;
    let another = "bob";
    let keys = format!("{}\n{}", entry(USER), entry(another));
    stage.server.set(SSH_KEYS, &json!(keys))?;
    let started = stage.start_daemons()?;
    stage.wait_for("the other user's key", || has_key(another, KEY))?;
    stage.emit("start-again", started.elapsed().as_secs_f64());
    stage.stop_daemons()?;
    baseline(stage, "start-again")
}

/// One `useradd` as all of them need it, on the same machine.
fn baseline(stage: &Stage, line: &str) -> Result<()> {
    let mut took = Vec::new();
    for number in 0..BASELINES {
        let name = format!("baseline-{line}-{number}");
        took.push(time_of(
            "useradd",
            &[
                "-m",
                "-s",
                "/bin/bash",
                "-p",
                "*",
                "-G",
                "adm,dip,plugdev,video,google-sudoers",
                &name,
            ],
        )?);
    }
    stage.emit_baseline(line, median(took));
    Ok(())
}

/// How long nothing happens before keys are changed: longer than it takes until a file's times tell it from a later one.
const SETTLED: Duration = Duration::from_secs(4);

/// One key more for a user who is there.
pub(crate) fn key(stage: &mut Stage) -> Result<()> {
    stage.settle_with_a_user()?;
    std::thread::sleep(SETTLED);
    let directory = format!("/home/{USER}/.ssh");
    let changes = Changes::of(&directory)?;
    let mut took = Vec::new();
    let count = if stage.quick { 20 } else { 50 };
    for number in 0..count {
        let mark = format!("change-{number}-end");
        let keys = json!(format!("{}\n{USER}:{KEY} {mark}", entry(USER)));
        let request = Server::prepared(SSH_KEYS, &keys);
        rest(stage)?;
        let started = Instant::now();
        stage.server.send(&request)?;
        changes.wait_for("the new key", || has_key(USER, &mark))?;
        took.push(started.elapsed());
    }
    stage.emit("key", median(took));
    Ok(())
}

/// Waits until the next change will find the subject waiting for it.
fn rest(stage: &mut Stage) -> Result<()> {
    std::thread::sleep(Duration::from_millis(30));
    while stage.server.waiting()? < stage.subject.watches() {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// One user more, on a machine with one user.
pub(crate) fn user(stage: &mut Stage) -> Result<()> {
    stage.settle_with_a_user()?;
    let mut lines = entry(USER);
    let mut took = Vec::new();
    for number in 0..5 {
        let name = format!("user-{number}");
        lines = format!("{lines}\n{}", entry(&name));
        let request = Server::prepared(SSH_KEYS, &json!(lines));
        rest(stage)?;
        std::thread::sleep(Duration::from_millis(200));
        let started = Instant::now();
        stage.server.send(&request)?;
        stage.wait_for("the new user", || has_key(&name, KEY))?;
        took.push(started.elapsed());
    }
    stage.emit("user", median(took));
    baseline(stage, "user")
}

/// Many users at once.
pub(crate) fn users(stage: &mut Stage) -> Result<()> {
    stage.settle_with_a_user()?;
    let count = usize::try_from(stage.size)?;
    let names: Vec<String> = (0..count).map(|number| format!("user-{number}")).collect();
    let lines: Vec<String> = names.iter().map(|name| entry(name)).collect();
    let keys = json!(format!("{}\n{}", entry(USER), lines.join("\n")));
    let request = Server::prepared(SSH_KEYS, &keys);
    let started = Instant::now();
    stage.server.send(&request)?;
    let mut served = 0;
    stage.wait_for("all users", || {
        while served < count && has_key(&names[served], KEY) {
            served += 1;
        }
        served == count && administrators() > count
    })?;
    stage.emit("users", started.elapsed().as_secs_f64());
    debug_assert!(
        fs::exists(keys_of(USER)).unwrap_or(false),
        "the first user is still there"
    );
    Ok(())
}

/// How many members the group with sudo rights has.
fn administrators() -> usize {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    groups
        .lines()
        .find_map(|line| line.strip_prefix("google-sudoers:"))
        .and_then(|rest| rest.rsplit(':').next())
        .map_or(0, |members| {
            members.split(',').filter(|name| !name.is_empty()).count()
        })
}
