//! The host keys of sshd (spec/core.md 9.2): made for an instance, once, before sshd starts.
//!
//! Three steps. A machine without any host key gets them at once, without waiting for the network. When the instance is
//! known, all of them are renewed if the disk has come to another one; which ones are done is recorded one by one, so that
//! a run that is cut short goes on where it was, and the instance id is stored last. Then they are published.

pub mod apply;
pub mod observe;
pub mod plan;

use std::io;

use anyhow::{Context as _, bail};
use log::{info, warn};
use serde::{Deserialize, Serialize};

use self::plan::{Keys, Made, Observed, Plan, Reason};
use super::context::Context;
use super::engine::Outcome;
use super::state::Place;
use super::{LOGGER, machine};
use crate::config::state;
use crate::system::files::Directory;
use crate::system::order::{Map, Set};

/// The record of what was made for an instance.
const MADE: &str = "made-host-keys";

/// The record of what was made in a boot, before the instance was known.
const MADE_IN_BOOT: &str = "made-host-keys-of-boot";

/// The record of what the guest attributes have.
const PUBLISHED: &str = "published-host-keys";

/// The record of the firmware's identity of the machine on which the instance was seen.
const MACHINE: &str = "machine";

/// The namespace of the guest attributes with host keys (spec/beyond.md 11).
const NAMESPACE: &str = "hostkeys";

/// What was made in a boot.
#[derive(Serialize, Deserialize)]
struct MadeInBoot {
    boot: String,
    made: Made,
}

/// The step for a machine without any host key. Lets sshd start where it is sure that the keys are this instance's.
///
/// # Errors
/// A key could not be made.
pub fn make_missing(context: &Context<'_>) -> anyhow::Result<Outcome> {
    let Some(directory) = open(context)? else {
        return Ok(Outcome::Unchanged(no_directory(context)));
    };
    let configured = configured(context);
    let observed = Observed {
        present: present(context, &directory)?,
        ..Observed::default()
    };
    let plan = plan::before_metadata(&observed, &configured);
    if plan.generate.is_empty() {
        if is_known(context) {
            context.ready();
        }
        return Ok(Outcome::Unchanged("there are host keys".into()));
    }
    let boot = machine::boot(&context.root).unwrap_or_default();
    let mut record = MadeInBoot {
        boot,
        made: Made::default(),
    };
    let place = Place::of_boot(&context.root);
    let failed = generate(context, &plan, &mut |key_type, public| {
        record.made.keys.insert(key_type.to_owned(), public);
        remember(&place, MADE_IN_BOOT, &record);
    })?;
    if !record.made.keys.is_empty() {
        // Whatever the instance is, nobody else has these.
        context.note_renewed_host_keys();
        context.ready();
    }
    conclude(&record.made.keys, &failed, "there were none")
}

/// The step for the host keys of an instance.
///
/// # Errors
/// The instance is not known, a key could not be made, or the id cannot be read or stored.
pub fn renew(context: &Context<'_>) -> anyhow::Result<Outcome> {
    let result = renew_for_instance(context);
    context.ready();
    result
}

fn renew_for_instance(context: &Context<'_>) -> anyhow::Result<Outcome> {
    let (Some(id), Some(place)) = (context.instance(), context.place()) else {
        bail!(
            "metadata has no instance id: whether these host keys are another instance's is not known, and they stay"
        )
    };
    let settings = context.settings();
    let stored = state::instance_id(&context.root, settings)
        .context("read the instance id for which host keys were made")?;
    let Some(directory) = open(context)? else {
        store_id(context, &place, id)?;
        return Ok(Outcome::Unchanged(no_directory(context)));
    };
    let observed = Observed {
        present: present(context, &directory)?,
        stored,
        made: made(context, &place),
    };
    let plan = plan::for_instance(&observed, &configured(context), id, context.keep_host_keys);
    if plan.reason == Reason::NewInstance && !plan.generate.is_empty() {
        info!(target: LOGGER, "Generating SSH host keys for instance {id}.");
    }
    let mut made = observed.made.clone();
    let mut fresh = Keys::new();
    let failed = generate(context, &plan, &mut |key_type, public| {
        made.keys.insert(key_type.to_owned(), public.clone());
        remember(&place, MADE, &made);
        fresh.insert(key_type.to_owned(), public);
    })?;
    if !fresh.is_empty() {
        context.note_renewed_host_keys();
    }
    made.unfinished = failed.keys().cloned().collect();
    remember(&place, MADE, &made);
    let stale = plan::stale(&observed, &plan, &made.unfinished);
    if !stale.is_empty() {
        let stale: Vec<&str> = stale.iter().map(String::as_str).collect();
        warn!(
            target: LOGGER,
            "The host keys of type {} are still those of another instance: remove {}/ssh_host_*_key of these types if they cannot be renewed.",
            stale.join(", "),
            settings.instance_setup.host_key_dir
        );
    } else if !(observed.present.is_empty() && fresh.is_empty()) {
        store_id(context, &place, id)?;
    }
    let because = match plan.reason {
        Reason::NewInstance if fresh.is_empty() => {
            format!("all were made for instance {id} before")
        }
        reason => because(reason, id),
    };
    conclude(&fresh, &failed, &because)
}

fn because(reason: Reason, id: &str) -> String {
    match reason {
        Reason::SameInstance => format!("they are those of instance {id}"),
        Reason::Kept => format!("they are taken for those of instance {id}, as asked"),
        Reason::NoneAtAll => "there were none".into(),
        Reason::Unfinished => format!("the last run for instance {id} did not finish"),
        Reason::NewInstance => format!("for instance {id}"),
    }
}

fn conclude(fresh: &Keys, failed: &Map<String, String>, because: &str) -> anyhow::Result<Outcome> {
    let names: Vec<&str> = fresh.keys().map(String::as_str).collect();
    if !failed.is_empty() {
        let reasons: Vec<String> = failed
            .iter()
            .map(|(key_type, why)| format!("{key_type} not made: {why}"))
            .collect();
        bail!("{}", reasons.join("; "))
    }
    Ok(if names.is_empty() {
        Outcome::Unchanged(because.to_owned())
    } else {
        Outcome::Done(format!("made {}, {because}", names.join(", ")))
    })
}

fn open(context: &Context<'_>) -> anyhow::Result<Option<Directory>> {
    let path = &context.settings().instance_setup.host_key_dir;
    match Directory::open(&context.root.path(path)) {
        Ok(directory) => Ok(Some(directory)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("open {path}")),
    }
}

fn no_directory(context: &Context<'_>) -> String {
    format!(
        "there is no {}, so no sshd",
        context.settings().instance_setup.host_key_dir
    )
}

fn present(context: &Context<'_>, directory: &Directory) -> anyhow::Result<Keys> {
    observe::present(directory)
        .with_context(|| format!("read {}", context.settings().instance_setup.host_key_dir))
}

fn configured(context: &Context<'_>) -> Set<String> {
    let (types, refused) = plan::types(&context.settings().instance_setup.host_key_types);
    for word in refused {
        warn!(target: LOGGER, "InstanceSetup.host_key_types: \"{word}\" cannot be a type of host keys; it is left out.");
    }
    types
}

fn generate(
    context: &Context<'_>,
    plan: &Plan,
    made: &mut (dyn FnMut(&str, String) + Send),
) -> anyhow::Result<Map<String, String>> {
    if plan.generate.is_empty() {
        return Ok(Map::new());
    }
    let directory = &context.settings().instance_setup.host_key_dir;
    apply::generate(&context.root, directory, &plan.generate, made)
}

/// What we made for this instance, and in this boot before it was known. A record that cannot be read is none: keys are
/// then made once more.
fn made(context: &Context<'_>, place: &Place) -> Made {
    let mut made: Made = place.load(MADE).ok().flatten().unwrap_or_default();
    let boot = machine::boot(&context.root).ok();
    let in_boot: Option<MadeInBoot> = Place::of_boot(&context.root)
        .load(MADE_IN_BOOT)
        .ok()
        .flatten();
    if let Some(record) = in_boot.filter(|record| Some(&record.boot) == boot.as_ref()) {
        made.keys.extend(record.made.keys);
    }
    made
}

/// Records what was made. A disk that takes no record costs a renewal after a crash, and nothing now.
fn remember<T: Serialize>(place: &Place, name: &str, record: &T) {
    if let Err(error) = place.save(name, record) {
        warn!(target: LOGGER, "Which host keys were made cannot be recorded: {error}.");
    }
}

/// Stores for which instance the host keys are, and on what machine it was.
fn store_id(context: &Context<'_>, place: &Place, id: &str) -> anyhow::Result<()> {
    state::store_instance_id(&context.root, context.settings(), id)
        .with_context(|| format!("store the instance id {id}"))?;
    if let Some(identity) = machine::identity(&context.root) {
        let known: Option<String> = place.load(MACHINE).ok().flatten();
        if known.as_ref() != Some(&identity) {
            remember(place, MACHINE, &identity);
        }
    }
    Ok(())
}

/// Whether this is the machine for which host keys were made, as far as its firmware tells.
fn is_known(context: &Context<'_>) -> bool {
    let stored = state::instance_id(&context.root, context.settings());
    let place = stored
        .ok()
        .flatten()
        .and_then(|id| Place::of_instance(&context.root, &id));
    let seen: Option<String> = place.and_then(|place| place.load(MACHINE).ok().flatten());
    seen.is_some() && seen == machine::identity(&context.root)
}

/// The step that writes the public keys into guest attributes, best effort: only where the owner has switched them on
/// does the server take any.
///
/// # Errors
/// The keys are not known to be this instance's, or those of the directory.
pub fn publish(context: &Context<'_>) -> anyhow::Result<Outcome> {
    let stored = state::instance_id(&context.root, context.settings()).unwrap_or_default();
    if stored.is_none() || stored.as_deref() != context.instance() {
        bail!("the host keys are not known to be this instance's");
    }
    let (Some(directory), Some(place)) = (open(context)?, context.place()) else {
        return Ok(Outcome::Unchanged("there are none".into()));
    };
    let mut published: Keys = place.load(PUBLISHED).ok().flatten().unwrap_or_default();
    let mut written = Vec::new();
    for key_type in present(context, &directory)?.keys() {
        let Some((name, key)) = observe::public_key(&directory, key_type) else {
            let path = &context.settings().instance_setup.host_key_dir;
            warn!(target: LOGGER, "Could not read host key from {path}/ssh_host_{key_type}_key.pub.");
            continue;
        };
        if published.get(&name) == Some(&key) {
            continue;
        }
        if let Err(why) = context.publish(NAMESPACE, &name, &key) {
            info!(target: LOGGER, "Unable to write {name} host key to guest attributes.");
            return Ok(Outcome::Unchanged(format!(
                "guest attributes take none: {why}"
            )));
        }
        info!(target: LOGGER, "Wrote {name} host key to guest attributes.");
        published.insert(name.clone(), key);
        remember(&place, PUBLISHED, &published);
        written.push(name);
    }
    Ok(if written.is_empty() {
        Outcome::Unchanged("they are there".into())
    } else {
        Outcome::Done(format!("wrote {}", written.join(", ")))
    })
}
