//! Acting with a user's credentials, so that a write in a home directory can reach nothing that its owner could not.
//!
//! Linux keeps credentials per thread. The work runs in a thread of its own whose effective ids are the user's; the real
//! and saved ids stay root's, so that the user cannot signal the program meanwhile (kill(2) looks at those), and the
//! thread ends with its credentials.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Gid, Uid};
use rustix::thread;

use super::channel::{self, Receiver, RecvTimeoutError};
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

/// Work in a user's name that goes on in its own thread, perhaps for longer than anybody waits for it: a home directory on
/// a file server that does not answer cannot be interrupted.
#[derive(Debug)]
pub struct Work<T> {
    result: Receiver<io::Result<T>>,
    given_up: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Tells work that nobody waits for it any more, so that it does nothing that would come too late.
#[derive(Clone, Debug)]
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

impl<T: Send + 'static> Work<T> {
    /// Starts `work` with the credentials. A panic in it becomes an error.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(
        credentials: Credentials,
        work: impl FnOnce(&GivenUp) -> io::Result<T> + Send + 'static,
    ) -> io::Result<Self> {
        let given_up = Arc::new(AtomicBool::new(false));
        let (token, (sender, result)) = (GivenUp(Arc::clone(&given_up)), channel::channel());
        let thread = threads::start("user", move || {
            let result = take(credentials).and_then(|()| work(&token));
            // Nobody may be waiting any more.
            let _ = sender.send(result);
        })?;
        Ok(Self {
            result,
            given_up,
            thread,
        })
    }

    /// Starts `work` on one task after the other, in one thread and each with the credentials beside it: a thread for each
    /// would cost more than most of the work. [`Self::wait`] gives the results in their order. A panic costs its task; when
    /// one is given up, those after it are not begun.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start_in_turn<A: Send + 'static>(
        tasks: Vec<(Credentials, A)>,
        work: impl Fn(A) -> io::Result<T> + Send + 'static,
    ) -> io::Result<Self> {
        let given_up = Arc::new(AtomicBool::new(false));
        let (token, (sender, result)) = (GivenUp(Arc::clone(&given_up)), channel::channel());
        let act = move |credentials: Credentials, task: A| {
            take(credentials)?;
            catch_unwind(AssertUnwindSafe(|| work(task)))
                .unwrap_or_else(|_| Err(io::Error::other("the work ended in a panic")))
        };
        let act_in_turn = move || {
            for (credentials, task) in tasks {
                let result = act(credentials, task);
                // Whoever cannot go back must not go on, and who is not waited for need not.
                let goes_on = give_back().and_then(|()| token.check());
                if sender.send(result).is_err() || goes_on.is_err() {
                    return;
                }
            }
        };
        let thread = threads::start("users", act_in_turn)?;
        Ok(Self {
            result,
            given_up,
            thread,
        })
    }

    /// Waits for the result, but no longer than this. After that nothing more is waited for, and the work is told.
    ///
    /// # Errors
    /// `TimedOut`, or those of the work.
    pub fn wait(&self, at_most: Duration) -> io::Result<T> {
        match self.result.recv_timeout(at_most) {
            Ok(result) => result,
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the work ended in a panic"))
            }
            Err(RecvTimeoutError::Timeout) => {
                self.given_up.store(true, Ordering::Release);
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }

    /// Whether it is over, waited for or not.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
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

    fn own() -> Credentials {
        Credentials {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }

    #[test]
    fn work_that_nobody_waits_for_is_told() {
        let (release, gate) = channel::channel::<()>();
        let (told, heard) = channel::channel();
        let work = Work::start(own(), move |given_up| {
            gate.recv().map_err(io::Error::other)?;
            told.send(given_up.check().is_err())
                .map_err(io::Error::other)
        })
        .unwrap();
        assert_eq!(
            work.wait(Duration::from_millis(10)).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        assert!(!work.is_over());
        release.send(()).unwrap();
        assert!(heard.recv_timeout(Duration::from_secs(10)).unwrap());
    }

    #[test]
    fn tasks_in_turn_come_back_in_order_and_a_panic_costs_one() {
        let patience = Duration::from_secs(10);
        let tasks = (0..5).map(|number| (own(), number)).collect();
        let work = Work::start_in_turn(tasks, |number| {
            assert_ne!(number, 2, "on purpose");
            Ok(number)
        })
        .unwrap();
        for number in 0..5 {
            let result = work.wait(patience);
            assert_eq!(result.ok(), (number != 2).then_some(number));
        }
    }

    #[test]
    fn nothing_is_begun_after_a_task_that_was_given_up() {
        let (release, gate) = channel::channel::<()>();
        let (begun, seen) = channel::channel();
        let tasks = vec![(own(), 0), (own(), 1)];
        let work = Work::start_in_turn(tasks, move |number| {
            begun.send(number).map_err(io::Error::other)?;
            gate.recv().map_err(io::Error::other)
        })
        .unwrap();
        let waited = work.wait(Duration::from_millis(10));
        assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::TimedOut);
        release.send(()).unwrap();
        assert_eq!(
            seen.iter().collect::<Vec<i32>>(),
            [0],
            "the sender went with the thread"
        );
    }

    #[test]
    fn a_result_and_a_panic_come_back() {
        let patience = Duration::from_secs(10);
        assert_eq!(
            Work::start(own(), |_| Ok(7))
                .unwrap()
                .wait(patience)
                .unwrap(),
            7
        );
        let panics = Work::<()>::start(own(), |_| panic!("on purpose")).unwrap();
        assert!(
            panics
                .wait(patience)
                .unwrap_err()
                .to_string()
                .contains("panic")
        );
    }
}
