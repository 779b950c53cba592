//! A script to run, and where it comes from. Pure.

use std::path::PathBuf;

use super::fetch::Limits;
use super::source::{Source, SourceError};

/// A script to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its metadata key.
    pub key: String,
    /// Where it comes from.
    pub body: Body,
}

/// Where a script comes from.
#[derive(Clone, Debug)]
pub enum Body {
    /// From metadata itself.
    Text(String),
    /// From its URL, with as much patience.
    Fetched(Result<Source, SourceError>, Limits),
    /// From its URL if that is quick, else from a copy.
    FetchedOr(Source, Limits, PathBuf),
    /// From a copy; the text says of what.
    Copy(PathBuf, String),
}

impl Body {
    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Text(_) => "inline".into(),
            Self::Fetched(Ok(source), _) | Self::FetchedOr(source, ..) => source.to_string(),
            Self::Fetched(Err(_), _) => "(no usable URL)".into(),
            Self::Copy(_, of) => of.clone(),
        }
    }
}
