//! What a manager says after a pass, and what it works from.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Settings;
use crate::metadata::Document;
use crate::system::order::Map;

/// What a manager works from: the whole latest document and the settings that are in force.
#[derive(Clone, Debug)]
pub struct Input {
    /// The latest metadata.
    pub document: Arc<Document>,
    /// Its version, by which the log connects a change with its cause.
    pub etag: Arc<str>,
    /// The settings.
    pub settings: Arc<Settings>,
}

/// One change of the machine: for the log, for the dry run, and for the history. Nothing secret is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What was done, as the log says it, without a full stop.
    pub what: String,
    /// What was changed: a user, a file, an interface.
    pub subject: Option<String>,
    /// The metadata key that is behind it.
    pub key: Option<String>,
    /// What was there before, line by line.
    pub before: Vec<String>,
    /// What is there after it, line by line.
    pub after: Vec<String>,
}

impl<T: Into<String>> From<T> for Change {
    /// A change of which no more is to be said than what it is.
    fn from(what: T) -> Self {
        Self {
            what: what.into(),
            ..Self::default()
        }
    }
}

/// What came of one pass of a manager.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The version of metadata that the pass worked from.
    pub etag: Option<Arc<str>>,
    /// What was changed, in order; of a dry run, what would be.
    pub changes: Vec<Change>,
    /// What is wrong and will not be better for trying again soon: what it is about, and the text.
    pub problems: Map<String, String>,
    /// What failed and is tried again: what it is about, and the text.
    pub failures: Map<String, String>,
    /// When the manager wants another pass whatever happens, counted from now: a key expires then.
    pub again_in: Option<Duration>,
}

impl Report {
    /// A pass that could not even begin.
    #[must_use]
    pub fn failed(about: &str, text: String) -> Self {
        Self {
            failures: [(about.to_owned(), text)].into(),
            ..Self::default()
        }
    }
}
