//! The clocks: reading them, stepping the system clock, and hearing of steps that others make. Everything that decides takes
//! its time as an argument; only callers at the edge read it here.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    clock_settime, timerfd_create, timerfd_settime,
};

/// The present wall-clock time, in UTC; the end of the year 9999 where the clock is past it.
#[must_use]
pub fn now() -> Timestamp {
    // Not `Timestamp::now`, which panics past that year, and for that brings every message of jiff into the program.
    let now = clock_gettime(ClockId::Realtime);
    let nanosecond = i32::try_from(now.tv_nsec).unwrap_or_default();
    Timestamp::new(now.tv_sec, nanosecond).unwrap_or(Timestamp::MAX)
}

/// A time that much later, or earlier where `by` is negative; the end of the range of times where it is past that. The
/// operators of `Timestamp` panic there.
#[must_use]
pub fn shifted(time: Timestamp, by: SignedDuration) -> Timestamp {
    let end = if by.is_negative() {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    time.checked_add(by).unwrap_or(end)
}

/// How long the kernel has been up, without the time in which the machine was suspended: the clock of sd_notify(3).
#[must_use]
pub fn monotonic() -> Duration {
    since_boot(ClockId::Monotonic)
}

/// How long the kernel has been up, with the time in which the machine was suspended.
#[must_use]
pub fn uptime() -> Duration {
    since_boot(ClockId::Boottime)
}

/// A clock that the kernel counts from zero upwards.
fn since_boot(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// The clocks of the kernel at one moment, by which steps and suspensions are told apart (clock_gettime(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// `CLOCK_REALTIME`: the system clock, which can be set.
    pub realtime: Timestamp,
    /// `CLOCK_MONOTONIC`: does not run while the machine is suspended.
    pub monotonic: Duration,
    /// `CLOCK_BOOTTIME`: does.
    pub boottime: Duration,
}

/// Reads the clocks, microseconds apart.
#[must_use]
pub fn clocks() -> Clocks {
    Clocks {
        realtime: now(),
        monotonic: since_boot(ClockId::Monotonic),
        boottime: since_boot(ClockId::Boottime),
    }
}

/// Whether this process may set the clock (`CAP_SYS_TIME`). In a container it usually may not: the clock is the host's.
#[must_use]
pub fn may_set() -> bool {
    let effective = rustix::thread::capabilities(None).map(|sets| sets.effective);
    effective.is_ok_and(|set| set.contains(CapabilitySet::SYS_TIME))
}

/// Sets the system clock.
///
/// # Errors
/// Those of clock_settime(2): `EPERM` without `CAP_SYS_TIME`.
pub fn set(time: Timestamp) -> io::Result<()> {
    let nanosecond = i64::from(time.subsec_nanosecond());
    // Before 1970 a timestamp's fraction is negative, and a timespec's never.
    let second = time.as_second() - i64::from(nanosecond < 0);
    let time = Timespec {
        tv_sec: second,
        tv_nsec: nanosecond.rem_euclid(1_000_000_000),
    };
    Ok(clock_settime(ClockId::Realtime, time)?)
}

/// The kernel's largest estimate of the error of its clock, in microseconds: it knows nothing of the time.
const NO_IDEA: libc::c_long = 16_000_000;

/// Whether a time service keeps the clock, by the kernel's word: the service has told how far the clock can be off. That is
/// what timedatectl(1) goes by too. ntpd tells it before it has asked anybody.
///
/// # Errors
/// Those of adjtimex(2).
pub fn is_synchronized() -> io::Result<bool> {
    let mut request = blank();
    adjust(&mut request)?;
    Ok(request.maxerror < NO_IDEA)
}

/// Tells the kernel that it knows nothing of the time, until a time service tells it something else.
///
/// # Errors
/// Those of adjtimex(2): `EPERM` without `CAP_SYS_TIME`.
pub fn forget_synchronization() -> io::Result<()> {
    let mut request = blank();
    request.modes = libc::ADJ_MAXERROR;
    request.maxerror = NO_IDEA;
    adjust(&mut request)
}

/// A request of adjtimex(2) that changes nothing.
#[expect(unsafe_code, reason = "the structure has no other constructor")]
fn blank() -> libc::timex {
    // SAFETY: the structure has numbers only, and all of them may be 0.
    unsafe { std::mem::zeroed() }
}

/// adjtimex(2): changes what the request asks for, and fills in the rest.
#[expect(unsafe_code, reason = "rustix has no adjtimex")]
fn adjust(request: &mut libc::timex) -> io::Result<()> {
    // SAFETY: the request is writable, and of the type that the kernel reads and writes.
    match unsafe { libc::adjtimex(request) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Hears of every step of the system clock, also of those that the kernel makes when the machine has been suspended. Nothing
/// wakes up in between.
#[derive(Debug)]
pub struct Steps(OwnedFd);

impl Steps {
    /// Starts listening.
    ///
    /// # Errors
    /// Those of timerfd_create(2) and timerfd_settime(2).
    pub fn listen() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?;
        arm(&timer)?;
        Ok(Self(timer))
    }

    /// Waits for a step. Several that come at once are one.
    ///
    /// # Errors
    /// Those of read(2) and timerfd_settime(2).
    pub fn wait(&self) -> io::Result<()> {
        loop {
            match rustix::io::read(&self.0, &mut [0_u8; 8]) {
                Err(Errno::CANCELED) => return arm(&self.0),
                Ok(_) => arm(&self.0)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Arms a timer for the end of time, to be cancelled by a step (timerfd_create(2), `TFD_TIMER_CANCEL_ON_SET`).
fn arm(timer: &OwnedFd) -> io::Result<()> {
    // The kernel's own limit of a time, in nanoseconds since 1970.
    let never = Timespec {
        tv_sec: i64::MAX / 1_000_000_000,
        tv_nsec: 0,
    };
    let once = Itimerspec {
        it_interval: Timespec::default(),
        it_value: never,
    };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    match timerfd_settime(timer, flags, &once) {
        // A step between two readings is told here; the timer is armed all the same.
        Ok(_) | Err(Errno::CANCELED) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_go_on_together() {
        let first = clocks();
        std::thread::sleep(Duration::from_millis(2));
        let second = clocks();
        assert!(second.monotonic > first.monotonic);
        assert!(second.boottime > first.boottime);
        assert!(second.boottime >= second.monotonic);
        is_synchronized().unwrap();
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "another's word for the time")]
    fn it_is_as_late_as_others_say() {
        let before = Timestamp::now();
        let now = now();
        let after = Timestamp::now();
        assert!(before <= now && now <= after, "{before} {now} {after}");
    }

    #[test]
    fn a_time_is_shifted_as_far_as_times_go() {
        let time: Timestamp = "2026-01-02T03:04:05.5Z".parse().unwrap();
        let by = SignedDuration::from_millis(1500);
        assert_eq!(shifted(time, by).to_string(), "2026-01-02T03:04:07Z");
        assert_eq!(shifted(time, -by).to_string(), "2026-01-02T03:04:04Z");
        assert_eq!(shifted(time, SignedDuration::MAX), Timestamp::MAX);
        assert_eq!(shifted(time, SignedDuration::MIN), Timestamp::MIN);
    }
}
