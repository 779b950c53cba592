//! Messages from one thread to another: `std::sync::mpsc` in what we use of it.
//!
//! The standard library's channel is three, one of them chosen at run time, and compiled for each type that is sent: seven
//! kilobytes each. This one is a queue behind a lock, and a condition: a few messages a second need no more.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError};

/// A channel without a limit: sending never waits.
#[must_use]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = State {
        waiting: VecDeque::new(),
        senders: 1,
        is_heard: true,
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        changed: Condvar::new(),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// The end that messages go into.
pub struct Sender<T>(Arc<Shared<T>>);

/// The end that they come out of.
pub struct Receiver<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    senders: usize,
    is_heard: bool,
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Receiver")
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn is_quiet(&mut self) -> bool {
        self.waiting.is_empty() && self.senders > 0
    }
}

impl<T> Sender<T> {
    /// Sends a message.
    ///
    /// # Errors
    /// The message, when the receiver is gone.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        let mut state = self.0.lock();
        if !state.is_heard {
            return Err(SendError(message));
        }
        state.waiting.push_back(message);
        // Whoever is woken finds the lock free.
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().senders -= 1;
        self.0.changed.notify_one();
    }
}

impl<T> Receiver<T> {
    /// Waits for the next message.
    ///
    /// # Errors
    /// The last sender is gone, and so are all messages.
    pub fn recv(&self) -> Result<T, RecvError> {
        let waited = self.0.changed.wait_while(self.0.lock(), State::is_quiet);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting.pop_front().ok_or(RecvError)
    }

    /// The next message, if it has come.
    #[must_use]
    pub fn waiting(&self) -> Option<T> {
        self.0.lock().waiting.pop_front()
    }

    /// Waits for the next message, but no longer than this.
    ///
    /// # Errors
    /// The time is over, or the last sender gone with all messages.
    pub fn recv_timeout(&self, at_most: Duration) -> Result<T, RecvTimeoutError> {
        let shared = &self.0;
        let waited = shared
            .changed
            .wait_timeout_while(shared.lock(), at_most, State::is_quiet);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.waiting.pop_front() {
            Some(message) => Ok(message),
            None if state.senders == 0 => Err(RecvTimeoutError::Disconnected),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// The messages as they come, until the last sender is gone.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.recv().ok())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_heard = false;
        let unheard = std::mem::take(&mut state.waiting);
        // What is dropped with a message may send one.
        drop(state);
        drop(unheard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn messages_arrive_in_their_order_and_the_end_after_them() {
        let (sender, receiver) = channel();
        let others = sender.clone();
        let thread = std::thread::spawn(move || {
            for number in 0..1000 {
                others.send(number).unwrap();
            }
        });
        for number in 0..500 {
            assert_eq!(receiver.recv(), Ok(number));
        }
        for number in 500..1000 {
            assert_eq!(receiver.recv_timeout(LONG), Ok(number));
        }
        thread.join().unwrap();
        assert_eq!(
            receiver.recv_timeout(Duration::ZERO),
            Err(RecvTimeoutError::Timeout)
        );
        sender.send(1000).unwrap();
        drop(sender);
        assert_eq!(receiver.recv_timeout(LONG), Ok(1000));
        assert_eq!(
            receiver.recv_timeout(LONG),
            Err(RecvTimeoutError::Disconnected)
        );
        assert_eq!(receiver.recv(), Err(RecvError));
    }

    #[test]
    fn who_waits_hears_that_the_last_sender_is_gone() {
        let (sender, receiver) = channel::<()>();
        let thread = std::thread::spawn(move || receiver.recv());
        drop(sender);
        assert_eq!(thread.join().unwrap(), Err(RecvError));
    }

    #[test]
    fn what_nobody_hears_comes_back_or_is_dropped() {
        let (sender, receiver) = channel();
        let held = Arc::new(());
        sender.send(Arc::clone(&held)).unwrap();
        drop(receiver);
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(sender.send(Arc::clone(&held)).unwrap_err().0, held);
    }
}
