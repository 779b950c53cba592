//! Acting in homes, each for a limited time: a home that does not answer, on a dead file server say, costs its own user and
//! nobody else.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::system::credentials::{Actor, Credentials, GivenUp, Work};
use crate::system::order::Map;

/// How long a home may take to answer before the others are seen to. A disk that is busy, as at a boot, may need a second for
/// what is synced.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same while another home does not answer: many may be on one dead file server, and all those after them wait.
const SHORT_PATIENCE: Duration = Duration::from_millis(500);
/// How long one that was too slow before, and has answered since, may take.
const LONG_PATIENCE: Duration = Duration::from_secs(5);

/// What is remembered of homes between passes.
#[derive(Debug, Default)]
pub(super) struct Visits {
    /// The thread that acts in the owners' names; another one after it was given up.
    actor: Mutex<Option<Actor>>,
    /// The threads that are still at homes which did not answer in time, by their users.
    slow: Mutex<Map<u32, JoinHandle<()>>>,
}

impl Visits {
    /// Whether the home of this user did not answer in time when it was visited last.
    pub(super) fn was_slow(&self, uid: u32) -> bool {
        self.slow().contains_key(&uid)
    }

    /// Acts on the home of the user with this id, for a limited time.
    pub(super) fn act_as<T: Send + std::fmt::Debug + 'static>(
        &self,
        uid: u32,
        credentials: Credentials,
        work: impl FnOnce(&GivenUp) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let mut slow = self.slow();
        let patience = match slow.get(&uid) {
            Some(thread) if !thread.is_finished() => return Err(io::ErrorKind::TimedOut.into()),
            Some(_) => LONG_PATIENCE,
            None => patience(&slow),
        };
        let actor = self.actor()?;
        let result = actor.begin(credentials, work).wait(patience);
        if actor.is_usable() {
            slow.remove(&uid);
            self.keep(actor);
        } else if matches!(&result, Err(error) if error.kind() == io::ErrorKind::TimedOut) {
            slow.insert(uid, actor.let_go());
        }
        result
    }

    /// Acts on homes one after the other, up to the first one that does not answer, that one included.
    pub(super) fn act_in_turn<T, F>(
        &self,
        tasks: impl ExactSizeIterator<Item = (Credentials, F)>,
    ) -> Vec<io::Result<T>>
    where
        T: Send + std::fmt::Debug + 'static,
        F: FnOnce(&GivenUp) -> io::Result<T> + Send + 'static,
    {
        let actor = match self.actor() {
            Ok(actor) => actor,
            Err(error) => return tasks.map(|_| Err(error.kind().into())).collect(),
        };
        let begin = |(credentials, work): (Credentials, F)| {
            (credentials.uid, actor.begin(credentials, work))
        };
        let works: Vec<(u32, Work<T>)> = tasks.map(begin).collect();
        let patience = patience(&self.slow());
        let mut results = Vec::new();
        for (uid, work) in works {
            let result = work.wait(patience);
            let is_late = matches!(&result, Err(error) if error.kind() == io::ErrorKind::TimedOut);
            results.push(result);
            if is_late && !actor.is_usable() {
                self.slow().insert(uid, actor.let_go());
                return results;
            }
        }
        self.keep(actor);
        results
    }

    fn slow(&self) -> MutexGuard<'_, Map<u32, JoinHandle<()>>> {
        // A poisoned lock is whole: nothing in here can panic between two writes.
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread that acts in the owners' names, for one task or several.
    fn actor(&self) -> io::Result<Actor> {
        let mut actor = self.actor.lock().unwrap_or_else(PoisonError::into_inner);
        match actor.take().filter(Actor::is_usable) {
            Some(actor) => Ok(actor),
            None => Actor::start(),
        }
    }

    fn keep(&self, actor: Actor) {
        *self.actor.lock().unwrap_or_else(PoisonError::into_inner) = Some(actor);
    }
}

/// How long a home may take of which nothing is known.
fn patience(slow: &Map<u32, JoinHandle<()>>) -> Duration {
    if slow.values().all(JoinHandle::is_finished) {
        PATIENCE
    } else {
        SHORT_PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::channel::{self, Receiver};
    use std::time::Instant;

    fn own() -> Credentials {
        Credentials {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }

    /// How long a home is waited for that does not answer until `gate` is closed.
    fn wait(visits: &Visits, uid: u32, gate: Receiver<()>) -> Duration {
        let began = Instant::now();
        let visit = visits.act_as(uid, own(), move |_| gate.recv().map_err(io::Error::other));
        assert_eq!(visit.unwrap_err().kind(), io::ErrorKind::TimedOut);
        began.elapsed()
    }

    #[test]
    fn the_first_home_that_does_not_answer_is_waited_for_longest() {
        let visits = Visits::default();
        let (closed, gates): (Vec<_>, Vec<_>) = (0..5).map(|_| channel::channel::<()>()).unzip();
        let mut gates = (1..).zip(gates);
        let mut next = || {
            let (uid, gate) = gates.next().unwrap();
            wait(&visits, uid, gate)
        };
        assert!(next() >= PATIENCE);
        // A loaded machine holds one or the other up, and not every one of them.
        let others = [next(), next(), next(), next()];
        assert!(others.iter().all(|took| *took >= SHORT_PATIENCE));
        assert!(others.iter().min() < Some(&PATIENCE), "{others:?}");
        drop(closed);
        while visits.slow().values().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(visits.was_slow(1) && patience(&visits.slow()) == PATIENCE);
        let again = visits.act_as(1, own(), |_| Ok(()));
        assert!(again.is_ok() && !visits.was_slow(1));
    }
}
