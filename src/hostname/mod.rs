//! The host name: that of metadata, in the kernel, in /etc/hostname and in /etc/hosts, where the owner wants it.
//!
//! Off unless configured, and then nothing is touched: a name that changes by itself has cost people clusters (pains.md
//! 47). The name and the address come from the metadata server and never from DHCP, whose answers anybody on the network
//! can give (spec/core.md SEC 14). A manager of its own, so that nothing here ever holds up a route.
//!
//! [`reconcile()`] is one whole pass: [`observe()`] reads the machine, [`plan()`] decides and is pure, [`apply()`] acts.

mod apply;
pub mod hosts;
pub mod names;
mod observe;
mod plan;

pub use apply::{Outcome, apply, reconcile};
pub use observe::observe;
pub use plan::{Change, HOSTNAME_FILE, HOSTS_FILE, Observed, Plan, Problem, Source, Wishes, plan};
