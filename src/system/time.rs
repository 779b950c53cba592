//! The clocks. Everything that decides takes its time as an argument; only callers at the edge read it here.

use std::time::Duration;

use jiff::Timestamp;

/// The present wall-clock time, in UTC.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// How long the kernel has been up, without the time in which the machine was suspended: the clock of sd_notify(3).
#[must_use]
pub fn monotonic() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The kernel counts from zero upwards.
    Duration::try_from(time).unwrap_or_default()
}

/// How long the kernel has been up, with the time in which the machine was suspended.
#[must_use]
pub fn uptime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // The kernel counts from zero upwards.
    Duration::try_from(time).unwrap_or_default()
}
