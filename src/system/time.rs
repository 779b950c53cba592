//! The clocks. Everything that decides takes its time as an argument; only callers at the edge read it here.

use jiff::Timestamp;

/// The present wall-clock time, in UTC.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}
