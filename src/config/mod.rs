//! Configuration: the INI dialect of the predecessors, the sources and their precedence, typed settings.

pub mod settings;

pub use settings::Settings;
