//! The loop with managers that hang, panic and fail: each of them in turn, and the others go on.

use super::*;
use crate::metadata::Endpoint;
use crate::system::files::{self, Attributes, PrivateDirectory};

/// How long something may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the manager under test does in its passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Hang,
    Panic,
    Fail,
}

/// An agent whose managers do nothing but for one, and what happens in it.
struct Stage {
    agent: Agent,
    events: Sender<Event>,
    received: Receiver<Event>,
    /// Releases a hanging pass when it is dropped.
    release: Option<Sender<()>>,
    place: PrivateDirectory,
}

impl Stage {
    fn new(victim: Manager, fault: Fault) -> Self {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-agent-").unwrap();
        Self::at(place, victim, fault)
    }

    fn at(place: PrivateDirectory, victim: Manager, fault: Fault) -> Self {
        let (events, received) = channel::channel();
        let (release, gate) = channel::channel::<()>();
        let mut gate = Some(gate);
        let works: Vec<(Manager, Work)> = Manager::ALL
            .into_iter()
            .map(|manager| {
                let gate = gate.take_if(|_| manager == victim);
                let work = move |_: &Input| match (&gate, fault) {
                    (None, _) => Report::default(),
                    (Some(gate), Fault::Hang) => {
                        // Until the test releases it.
                        let _ = gate.recv();
                        Report::default()
                    }
                    (Some(_), Fault::Panic) => panic!("out of order"),
                    (Some(_), Fault::Fail) => Report::failed("it", "not today".into()),
                };
                (manager, Box::new(work) as Work)
            })
            .collect();
        let client = Client::new(Endpoint::compute_engine());
        let agent = Agent::new(Root::at(place.path()), client, works, &events).unwrap();
        Self {
            agent,
            events,
            received,
            release: Some(release),
            place,
        }
    }

    fn send_document(&self, etag: &str) {
        let document = Arc::new(Document::default());
        self.events
            .send(Event::Metadata(document, etag.into()))
            .unwrap();
    }

    /// Runs the loop until these managers have made a pass over this version.
    fn run_until(&mut self, managers: &[Manager], etag: &str) {
        let deadline = Instant::now() + PATIENCE;
        // Something to wake the loop by, should nothing happen.
        let done = |agent: &Agent| {
            managers
                .iter()
                .all(|manager| agent.managers[manager].status.etag.as_deref() == Some(etag))
        };
        while !done(&self.agent) {
            assert!(Instant::now() < deadline, "{managers:?} for {etag}");
            assert!(self.agent.handle(&self.received));
        }
    }

    /// Ends everything, and leaves no file behind: what is still to be written is waited for.
    fn end(self) {
        drop(self.release);
        self.agent.recorder.finish(PATIENCE);
    }

    fn others(victim: Manager) -> Vec<Manager> {
        let all = Manager::ALL.into_iter();
        all.filter(|manager| *manager != victim).collect()
    }
}

#[test]
fn a_manager_that_hangs_panics_or_fails_holds_nobody_up() {
    for victim in Manager::ALL {
        for fault in [Fault::Hang, Fault::Panic, Fault::Fail] {
            let mut stage = Stage::new(victim, fault);
            let others = Stage::others(victim);
            for etag in ["1", "2", "3"] {
                stage.send_document(etag);
                stage.run_until(&others, etag);
            }
            // It is at work or has failed, and the loop answers a signal all the same.
            if fault != Fault::Hang {
                stage.run_until(&[victim], "3");
                let status = &stage.agent.managers[&victim].status;
                assert_eq!(status.state, State::Failing, "{victim:?} {fault:?}");
                let expected = match fault {
                    Fault::Panic => "internal error: out of order",
                    _ => "not today",
                };
                assert_eq!(status.failures, [expected]);
                assert!(status.next_try.is_some(), "it is tried again");
            }
            let stop = Event::Signal(signals::Request::Stop);
            stage.events.send(stop).unwrap();
            let stopped = Instant::now();
            while stage.agent.handle(&stage.received) {
                assert!(stopped.elapsed() < PATIENCE, "{victim:?} {fault:?}");
            }
            stage.end();
        }
    }
}

#[test]
fn a_manager_that_hangs_and_comes_back_sees_the_latest() {
    let mut stage = Stage::new(Manager::Network, Fault::Hang);
    stage.send_document("1");
    stage.run_until(&Stage::others(Manager::Network), "1");
    stage.send_document("2");
    stage.run_until(&Stage::others(Manager::Network), "2");
    drop(stage.release.take());
    stage.run_until(&[Manager::Network], "2");
    stage.end();
}

#[test]
fn status_and_history_are_written_below_the_root() {
    let mut stage = Stage::new(Manager::Accounts, Fault::Fail);
    stage.send_document("1");
    stage.run_until(&Manager::ALL, "1");
    let deadline = Instant::now() + PATIENCE;
    let root = Root::at(stage.place.path());
    loop {
        let written = status::read(&root, "accounts").unwrap();
        if written.as_ref() == Some(&stage.agent.managers[&Manager::Accounts].status) {
            break;
        }
        assert!(Instant::now() < deadline, "{written:?}");
        std::thread::yield_now();
    }
    stage.end();
}

#[test]
fn what_an_agent_left_that_ended_while_it_wrote_goes() {
    let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-agent-").unwrap();
    let directory = Root::at(place.path()).path(status::DIRECTORY);
    files::create_directories(&directory, 0o755).unwrap();
    let left = directory.join(".accounts.json.gce-guest-0123456789abcdef");
    files::replace(&left, b"{", &Attributes::mode(0o644)).unwrap();
    let stage = Stage::at(place, Manager::Accounts, Fault::Fail);
    assert!(!left.exists());
    stage.end();
}
