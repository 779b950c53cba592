//! Runs the steps side by side: each in a thread of its own, as soon as what it builds on has ended, each at its own risk.
//!
//! A step that fails, hangs until its own deadline or panics costs itself and what needs it. Its record is written when it
//! ends: into the instance's directory as soon as the instance is known.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use log::{info, warn};

use super::LOGGER;
use super::context::Context;
use super::record::{Result as Ended, StepRecord};
use crate::system::order::Map;
use crate::system::threads;

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It changed something; the words say what.
    Done(String),
    /// Nothing was to change; the words say why.
    Unchanged(String),
}

/// One step of the set-up.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Its name in messages and records.
    pub name: &'static str,
    /// The option that switches it off, if one does.
    pub switched_off: fn(&Context<'_>) -> Option<&'static str>,
    /// The steps that must have done their work. Where one was skipped, so is this one.
    pub requires: &'static [&'static str],
    /// The steps that must have ended, in whatever way.
    pub after: &'static [&'static str],
    /// What it does.
    pub work: fn(&Context<'_>) -> anyhow::Result<Outcome>,
}

/// Runs the steps and returns what became of them, in their order. A step may only build on steps before it.
#[must_use]
pub fn run(steps: &[Step], context: &Context<'_>, began: Instant) -> Vec<StepRecord> {
    let board = Board::default();
    let journal = Journal::default();
    std::thread::scope(|scope| {
        for step in steps {
            let (board, journal) = (&board, &journal);
            threads::start_within(scope, move || {
                let record = run_step(step, context, board, began);
                tell(&record);
                journal.add(context, record.clone());
                board.post(step.name, record);
            });
        }
    });
    let mut ended = board.into_records();
    steps
        .iter()
        .filter_map(|step| ended.remove(step.name))
        .collect()
}

fn run_step(step: &Step, context: &Context<'_>, board: &Board, began: Instant) -> StepRecord {
    let missing = board.wait_for(step);
    let start = Instant::now();
    let (result, detail) = match missing {
        Some(missing) => missing,
        None => match (step.switched_off)(context) {
            Some(option) => (Ended::Skipped, format!("switched off by {option}")),
            None => work(step, context),
        },
    };
    StepRecord {
        step: step.name.to_owned(),
        result,
        detail,
        start: start.duration_since(began).as_secs_f64(),
        seconds: start.elapsed().as_secs_f64(),
    }
}

fn work(step: &Step, context: &Context<'_>) -> (Ended, String) {
    match catch_unwind(AssertUnwindSafe(|| (step.work)(context))) {
        Ok(Ok(Outcome::Done(detail))) => (Ended::Done, detail),
        Ok(Ok(Outcome::Unchanged(detail))) => (Ended::Unchanged, detail),
        Ok(Err(error)) => (Ended::Failed, format!("{error:#}")),
        // What it said went to standard error.
        Err(_) => (Ended::Failed, "it panicked, which is a bug".into()),
    }
}

fn tell(record: &StepRecord) {
    match record.result {
        Ended::Failed | Ended::NotReached => warn!(target: LOGGER, "{}", record.line()),
        Ended::Done | Ended::Unchanged | Ended::Skipped => {
            info!(target: LOGGER, "{}", record.line());
        }
    }
}

/// What has ended, for those who wait for it.
#[derive(Default)]
struct Board {
    ended: Mutex<Map<&'static str, StepRecord>>,
    posted: Condvar,
}

impl Board {
    fn post(&self, name: &'static str, record: StepRecord) {
        lock(&self.ended).insert(name, record);
        self.posted.notify_all();
    }

    /// Waits until everything that a step builds on has ended. Says why it cannot begin, if it cannot.
    fn wait_for(&self, step: &Step) -> Option<(Ended, String)> {
        let names = || step.requires.iter().chain(step.after);
        let ended = self
            .posted
            .wait_while(lock(&self.ended), |ended| {
                names().any(|name| !ended.contains_key(name))
            })
            .unwrap_or_else(PoisonError::into_inner);
        let required = step.requires.iter().filter_map(|name| ended.get(name));
        let mut missing = required.filter_map(|record| match record.result {
            Ended::Done | Ended::Unchanged => None,
            Ended::Skipped => Some((Ended::Skipped, without(record))),
            Ended::Failed | Ended::NotReached => Some((Ended::NotReached, without(record))),
        });
        missing.next()
    }

    fn into_records(self) -> Map<&'static str, StepRecord> {
        self.ended
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn without(record: &StepRecord) -> String {
    format!("it needs the step {}: {}", record.step, record.detail)
}

/// The records of the steps on disk: those that end before the instance is known wait here for its directory.
#[derive(Default)]
struct Journal {
    waiting: Mutex<Vec<StepRecord>>,
    /// Said once: a disk that is full for one record is full for all.
    told: OnceLock<()>,
}

impl Journal {
    fn add(&self, context: &Context<'_>, record: StepRecord) {
        let mut waiting = lock(&self.waiting);
        waiting.push(record);
        let Some(place) = context.place() else { return };
        for record in waiting.drain(..) {
            if let Err(error) = place.save(&record.step, &record)
                && self.told.set(()).is_ok()
            {
                warn!(target: LOGGER, "What became of the steps cannot be recorded: {error}.");
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it holds is whole at every moment, also when a thread that held it has panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::document::{Document, Presence};
    use crate::setup::context::Outside;
    use crate::setup::state::Place;
    use crate::system::files::PrivateDirectory;
    use crate::system::root::Root;

    fn on(_: &Context<'_>) -> Option<&'static str> {
        None
    }

    const BASE: Step = Step {
        name: "base",
        switched_off: on,
        requires: &[],
        after: &[],
        work: |_| Ok(Outcome::Done("it".into())),
    };

    fn document() -> Document {
        let mut document = Document::default();
        document.instance.id = Presence::Present("7".into());
        document
    }

    fn ran(steps: &[Step], root: &Root) -> Vec<(String, Ended, String)> {
        let outside = Outside {
            fetch: &|_| Ok(document()),
            publish: &|_, _, _| Ok(()),
            ready: &|| false,
        };
        let context = Context::new(root.clone(), false, outside);
        let records = run(steps, &context, Instant::now());
        records
            .into_iter()
            .map(|record| (record.step, record.result, record.detail))
            .collect()
    }

    fn results(steps: &[Step]) -> Vec<Ended> {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-engine-").unwrap();
        let ran = ran(steps, &Root::at(place.path()));
        ran.into_iter().map(|(_, result, _)| result).collect()
    }

    #[test]
    fn a_step_that_fails_costs_itself_and_what_needs_it() {
        let steps = [
            Step {
                work: |_| anyhow::bail!("no disk"),
                ..BASE
            },
            Step {
                name: "panics",
                work: |_| panic!("a bug"),
                ..BASE
            },
            Step {
                name: "needs",
                requires: &["base"],
                ..BASE
            },
            Step {
                name: "needs-that",
                requires: &["needs"],
                ..BASE
            },
            Step {
                name: "after",
                after: &["base", "panics"],
                ..BASE
            },
        ];
        let expected = [
            Ended::Failed,
            Ended::Failed,
            Ended::NotReached,
            Ended::NotReached,
            Ended::Done,
        ];
        assert_eq!(results(&steps), expected);
    }

    #[test]
    fn what_is_switched_off_takes_along_what_needs_it() {
        let steps = [
            Step {
                switched_off: |_| Some("A.b"),
                ..BASE
            },
            Step {
                name: "needs",
                requires: &["base"],
                ..BASE
            },
            Step {
                name: "after",
                after: &["needs"],
                work: |_| Ok(Outcome::Unchanged("as it was".into())),
                ..BASE
            },
        ];
        let expected = [Ended::Skipped, Ended::Skipped, Ended::Unchanged];
        assert_eq!(results(&steps), expected);
    }

    #[test]
    fn every_record_finds_the_directory_of_its_instance() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-engine-").unwrap();
        let root = Root::at(place.path());
        let steps = [
            BASE,
            Step {
                name: "metadata",
                after: &["base"],
                work: |context| match context.fetch() {
                    Ok(_) => Ok(Outcome::Done("there".into())),
                    Err(error) => anyhow::bail!(error),
                },
                ..BASE
            },
        ];
        ran(&steps, &root);
        let place = Place::of_instance(&root, "7").unwrap();
        for name in ["base", "metadata"] {
            let record: StepRecord = place.load(name).unwrap().unwrap();
            assert_eq!((record.step.as_str(), record.result), (name, Ended::Done));
        }
    }
}
