//! Configuration: the INI dialect of the predecessors, the sources and their precedence, typed settings.
//!
//! [`load`] reads every source and gives [`Settings`], with the origin of each value and a [`Finding`] for everything
//! that is wrong. This room reads files through `system::files` and knows nothing of the managers.

mod findings;
mod generated;
pub mod ini;
mod locks;
pub mod options;
pub mod policy;
pub mod settings;
mod sources;
pub mod values;

pub use findings::{Finding, Severity};
pub use settings::Settings;
pub use sources::{
    DISTRO, Effective, INSTANCE_CONFIGS, Loaded, METADATA_KEY, Origin, Source, TEMPLATE, load,
    metadata_config,
};
