//! A store that several servers and threads share: a change wakes everybody who waits for one.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::emulator::fault::{Fault, Faults};
use crate::emulator::store::{Store, StoreError};
use crate::system::events::Waker;

/// How many of the last requests are remembered.
const REMEMBERED: usize = 10_000;

/// A shared store with the faults on order and the requests that have come. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Live(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    moved: Condvar,
    wakers: Mutex<Vec<Weak<Waker>>>,
}

/// What is behind the lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    requests: VecDeque<Seen>,
    observed: Observed,
}

/// A request that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The path with its parameters, as it came.
    pub target: String,
    /// When it came.
    pub received: Instant,
}

/// What the servers are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// How many hanging GETs are held.
    pub waiting: usize,
    /// How many requests have come since the beginning.
    pub requests: usize,
    /// How many connections are open.
    pub connections: usize,
}

impl Live {
    /// A shared store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                store,
                faults: Faults::default(),
                requests: VecDeque::new(),
                observed: Observed::default(),
            }),
            moved: Condvar::new(),
            wakers: Mutex::new(Vec::new()),
        }))
    }

    /// Looks at the store.
    pub fn read<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.state().store)
    }

    /// Changes the store and wakes the hanging GETs that the change concerns.
    pub fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let result = change(&mut self.state().store);
        self.wake();
        result
    }

    /// Puts a value at a path such as `instance/attributes/ssh-keys`.
    ///
    /// # Errors
    /// Those of [`Store::set`].
    pub fn set(&self, path: &str, value: impl Into<Value>) -> Result<(), StoreError> {
        self.change(|store| store.set(path, value.into()))
    }

    /// Takes away what is at a path. Returns whether there was something.
    #[must_use]
    pub fn remove(&self, path: &str) -> bool {
        self.change(|store| store.remove(path))
    }

    /// Orders a fault, after those that are on order already.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.0.push(fault);
    }

    /// Orders these faults and no others.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.state().faults.0 = faults;
    }

    /// The faults that are on order.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.state().faults.0.clone()
    }

    /// The last requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.state().requests.iter().cloned().collect()
    }

    /// What the servers are doing.
    #[must_use]
    pub fn observed(&self) -> Observed {
        self.state().observed
    }

    /// Waits until the servers are in a state, such as holding a hanging GET. Returns whether it came in time.
    #[must_use]
    pub fn wait_until(&self, at_most: Duration, reached: impl Fn(&Observed) -> bool) -> bool {
        let (state, _) = self
            .0
            .moved
            .wait_timeout_while(self.state(), at_most, |state| !reached(&state.observed))
            .unwrap_or_else(PoisonError::into_inner);
        reached(&state.observed)
    }

    /// The state itself, for a server. Whoever changes the store calls [`Live::wake`] afterwards.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made on a copy first, so that the state is whole even after a panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn observe(&self, observe: impl FnOnce(&mut Observed)) {
        observe(&mut self.state().observed);
        self.0.moved.notify_all();
    }

    pub(crate) fn remember(&self, state: &mut State, seen: Seen) {
        if state.requests.len() == REMEMBERED {
            state.requests.pop_front();
        }
        state.requests.push_back(seen);
        state.observed.requests += 1;
        self.0.moved.notify_all();
    }

    /// A waker that every change turns, until it is dropped.
    pub(crate) fn subscribe(&self) -> io::Result<Arc<Waker>> {
        let waker = Arc::new(Waker::new()?);
        self.wakers().push(Arc::downgrade(&waker));
        Ok(waker)
    }

    pub(crate) fn wake(&self) {
        self.wakers().retain(|waker| match waker.upgrade() {
            Some(waker) => {
                waker.wake();
                true
            }
            None => false,
        });
    }

    fn wakers(&self) -> MutexGuard<'_, Vec<Weak<Waker>>> {
        self.0.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
