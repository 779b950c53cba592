//! The time services: which one runs, what it says, and how it is asked to measure again.
//!
//! chrony has a command for it; systemd-timesyncd and ntpd are restarted, which is the only way in which they measure at
//! once and step the clock whatever the distance. Acts through `system` only.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::cause::moved;
use crate::system::processes::running::{self, Running};
use crate::system::processes::{self, Invocation, ProcessError};
use crate::system::{ntp_control, time};

/// A time service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// chronyd.
    Chrony,
    /// systemd-timesyncd.
    Timesyncd,
    /// ntpd: of ntpsec, of the NTP project, or OpenNTPD.
    Ntpd,
}

/// How often a service is looked at while it measures.
const PAUSE: Duration = Duration::from_millis(100);

/// From where on a difference between two readings of the clocks is no noise; ntpd steps from 0.128 s on.
const STEP: Duration = Duration::from_millis(100);

/// How long `chronyc` may take for one command.
const COMMAND: Duration = Duration::from_secs(5);

/// How long a restart may take.
const RESTART: Duration = Duration::from_secs(30);

impl Service {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Chrony, Self::Timesyncd, Self::Ntpd];

    /// The name of its process (proc(5), `comm`).
    fn process(self) -> &'static str {
        match self {
            Self::Chrony => "chronyd",
            Self::Timesyncd => "systemd-timesyn",
            Self::Ntpd => "ntpd",
        }
    }

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chrony => "chrony",
            Self::Timesyncd => "systemd-timesyncd",
            Self::Ntpd => "ntpd",
        }
    }

    /// How long it may take until it has measured again. ntpd sends several questions, two seconds apart.
    fn patience(self) -> Duration {
        match self {
            Self::Chrony | Self::Timesyncd => Duration::from_secs(30),
            Self::Ntpd => Duration::from_secs(45),
        }
    }
}

/// A service that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningService {
    /// Which one.
    pub service: Service,
    process: Running,
}

/// The service that runs on this machine; chrony before the others, should there be several.
///
/// # Errors
/// The processes cannot be read.
pub fn running() -> io::Result<Option<RunningService>> {
    for service in Service::ALL {
        if let Some(process) = running::find(&[service.process()])? {
            return Ok(Some(RunningService { service, process }));
        }
    }
    Ok(None)
}

impl RunningService {
    /// Whether it says that the clock is right.
    #[must_use]
    pub fn is_synchronized(&self) -> bool {
        match self.service {
            Service::Chrony => tracking().is_ok_and(|now| now.is_right()),
            Service::Timesyncd => kernel_is_synchronized(),
            Service::Ntpd => {
                ntp_control::is_synchronized().unwrap_or_else(|_| kernel_is_synchronized())
            }
        }
    }

    /// Asks it to measure again, and waits until it has put the clock where it belongs.
    ///
    /// # Errors
    /// It cannot be asked, or has not measured in time: perhaps it reaches no server.
    pub fn measure(&self) -> Result<(), MeasureError> {
        match self.service {
            Service::Chrony => measure_with_chrony(),
            Service::Timesyncd | Service::Ntpd => self.measure_by_restart(),
        }
    }

    fn measure_by_restart(&self) -> Result<(), MeasureError> {
        time::forget_synchronization().map_err(MeasureError::Kernel)?;
        if self.service == Service::Ntpd {
            return self.measure_with_ntpd();
        }
        self.restart()?;
        wait_until(self.service, kernel_is_synchronized)
    }

    /// ntpd tells the kernel that all is well before it has asked anybody, so it is asked itself, where it answers. It steps
    /// the clock first, and is sure of it after several more questions.
    fn measure_with_ntpd(&self) -> Result<(), MeasureError> {
        let speaks = ntp_control::is_synchronized().is_ok();
        self.restart()?;
        let restarted = time::clocks();
        let late = wait_until(self.service, || {
            let stepped = moved(restarted, time::clocks()).unsigned_abs() > STEP;
            stepped || speaks && ntp_control::is_synchronized().unwrap_or(false)
        });
        // One that does not answer may have found nothing to step.
        late.or_else(|late| {
            (!speaks && kernel_is_synchronized())
                .then_some(())
                .ok_or(late)
        })
    }

    /// Restarts it, so that it starts from the clock as it is now.
    ///
    /// # Errors
    /// It cannot be restarted.
    pub fn restart(&self) -> Result<(), MeasureError> {
        let invocation = match self.process.service() {
            Some(unit) => Invocation::new("systemctl", ["restart", &unit]),
            None => Invocation::new(init_script().ok_or(MeasureError::NoUnit)?, ["restart"]),
        };
        processes::run_successfully(&invocation.within(RESTART))?;
        Ok(())
    }
}

fn kernel_is_synchronized() -> bool {
    time::is_synchronized().unwrap_or(false)
}

/// The start script of an ntpd where systemd did not start it.
fn init_script() -> Option<String> {
    ["ntpsec", "ntp", "ntpd", "openntpd"]
        .iter()
        .map(|name| format!("/etc/init.d/{name}"))
        .find(|path| processes::find(path).is_some())
}

/// Why a service has not measured again.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The kernel cannot be told to forget that the clock was right.
    #[error("cannot tell the kernel that the clock is in doubt: {0}")]
    Kernel(io::Error),
    /// A command failed.
    #[error(transparent)]
    Command(#[from] ProcessError),
    /// Nothing is known that would restart it.
    #[error("it was started neither by systemd nor by a script in /etc/init.d")]
    NoUnit,
    /// It has not measured in time.
    #[error("it has not measured within {} s; perhaps it reaches no server", .0.as_secs())]
    Late(Duration),
}

fn wait_until(service: Service, done: impl Fn() -> bool) -> Result<(), MeasureError> {
    let until = Instant::now() + service.patience();
    while !done() {
        if Instant::now() > until {
            return Err(MeasureError::Late(service.patience()));
        }
        sleep(PAUSE);
    }
    Ok(())
}

fn chronyc(words: &[&str]) -> Result<String, ProcessError> {
    let invocation = Invocation::new("chronyc", ["-n", "-c"].iter().chain(words)).within(COMMAND);
    let finished = processes::run_successfully(&invocation)?;
    Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
}

/// Has chrony drop what it measured before, measure at once, and step the clock by all that is left to correct. `reset` is
/// there since chrony 4.0; without it the new measurements are weighed against the old ones.
fn measure_with_chrony() -> Result<(), MeasureError> {
    if let Err(error) = chronyc(&["reset", "sources"]) {
        log::debug!("chrony keeps its measurements: {error}");
    }
    let before = tracking()?.measured;
    chronyc(&["burst", BURST])?;
    let measured = |now: Tracking| now.follows && now.measured != before;
    wait_until(Service::Chrony, || tracking().is_ok_and(measured))?;
    chronyc(&["makestep"])?;
    wait_until(Service::Chrony, || {
        tracking().is_ok_and(|now| now.is_right())
    })
}

/// chrony follows a source after three good measurements, two seconds apart; some may get lost.
const BURST: &str = "4/8";

/// What `chronyc tracking` says.
#[derive(Clone, Debug, PartialEq)]
struct Tracking {
    /// Whether it follows a source.
    follows: bool,
    /// When it measured last, as it writes it.
    measured: String,
    /// How far the clock is off, whichever way: what is left to correct.
    left: Option<Duration>,
}

/// How far chrony may say that the clock is off while it counts as right.
const SMALL: Duration = Duration::from_millis(500);

impl Tracking {
    fn is_right(&self) -> bool {
        self.follows && self.left.is_some_and(|left| left < SMALL)
    }
}

fn tracking() -> Result<Tracking, ProcessError> {
    Ok(parse_tracking(&chronyc(&["tracking"])?))
}

/// The fields of chronyc(1), `tracking`, with `-c`: the reference time is the fourth, the offset that is left to correct the
/// fifth, and the leap status the last.
fn parse_tracking(line: &str) -> Tracking {
    let fields: Vec<&str> = line.trim().split(',').collect();
    Tracking {
        follows: fields
            .get(13)
            .is_some_and(|status| !status.is_empty() && *status != "Not synchronised"),
        measured: fields.get(3).copied().unwrap_or_default().to_owned(),
        left: fields.get(4).and_then(|field| distance(field)),
    }
}

/// A number of seconds without its sign, as chrony prints it (printf(3), `%.9f`); digits past the nanoseconds do not count.
fn distance(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    let is_digit = |byte: u8| byte.is_ascii_digit();
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(is_digit) {
        return None;
    }
    let nanoseconds = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = nanoseconds.fold(0, |sum, digit| 10 * sum + u32::from(digit - b'0'));
    Some(Duration::new(whole.parse().ok()?, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seconds_of_chrony_are_read_to_the_nanosecond() {
        let nanoseconds = |count: u64| Some(Duration::from_nanos(count));
        for (text, expected) in [
            ("0.000000000", nanoseconds(0)),
            ("-0.000000000", nanoseconds(0)),
            ("-0.000017216", nanoseconds(17_216)),
            ("0.000012", nanoseconds(12_000)),
            ("+0.5", nanoseconds(500_000_000)),
            ("-12.5", nanoseconds(12_500_000_000)),
            ("12", nanoseconds(12_000_000_000)),
            ("12.", nanoseconds(12_000_000_000)),
            (
                "1771763721.123456789",
                nanoseconds(1_771_763_721_123_456_789),
            ),
            ("0.49999999999999999999999999", nanoseconds(499_999_999)),
            (
                "18446744073709551615.9",
                Some(Duration::new(u64::MAX, 900_000_000)),
            ),
            // Farther than can be said is not near.
            ("18446744073709551616.0", None),
            // Neither does chrony print these, nor would they be right.
            ("1e-3", None),
            ("0.1e3", None),
            ("inf", None),
            ("-nan", None),
            (".5", None),
            ("--1.0", None),
            ("1.-5", None),
            ("1.2.3", None),
            (" 1.0", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(distance(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_printf_writes_is_read(seconds in -1.0e9..1.0e9_f64) {
            let (text, read) = (format!("{seconds:.9}"), distance(&format!("{seconds:.9}")));
            let read = read.map(|read| format!("{}.{:09}", read.as_secs(), read.subsec_nanos()));
            prop_assert_eq!(read.as_deref(), Some(text.trim_start_matches('-')));
        }
    }

    #[test]
    fn tracking_says_whether_the_clock_is_right() {
        let right = "A9FEA9FE,169.254.169.254,3,1771763721.123456789,0.000012,-0.000020,0.000031,-20.1,0.01,0.2,0.0003,0.0001,64.2,Normal\n";
        let tracking = parse_tracking(right);
        assert_eq!(tracking.measured, "1771763721.123456789");
        assert!(tracking.is_right());
        let off = parse_tracking(&right.replace("0.000012", "-12.5"));
        assert!(off.follows && !off.is_right());
        assert!(!parse_tracking(&right.replace("Normal", "Not synchronised")).follows);
        for nonsense in ["", "506 Cannot talk to daemon", ",,,,,,,,,,,,,"] {
            assert!(!parse_tracking(nonsense).is_right(), "{nonsense}");
        }
    }
}
