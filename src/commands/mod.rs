//! One thin file per verb: arguments, the rooms that do the work, what the person sees, the exit status.

pub mod accounts;
pub mod agent;
pub mod config;
pub mod emulator;
pub mod hostname;
mod input;
pub mod legacy;
pub mod metadata;
pub(crate) mod sandbox;
pub mod scripts;
pub mod r#try;
