//! One pass over the clock: read it and the RTC, decide by [`super::plan`], act, and say what came of it.

use std::io;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::cause::{Cause, moved};
use super::plan::{Action, Asked, COARSENESS, Observed, Occasion, Reason, plan};
use super::record::{Deed, Record};
use super::service::{self, RunningService, Service};
use super::zone::{Mode, moment};
use crate::config::settings::Clock as Settings;
use crate::system::processes::{self, Invocation};
use crate::system::root::Root;
use crate::system::time::{Clocks, clocks};
use crate::system::{files, rtc, time};

/// The largest file that is read here, in bytes; the largest time zone has some ten thousand.
const LIMIT: u64 = 1024 * 1024;

/// The RTC beside the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtc {
    /// What it shows.
    pub time: Timestamp,
    /// In which time it runs.
    pub mode: Mode,
    /// How far that time is ahead of UTC.
    pub shift: SignedDuration,
    /// How far the clock is ahead of it.
    pub offset: SignedDuration,
}

/// What a pass looks at.
#[derive(Clone, Debug)]
pub struct Look {
    /// The clocks, when the RTC was read.
    pub clocks: Clocks,
    /// The RTC, or why it cannot be read.
    pub rtc: Result<Rtc, String>,
    /// The time service that runs.
    pub running: Option<RunningService>,
    /// All this as far as it decides.
    pub observed: Observed,
}

/// Reads the clock, the RTC, and what time service there is. Takes up to a second, until the RTC goes on.
///
/// # Errors
/// The processes of the machine cannot be read.
pub fn look(root: &Root) -> io::Result<Look> {
    let running = service::running()?;
    let (clocks, rtc) = match read_rtc(root) {
        Ok((clocks, rtc)) => (clocks, Ok(rtc)),
        Err(error) => (clocks(), Err(rtc_problem(&error))),
    };
    let rtc_is_proven = match &rtc {
        Ok(rtc) => is_proven(root, rtc.shift),
        Err(_) => false,
    };
    let synchronized = match &running {
        Some(running) => running.is_synchronized(),
        None => time::is_synchronized().unwrap_or(false),
    };
    let observed = Observed {
        offset: rtc.as_ref().ok().map(|rtc| rtc.offset),
        service: running.as_ref().map(|running| running.service),
        rtc_is_proven,
        synchronized,
        may_set: time::may_set(),
    };
    Ok(Look {
        clocks,
        rtc,
        running,
        observed,
    })
}

fn read_rtc(root: &Root) -> io::Result<(Clocks, Rtc)> {
    let adjtime = files::read(&root.path("/etc/adjtime"), LIMIT)?.unwrap_or_default();
    let mode = Mode::of(&String::from_utf8_lossy(&adjtime));
    let zone = match mode {
        Mode::Utc => TimeZone::UTC,
        Mode::Local => local_zone(root)?,
    };
    let reading = rtc::read(root)?;
    let clock = reading.at.realtime;
    let moment =
        |mode| moment(reading.time, mode, &zone, clock).ok_or_else(|| invalid(OUT_OF_RANGE));
    let (time, shown) = (moment(mode)?, moment(Mode::Utc)?);
    let rtc = Rtc {
        time,
        mode,
        shift: shown.duration_since(time),
        offset: clock.duration_since(time),
    };
    Ok((reading.at, rtc))
}

/// Whether the last pass since the boot left the clock beside the RTC. A record that cannot be read proves nothing.
fn is_proven(root: &Root, shift: SignedDuration) -> bool {
    let last = Record::read(root).ok().flatten();
    last.is_some_and(|last| last.proves_rtc(shift.as_secs_f64()))
}

/// The time zone of the machine; UTC where none is set (localtime(5)).
fn local_zone(root: &Root) -> io::Result<TimeZone> {
    match files::read(&root.path("/etc/localtime"), LIMIT)? {
        Some(zone) => TimeZone::tzif("", &zone).map_err(|_| invalid(NO_ZONE)),
        None => Ok(TimeZone::UTC),
    }
}

const OUT_OF_RANGE: &str = "its time is out of range";

const NO_ZONE: &str = "its time is local time, and /etc/localtime holds no time zone (tzfile(5))";

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn rtc_problem(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no RTC: neither /dev/rtc0 nor /dev/rtc".into(),
        io::ErrorKind::TimedOut => "the RTC stands still".into(),
        _ => format!("the RTC cannot be read: {error}"),
    }
}

/// What came of a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What was done and found, for people and for programs.
    pub record: Record,
    /// What failed and may succeed later.
    pub failure: Option<String>,
    /// The clock was stepped by the RTC, and the service does not know of it: another pass is due at once, to ask it.
    pub service_is_next: bool,
}

/// Looks at the clock and puts it right.
///
/// # Errors
/// The processes of the machine cannot be read.
pub fn synchronize(
    root: &Root,
    settings: &Settings,
    cause: &Cause,
    occasion: Occasion,
) -> io::Result<Outcome> {
    let look = look(root)?;
    let mut pass = Pass {
        settings,
        look: &look,
        asked: Asked::NotYet,
        problems: Vec::new(),
        failure: None,
    };
    if let (Err(problem), true) = (&look.rtc, look.observed.may_set) {
        pass.problems.push(problem.clone());
    }
    let (deed, text) = pass.act(occasion);
    let after = clocks();
    let (now, moved) = (after.realtime, moved(look.clocks, after));
    let record = Record {
        cause: cause.to_string(),
        deed,
        service: look.observed.service,
        rtc: look.rtc.as_ref().ok().map(|rtc| rtc.mode),
        rtc_shift: look.rtc.as_ref().ok().map(|rtc| rtc.shift.as_secs_f64()),
        offset_before: look.observed.offset.map(|offset| offset.as_secs_f64()),
        offset_after: look
            .observed
            .offset
            .map(|offset| (offset + moved).as_secs_f64()),
        moved: moved.as_secs_f64(),
        from: format!("{:.3}", time::shifted(now, -moved)),
        to: format!("{now:.3}"),
        text,
        problems: pass.problems,
    };
    let is_unasked = look.running.is_some() && pass.asked == Asked::NotYet;
    Ok(Outcome {
        service_is_next: is_unasked && record.deed == Deed::Stepped,
        record,
        failure: pass.failure,
    })
}

/// A pass on its way.
struct Pass<'a> {
    settings: &'a Settings,
    look: &'a Look,
    asked: Asked,
    problems: Vec<String>,
    failure: Option<String>,
}

impl Pass<'_> {
    /// Decides and acts; what was done, and its words.
    fn act(&mut self, occasion: Occasion) -> (Deed, String) {
        let mut observed = self.look.observed.clone();
        let mut action = plan(&observed, self.settings, occasion, self.asked);
        if let (Action::Ask(_), Some(running)) = (action, &self.look.running) {
            self.asked = match running.measure() {
                Ok(()) => Asked::Answered,
                Err(error) => {
                    let name = running.service.name();
                    self.problems
                        .push(format!("{name} cannot say what time it is: {error}"));
                    Asked::Silent
                }
            };
            let moved = self.moved();
            observed.offset = observed.offset.map(|offset| offset + moved);
            action = plan(&observed, self.settings, occasion, self.asked);
        }
        match action {
            Action::Step(by) => self.step(by),
            Action::RunHwclock => self.run_hwclock(),
            Action::Nothing(reason) => self.explain(reason, observed.offset),
            // A service that has been asked is not asked again.
            Action::Ask(_) => self.explain(Reason::Blind, observed.offset),
        }
    }

    /// By how much the clock has been stepped since the pass began.
    fn moved(&self) -> SignedDuration {
        moved(self.look.clocks, clocks())
    }

    fn step(&mut self, by: SignedDuration) -> (Deed, String) {
        if let Err(error) = time::set(time::shifted(time::now(), by)) {
            let text = format!("failed to sync system time with hardware clock: {error}");
            self.failure = Some(text.clone());
            return (Deed::Nothing, text);
        }
        let text = format!(
            "synced system time with hardware clock: {}",
            movement(self.moved())
        );
        if let (Some(running), Asked::Silent) = (&self.look.running, self.asked) {
            // ntpd ends when it finds the clock too far off, and otherwise holds on to what it measured before. Where it is
            // still to be asked it is restarted for that.
            if running.service == Service::Ntpd
                && let Err(error) = running.restart()
            {
                self.problems
                    .push(format!("ntpd cannot be restarted: {error}"));
            }
        }
        (Deed::Stepped, text)
    }

    fn run_hwclock(&mut self) -> (Deed, String) {
        let invocation = Invocation::new("hwclock", ["--hctosys"]);
        match processes::run_successfully(&invocation) {
            Ok(_) => {
                // It found what we did not.
                self.problems
                    .retain(|told| self.look.rtc.as_ref().err() != Some(told));
                let movement = movement(self.moved());
                let text = format!("synced system time with hardware clock by hwclock: {movement}");
                (Deed::Hwclock, text)
            }
            Err(error) => {
                let text = format!("failed to sync system time with hardware clock: {error}");
                self.problems.push(text.clone());
                (Deed::Nothing, text)
            }
        }
    }

    /// Why nothing is done by us.
    fn explain(&mut self, reason: Reason, offset: Option<SignedDuration>) -> (Deed, String) {
        let name = self
            .look
            .observed
            .service
            .map_or("another program", Service::name);
        let place = offset.map(place).unwrap_or_default();
        let text = match reason {
            Reason::NotOurs => "the clock is left alone: this process may not set it".into(),
            Reason::Right => format!("the clock is right: {place}"),
            Reason::Kept => format!("the clock is kept by {name}, which says that it is right"),
            Reason::Measured => {
                if offset.is_some_and(|offset| offset.unsigned_abs() > COARSENESS) {
                    self.problems.push(format!(
                        "the RTC does not show the time of {name}: the clock is {place}; set the RTC by \
                         `hwclock --systohc`, and see whether /etc/adjtime says rightly UTC or LOCAL"
                    ));
                }
                let movement = movement(self.moved());
                return (
                    Deed::Measured,
                    format!("synced system time with {name}: {movement}"),
                );
            }
            Reason::TooFar => {
                let limit = self.settings.max_step;
                let text = format!(
                    "failed to sync system time with hardware clock: the clock is {place}, and Clock.max_step allows a \
                     step of {limit} s; if the RTC is right, and /etc/adjtime says rightly UTC or LOCAL, run \
                     `gce-guest clock sync --force`"
                );
                self.problems.push(text.clone());
                text
            }
            Reason::Blind => self.fail_without_rtc(),
        };
        (Deed::Nothing, text)
    }

    /// One message for both: that there is no RTC, and what follows from it.
    fn fail_without_rtc(&mut self) -> String {
        let mut text = "failed to sync system time with hardware clock".to_owned();
        if let Err(problem) = &self.look.rtc {
            self.problems.retain(|told| told != problem);
            text = format!("{text}: {problem}");
        }
        self.problems.push(text.clone());
        text
    }
}

/// Where the clock is, beside the RTC.
#[must_use]
pub fn place(offset: SignedDuration) -> String {
    let seconds = offset.unsigned_abs().as_secs_f64();
    let side = if offset.is_negative() {
        "behind"
    } else {
        "ahead of"
    };
    format!("{seconds:.3} s {side} the RTC")
}

/// From where to where the clock was stepped.
fn movement(moved: SignedDuration) -> String {
    let to = time::now();
    let from = time::shifted(to, -moved);
    format!(
        "moved by {:+.3} s, from {from:.3} to {to:.3}",
        moved.as_secs_f64()
    )
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "test code: files of a directory of its own"
)]
mod tests {
    use super::*;
    use crate::system::files::PrivateDirectory;

    #[test]
    fn a_file_that_is_no_time_zone_is_named() {
        let directory = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-zone-").unwrap();
        let root = Root::at(directory.path());
        assert_eq!(local_zone(&root).unwrap(), TimeZone::UTC);
        std::fs::create_dir(root.path("/etc")).unwrap();
        std::fs::write(root.path("/etc/localtime"), "nonsense").unwrap();
        let problem = rtc_problem(&local_zone(&root).unwrap_err());
        assert!(
            problem.contains("/etc/localtime holds no time zone"),
            "{problem}"
        );
        // tzfile(5): two blocks of one kind of local time, an hour ahead, and the rule of Berlin.
        let counts: Vec<u8> = [0_u32, 0, 0, 0, 1, 4].map(u32::to_be_bytes).concat();
        let block = [
            b"TZif2".as_slice(),
            &[0; 15],
            &counts,
            &[0, 0, 14, 16, 0, 0],
            b"CET\0",
        ]
        .concat();
        let zone = [&block, &block, b"\nCET-1CEST,M3.5.0,M10.5.0/3\n".as_slice()].concat();
        std::fs::write(root.path("/etc/localtime"), zone).unwrap();
        let time = jiff::civil::date(2026, 7, 1).at(12, 0, 0, 0);
        let zone = local_zone(&root).unwrap();
        let shown = moment(time, Mode::Local, &zone, Timestamp::UNIX_EPOCH);
        assert_eq!(shown.unwrap().to_string(), "2026-07-01T10:00:00Z");
    }

    #[test]
    fn a_place_has_a_side() {
        assert_eq!(
            place(SignedDuration::from_millis(1500)),
            "1.500 s ahead of the RTC"
        );
        assert_eq!(
            place(SignedDuration::from_millis(-20)),
            "0.020 s behind the RTC"
        );
    }
}
