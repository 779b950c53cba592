//! instance_configs.cfg, for programs that look for the settings there (spec/core.md 3.5). What is in it is the
//! configuration's business; when it is written is ours.

use anyhow::bail;

use super::context::Context;
use super::engine::Outcome;
use crate::config::{self, INSTANCE_CONFIGS, state};

/// The step that writes the file. It comes after metadata, whose values belong into it, and after the host keys, whose
/// instance id a predecessor would look for there.
///
/// # Errors
/// There is no metadata, or the file cannot be written; it is then as it was.
pub fn write(context: &Context<'_>) -> anyhow::Result<Outcome> {
    if context.network_enabled() && context.document().is_none() {
        bail!("{INSTANCE_CONFIGS} stays as it is without metadata, whose values belong into it");
    }
    let stored = state::instance_id(&context.root, context.settings()).unwrap_or_default();
    let config = context.metadata_config();
    let changed = config::write_instance_configs(&context.root, config, stored.as_deref())?;
    Ok(if changed {
        Outcome::Done(format!("wrote {INSTANCE_CONFIGS}"))
    } else {
        Outcome::Unchanged(format!("{INSTANCE_CONFIGS} is up to date"))
    })
}
