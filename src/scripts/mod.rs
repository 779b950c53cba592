//! The owner's scripts: found in metadata, run whole, their output streamed, their fate logged.
//!
//! `find`, `interpreter` and `output` are pure; `run` acts through `system`. Inline scripts only, so far.

pub mod find;
pub mod interpreter;
pub mod output;
pub mod run;
