//! Configuration: the INI dialect of the predecessors, the sources and their precedence, typed settings.
//!
//! [`load`] reads every source and gives [`Settings`], with the origin of each value and a [`Finding`] for everything
//! that is wrong. This room reads files through `system::files` and knows nothing of the managers.

pub mod documentation;
mod edit;
pub mod file;
mod findings;
mod format;
mod generated;
pub mod ini;
mod instance_configs;
mod locks;
mod names;
pub mod options;
pub mod policy;
mod resolve;
pub mod settings;
mod sources;
pub mod state;
pub mod values;

pub use edit::{EditError, SetError, find_option, set_in_template};
pub use file::ConfigFile;
pub use findings::{Finding, Severity};
pub use instance_configs::write_instance_configs;
pub use resolve::{Effective, Loaded};
pub use settings::Settings;
pub use sources::{
    DISTRO, INSTANCE_CONFIGS, METADATA_KEY, Origin, Source, TEMPLATE, metadata_config,
};

use std::path::Path;

use self::sources::{FILE_LIMIT, Sources, unreadable};
use crate::system::files;
use crate::system::root::Root;

/// Reads the configuration below a root and derives every setting. Never fails: what cannot be used is in `warnings`, and
/// the next lower source counts in its place.
///
/// `metadata_config` is the value of `google-instance-configs` ([`metadata_config`]), where metadata is known.
#[must_use]
pub fn load(root: &Root, metadata_config: Option<&str>) -> Loaded {
    Sources::read(root, metadata_config).resolve()
}

/// What is wrong with one file, wherever it is. Its name says which source it is meant to be; one of any other name is
/// taken for a template.
#[must_use]
pub fn check_file(path: &Path) -> Vec<Finding> {
    let file = path.display().to_string();
    let source = match path.extension().and_then(|extension| extension.to_str()) {
        Some("cfg") => Source::InstanceConfigs,
        Some("distro") => Source::Distro,
        _ => Source::Template,
    };
    let mut sources = Sources::default();
    match files::read(path, FILE_LIMIT) {
        Ok(Some(bytes)) => sources.add(source, &file, &bytes),
        Ok(None) => sources.findings.push(
            Finding::about(Severity::Error, &file).say("there is no such file", "check the name"),
        ),
        Err(error) => sources.findings.push(unreadable(&file, &error)),
    }
    sources.resolve().warnings
}
