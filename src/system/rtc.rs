//! The real-time clock of the machine (rtc(4)): it runs while the machine is stopped, and counts whole seconds.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use jiff::civil::DateTime;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::ioctl::{Getter, NoArg, Opcode, ioctl, opcode};

use super::root::Root;
use super::time::{Clocks, clocks};

/// Where the device is, in the order of hwclock(8).
const DEVICES: [&str; 2] = ["/dev/rtc0", "/dev/rtc"];

/// How long another program may have the device open, which only one may.
const BUSY: Duration = Duration::from_secs(3);

/// How long to wait for the beginning of a second. It comes within one, unless the machine is very busy.
const TICK: Duration = Duration::from_secs(5);

/// How soon after its beginning a second has to be read.
const PROMPT: Duration = Duration::from_millis(500);

/// How often that is tried.
const ATTEMPTS: u32 = 5;

/// How often the time is read where the device cannot tell of the beginning of a second.
const PAUSE: Duration = Duration::from_millis(5);

/// `struct rtc_time` of linux/rtc.h, all fields as in `struct tm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Fields {
    second: i32,
    minute: i32,
    hour: i32,
    day: i32,
    month: i32,
    year: i32,
    weekday: i32,
    yearday: i32,
    daylight: i32,
}

/// `RTC_UIE_ON`, `RTC_UIE_OFF`, `RTC_RD_TIME` of linux/rtc.h.
const TICKS_ON: Opcode = opcode::none(b'p', 3);
const TICKS_OFF: Opcode = opcode::none(b'p', 4);
const READ_TIME: Opcode = opcode::read::<Fields>(b'p', 9);

/// What the real-time clock said, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The time that it began to show, without a time zone: it is for the machine to say which one is meant.
    pub time: DateTime,
    /// The kernel's clocks at that moment.
    pub at: Clocks,
}

/// Reads the real-time clock at the moment at which it goes on to the next second. Takes up to a second.
///
/// # Errors
/// Those of open(2) (`NotFound` without a device, `ResourceBusy` while another program has it) and ioctl(2); `TimedOut` when
/// it stands still, `InvalidData` when it shows no time.
pub fn read(root: &Root) -> io::Result<Reading> {
    let device = open_device(root)?;
    for _ in 0..ATTEMPTS {
        let at = match tick(&device) {
            Ok(at) => at,
            // Not every device has these interrupts: look until the second changes.
            Err(_) => change(&device)?,
        };
        let time = fields(&device)?;
        // On a busy machine the next second may have begun before it was read.
        if clocks().monotonic.saturating_sub(at.monotonic) < PROMPT {
            return Ok(Reading {
                time: civil(time)?,
                at,
            });
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn open_device(root: &Root) -> io::Result<OwnedFd> {
    let until = Instant::now() + BUSY;
    let mut devices = DEVICES.iter().map(|device| root.path(device));
    let found = devices.find(|device| device.exists());
    let device = found.ok_or_else(|| io::Error::from(Errno::NOENT))?;
    loop {
        match open_once(&device) {
            Err(Errno::BUSY) if Instant::now() < until => sleep(PAUSE * 10),
            result => return Ok(result?),
        }
    }
}

fn open_once(device: &Path) -> Result<OwnedFd, Errno> {
    open(device, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Waits for the interrupt at the beginning of a second.
fn tick(device: &OwnedFd) -> io::Result<Clocks> {
    switch_on(device)?;
    let mut polled = [PollFd::new(device, PollFlags::IN)];
    let timeout = Timespec::try_from(TICK).map_err(io::Error::other)?;
    let count = poll(&mut polled, Some(&timeout));
    let at = clocks();
    // A device that cannot be switched off stops with the descriptor.
    let _ = switch_off(device);
    if count? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(at)
}

/// Looks until the second changes.
fn change(device: &OwnedFd) -> io::Result<Clocks> {
    let (before, until) = (fields(device)?, Instant::now() + TICK);
    loop {
        let now = fields(device)?;
        let at = clocks();
        if now.second != before.second {
            return Ok(at);
        }
        if Instant::now() > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        sleep(PAUSE);
    }
}

#[expect(unsafe_code, reason = "ioctl(2) has no types of its own")]
fn fields(device: &OwnedFd) -> io::Result<Fields> {
    // SAFETY: the kernel fills in a structure of this form for this number.
    let request = unsafe { Getter::<READ_TIME, Fields>::new() };
    // SAFETY: the request only writes to its own result.
    Ok(unsafe { ioctl(device, request) }?)
}

#[expect(unsafe_code, reason = "ioctl(2) has no types of its own")]
fn switch_on(device: &OwnedFd) -> io::Result<()> {
    // SAFETY: this number takes no argument.
    let request = unsafe { NoArg::<TICKS_ON>::new() };
    // SAFETY: the request touches no memory of ours.
    Ok(unsafe { ioctl(device, request) }?)
}

#[expect(unsafe_code, reason = "ioctl(2) has no types of its own")]
fn switch_off(device: &OwnedFd) -> io::Result<()> {
    // SAFETY: this number takes no argument.
    let request = unsafe { NoArg::<TICKS_OFF>::new() };
    // SAFETY: the request touches no memory of ours.
    Ok(unsafe { ioctl(device, request) }?)
}

/// The fields as a time. A dead battery leaves nonsense.
fn civil(fields: Fields) -> io::Result<DateTime> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "it shows no valid time");
    let small = |number: i32| i8::try_from(number).map_err(|_| invalid());
    let year = i16::try_from(fields.year.saturating_add(1900)).map_err(|_| invalid())?;
    let time = DateTime::new(
        year,
        small(fields.month.saturating_add(1))?,
        small(fields.day)?,
        small(fields.hour)?,
        small(fields.minute)?,
        small(fields.second)?,
        0,
    );
    time.map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_struct_tm() {
        let fields = Fields {
            second: 5,
            minute: 4,
            hour: 3,
            day: 2,
            month: 0,
            year: 126,
            ..Fields::default()
        };
        assert_eq!(civil(fields).unwrap().to_string(), "2026-01-02T03:04:05");
        for nonsense in [
            Fields::default(),
            Fields {
                month: 12,
                ..fields
            },
            Fields {
                hour: i32::MAX,
                ..fields
            },
            Fields {
                year: i32::MAX,
                ..fields
            },
        ] {
            let error = civil(nonsense).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{nonsense:?}");
        }
    }

    #[test]
    fn a_machine_without_one_says_so() {
        let error = read(&Root::at("/nonexistent")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
