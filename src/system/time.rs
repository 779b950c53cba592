//! The clocks. Everything that decides takes its time as an argument; only callers at the edge read it here.

use jiff::Timestamp;

/// The present wall-clock time, in UTC.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The monotonic clock, in microseconds: the one that sd_notify(3) means.
#[must_use]
pub fn monotonic_microseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // It began with the boot, so neither part is negative.
    let (seconds, nanoseconds) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1_000_000 + nanoseconds / 1000
}
