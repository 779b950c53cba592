//! Signals as events: each is handed to a closure in a thread of its own.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// Hands every signal to `handler` until it returns `false`.
///
/// # Errors
/// The handlers or the thread cannot be made.
pub fn forward(mut handler: impl FnMut(Request) -> bool + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                let request = if signal == SIGHUP {
                    Request::Reload
                } else {
                    Request::Stop
                };
                if !handler(request) {
                    break;
                }
            }
        })?;
    Ok(())
}
