//! What to do about the clock: pure.

use std::time::Duration;

use jiff::SignedDuration;

use super::service::Service;
use crate::config::settings::Clock as Settings;

/// How far the clock may be off the RTC without anything being done: as far as pains of users went, and far more than what
/// reading the RTC costs.
pub const TOLERANCE: Duration = Duration::from_millis(500);

/// How far it may be off where a time service keeps it. The RTC counts whole seconds, and may begin each of them up to a
/// second late; a service knows better.
pub const COARSENESS: Duration = Duration::from_millis(1500);

/// What is known about the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// How far the clock is ahead of the RTC; `None` when the RTC is missing or cannot be read.
    pub offset: Option<SignedDuration>,
    /// The time service that runs.
    pub service: Option<Service>,
    /// Whether the RTC has proved itself: taken as it is taken now, it showed the time of the clock when the clock was looked
    /// at before.
    pub rtc_is_proven: bool,
    /// Whether a time service says that the clock is right.
    pub synchronized: bool,
    /// Whether this process may set the clock.
    pub may_set: bool,
}

/// What makes a pass more than a routine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occasion {
    /// The clock has probably been left behind: the machine stood still. Then a service's word is from before.
    pub stood_still: bool,
    /// Somebody allowed a step of any size.
    pub any_step: bool,
    /// The clock has just been stepped by the RTC for the same cause. What is left is for the service.
    pub stepped: bool,
}

/// What came of asking the time service to measure again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It has not been asked.
    NotYet,
    /// It has measured, and has put the clock where it belongs.
    Answered,
    /// It could not be asked, or has not measured in time.
    Silent,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing, for this reason.
    Nothing(Reason),
    /// Ask the service to measure again, and decide again then.
    Ask(Service),
    /// Add this to the clock.
    Step(SignedDuration),
    /// Run `hwclock --hctosys`.
    RunHwclock,
}

/// Why nothing is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This process may not set the clock, so it is somebody else's.
    NotOurs,
    /// The clock agrees with the RTC.
    Right,
    /// A service keeps the clock, and its word counts for more than the RTC.
    Kept,
    /// The service has measured again.
    Measured,
    /// The step would be longer than `Clock.max_step`.
    TooFar,
    /// There is nothing to go by.
    Blind,
}

/// Decides. `asked` says how far a first decision has come.
#[must_use]
pub fn plan(observed: &Observed, settings: &Settings, occasion: Occasion, asked: Asked) -> Action {
    if !observed.may_set {
        return Action::Nothing(Reason::NotOurs);
    }
    let Some(offset) = observed.offset else {
        return without_rtc(observed, settings, occasion, asked);
    };
    let distance = offset.unsigned_abs();
    if asked == Asked::Answered {
        return Action::Nothing(Reason::Measured);
    }
    let limit = Duration::from_secs(settings.max_step.into());
    let is_allowed = distance <= limit || occasion.any_step;
    if let (Some(service), Asked::NotYet, true) = (observed.service, asked, occasion.stood_still) {
        // The service's word is from before, and to measure takes it seconds. The RTC is there at once; but it may have
        // been set by a clock that was late already, so that the service has to measure even where the two agree.
        let by_rtc =
            is_late_or_far_off(offset) && observed.rtc_is_proven && !occasion.stepped && is_allowed;
        return if by_rtc {
            Action::Step(-offset)
        } else {
            Action::Ask(service)
        };
    }
    if distance <= TOLERANCE {
        return Action::Nothing(Reason::Right);
    }
    if observed.synchronized && asked == Asked::NotYet {
        // Nobody but the kernel may know of a service that cannot be asked.
        let believed = observed.service.is_none() && !occasion.stood_still;
        if distance <= COARSENESS || believed {
            return Action::Nothing(Reason::Kept);
        }
    }
    if let (Some(service), Asked::NotYet) = (observed.service, asked) {
        return Action::Ask(service);
    }
    if !is_allowed {
        return Action::Nothing(Reason::TooFar);
    }
    Action::Step(-offset)
}

/// Whether a clock that is so far ahead of the RTC is surely wrong. The RTC is late by up to a second and never early, so one
/// that is behind it is late.
fn is_late_or_far_off(offset: SignedDuration) -> bool {
    let uncertain = if offset.is_negative() {
        TOLERANCE
    } else {
        COARSENESS
    };
    offset.unsigned_abs() > uncertain
}

/// Without the RTC a service is the only one to know the time.
fn without_rtc(
    observed: &Observed,
    settings: &Settings,
    occasion: Occasion,
    asked: Asked,
) -> Action {
    match (observed.service, asked) {
        (Some(_), Asked::Answered) => Action::Nothing(Reason::Measured),
        (Some(_), Asked::NotYet) if observed.synchronized && !occasion.stood_still => {
            Action::Nothing(Reason::Kept)
        }
        (Some(service), Asked::NotYet) => Action::Ask(service),
        _ if settings.hwclock_fallback => Action::RunHwclock,
        _ => Action::Nothing(Reason::Blind),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STOOD_STILL: Occasion = Occasion {
        stood_still: true,
        any_step: false,
        stepped: false,
    };

    const STEPPED: Occasion = Occasion {
        stood_still: true,
        any_step: false,
        stepped: true,
    };

    const ALLOWED: Occasion = Occasion {
        stood_still: false,
        any_step: true,
        stepped: false,
    };

    const USUAL: Occasion = Occasion {
        stood_still: false,
        any_step: false,
        stepped: false,
    };

    fn observed(offset: Option<f64>, service: Option<Service>, synchronized: bool) -> Observed {
        Observed {
            offset: offset.map(SignedDuration::from_secs_f64),
            service,
            rtc_is_proven: true,
            synchronized,
            may_set: true,
        }
    }

    fn step(seconds: f64) -> Action {
        Action::Step(SignedDuration::from_secs_f64(seconds))
    }

    #[test]
    #[rustfmt::skip]
    fn with_a_readable_rtc() {
        use Asked::{Answered, NotYet, Silent};
        let (chrony, ask, nothing) = (Some(Service::Chrony), Action::Ask(Service::Chrony), Action::Nothing);
        for (offset, service, synchronized, occasion, asked, action) in [
            (0.0, None, false, STOOD_STILL, NotYet, nothing(Reason::Right)),
            (-0.5, None, false, STOOD_STILL, NotYet, nothing(Reason::Right)),
            (-0.6, None, false, STOOD_STILL, NotYet, step(0.6)),
            (10.0, None, false, USUAL, NotYet, step(-10.0)),
            (3600.0, None, false, USUAL, NotYet, step(-3600.0)),
            (3600.1, None, false, STOOD_STILL, NotYet, nothing(Reason::TooFar)),
            (-3600.1, None, false, ALLOWED, NotYet, step(3600.1)),
            // A service that cannot be asked: believed until the machine has stood still.
            (-10.0, None, true, USUAL, NotYet, nothing(Reason::Kept)),
            (-10.0, None, true, STOOD_STILL, NotYet, step(10.0)),
            (-1.5, None, true, STOOD_STILL, NotYet, nothing(Reason::Kept)),
            // A service that can.
            (-0.4, chrony, false, USUAL, NotYet, nothing(Reason::Right)),
            (-1.4, chrony, true, USUAL, NotYet, nothing(Reason::Kept)),
            (-1.4, chrony, false, USUAL, NotYet, ask),
            (-1.6, chrony, true, USUAL, NotYet, ask),
            // Its word is from before the machine stood still: the RTC first, and then the service, whatever the RTC says.
            (-0.4, chrony, true, STOOD_STILL, NotYet, ask),
            (-0.6, chrony, true, STOOD_STILL, NotYet, step(0.6)),
            (-6.0, chrony, true, STOOD_STILL, NotYet, step(6.0)),
            (-6.0, chrony, false, STOOD_STILL, NotYet, step(6.0)),
            (-3600.1, chrony, true, STOOD_STILL, NotYet, ask),
            (1.4, chrony, true, STOOD_STILL, NotYet, ask),
            (1.6, chrony, true, STOOD_STILL, NotYet, step(-1.6)),
            (0.0, chrony, true, STEPPED, NotYet, ask),
            (-6.0, chrony, true, STEPPED, NotYet, ask),
            (0.1, chrony, true, STEPPED, Silent, nothing(Reason::Right)),
            (86400.0, chrony, false, USUAL, NotYet, ask),
            // It measured, and what it says counts, however far off the RTC is.
            (-3600.0, chrony, true, STOOD_STILL, Answered, nothing(Reason::Measured)),
            (-0.1, chrony, true, STOOD_STILL, Answered, nothing(Reason::Measured)),
            // It reaches nobody.
            (-10.0, chrony, false, STOOD_STILL, Silent, step(10.0)),
            (-10.0, chrony, true, STOOD_STILL, Silent, step(10.0)),
            (-7200.0, chrony, false, STOOD_STILL, Silent, nothing(Reason::TooFar)),
            (-0.2, chrony, false, STOOD_STILL, Silent, nothing(Reason::Right)),
        ] {
            let observed = observed(Some(offset), service, synchronized);
            let decided = plan(&observed, &Settings::default(), occasion, asked);
            assert_eq!(decided, action, "{observed:?} {occasion:?} {asked:?}");
        }
    }

    #[test]
    fn an_rtc_that_was_wrong_before_does_not_come_before_the_service() {
        let at = |service, asked| {
            let mut observed = observed(Some(-1800.0), service, true);
            observed.rtc_is_proven = false;
            plan(&observed, &Settings::default(), STOOD_STILL, asked)
        };
        let chrony = Some(Service::Chrony);
        assert_eq!(at(chrony, Asked::NotYet), Action::Ask(Service::Chrony));
        // Where nobody else knows the time, it is all there is.
        assert_eq!(at(chrony, Asked::Silent), step(1800.0));
        assert_eq!(at(None, Asked::NotYet), step(1800.0));
    }

    #[test]
    fn without_an_rtc() {
        use Asked::{Answered, NotYet, Silent};
        let ntpd = Some(Service::Ntpd);
        let nothing = Action::Nothing;
        for (service, synchronized, fallback, occasion, asked, action) in [
            (
                None,
                false,
                false,
                STOOD_STILL,
                NotYet,
                nothing(Reason::Blind),
            ),
            (None, false, true, STOOD_STILL, NotYet, Action::RunHwclock),
            (ntpd, true, true, USUAL, NotYet, nothing(Reason::Kept)),
            (
                ntpd,
                true,
                true,
                STOOD_STILL,
                NotYet,
                Action::Ask(Service::Ntpd),
            ),
            (
                ntpd,
                false,
                false,
                USUAL,
                NotYet,
                Action::Ask(Service::Ntpd),
            ),
            (
                ntpd,
                true,
                true,
                STOOD_STILL,
                Answered,
                nothing(Reason::Measured),
            ),
            (ntpd, false, true, STOOD_STILL, Silent, Action::RunHwclock),
            (
                ntpd,
                false,
                false,
                STOOD_STILL,
                Silent,
                nothing(Reason::Blind),
            ),
        ] {
            let observed = observed(None, service, synchronized);
            let settings = Settings {
                hwclock_fallback: fallback,
                ..Settings::default()
            };
            assert_eq!(
                plan(&observed, &settings, occasion, asked),
                action,
                "{observed:?} {occasion:?} {asked:?}"
            );
        }
    }

    #[test]
    fn the_limit_of_a_step_is_the_configured_one() {
        let at = |max_step, offset| {
            let settings = Settings {
                max_step,
                ..Settings::default()
            };
            let observed = observed(Some(offset), None, false);
            plan(&observed, &settings, STOOD_STILL, Asked::NotYet)
        };
        assert_eq!(at(0, -1.0), Action::Nothing(Reason::TooFar));
        assert_eq!(at(60, -60.0), step(60.0));
        assert_eq!(at(60, -61.0), Action::Nothing(Reason::TooFar));
        assert_eq!(at(u32::MAX, -1e9), step(1e9));
    }

    proptest! {
        #[test]
        fn no_step_is_longer_than_allowed_and_none_is_made_against_a_fresh_measurement(
            offset in prop::option::of(-1e10_f64..1e10),
            service in prop::option::of(prop::sample::select(Service::ALL.to_vec())),
            synchronized: bool, may_set: bool, stood_still: bool, stepped: bool, max_step: u32, hwclock_fallback: bool,
            rtc_is_proven: bool,
            asked in prop::sample::select(vec![Asked::NotYet, Asked::Answered, Asked::Silent]),
        ) {
            let mut observed = observed(offset, service, synchronized);
            observed.may_set = may_set;
            observed.rtc_is_proven = rtc_is_proven;
            let settings = Settings { max_step, hwclock_fallback };
            let occasion = Occasion { stood_still, any_step: false, stepped };
            match plan(&observed, &settings, occasion, asked) {
                Action::Step(by) => {
                    prop_assert!(may_set && asked != Asked::Answered);
                    prop_assert!(by.unsigned_abs() <= Duration::from_secs(max_step.into()));
                    prop_assert_eq!(Some(-by), observed.offset);
                    // Against a service that can be asked only where its word is from before, and once.
                    let before_the_service = stood_still && rtc_is_proven && !stepped && asked == Asked::NotYet;
                    prop_assert!(service.is_none() || asked == Asked::Silent || before_the_service);
                }
                Action::RunHwclock => prop_assert!(may_set && hwclock_fallback && offset.is_none()),
                Action::Ask(_) => prop_assert!(may_set && asked == Asked::NotYet),
                Action::Nothing(_) => {}
            }
        }
    }
}
