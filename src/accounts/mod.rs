//! Accounts and SSH keys: the users that metadata asks for, with their keys and their sudo right, and nobody else's.
//!
//! `keys`, `names`, `authorized_keys`, `ledger`, `sudoers`, `commands`, `reading`, `plan` and `wording` are pure. `observe`
//! reads the machine, `home` works inside home directories with their owners' credentials, `apply` acts.

pub mod apply;
pub mod authorized_keys;
pub mod commands;
mod create;
pub mod explain;
pub mod home;
pub mod keys;
mod labels;
pub mod ledger;
pub mod location;
pub mod memory;
pub mod names;
pub mod observe;
mod observed;
pub mod plan;
pub mod reading;
pub mod sources;
pub mod sudoers;
mod visits;
pub mod wording;
