//! Acting with a user's credentials, so that a write in a home directory can reach nothing that its owner could not.
//!
//! Linux keeps credentials per thread. The work runs in a thread of its own whose effective ids are the user's meanwhile;
//! the real and saved ids stay root's, so that the user cannot signal the program (kill(2) looks at those), and so that the
//! thread can act for the next user when it is done. To make a thread takes as long as most of what is done in a home.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Gid, Uid};
use rustix::thread;

use super::channel::{self, Receiver, RecvTimeoutError, Sender};
use super::threads;

/// Whether this process acts as root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The ids to act with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The effective user id.
    pub uid: u32,
    /// The effective group id; it is the only group: no supplementary ones.
    pub gid: u32,
}

/// A thread that acts in one user's name after the other, for as long as it is kept and nobody has given it up: a home
/// directory on a file server that does not answer cannot be interrupted.
#[derive(Debug)]
pub struct Actor {
    errands: Sender<Errand>,
    given_up: GivenUp,
    thread: JoinHandle<()>,
}

/// Work with all that it needs; an error when the thread could not take its own ids back.
type Errand = Box<dyn FnOnce(&GivenUp) -> io::Result<()> + Send>;

/// How long a result is waited for without falling asleep: most come within that, and being woken takes about as long.
const AWAKE: Duration = Duration::from_micros(150);

/// Work that was handed to an [`Actor`].
#[derive(Debug)]
pub struct Work<T> {
    result: Receiver<io::Result<T>>,
    given_up: GivenUp,
}

/// Tells work that nobody waits for it any more, so that it does nothing that would come too late.
#[derive(Clone, Debug, Default)]
pub struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    /// An error once nobody waits for the work any more.
    ///
    /// # Errors
    /// `TimedOut`, then.
    pub fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(())
        }
    }
}

impl Actor {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start() -> io::Result<Self> {
        let (errands, received) = channel::channel::<Errand>();
        let given_up = GivenUp::default();
        let token = given_up.clone();
        let act_in_turn = move || {
            for errand in received.iter() {
                // Whoever cannot go back must not go on, and who is not waited for need not.
                if token.check().is_err() || errand(&token).is_err() {
                    return;
                }
            }
        };
        let thread = threads::start("users", act_in_turn)?;
        Ok(Self {
            errands,
            given_up,
            thread,
        })
    }

    /// Has it do `work` with the credentials, after what it was given before. A panic costs that work alone.
    pub fn begin<T: Send + 'static>(
        &self,
        credentials: Credentials,
        work: impl FnOnce(&GivenUp) -> io::Result<T> + Send + 'static,
    ) -> Work<T> {
        let (sender, result) = channel::channel();
        let errand = move |token: &GivenUp| {
            let result = take(credentials).and_then(|()| {
                catch_unwind(AssertUnwindSafe(|| work(token)))
                    .unwrap_or_else(|_| Err(io::Error::other("the work ended in a panic")))
            });
            let is_back = give_back();
            // Nobody may be waiting any more.
            let _ = sender.send(result);
            is_back
        };
        // A thread that has just ended drops the work, which is told by its result.
        let _ = self.errands.send(Box::new(errand));
        Work {
            result,
            given_up: self.given_up.clone(),
        }
    }

    /// Whether it can be given more: its thread is there, and is waited for.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.given_up.check().is_ok() && !self.thread.is_finished()
    }

    /// Lets it go: the handle tells when its thread has ended.
    #[must_use]
    pub fn let_go(self) -> JoinHandle<()> {
        self.thread
    }
}

impl<T: 'static> Work<T> {
    /// The result, if it comes at once.
    fn soon(&self) -> Option<io::Result<T>> {
        let until = Instant::now() + AWAKE;
        loop {
            let result = self.result.waiting();
            if result.is_some() || Instant::now() >= until {
                return result;
            }
            std::thread::yield_now();
        }
    }

    /// Waits for the result, but no longer than this. After that nothing more is waited for, and the thread is told: it ends
    /// with what it is at, and begins nothing else.
    ///
    /// # Errors
    /// `TimedOut`, or those of the work.
    pub fn wait(&self, at_most: Duration) -> io::Result<T> {
        let result = match self.soon() {
            Some(result) => Ok(result),
            None => self.result.recv_timeout(at_most),
        };
        match result {
            Ok(result) => result,
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("nobody can act in the user's name"))
            }
            Err(RecvTimeoutError::Timeout) => {
                self.given_up.0.store(true, Ordering::Release);
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }
}

/// Gives the calling thread the ids back that it had before [`take`]: its real and saved ones still are those.
fn give_back() -> io::Result<()> {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    if rustix::process::geteuid() != uid {
        thread::set_thread_res_uid(uid, uid, uid)?;
    }
    if rustix::process::getegid() != gid {
        thread::set_thread_res_gid(gid, gid, gid)?;
    }
    Ok(())
}

/// Takes the credentials for the calling thread only.
fn take(credentials: Credentials) -> io::Result<()> {
    if rustix::process::geteuid().as_raw() == credentials.uid {
        return Ok(());
    }
    let (uid, gid) = (
        Uid::from_raw(credentials.uid),
        Gid::from_raw(credentials.gid),
    );
    // Groups first: without the effective user id of root they could not be dropped any more.
    thread::set_thread_groups(&[])?;
    thread::set_thread_res_gid(rustix::process::getgid(), gid, rustix::process::getgid())?;
    thread::set_thread_res_uid(rustix::process::getuid(), uid, rustix::process::getuid())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn own() -> Credentials {
        Credentials {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }

    fn wait<T: Send + 'static>(
        work: impl FnOnce(&GivenUp) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let actor = Actor::start().unwrap();
        actor.begin(own(), work).wait(LONG)
    }

    #[test]
    fn work_that_nobody_waits_for_is_told() {
        let (release, gate) = channel::channel::<()>();
        let (begun, seen) = channel::channel();
        let (told, heard) = channel::channel();
        let actor = Actor::start().unwrap();
        let work = actor.begin(own(), move |given_up| {
            begun.send(()).map_err(io::Error::other)?;
            gate.recv().map_err(io::Error::other)?;
            told.send(given_up.check().is_err())
                .map_err(io::Error::other)
        });
        assert!(actor.is_usable());
        // What is given up before it is begun never is.
        seen.recv_timeout(LONG).unwrap();
        assert_eq!(
            work.wait(Duration::from_millis(10)).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        assert!(!actor.is_usable());
        let thread = actor.let_go();
        assert!(!thread.is_finished());
        release.send(()).unwrap();
        assert!(heard.recv_timeout(LONG).unwrap());
        thread.join().unwrap();
    }

    #[test]
    fn what_is_handed_over_comes_back_in_order_and_a_panic_costs_one() {
        let actor = Actor::start().unwrap();
        let begin = |number| {
            actor.begin(own(), move |_| {
                assert_ne!(number, 2, "on purpose");
                Ok((number, std::thread::current().id()))
            })
        };
        let works: Vec<Work<_>> = (0..5).map(begin).collect();
        let results: Vec<_> = works.iter().map(|work| work.wait(LONG).ok()).collect();
        let thread = results[0].unwrap().1;
        for (number, result) in results.into_iter().enumerate() {
            assert_eq!(result, (number != 2).then_some((number, thread)));
        }
        assert!(actor.is_usable());
    }

    #[test]
    fn nothing_is_begun_after_work_that_was_given_up() {
        let (release, gate) = channel::channel::<()>();
        let (begun, seen) = channel::channel();
        let actor = Actor::start().unwrap();
        let first = begun.clone();
        let work = actor.begin(own(), move |_| {
            first.send(0).map_err(io::Error::other)?;
            gate.recv().map_err(io::Error::other)
        });
        let other = actor.begin(own(), move |_| begun.send(1).map_err(io::Error::other));
        assert_eq!(seen.recv_timeout(LONG), Ok(0));
        let waited = work.wait(Duration::from_millis(10));
        assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::TimedOut);
        release.send(()).unwrap();
        assert_eq!(seen.iter().next(), None, "the sender went with the thread");
        assert!(other.wait(LONG).is_err());
    }

    #[test]
    fn a_result_and_a_panic_come_back() {
        assert_eq!(wait(|_| Ok(7)).unwrap(), 7);
        let panicked = wait(|_| -> io::Result<()> { panic!("on purpose") });
        assert!(panicked.unwrap_err().to_string().contains("panic"));
    }

    #[test]
    fn each_has_its_own_ids_and_the_thread_has_root_again_between() {
        if !is_root() {
            // Without privilege there is one user to be.
            let own = own();
            let actor = Actor::start().unwrap();
            let work = actor.begin(own, |_| Ok(rustix::process::geteuid().as_raw()));
            assert_eq!(work.wait(LONG).unwrap(), own.uid);
            return;
        }
        let actor = Actor::start().unwrap();
        let ids = |uid| {
            let credentials = Credentials { uid, gid: uid };
            let found = actor.begin(credentials, |_| {
                let groups = rustix::process::getgroups()?;
                let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
                Ok((uid.as_raw(), gid.as_raw(), groups.len()))
            });
            found.wait(LONG).unwrap()
        };
        for uid in [65_534, 12_345, 65_534] {
            assert_eq!(ids(uid), (uid, uid, 0));
        }
        let (uid, gid, _) = ids(0);
        assert_eq!((uid, gid), (0, 0));
    }
}
