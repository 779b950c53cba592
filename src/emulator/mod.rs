//! An embedded metadata server: the store (pure), HTTP, and the hanging GET.
//!
//! [`Store`] is the tree and answers questions about it; [`service`] turns a request into an answer without any I/O;
//! [`Live`] is a store that several servers and threads share; [`Server`] speaks HTTP; [`file::Follower`] keeps a store in
//! step with a file. Used by `gce-guest try`, by the tests, and on its own (`gce-guest emulator`). It listens where it is
//! told to and writes nothing.

pub mod accounts;
mod connection;
pub mod control;
pub mod fault;
pub mod file;
pub mod http;
pub mod live;
pub mod oslogin;
pub mod server;
pub mod service;
pub mod store;
pub mod tree;

pub use fault::{Fault, Kind};
pub use live::Live;
pub use server::Server;
pub use store::Store;
