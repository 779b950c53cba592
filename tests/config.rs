//! The configuration against Python's own `configparser`, and the `config` commands as a person uses them.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may use the machine directly and ends at the first surprise"
)]

mod config_witness;
