//! What is done inside a sandbox for each row, by subject.

pub(crate) mod accounts;
pub(crate) mod network;
pub(crate) mod rest;
pub(crate) mod scripts;
pub(crate) mod setup;
pub(crate) mod size;
pub(crate) mod tuning;

/// The middle of a few durations, in seconds: one figure of one run.
fn median(values: impl IntoIterator<Item = std::time::Duration>) -> f64 {
    let seconds = values.into_iter().map(|value| value.as_secs_f64());
    super::sample::Summary::of(seconds).map_or(f64::NAN, |summary| summary.median)
}
