//! Tuning as steps of the set-up.

use anyhow::bail;
use log::{debug, warn};

use super::{
    Listener, Machine, Mode, Platform, Tuned, optimize_local_ssd, overcommit_memory,
    remove_schedulers, set_multiqueue,
};
use crate::setup::LOGGER;
use crate::setup::context::Context;
use crate::setup::engine::Outcome;

/// Interrupts of NVMe, and local SSDs on SCSI.
///
/// # Errors
/// Something could not be changed; everything else was.
pub fn local_ssd(context: &Context<'_>) -> anyhow::Result<Outcome> {
    step(context, &|machine, listener| {
        optimize_local_ssd(machine, Mode::Make, listener)
    })
}

/// No scheduler for disks with several queues.
///
/// # Errors
/// The same.
pub fn schedulers(context: &Context<'_>) -> anyhow::Result<Outcome> {
    step(context, &|machine, listener| {
        remove_schedulers(machine, Mode::Make, listener)
    })
}

/// Queues and interrupts of NICs, as far as they are the same on every machine.
///
/// # Errors
/// The same.
pub fn queues(context: &Context<'_>) -> anyhow::Result<Outcome> {
    step(context, &|machine, listener| {
        set_multiqueue(machine, &Platform::default(), Mode::Make, listener)
    })
}

/// The rest of it, which depends on the machine type.
///
/// # Errors
/// The same.
pub fn platform_queues(context: &Context<'_>) -> anyhow::Result<Outcome> {
    step(context, &|machine, listener| {
        set_multiqueue(machine, &platform(context), Mode::Make, listener)
    })
}

/// Memory, which depends on the machine type, too.
///
/// # Errors
/// The same.
pub fn memory(context: &Context<'_>) -> anyhow::Result<Outcome> {
    step(context, &|machine, listener| {
        overcommit_memory(machine, &platform(context), Mode::Make, listener)
    })
}

fn platform(context: &Context<'_>) -> Platform {
    context.document().map(Platform::of).unwrap_or_default()
}

fn step(
    context: &Context<'_>,
    tune: &dyn Fn(&Machine, Listener<'_>) -> Tuned,
) -> anyhow::Result<Outcome> {
    let machine = Machine::new(context.root.clone());
    // There may be hundreds of changes: the summary is for everybody, the rest for those who ask for details.
    let tuned = tune(&machine, &mut |line| debug!(target: LOGGER, "{line}"));
    for failed in &tuned.failed {
        warn!(target: LOGGER, "Not tuned: {failed}.");
    }
    if !tuned.failed.is_empty() {
        bail!("{tuned}");
    }
    Ok(match tuned.changed {
        0 => Outcome::Unchanged(tuned.to_string()),
        _ => Outcome::Done(tuned.to_string()),
    })
}
