//! The process environment, read in one place: settings come from the configuration, not from here.

use std::ffi::OsString;

/// A variable that is set and not empty.
#[must_use]
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
