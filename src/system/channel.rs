//! Messages from one thread to another: `std::sync::mpsc` in what we use of it.
//!
//! The standard library's channel is three, one of them chosen at run time, and compiled for each type that is sent: seven
//! kilobytes each. This one is a queue behind a lock, and a condition: a few messages a second need no more. What is in the
//! queue is boxed, so that it is compiled once.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError};

/// A channel without a limit: sending never waits.
#[must_use]
pub fn channel<T: Send + 'static>() -> (Sender<T>, Receiver<T>) {
    let queue = Queue::new();
    (
        Sender(Arc::clone(&queue), PhantomData),
        Receiver(queue, PhantomData),
    )
}

/// The end that messages go into.
pub struct Sender<T>(Arc<Queue>, PhantomData<fn(T)>);

/// The end that they come out of.
pub struct Receiver<T>(Arc<Queue>, PhantomData<fn() -> T>);

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

impl<T: Send + 'static> Sender<T> {
    /// Sends a message.
    ///
    /// # Errors
    /// The receiver is gone; the message is dropped.
    pub fn send(&self, message: T) -> Result<(), SendError<()>> {
        self.0.put(Box::new(message))
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0), PhantomData)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lose_sender();
    }
}

impl<T: 'static> Receiver<T> {
    /// Waits for the next message.
    ///
    /// # Errors
    /// The last sender is gone, and so are all messages.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.wait().and_then(opened).ok_or(RecvError)
    }

    /// The next message, if it has come.
    #[must_use]
    pub fn waiting(&self) -> Option<T> {
        self.0.lock().waiting.pop_front().and_then(opened)
    }

    /// Waits for the next message, but no longer than this.
    ///
    /// # Errors
    /// The time is over, or the last sender gone with all messages.
    pub fn recv_timeout(&self, at_most: Duration) -> Result<T, RecvTimeoutError> {
        let message = self.0.wait_for(at_most)?;
        opened(message).ok_or(RecvTimeoutError::Disconnected)
    }

    /// The messages as they come, until the last sender is gone.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.recv().ok())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

type Message = Box<dyn Any + Send>;

/// What is in a message. Nobody but its senders puts any into a channel, so it is always of their type.
fn opened<T: 'static>(message: Message) -> Option<T> {
    message.downcast().ok().map(|message| *message)
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: VecDeque<Message>,
    senders: usize,
    is_heard: bool,
}

impl State {
    fn is_quiet(&mut self) -> bool {
        self.waiting.is_empty() && self.senders > 0
    }
}

impl Queue {
    fn new() -> Arc<Self> {
        let state = State {
            waiting: VecDeque::new(),
            senders: 1,
            is_heard: true,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, message: Message) -> Result<(), SendError<()>> {
        let mut state = self.lock();
        if !state.is_heard {
            return Err(SendError(()));
        }
        state.waiting.push_back(message);
        // Whoever is woken finds the lock free.
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    fn wait(&self) -> Option<Message> {
        let waited = self.changed.wait_while(self.lock(), State::is_quiet);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting.pop_front()
    }

    fn wait_for(&self, at_most: Duration) -> Result<Message, RecvTimeoutError> {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), at_most, State::is_quiet);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.waiting.pop_front() {
            Some(message) => Ok(message),
            None if state.senders == 0 => Err(RecvTimeoutError::Disconnected),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    fn lose_sender(&self) {
        self.lock().senders -= 1;
        self.changed.notify_one();
    }

    fn close(&self) {
        let mut state = self.lock();
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
    fn what_nobody_hears_is_refused_or_dropped() {
        let (sender, receiver) = channel();
        let held = Arc::new(());
        sender.send(Arc::clone(&held)).unwrap();
        drop(receiver);
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(sender.send(Arc::clone(&held)), Err(SendError(())));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
