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
pub use generated::write_instance_configs;
pub use resolve::{Effective, Loaded};
pub use settings::Settings;
pub use sources::{
    DISTRO, INSTANCE_CONFIGS, METADATA_KEY, Origin, Source, TEMPLATE, check_file, load,
    metadata_config,
};
