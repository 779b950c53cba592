//! What became of the scripts of an occasion, as a record that others can read. Pure: it is JSON in and out.

use serde::{Deserialize, Serialize};

/// What became of one script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Fate {
    /// Its turn has not come yet.
    Waiting,
    /// It runs.
    Running,
    /// It has ended by itself.
    Exited {
        /// Its exit status.
        status: i32,
    },
    /// A signal ended it.
    Killed {
        /// The number of the signal.
        signal: i32,
    },
    /// It took longer than it may and was ended.
    TimedOut {
        /// How long it may take, in seconds.
        seconds: u32,
    },
    /// It could not be fetched.
    NotFetched {
        /// Why.
        reason: String,
    },
    /// It could not be started.
    NotStarted {
        /// Why.
        reason: String,
    },
    /// The runner was asked to stop while it ran; what became of it is not known.
    Interrupted,
}

impl Fate {
    /// Whether the script did what it was there for.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Exited { status: 0 })
    }

    /// The number of the predecessors' log line: an exit status, or a signal as a negative number (spec/core.md 10.4).
    #[must_use]
    pub fn return_code(&self) -> Option<i32> {
        match self {
            Self::Exited { status } => Some(*status),
            Self::Killed { signal } => Some(-signal),
            _ => None,
        }
    }

    /// A word or two: the value of the guest attribute, and what `scripts status` shows.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Waiting => "waiting".into(),
            Self::Running => "running".into(),
            Self::Exited { status } => format!("exit {status}"),
            Self::Killed { signal } => format!("signal {signal}"),
            Self::TimedOut { seconds } => format!("timeout {seconds}"),
            Self::NotFetched { .. } => "not fetched".into(),
            Self::NotStarted { .. } => "not started".into(),
            Self::Interrupted => "interrupted".into(),
        }
    }

    /// Why it never ran.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::NotFetched { reason } | Self::NotStarted { reason } => Some(reason),
            _ => None,
        }
    }
}

/// What is known of one script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Flat")]
pub struct Entry {
    /// Its metadata key.
    pub key: String,
    /// `inline`, or its URL as it may be shown.
    pub source: String,
    /// The program that runs it, with its argument; empty before it is known and for a program of its own.
    pub interpreter: Vec<String>,
    /// When it was first started, RFC 3339 in UTC.
    pub started: Option<String>,
    /// When it ended for the last time.
    pub ended: Option<String>,
    /// How often it was started.
    pub starts: u32,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
}

/// An entry as it stands in the record. To have serde find the fate in it by its tag takes ten
/// kilobytes more.
#[derive(Deserialize)]
struct Flat {
    key: String,
    source: String,
    interpreter: Vec<String>,
    started: Option<String>,
    ended: Option<String>,
    starts: u32,
    state: String,
    status: Option<i32>,
    signal: Option<i32>,
    seconds: Option<u32>,
    reason: Option<String>,
}

impl TryFrom<Flat> for Entry {
    type Error = &'static str;

    fn try_from(flat: Flat) -> Result<Self, Self::Error> {
        let reason = flat.reason.ok_or("missing field `reason`");
        let fate = match flat.state.as_str() {
            "waiting" => Fate::Waiting,
            "running" => Fate::Running,
            "exited" => Fate::Exited {
                status: flat.status.ok_or("missing field `status`")?,
            },
            "killed" => Fate::Killed {
                signal: flat.signal.ok_or("missing field `signal`")?,
            },
            "timed-out" => Fate::TimedOut {
                seconds: flat.seconds.ok_or("missing field `seconds`")?,
            },
            "not-fetched" => Fate::NotFetched { reason: reason? },
            "not-started" => Fate::NotStarted { reason: reason? },
            "interrupted" => Fate::Interrupted,
            _ => return Err("unknown state"),
        };
        Ok(Self {
            key: flat.key,
            source: flat.source,
            interpreter: flat.interpreter,
            started: flat.started,
            ended: flat.ended,
            starts: flat.starts,
            fate,
        })
    }
}

/// One run of the runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of this form: 1.
    pub version: u32,
    /// `startup` or `shutdown`.
    pub occasion: String,
    /// The instance id, where metadata gives one.
    pub instance: Option<String>,
    /// The process id of the runner.
    pub runner: u32,
    /// When the run began.
    pub began: String,
    /// When it was over.
    pub finished: Option<String>,
    /// The scripts, in order.
    pub scripts: Vec<Entry>,
}

impl Record {
    /// The version that is written.
    pub const VERSION: u32 = 1;

    /// Whether every script succeeded; so it is where there are none.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.scripts.iter().all(|entry| entry.fate.is_success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_flat_and_comes_back_as_it_was() {
        let entry = |fate| Entry {
            key: "startup-script".into(),
            source: "inline".into(),
            interpreter: vec!["/bin/sh".into()],
            started: Some("2026-01-01T00:00:00Z".into()),
            ended: None,
            starts: 1,
            fate,
        };
        let fates = [
            Fate::Waiting,
            Fate::Running,
            Fate::Exited { status: 3 },
            Fate::Killed { signal: 9 },
            Fate::TimedOut { seconds: 5 },
            Fate::NotFetched { reason: "x".into() },
            Fate::NotStarted { reason: "y".into() },
            Fate::Interrupted,
        ];
        let record = Record {
            version: Record::VERSION,
            occasion: "startup".into(),
            instance: Some("1".into()),
            runner: 1,
            began: "2026-01-01T00:00:00Z".into(),
            finished: None,
            scripts: fates.map(entry).to_vec(),
        };
        let json = serde_json::to_value(&record).unwrap();
        assert_eq!(json["scripts"][2]["state"], "exited");
        assert_eq!(json["scripts"][2]["status"], 3);
        assert_eq!(json["scripts"][3]["signal"], 9);
        for (field, index) in [("state", 0), ("status", 2), ("signal", 3), ("reason", 5)] {
            let mut json = json.clone();
            let entry = json["scripts"][index].as_object_mut();
            entry.unwrap().remove(field).unwrap();
            assert!(serde_json::from_value::<Record>(json).is_err(), "{field}");
        }
        assert_eq!(serde_json::from_value::<Record>(json).unwrap(), record);
        let codes: Vec<_> = record
            .scripts
            .iter()
            .filter_map(|entry| entry.fate.return_code())
            .collect();
        assert_eq!(codes, [3, -9]);
        assert!(!record.is_success());
    }
}
