//! Instance set-up: what a VM needs before it is ready, done at boot, step by step (spec/core.md 9).
//!
//! [`steps`] is the table of the steps, [`engine`] runs them side by side, each at its own risk, and [`record`] is what
//! became of them. [`context`] is what a step may use; [`state`] is what is kept, bound to the instance id. Each part of
//! the work has a module: `plan` decides and is pure, `observe` and `apply` go through `system`. The document and the
//! guest attributes come in as functions, because this room knows no server.

pub mod boto;
pub mod chart;
pub mod context;
pub mod disk_names;
pub mod engine;
pub mod host_keys;
pub mod instance_configs;
pub mod machine;
pub mod nic_names;
pub mod record;
pub mod sshd;
pub mod state;
pub mod steps;
pub mod tuning;

/// The predecessors' logger name (spec/core.md 4).
pub const LOGGER: &str = "instance-setup";

use std::time::Instant;

use log::{info, warn};

use self::context::Context;
use self::record::Run;
use crate::system::time;

/// Runs the whole set-up. What became of it is logged, recorded, and returned.
#[must_use]
pub fn run(context: &Context<'_>) -> Run {
    let (began, uptime, clock) = (Instant::now(), time::uptime(), time::now());
    if steps::host_keys_off(context).is_some() {
        // sshd has its keys from somebody else.
        context.ready();
    }
    let steps = engine::run(steps::STEPS, context, began);
    context.ready();
    let run = Run {
        instance: context.instance().map(String::from),
        boot: machine::boot(&context.root).unwrap_or_default(),
        began: clock.to_string(),
        uptime: uptime.as_secs_f64(),
        seconds: began.elapsed().as_secs_f64(),
        steps,
    };
    if let Err(error) = state::save_run(&context.root, &run) {
        warn!(target: LOGGER, "The times of the set-up cannot be recorded: {error}.");
    }
    info!(target: LOGGER, "{}", run.summary());
    run
}
