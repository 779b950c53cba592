//! Forwarded addresses and interfaces: observe, plan (pure), apply.
//!
//! The machine shall answer to the addresses that the load balancer, alias ranges and protocol forwarding send to it.
//! For each of them a route of type local is in the kernel's local table (spec/core.md 8.6); the routing protocol id
//! marks which of those routes are ours. No address is ever put on an interface, and no route of anybody else touched.
//!
//! [`reconcile()`] is one whole pass. Its parts are public: [`observe()`] reads the machine, [`plan()`] decides and is
//! pure, [`apply()`] acts through `system::netlink`. [`Monitor`] says when a new pass is worth while.

mod apply;
pub mod backends;
mod change;
pub mod explain;
pub mod interfaces;
pub mod metadata_route;
mod monitor;
mod observe;
mod plan;
mod record;
pub mod routes;
mod state;
pub mod status;

pub use apply::{Failure, Outcome, Report, apply, reconcile};
pub use change::{Action, Change, Interface, Reason};
pub use monitor::Monitor;
pub use observe::{InterfaceError, Observed, addresses, interface_by_mac, observe};
pub use plan::{Held, Pending, Plan, plan};
pub use record::{Mark, Record};
pub use routes::{Origin, Problem};
pub use state::State;
