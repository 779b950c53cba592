//! /etc/boto.cfg: the project and the service account for gsutil and other programs on boto (spec/core.md 9.3).

pub mod plan;

use anyhow::Context as _;
use log::warn;

use super::LOGGER;
use super::context::Context;
use super::engine::Outcome;
use crate::config::ConfigFile;
use crate::system::files;
use crate::system::root::Root;

/// The file.
const FILE: &str = "/etc/boto.cfg";

/// What it begins with; the owner's.
const TEMPLATE: &str = "/etc/boto.cfg.template";

/// The largest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// What the top of the file says.
const HEADER: &str = "Written by gce-guest at each boot. Do not edit it: put settings into /etc/boto.cfg.template and run \
    /usr/bin/google_instance_setup.";

/// The step that writes the file, where it is ours.
///
/// # Errors
/// Metadata does not name the project, or the file cannot be read or written; it is then as it was.
pub fn configure(context: &Context<'_>) -> anyhow::Result<Outcome> {
    let present =
        files::read(&context.root.path(FILE), LIMIT).with_context(|| format!("read {FILE}"))?;
    if present.is_some_and(|present| !plan::is_ours(&present)) {
        return Ok(Outcome::Unchanged(format!(
            "{FILE} is somebody else's and stays; move it to {TEMPLATE} to have the project added"
        )));
    }
    // Tools want the project's name and not its number (spec/core.md BUG 31).
    let project = context
        .document()
        .and_then(|document| document.project.project_id.present())
        .context("metadata does not name the project")?;
    let (template, findings) = ConfigFile::read(&context.root, TEMPLATE);
    for finding in findings {
        warn!(target: LOGGER, "{finding}");
    }
    let mode = mode(&context.root)?;
    let contents = plan::contents(template, project)?;
    let changed = contents.write_with_mode(&context.root, FILE, Some(HEADER), mode)?;
    Ok(if changed {
        Outcome::Done(format!("wrote {FILE} for project {project}"))
    } else {
        Outcome::Unchanged(format!("{FILE} is up to date"))
    })
}

/// The mode of the file: nobody gets to read what may not be read of the template, or of the file as it is.
fn mode(root: &Root) -> anyhow::Result<u32> {
    [TEMPLATE, FILE].into_iter().try_fold(0o644, |mode, path| {
        let found = files::owner_and_mode(&root.path(path));
        let found = found.with_context(|| format!("read the mode of {path}"))?;
        Ok(mode & found.map_or(0o644, |(_, bits)| bits))
    })
}
