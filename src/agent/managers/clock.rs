//! One pass over the clock, as the agent reports it.

use std::time::Duration;

use log::{debug, info};

use super::Manager;
use crate::agent::report::{Change, Input, Report};
use crate::agent::sentence;
use crate::clock::cause::{Cause, Seen, news};
use crate::clock::pass::{self, look, place};
use crate::clock::plan::{Action, Asked, Occasion, Reason, plan};
use crate::clock::record::{Deed, Record};
use crate::system::order::Map;
use crate::system::root::Root;
use crate::system::time;

/// The metadata key whose change says that the machine stood still.
const KEY: &str = "instance/virtual-clock/drift-token";

/// What is remembered between passes: without it every change of metadata would be a reason to look at the clock.
#[derive(Debug, Default)]
pub(super) struct Clock {
    seen: Option<Seen>,
    /// Why the clock was stepped by the RTC, where the time service is to have the last word and has not been asked yet.
    unasked: Option<Cause>,
    problems: Map<String, String>,
}

impl Clock {
    /// Puts the clock right where there is a cause: at the start, with every new drift token, after a suspension.
    pub(super) fn reconcile(&mut self, input: &Input) -> Report {
        if !input.settings.daemons.clock_skew_daemon {
            *self = Self::default();
            return Report::default();
        }
        let token = input.document.instance.drift_token.present();
        let news = news(
            self.seen.as_ref(),
            token.map(String::as_str),
            time::clocks(),
        );
        if let Some(stepped) = news.stepped {
            let seconds = stepped.as_secs_f64();
            tell(&format!(
                "the clock was stepped by {seconds:+.3} s, and not by the agent"
            ));
        }
        let mut report = Report::default();
        if let Some(cause) = news.cause {
            self.unasked = None;
            if cause.stood_still() {
                tell(&cause.to_string());
            }
            self.follow(cause, false, input, &mut report);
        } else if let Some(cause) = self.unasked.take() {
            self.follow(cause, true, input, &mut report);
        }
        if report.failures.is_empty() {
            let token = token.cloned();
            let token = token.or_else(|| self.seen.take().and_then(|seen| seen.token));
            self.seen = Some(Seen {
                token,
                clocks: time::clocks(),
            });
        }
        report.problems.clone_from(&self.problems);
        report
    }

    /// Does what the cause calls for. `stepped` says that the RTC has had its turn.
    fn follow(&mut self, cause: Cause, stepped: bool, input: &Input, report: &mut Report) {
        let root = Root::machine();
        let occasion = Occasion {
            stood_still: cause.stood_still(),
            any_step: false,
            stepped,
        };
        let outcome = match pass::synchronize(&root, &input.settings.clock, &cause, occasion) {
            Ok(outcome) => outcome,
            Err(error) => {
                self.unasked = stepped.then_some(cause);
                *report = Report::failed("clock", format!("cannot look at the clock: {error}"));
                return;
            }
        };
        let record = outcome.record;
        if let Err(error) = record.write(&root) {
            debug!(target: Manager::Clock.logger(), "Cannot keep what was done about the clock: {error}");
        }
        let problems = record.problems.iter();
        self.problems = problems
            .map(|problem| (problem.clone(), problem.clone()))
            .collect();
        if let Some(failure) = outcome.failure {
            report.failures.insert("clock".into(), failure);
        } else if record.deed != Deed::Nothing {
            report.changes.push(change(record, &cause));
        } else if !record.problems.contains(&record.text) {
            tell(&record.text);
        }
        if outcome.service_is_next {
            // A pass of its own, so that this step is told before the service has measured, which takes it seconds.
            self.unasked = Some(cause);
            report.again_in = Some(Duration::ZERO);
        }
    }
}

/// A line in the log that is about no change.
fn tell(text: &str) {
    info!(target: Manager::Clock.logger(), "{}.", sentence(text));
}

fn change(record: Record, cause: &Cause) -> Change {
    Change {
        what: record.text,
        subject: Some("clock".into()),
        key: matches!(cause, Cause::Token(_)).then(|| KEY.to_owned()),
        before: vec![record.from],
        after: vec![record.to],
    }
}

/// What a pass would do now. Changes nothing.
pub(super) fn preview(input: &Input) -> Report {
    let mut report = Report::default();
    if !input.settings.daemons.clock_skew_daemon {
        return report;
    }
    let look = match look(&Root::machine()) {
        Ok(look) => look,
        Err(error) => {
            return Report::failed("clock", format!("cannot look at the clock: {error}"));
        }
    };
    let settings = &input.settings.clock;
    let place = look.observed.offset.map(place).unwrap_or_default();
    match plan(&look.observed, settings, Occasion::default(), Asked::NotYet) {
        Action::Ask(service) => report.changes.push(Change::from(format!(
            "ask {} what time it is: the clock is {place}",
            service.name()
        ))),
        Action::Step(by) => report.changes.push(Change::from(format!(
            "step the clock by {:+.3} s",
            by.as_secs_f64()
        ))),
        Action::RunHwclock => report
            .changes
            .push(Change::from("run hwclock --hctosys".to_owned())),
        Action::Nothing(Reason::TooFar) => {
            let text = format!(
                "the clock is {place}, and Clock.max_step allows a step of {} s",
                settings.max_step
            );
            report.problems.insert(text.clone(), text);
        }
        Action::Nothing(_) => {}
    }
    report
}
