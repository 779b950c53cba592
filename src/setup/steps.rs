//! The table of the steps. What has no need of metadata does not wait for it.

use anyhow::anyhow;
use log::{info, warn};

use super::engine::{Outcome, Step};
use super::tuning::steps as tuning;
use super::{LOGGER, boto, host_keys, instance_configs, sshd, state};
use crate::setup::context::Context;

/// The steps. A step builds only on steps above it.
pub static STEPS: &[Step] = &[
    Step {
        name: "local-ssd",
        switched_off: |context| {
            let off = !context.settings().instance_setup.optimize_local_ssd;
            off.then_some("InstanceSetup.optimize_local_ssd")
        },
        requires: &[],
        after: &[],
        work: tuning::local_ssd,
    },
    Step {
        name: "io-schedulers",
        switched_off: never,
        requires: &[],
        after: &["local-ssd"],
        work: tuning::schedulers,
    },
    Step {
        name: "queues",
        switched_off: multiqueue_off,
        requires: &[],
        after: &[],
        work: tuning::queues,
    },
    Step {
        name: "missing-host-keys",
        switched_off: host_keys_off,
        requires: &[],
        after: &[],
        work: host_keys::make_missing,
    },
    Step {
        name: "metadata",
        switched_off: network_off,
        requires: &[],
        after: &[],
        work: metadata,
    },
    Step {
        name: "host-keys",
        switched_off: host_keys_off,
        requires: &["metadata"],
        after: &["missing-host-keys"],
        work: host_keys::renew,
    },
    Step {
        name: "sshd",
        switched_off: host_keys_off,
        requires: &[],
        after: &["host-keys"],
        work: sshd::start,
    },
    Step {
        name: "publish-host-keys",
        switched_off: host_keys_off,
        requires: &["metadata"],
        after: &["host-keys"],
        work: host_keys::publish,
    },
    Step {
        name: "boto",
        switched_off: |context| {
            let off = !context.settings().instance_setup.set_boto_config;
            off.then_some("InstanceSetup.set_boto_config")
        },
        requires: &["metadata"],
        after: &[],
        work: boto::configure,
    },
    Step {
        name: "platform-queues",
        switched_off: multiqueue_off,
        requires: &["metadata"],
        after: &["queues"],
        work: tuning::platform_queues,
    },
    Step {
        name: "memory",
        switched_off: never,
        requires: &["metadata"],
        after: &[],
        work: tuning::memory,
    },
    Step {
        name: "instance-configs",
        switched_off: never,
        requires: &[],
        after: &["metadata", "host-keys"],
        work: instance_configs::write,
    },
];

fn never(_: &Context<'_>) -> Option<&'static str> {
    None
}

fn multiqueue_off(context: &Context<'_>) -> Option<&'static str> {
    let off = !context.settings().instance_setup.set_multiqueue;
    off.then_some("InstanceSetup.set_multiqueue")
}

fn network_off(context: &Context<'_>) -> Option<&'static str> {
    (!context.network_enabled()).then_some("InstanceSetup.network_enabled")
}

/// The option that switches host keys off, if one does.
pub(super) fn host_keys_off(context: &Context<'_>) -> Option<&'static str> {
    let off = !context.settings().instance_setup.set_host_keys;
    network_off(context).or(off.then_some("InstanceSetup.set_host_keys"))
}

/// Waits for metadata, and makes the records those of this instance.
fn metadata(context: &Context<'_>) -> anyhow::Result<Outcome> {
    let document = context.fetch().map_err(|why| anyhow!(why))?;
    for problem in &document.problems {
        warn!(target: LOGGER, "Metadata: {problem}.");
    }
    let Some(id) = context.instance() else {
        // The steps that need it say so; the others go on.
        warn!(target: LOGGER, "Instance ID was not found in metadata.");
        return Ok(Outcome::Done("it is there, without an instance id".into()));
    };
    match state::sweep(&context.root, id) {
        Ok(swept) if swept.is_empty() => {}
        Ok(swept) => {
            info!(target: LOGGER, "This disk was that of another instance ({}); what was kept of it is gone.", swept.join(", "));
        }
        Err(error) => {
            warn!(target: LOGGER, "What was kept of another instance cannot be removed: {error}.");
        }
    }
    context.remember_config();
    Ok(Outcome::Done(format!("it is there, of instance {id}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::system::order::Set;

    #[test]
    fn a_step_builds_only_on_steps_above_it() {
        let mut above = Set::new();
        for step in STEPS {
            for name in step.requires.iter().chain(step.after) {
                assert!(above.contains(name), "{} builds on {name}", step.name);
            }
            assert!(above.insert(step.name), "{} is there twice", step.name);
        }
    }
}
