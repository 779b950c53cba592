//! A manager: what a VM needs once at boot, before anybody logs in.
//!
//! Acts through `system/` only. Each step stands on its own and is best effort: one that fails costs itself alone.

pub mod disk_names;
pub mod tuning;
