//! What a manager says after a pass, and what it works from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Settings;
use crate::metadata::Document;

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

/// What came of one pass of a manager.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The version of metadata that the pass worked from.
    pub etag: Option<Arc<str>>,
    /// What was changed, in words, in order.
    pub changes: Vec<String>,
    /// What is wrong and will not be better for trying again soon: what it is about, and the text.
    pub problems: BTreeMap<String, String>,
    /// What failed and is tried again: what it is about, and the text.
    pub failures: BTreeMap<String, String>,
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
