//! The owner's scripts: found in metadata, fetched, run whole, their output streamed, their fate recorded.
//!
//! `find`, `source`, `interpreter`, `job`, `output` and `fate` are pure; `fetch`, `prepare`, `run`, `packages`, `cache` and `state`
//! act through `system`.

pub mod cache;
pub mod fate;
pub mod fetch;
pub mod find;
pub mod interpreter;
pub mod job;
pub mod output;
pub mod packages;
pub mod prepare;
pub mod run;
pub mod source;
pub mod state;
