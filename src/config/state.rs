//! The instance id for which the machine was set up: state that is kept beside the configuration, and no setting.
//!
//! The Python daemons kept it in `[Instance] instance_id` of instance_configs.cfg, the Go agents in a file of its own.
//! The file is read first; where it is absent or empty the old place counts, so that moving from the Python daemons does
//! not look like a new instance and renew the host keys (spec/beyond.md 10). Only instance_configs.cfg is asked: an id in
//! the template or in metadata would make every boot a first one (spec/core.md BUG 3).

use std::io;

use super::Settings;
use super::ini::Document;
use super::sources::{FILE_LIMIT, INSTANCE_CONFIGS};
use crate::system::files::{self, Attributes, Directory};
use crate::system::root::Root;

/// What the file is called where the option names a directory.
const FILE_NAME: &str = "google_instance_id";

/// The file with the instance id, as the machine names it. `instance_id_dir` is a file for one Go agent and a directory
/// for the other (spec/beyond.md D 2); what is there decides.
#[must_use]
pub fn instance_id_path(root: &Root, settings: &Settings) -> String {
    let configured = settings.instance.instance_id_dir.trim_end_matches('/');
    if Directory::open(&root.path(configured)).is_ok() {
        format!("{configured}/{FILE_NAME}")
    } else {
        configured.to_owned()
    }
}

/// The instance id for which the machine was last set up; `None` on a machine that never was.
///
/// # Errors
/// Those of reading the file, or instance_configs.cfg. "Unknown" is not "never": the caller must not take it for a new
/// instance.
pub fn instance_id(root: &Root, settings: &Settings) -> io::Result<Option<String>> {
    let path = instance_id_path(root, settings);
    let own = files::read(&root.path(path), FILE_LIMIT)?.unwrap_or_default();
    if let Some(id) = id(&String::from_utf8_lossy(&own)) {
        return Ok(Some(id));
    }
    let legacy = files::read(&root.path(INSTANCE_CONFIGS), FILE_LIMIT)?.unwrap_or_default();
    let (document, _) = Document::parse(&legacy);
    let entry = document.entry("Instance", "instance_id");
    Ok(entry.and_then(|entry| id(&entry.raw)))
}

/// Stores the instance id for which the machine is set up, where it is not stored yet. Returns whether it was written.
///
/// # Errors
/// Those of reading and replacing the file.
pub fn store_instance_id(root: &Root, settings: &Settings, instance: &str) -> io::Result<bool> {
    let path = root.path(instance_id_path(root, settings));
    let present = files::read(&path, FILE_LIMIT)?.unwrap_or_default();
    if id(&String::from_utf8_lossy(&present)).as_deref() == Some(instance) {
        return Ok(false);
    }
    if let Some(parent) = path.parent() {
        files::create_directories(parent, 0o755)?;
    }
    let text = format!("{instance}\n");
    files::replace(&path, text.as_bytes(), &Attributes::keep_mode_or(0o644))?;
    Ok(true)
}

/// The id in a text. Ids are decimal numbers; `0` and the `None` that one predecessor could write are none.
fn id(text: &str) -> Option<String> {
    let text = text.trim();
    let is_id = !text.is_empty() && text != "0" && text.bytes().all(|byte| byte.is_ascii_digit());
    is_id.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_is_an_id() {
        assert_eq!(id("123\n").as_deref(), Some("123"));
        for none in ["", "0", "None", "12 3", "-1", "abc"] {
            assert_eq!(id(none), None, "{none}");
        }
    }
}
