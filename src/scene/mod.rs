//! What `gce-guest try` plays inside its sandbox: a metadata server, the real agent, and what comes of every change.

mod actor;
mod screen;
