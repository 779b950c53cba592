//! OS Login, the legacy way: the control program of its package does the edits, we decide when (spec/core.md 6.9).
//!
//! `plan` is pure. [`Control`] observes and acts. While OS Login is not really active, metadata keys go on working, so
//! that asking for it on a machine that cannot have it locks nobody out (BUG 13).

mod control;
mod plan;

pub use control::{Control, Pass, is_active, preview};
pub use plan::{Action, Observed, Wanted, plan, wanted};
