//! Forwarded addresses.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::bench::server::Server;
use crate::bench::stage::{Stage, time_of};

const FORWARDED: &str = "instance/networkInterfaces/0/forwardedIps";

/// How long somebody's deleted route is waited for: the predecessors look once in a minute, if at all.
const PATIENCE: Duration = Duration::from_secs(75);

/// The same in the short run.
const QUICK_PATIENCE: Duration = Duration::from_secs(5);

/// Addresses of the range for benchmarks (RFC 2544).
fn addresses(count: u32) -> Vec<String> {
    (0..count)
        .map(|number| format!("198.18.{}.{}", number / 250, number % 250 + 1))
        .collect()
}

/// How many addresses of that range the machine answers to, by the kernel's table `local`.
fn answered() -> usize {
    let table = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let local = table.split_once("Local:").map_or("", |(_, local)| local);
    local
        .lines()
        .filter(|line| line.trim_start().starts_with("|-- 198.18."))
        .count()
}

/// Many addresses added at once, and removed at once.
pub(crate) fn addresses_at_once(stage: &mut Stage) -> Result<()> {
    stage.settle_with_a_user()?;
    let addresses = addresses(stage.size);
    let count = addresses.len();
    let add = Server::prepared(FORWARDED, &json!(addresses));
    let remove = Server::prepared(FORWARDED, &json!([]));
    let started = Instant::now();
    stage.server.send(&add)?;
    stage.wait_for("all addresses", || answered() == count)?;
    stage.emit("addresses-added", started.elapsed().as_secs_f64());
    stage.settle()?;
    let started = Instant::now();
    stage.server.send(&remove)?;
    stage.wait_for("no address", || answered() == 0)?;
    stage.emit("addresses-removed", started.elapsed().as_secs_f64());
    stage.settle()?;
    baseline(stage, &addresses)
}

/// The same by one `ip -batch` on the same machine, while nobody heals what it removes.
fn baseline(stage: &mut Stage, addresses: &[String]) -> Result<()> {
    stage.stop_daemons()?;
    for (line, verb) in [("addresses-added", "add"), ("addresses-removed", "delete")] {
        let commands: Vec<String> = addresses
            .iter()
            .map(|address| {
                format!("route {verb} to local {address}/32 scope host dev eth0 proto 66\n")
            })
            .collect();
        let file = format!("/tmp/{verb}.batch");
        fs::write(&file, commands.concat())?;
        let took = time_of("ip", &["-batch", &file])?;
        stage.emit_baseline(line, took.as_secs_f64());
    }
    Ok(())
}

/// Somebody deletes a route of ours.
pub(crate) fn deleted_route(stage: &mut Stage) -> Result<()> {
    stage.settle_with_a_user()?;
    let address = addresses(1).concat();
    stage.server.set(FORWARDED, &json!([address]))?;
    stage.wait_for("the address", || answered() == 1)?;
    stage.settle()?;
    let patience = if stage.quick {
        QUICK_PATIENCE
    } else {
        PATIENCE
    };
    let started = Instant::now();
    time_of(
        "ip",
        &[
            "route", "delete", "local", &address, "dev", "eth0", "table", "local",
        ],
    )?;
    while answered() == 0 {
        if started.elapsed() > patience {
            stage.emit("deleted-route", f64::INFINITY);
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    stage.emit("deleted-route", started.elapsed().as_secs_f64());
    Ok(())
}
