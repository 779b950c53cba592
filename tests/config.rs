//! The configuration against Python's own `configparser`, files as they should not be, and the `config` command as a person
//! uses it.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may use the machine directly and ends at the first surprise"
)]

#[path = "config/command.rs"]
mod command;
#[path = "config/files.rs"]
mod files;
#[path = "config/root.rs"]
mod root;
mod support;
#[path = "config/witness.rs"]
mod witness;
