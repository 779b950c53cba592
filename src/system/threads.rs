//! Threads: started in one place, so that what the standard library does for that is compiled once.

use std::io;
use std::thread::{Builder, JoinHandle, Scope};

/// Starts a thread. Its name is in /proc and in what a panic prints, up to 15 bytes of it.
///
/// # Errors
/// The thread cannot be made.
pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    start_boxed(name, Box::new(work))
}

/// Starts a thread that ends within `scope`.
///
/// # Panics
/// As in [`Scope::spawn`], when the thread cannot be made.
pub fn start_within<'scope>(scope: &'scope Scope<'scope, '_>, work: impl FnOnce() + Send + 'scope) {
    let work: Box<dyn FnOnce() + Send + 'scope> = Box::new(work);
    scope.spawn(work);
}

fn start_boxed(name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(work)
}
