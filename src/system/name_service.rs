//! The name service (NSS), asked with a deadline.
//!
//! A look-up in the C library can block for minutes: sssd that hangs is waited for five of them, systemd's userdb for most
//! of one. Nothing interrupts such a call, so questions are asked in a thread of their own, and after a while nobody waits
//! for the answer any more. While that thread hangs, nobody else is sent after it but once in a while: what the local files
//! say counts then, as it does for the C library once a source has failed, and every other question has the answer "could
//! not be asked".

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::local_users;
use super::threads;
use super::users::{self, Group, User};
use crate::system::channel::{self, RecvTimeoutError, Sender};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long after a question that was given up and has been answered since: the directory is slow, and alive.
const LONG_PATIENCE: Duration = Duration::from_secs(10);
/// How long all the answers of one pass are waited for.
const PASS_PATIENCE: Duration = Duration::from_secs(15);

/// When another thread is sent after one that hangs, if that never comes back; twice as long after each.
const ANOTHER_AFTER: Duration = Duration::from_secs(60);
/// How many may hang at the same time: about two hours of that.
const LATE_LIMIT: usize = 8;

type Question = Box<dyn FnOnce() + Send>;

/// The name service, with what is known of its slowness.
#[derive(Debug, Default)]
pub struct NameService(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    worker: Option<Worker>,
    /// The threads that were given up since the last answer.
    late: Vec<JoinHandle<()>>,
    /// When the last of them was.
    gave_up: Option<Instant>,
    /// How long this pass has waited.
    waited: Duration,
}

/// The thread that asks, one question after the other, until nobody can send any more.
#[derive(Debug)]
struct Worker {
    questions: Sender<Question>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start() -> io::Result<Self> {
        let (questions, received) = channel::channel::<Question>();
        let thread = threads::start("names", move || {
            received.iter().for_each(|question| question());
        })?;
        Ok(Self { questions, thread })
    }
}

impl NameService {
    /// Begins a pass, which may wait as long as any other.
    pub fn begin(&self) {
        self.state(|state| state.waited = Duration::ZERO);
    }

    /// Whether a program that looks up a local user would hang now: the files are not what it asks first.
    #[must_use]
    pub fn holds_programs_up(&self) -> bool {
        let is_late = |state: &mut State| state.late.iter().any(|late| !late.is_finished());
        self.state(is_late) && !local_users::come_first()
    }

    /// Looks up a user; `None` when every source was asked and none knows the name.
    ///
    /// # Errors
    /// Those of [`users::user`], and `TimedOut` when there is no answer in time and `/etc/passwd` does not have the name.
    pub fn user(&self, name: &str) -> io::Result<Option<User>> {
        let question = name.to_owned();
        self.ask_or(
            move || users::user(&question),
            || local_users::find_user(name),
        )
    }

    /// Looks up a group; `None` when every source was asked and none knows the name.
    ///
    /// # Errors
    /// Those of [`users::group`], and `TimedOut` when there is no answer in time and `/etc/group` does not have the name.
    pub fn group(&self, name: &str) -> io::Result<Option<Group>> {
        let question = name.to_owned();
        self.ask_or(
            move || users::group(&question),
            || local_users::find_group(name),
        )
    }

    /// Whether any account has this user id.
    ///
    /// # Errors
    /// Those of [`users::is_used`], and `TimedOut`.
    pub fn is_used(&self, uid: u32) -> io::Result<bool> {
        self.ask(move || users::is_used(uid))
    }

    /// Whether any group has this id.
    ///
    /// # Errors
    /// Those of [`users::is_group_used`], and `TimedOut`.
    pub fn is_group_used(&self, gid: u32) -> io::Result<bool> {
        self.ask(move || users::is_group_used(gid))
    }

    /// Asks, and falls back to what the local files have.
    fn ask_or<T: Send + 'static>(
        &self,
        question: impl FnOnce() -> io::Result<Option<T>> + Send + 'static,
        local: impl FnOnce() -> Option<T>,
    ) -> io::Result<Option<T>> {
        match self.ask(question) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => local().map(Some).ok_or(error),
            answer => answer,
        }
    }

    /// Has the thread ask, and waits for the answer for a limited time.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (sender, receiver) = channel::channel();
        let question = Box::new(move || {
            let _ = sender.send(question());
        });
        let mut answer = None;
        let mut wait = |patience| receiver.recv_timeout(patience).map(|it| answer = Some(it));
        self.state(|state| state.have_asked(question, &mut wait))?;
        answer.unwrap_or_else(|| Err(late()))
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // A poisoned lock is whole: nothing in here can panic between two writes.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    /// Has the thread put a question, for whose answer `wait` waits at most so long.
    fn have_asked(
        &mut self,
        question: Question,
        wait: &mut dyn FnMut(Duration) -> Result<(), RecvTimeoutError>,
    ) -> io::Result<()> {
        let patience = self.patience().ok_or_else(late)?;
        let worker = match self.worker.take() {
            Some(worker) if !worker.thread.is_finished() => worker,
            _ => Worker::start()?,
        };
        let asked = Instant::now();
        // A thread that has just ended drops the question, which is the same as no answer.
        let _ = worker.questions.send(question);
        let answer = wait(patience);
        self.waited += asked.elapsed();
        match answer {
            Ok(()) => {
                self.worker = Some(worker);
                self.late.clear();
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => {
                self.late.push(worker.thread);
                self.gave_up = Some(Instant::now());
                Err(late())
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the look-up ended in a panic"))
            }
        }
    }

    /// How long the next answer is waited for; `None` for not at all.
    fn patience(&mut self) -> Option<Duration> {
        let count = self.late.len();
        self.late.retain(|late| !late.is_finished());
        if !self.late.is_empty() && !self.sends_another(Instant::now()) {
            return None;
        }
        let patience = match count > self.late.len() {
            true => LONG_PATIENCE,
            false => PATIENCE,
        };
        let left = PASS_PATIENCE.saturating_sub(self.waited);
        (!left.is_zero()).then(|| patience.min(left))
    }

    /// Whether it is time for another thread, although some hang.
    fn sends_another(&self, now: Instant) -> bool {
        let count = self.late.len();
        let wait = ANOTHER_AFTER * (1 << count.min(LATE_LIMIT)) / 2;
        let is_time = |then: Instant| now.duration_since(then) >= wait;
        count < LATE_LIMIT && self.gave_up.is_none_or(is_time)
    }
}

/// The text has no time in it, so that it is one message and not many.
fn late() -> io::Error {
    let told = "it does not answer; see the sources of passwd and group in /etc/nsswitch.conf";
    io::Error::new(io::ErrorKind::TimedOut, told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_are_those_of_the_c_library() {
        let names = NameService::default();
        for name in ["root", "daemon", "no-such-user-here"] {
            assert_eq!(names.user(name).unwrap(), users::user(name).unwrap());
        }
        assert_eq!(names.group("root").unwrap(), users::group("root").unwrap());
        assert!(names.is_used(0).unwrap() && !names.is_used(987_654_321).unwrap());
        assert!(names.is_group_used(0).unwrap() && !names.is_group_used(987_654_321).unwrap());
    }

    #[test]
    fn nobody_is_sent_after_a_question_that_hangs() {
        let names = NameService::default();
        let (release, gate) = channel::channel::<()>();
        let hangs = names.ask(move || gate.recv().map_err(io::Error::other));
        assert_eq!(hangs.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let asked = names.ask(|| -> io::Result<()> { unreachable!("it must not be asked") });
        assert_eq!(asked.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // What the local files have counts meanwhile; of anything else nothing is known.
        assert_eq!(names.user("root").unwrap().unwrap().uid, 0);
        assert_eq!(names.group("root").unwrap().unwrap().gid, 0);
        let unknown = names.user("no-such-user-here").unwrap_err();
        assert_eq!(unknown.kind(), io::ErrorKind::TimedOut);
        release.send(()).unwrap();
        names.state(|state| while !state.late[0].is_finished() {});
        assert_eq!(names.user("no-such-user-here").unwrap(), None);
    }

    #[test]
    fn another_is_sent_less_and_less_often_after_those_that_never_come_back() {
        let (release, gate) = channel::channel::<()>();
        let gate = std::sync::Arc::new(Mutex::new(gate));
        let hang = || {
            let gate = std::sync::Arc::clone(&gate);
            std::thread::spawn(move || {
                let _ = gate.lock().unwrap().recv();
            })
        };
        let now = Instant::now();
        let mut state = State {
            gave_up: Some(now),
            ..State::default()
        };
        for minutes in [1, 2, 4, 8] {
            state.late.push(hang());
            let then = |seconds| now + Duration::from_secs(seconds);
            assert!(!state.sends_another(then(minutes * 60 - 1)));
            assert!(state.sends_another(then(minutes * 60)));
        }
        state.late.extend((0..LATE_LIMIT).map(|_| hang()));
        assert!(!state.sends_another(now + Duration::from_secs(1_000_000)));
        drop(release);
    }

    #[test]
    fn a_pass_waits_for_all_its_answers_together() {
        let names = NameService::default();
        names.state(|state| state.waited = PASS_PATIENCE);
        assert!(names.is_used(0).is_err());
        names.begin();
        assert!(names.is_used(0).unwrap());
    }

    #[test]
    fn a_panic_costs_its_question() {
        let names = NameService::default();
        assert!(
            names
                .ask(|| -> io::Result<()> { panic!("on purpose") })
                .is_err()
        );
        assert!(names.is_used(0).unwrap());
    }
}
