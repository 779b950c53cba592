//! The clock after a stop, a start or a migration (spec/core.md 7): compared with the RTC, which goes on when the machine
//! stands still, and put right together with the time service that runs.
//!
//! [`plan`] decides; [`pass`] reads the clocks and acts through `system`; [`cause`] says why a pass is due; [`record`] keeps
//! what the last one did, until the boot ends. docs/clock.md tells it to users.

pub mod cause;
pub mod pass;
pub mod plan;
pub mod record;
pub mod service;
pub mod zone;
