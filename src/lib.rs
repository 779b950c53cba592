//! The Linux guest environment for Compute Engine, as a library with one multi-call binary on top.
//!
//! Rooms by subject (docs/structure.md): `system` knows Linux and not Google; `metadata` and `config` know nothing of
//! the managers; a manager (`accounts`, `network`, `clock`) has a pure `plan` and an `apply` that acts through `system`;
//! managers never call each other; only `agent` and `commands` see them all.

pub mod accounts;
pub mod agent;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod doctor;
pub mod emulator;
pub mod hostname;
pub mod metadata;
pub mod network;
pub mod oslogin;
pub mod sandbox;
mod scene;
pub mod scripts;
pub mod setup;
pub mod system;
