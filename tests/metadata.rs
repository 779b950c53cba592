//! The metadata client and the watcher against a server that does everything wrong on order.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and look at the machine directly"
)]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError, mpsc};
use std::time::{Duration, Instant};

use log::Level;

use gce_guest::emulator::{Fault, Kind, Live, Server, Store};
use gce_guest::metadata::watch::Settings;
use gce_guest::metadata::{
    Answer, Backoff, Client, Document, Endpoint, Etag, MetadataError, Query, Retry, Update, Watcher,
};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
use support::{poll_until, run, text_of};

/// Long enough for a loaded machine; only waited for in full when something is wrong.
const LONG: Duration = Duration::from_secs(60);

struct Scene {
    live: Live,
    server: Server,
    client: Client,
}

fn scene() -> Scene {
    let live = Live::new(Store::example());
    let server = Server::start_on_loopback(&live).unwrap();
    let client = Client::new(Endpoint::at(server.address()));
    Scene {
        live,
        server,
        client,
    }
}

/// Settings that lose no time after a failure.
fn quick() -> Settings {
    Settings {
        backoff: Backoff {
            first: Duration::from_millis(2),
            cap: Duration::from_millis(10),
        },
        ..Settings::document()
    }
}

/// An address where nobody listens, and that nobody else is given as long as this is kept.
struct Reserved(OwnedFd);

impl Reserved {
    fn new() -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        // Who listens there on purpose does so beside this.
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        getsockname(&self.0).unwrap().try_into().unwrap()
    }
}

#[test]
fn values_directories_and_the_document_are_read() {
    let Scene {
        client,
        server: _server,
        ..
    } = scene();
    assert_eq!(client.get_text("instance/name").unwrap(), "example");
    assert_eq!(client.get_text("/instance/name").unwrap(), "example");
    let project = client.get_json("project").unwrap();
    assert_eq!(project["projectId"], "example-project");
    let document = client.get_document().unwrap();
    assert_eq!(document.problems, Vec::<String>::new());
    assert_eq!(document.instance.name.present().unwrap(), "example");
    assert!(document.instance.attributes.present().unwrap().is_empty());
    let token = client.access_token().unwrap();
    assert_eq!(token.authorization(), "Bearer ya29.made-up-by-the-emulator");
    assert!(!format!("{token:?}").contains("ya29"));
}

#[test]
fn no_such_key_and_a_directory_are_answers() {
    let Scene {
        client,
        server: _server,
        ..
    } = scene();
    let error = client.get_text("instance/what").unwrap_err();
    assert!(
        matches!(&error, MetadataError::NotFound(key) if key == "instance/what"),
        "{error}"
    );
    let error = client.get_text("instance/attributes").unwrap_err();
    assert!(matches!(&error, MetadataError::Directory(_)), "{error}");
    assert!(!error.is_transient());
}

#[test]
fn guest_attributes_are_written_and_refusals_told() {
    let Scene {
        client,
        live,
        server: _server,
    } = scene();
    let error = client
        .put_guest_attribute("hostkeys", "ssh-ed25519", "AAAA")
        .unwrap_err();
    assert!(matches!(error, MetadataError::Status(403)), "{error}");
    live.set("instance/attributes/enable-guest-attributes", "TRUE")
        .unwrap();
    client
        .put_guest_attribute("hostkeys", "ssh-ed25519", "AAAA b c")
        .unwrap();
    assert_eq!(
        client
            .get_text("instance/guest-attributes/hostkeys/ssh-ed25519")
            .unwrap(),
        "AAAA b c"
    );
    for (namespace, key) in [("", "a"), ("a", ""), ("a/b", "c"), ("a", "b/c")] {
        let error = client.put_guest_attribute(namespace, key, "x").unwrap_err();
        assert!(matches!(error, MetadataError::BadKey(_)), "{error}");
    }
}

type IsExpected = fn(&MetadataError) -> bool;

/// Every fault of the list, and what the client makes of it. Each is told within the deadline, which is short for silence
/// only, and the next request works again.
#[test]
#[expect(clippy::too_many_lines, reason = "a table, one line for each fault")]
fn every_fault_is_told_apart_and_passes() {
    let Scene {
        client,
        live,
        server: _server,
    } = scene();
    let client = client.with_deadline(LONG);
    let hasty = client.clone().with_deadline(Duration::from_secs(2));
    let elsewhere = Kind::Redirect {
        to: "http://192.0.2.1/computeMetadata/v1/".into(),
    };
    let faults: [(Kind, IsExpected); 15] = [
        (Kind::Status { status: 503 }, |error| {
            matches!(error, MetadataError::Status(503))
        }),
        (Kind::Status { status: 429 }, |error| {
            matches!(error, MetadataError::Status(429))
        }),
        (Kind::Hang, |error| {
            matches!(error, MetadataError::Silent { .. })
        }),
        (
            Kind::Delay {
                milliseconds: 60_000,
            },
            |error| matches!(error, MetadataError::Silent { .. }),
        ),
        (Kind::Drip { milliseconds: 100 }, |error| {
            matches!(error, MetadataError::Silent { .. })
        }),
        (Kind::Garbage, |error| {
            matches!(error, MetadataError::Malformed(_))
        }),
        (Kind::NotJson, |error| {
            matches!(error, MetadataError::Malformed(_))
        }),
        (Kind::WrongType, |error| {
            matches!(error, MetadataError::Malformed(_))
        }),
        (Kind::Truncated, |error| {
            matches!(error, MetadataError::Broken { .. })
        }),
        (Kind::NoFlavor, |error| {
            matches!(error, MetadataError::NotGenuine { status: 200, .. })
        }),
        (Kind::WrongFlavor, |error| {
            matches!(error, MetadataError::NotGenuine { status: 200, .. })
        }),
        (elsewhere, |error| {
            matches!(error, MetadataError::Redirected(302))
        }),
        (Kind::Reset, |error| {
            matches!(error, MetadataError::Broken { .. })
        }),
        (Kind::Close, |error| {
            matches!(error, MetadataError::Broken { .. })
        }),
        (Kind::Oversized, |error| {
            matches!(error, MetadataError::TooLarge)
        }),
    ];
    for (kind, is_expected) in faults {
        live.inject(Fault::times(kind.clone(), 1));
        let is_silent = matches!(kind, Kind::Hang | Kind::Delay { .. } | Kind::Drip { .. });
        let asking = if is_silent { &hasty } else { &client };
        let started = Instant::now();
        let error = asking.get_document().unwrap_err();
        assert!(is_expected(&error), "{kind:?} gives {error:?}");
        assert!(error.is_transient(), "{kind:?} gives {error:?}");
        assert!(started.elapsed() < LONG, "{kind:?}");
        client
            .get_document()
            .unwrap_or_else(|error| panic!("after {kind:?}: {error}"));
    }
}

#[test]
fn a_slow_answer_within_the_deadline_is_an_answer() {
    let Scene {
        client,
        live,
        server: _server,
    } = scene();
    let client = client.with_deadline(LONG);
    live.inject(Fault::times(Kind::Drip { milliseconds: 1 }, 1));
    assert_eq!(client.get_text("instance/name").unwrap(), "example");
    live.inject(Fault::times(Kind::Delay { milliseconds: 50 }, 1));
    assert_eq!(client.get_text("instance/name").unwrap(), "example");
}

/// A server that says what it is told to say, once to each connection.
fn says(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0_u8; 4096]);
            let _ = stream.write_all(answer);
        }
    });
    address
}

#[test]
fn an_answer_that_may_be_half_is_none() {
    let address = says(b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nContent-Type: application/text\r\n\r\n#!/bin/sh\nrm -rf /tmp/");
    let error = Client::new(Endpoint::at(address))
        .get_text("instance/attributes/startup-script")
        .unwrap_err();
    assert!(matches!(error, MetadataError::Malformed(_)), "{error}");
}

#[test]
fn the_status_counts_before_the_body() {
    let address = says(b"HTTP/1.1 500 Oh\r\nMetadata-Flavor: Google\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
    let error = Client::new(Endpoint::at(address))
        .get_document()
        .unwrap_err();
    assert!(matches!(error, MetadataError::Status(500)), "{error}");
}

#[test]
fn the_environments_proxy_is_not_used() {
    let Scene { live, server, .. } = scene();
    let reserved = Reserved::new();
    let proxy = reserved.address();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gce-guest"));
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, format!("http://{proxy}"));
    }
    let endpoint = server.address().to_string();
    let output = command
        .args(["metadata", "--endpoint", &endpoint, "get", "instance/name"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "example\n",
        "{output:?}"
    );
    assert_eq!(live.observed().requests, 1);
}

#[test]
fn another_address_is_used_where_the_first_is_not_there_and_remembered() {
    let Scene { live, server, .. } = scene();
    let reserved = Reserved::new();
    let dead = reserved.address();
    let client = Client::new(Endpoint::at(dead).or(server.address()));
    assert_eq!(client.get_text("instance/name").unwrap(), "example");
    // Somebody appears at the first address. The one that works is remembered, so nobody is asked there.
    let asked = TcpListener::bind(dead).unwrap();
    asked.set_nonblocking(true).unwrap();
    assert_eq!(client.get_text("instance/name").unwrap(), "example");
    assert_eq!(
        asked.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    drop(asked);
    server.stop();
    let error = client.get_text("instance/name").unwrap_err();
    assert!(
        matches!(error, MetadataError::Unreachable { .. }),
        "{error}"
    );
    // The first address comes to life, as when a machine gets IPv4 later.
    let _server = Server::start(TcpListener::bind(dead).unwrap(), &live).unwrap();
    assert_eq!(client.get_text("instance/name").unwrap(), "example");
}

#[test]
fn retries_end_with_the_outage_or_with_the_attempts() {
    let Scene {
        client,
        live,
        server: _server,
    } = scene();
    let retry = |attempts| Retry {
        backoff: quick().backoff,
        ..Retry::at_most(std::num::NonZeroU32::new(attempts).unwrap(), "test")
    };
    live.inject(Fault::times(Kind::Status { status: 503 }, 3));
    retry(4).run(|| client.get_document()).unwrap();
    assert_eq!(live.observed().requests, 4);
    live.inject(Fault::times(Kind::Garbage, 3));
    let error = retry(3).run(|| client.get_document()).unwrap_err();
    assert!(matches!(error, MetadataError::Malformed(_)), "{error}");
    let error = retry(100)
        .run(|| client.get_text("instance/what"))
        .unwrap_err();
    assert!(matches!(error, MetadataError::NotFound(_)), "{error}");
    assert_eq!(live.observed().requests, 8, "a 404 is asked for once");
}

/// Runs a watcher in a thread; returns what its handler got, and ends it at the end of the test.
struct Watching {
    updates: mpsc::Receiver<Update<Document>>,
    stop: gce_guest::metadata::Stop,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watching {
    fn start(client: &Client, settings: Settings) -> Self {
        let watcher = Watcher::new(client, settings);
        let stop = watcher.stop();
        let (sender, updates) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            watcher.run(|update| {
                sender
                    .send(update.clone())
                    .map_err(|_| "the test has ended")
            });
        });
        Self {
            updates,
            stop,
            thread: Some(thread),
        }
    }

    fn next(&self) -> Update<Document> {
        self.updates
            .recv_timeout(LONG)
            .expect("the watcher tells within a minute")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.stop.stop();
        self.thread
            .take()
            .map(std::thread::JoinHandle::join)
            .unwrap()
            .unwrap();
    }
}

fn attribute(update: &Update<Document>, name: &str) -> Option<String> {
    update
        .value
        .instance
        .attributes
        .present()?
        .get(name)
        .cloned()
}

#[test]
fn a_watcher_tells_at_once_and_then_every_change() {
    let Scene {
        client,
        live,
        server,
    } = scene();
    let watching = Watching::start(&client, quick());
    assert!(watching.next().changed);
    for number in 0..50 {
        assert!(live.wait_until(LONG, |observed| observed.waiting == 1));
        live.set("instance/attributes/n", number.to_string())
            .unwrap();
        let update = watching.next();
        assert!(update.changed);
        assert_eq!(attribute(&update, "n"), Some(number.to_string()));
    }
    assert_eq!(
        live.observed().connections,
        1,
        "one connection for all of it"
    );
    server.stop();
}

#[test]
fn who_has_an_answer_is_not_taken_for_one_who_waits() {
    let Scene { live, server, .. } = scene();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    for number in 0..200 {
        let request = "GET /computeMetadata/v1/instance/attributes/n?wait_for_change=true HTTP/1.1\r\n\
                       Metadata-Flavor: Google\r\n\r\n";
        live.set("instance/attributes/n", "before").unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        assert!(live.wait_until(LONG, |observed| observed.waiting == 1));
        let value = format!("value {number}");
        live.set("instance/attributes/n", value.clone()).unwrap();
        let mut answer = String::new();
        while !answer.ends_with(&value) {
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "{answer}");
            answer += str::from_utf8(&buffer[..length]).unwrap();
        }
        assert_eq!(live.observed().waiting, 0, "after {number} answers");
    }
}

#[test]
fn a_stop_ends_a_hanging_get() {
    let Scene {
        client,
        live,
        server: _server,
    } = scene();
    let watching = Watching::start(&client, quick());
    watching.next();
    assert!(live.wait_until(LONG, |observed| observed.waiting == 1));
    let started = Instant::now();
    drop(watching);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "the hanging GET would last 60 s and more"
    );
    assert!(live.wait_until(LONG, |observed| observed.connections == 0));
}

#[test]
fn a_document_that_was_not_taken_comes_again() {
    let Scene {
        client,
        live,
        server: _server,
    } = scene();
    let refusals = AtomicUsize::new(0);
    let watcher = Watcher::new(&client, quick());
    let stop = watcher.stop();
    let mut taken = Vec::new();
    watcher.run(|update| {
        if refusals.fetch_add(1, Ordering::Relaxed) < 3 {
            assert!(update.changed);
            return Err("not now");
        }
        taken.push(update.etag.clone());
        stop.stop();
        Ok(())
    });
    let etag = live.read(|store| store.etag(&[])).unwrap();
    assert_eq!(taken, [Etag::from_text(&etag)]);
    assert_eq!(live.observed().requests, 4);
}

#[test]
fn a_watcher_outlives_every_fault_and_the_server() {
    let Scene {
        client,
        live,
        server,
    } = scene();
    let client = client.with_deadline(Duration::from_millis(500));
    let settings = Settings {
        period: Duration::from_secs(1),
        ..quick()
    };
    let watching = Watching::start(&client, settings);
    let mut expected = 0;
    watching.next();
    for kind in [
        Kind::Status { status: 404 },
        Kind::Status { status: 403 },
        Kind::Status { status: 503 },
        Kind::Hang,
        Kind::Garbage,
        Kind::NotJson,
        Kind::WrongType,
        Kind::Truncated,
        Kind::Drip { milliseconds: 50 },
        Kind::NoFlavor,
        Kind::NoEtag,
        Kind::Redirect {
            to: "http://192.0.2.1/".into(),
        },
        Kind::Reset,
        Kind::Close,
    ] {
        live.inject(Fault::times(kind.clone(), 2));
        expected += 1;
        live.set("instance/attributes/n", expected.to_string())
            .unwrap();
        loop {
            let update = watching.next();
            if attribute(&update, "n") == Some(expected.to_string()) {
                break;
            }
        }
    }
    let address = server.address();
    server.stop();
    live.set("instance/attributes/n", "after").unwrap();
    let _server = Server::start(TcpListener::bind(address).unwrap(), &live).unwrap();
    while attribute(&watching.next(), "n").as_deref() != Some("after") {}
}

#[test]
fn a_server_that_never_waits_is_not_worn_out_either() {
    let Scene {
        client,
        live,
        server: _server,
    } = scene();
    live.inject(Fault::always(Kind::NoEtag));
    let settings = Settings {
        backoff: Backoff {
            first: Duration::from_millis(100),
            cap: Duration::from_millis(100),
        },
        ..Settings::document()
    };
    // Before the first request, or some of them are over when the clock is looked at.
    let started = Instant::now();
    let watching = Watching::start(&client, settings);
    for _ in 0..5 {
        watching.next();
    }
    assert!(
        started.elapsed() >= Duration::from_millis(400),
        "asked without a pause"
    );
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn ten_thousand_polls_leave_no_file_descriptor() {
    // In a process of its own: other tests of this program open files at the same time.
    if std::env::var_os("COUNT_FILE_DESCRIPTORS").is_none() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ten_thousand_polls_leave_no_file_descriptor"])
            .env("COUNT_FILE_DESCRIPTORS", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let Scene {
        client,
        live,
        server: _server,
    } = scene();
    live.set_faults(vec![
        Fault::always(Kind::Status { status: 503 }).with_probability(0.05),
        Fault::always(Kind::Reset).with_probability(0.05),
        Fault::always(Kind::Garbage).with_probability(0.05),
        Fault::always(Kind::Truncated).with_probability(0.05),
    ]);
    let query = Query::recursive().wait_for_change(Etag::none(), Duration::from_secs(60));
    let poll = || {
        client
            .get("", &query)
            .map(|answer: Answer| answer.body.len())
    };
    let mut failures = 0;
    for _ in 0..100 {
        failures += usize::from(poll().is_err());
    }
    // The server hears a little later that the client has left a connection.
    assert!(live.wait_until(LONG, |observed| observed.connections <= 1));
    let before = open_files();
    for _ in 0..10_000 {
        failures += usize::from(poll().is_err());
    }
    assert!(failures > 500, "the faults happen: {failures}");
    // A connection more or less, on either side, depends on which fault was the last.
    poll_until(LONG, "all but a connection is closed", || {
        open_files() <= before + 2
    });
}

/// Keeps every line that anybody logs, at every level.
struct Everything(Mutex<Vec<(Level, String, String)>>);

impl log::Log for Everything {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = (
            record.level(),
            record.target().to_owned(),
            record.args().to_string(),
        );
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    fn flush(&self) {}
}

impl Everything {
    fn lines(&self) -> Vec<(Level, String, String)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Listens to the log of this whole process.
fn everything() -> &'static Everything {
    static EVERYTHING: Everything = Everything(Mutex::new(Vec::new()));
    static START: Once = Once::new();
    START.call_once(|| {
        log::set_logger(&EVERYTHING).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
    &EVERYTHING
}

#[test]
fn an_outage_is_logged_at_its_begin_and_at_its_end_and_a_failing_handler_once() {
    let log = everything();
    let Scene {
        client,
        live,
        server: _server,
    } = scene();
    live.inject(Fault::times(Kind::Status { status: 503 }, 2));
    live.inject(Fault::times(Kind::Garbage, 3));
    let watcher = Watcher::new(&client, quick().logged_as("google-outage"));
    let stop = watcher.stop();
    let mut refusals = 0;
    watcher.run(|_| {
        refusals += 1;
        if refusals <= 3 {
            return Err("no room");
        }
        stop.stop();
        Ok(())
    });
    let lines = log.lines();
    let told: Vec<(Level, &str)> = lines
        .iter()
        .filter(|(level, target, _)| target == "google-outage" && *level < Level::Debug)
        .map(|(level, _, text)| (*level, text.as_str()))
        .collect();
    let outage = "GET request error retrieving metadata. the metadata server answered 503.";
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0], (Level::Error, outage));
    assert!(told[1].0 == Level::Info && told[1].1.starts_with("Metadata is there again after "));
    assert_eq!(
        told[2],
        (
            Level::Error,
            "Exception calling the response handler. no room."
        )
    );
}

#[test]
fn no_value_reaches_a_log() {
    let log = everything();
    let Scene {
        client,
        live,
        server: _server,
    } = scene();
    live.set("instance/serviceAccounts/default/token", "canary-token")
        .unwrap();
    live.set("instance/attributes/private-key", "canary-key")
        .unwrap();
    live.set("instance/attributes/enable-guest-attributes", "TRUE")
        .unwrap();
    let token = client.access_token().unwrap();
    assert!(token.authorization().contains("canary-token"));
    client
        .put_guest_attribute("a", "b", "canary-guest")
        .unwrap();
    assert_eq!(
        client.get_text("instance/attributes/private-key").unwrap(),
        "canary-key"
    );
    for kind in [
        Kind::NotJson,
        Kind::Garbage,
        Kind::Truncated,
        Kind::WrongType,
        Kind::NoFlavor,
    ] {
        live.inject(Fault::times(kind, 1));
        let error = client.access_token().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
    let watcher = Watcher::new(&client, quick());
    let stop = watcher.stop();
    watcher.run(|update| {
        log::info!("{:?}", update.etag);
        stop.stop();
        Ok::<(), MetadataError>(())
    });
    let lines = log.lines();
    let is_ureq = |target: &str| target.starts_with("ureq");
    assert!(
        lines.iter().any(|(_, target, _)| is_ureq(target)),
        "the HTTP client logs at these levels"
    );
    let leak = lines.iter().find(|(_, _, text)| text.contains("canary"));
    assert_eq!(leak, None);
}

#[test]
fn a_machine_without_ipv4_finds_the_server_at_its_ipv6_address() {
    support::in_sandbox(
        "a_machine_without_ipv4_finds_the_server_at_its_ipv6_address",
        || {
            let live = Live::new(Store::example());
            run([
                "ip",
                "-6",
                "address",
                "add",
                "fd20:ce::254/128",
                "dev",
                "lo",
                "nodad",
            ]);
            let _server =
                Server::start(TcpListener::bind("[fd20:ce::254]:80").unwrap(), &live).unwrap();
            run(["ip", "-4", "address", "flush", "dev", "eth0"]);
            run(["ip", "address", "del", "169.254.169.254/32", "dev", "lo"]);
            let client = Client::default();
            assert_eq!(client.get_text("instance/name").unwrap(), "example");
            assert_eq!(
                text_of([support::PROGRAM, "metadata", "get", "instance/name"]),
                "example"
            );
            // IPv4 comes later, with another server: the address that works stays.
            run(["ip", "address", "add", "169.254.169.254/32", "dev", "lo"]);
            let other = Live::new(Store::example());
            other.set("instance/name", "other").unwrap();
            let _other =
                Server::start(TcpListener::bind("169.254.169.254:80").unwrap(), &other).unwrap();
            assert_eq!(client.get_text("instance/name").unwrap(), "example");
            assert_eq!(
                Client::default().get_text("instance/name").unwrap(),
                "other"
            );
        },
    );
}

#[test]
fn a_person_gets_json_after_answers_that_are_none() {
    let live = Live::new(Store::example());
    let server = Server::start_on_loopback(&live).unwrap();
    live.inject(Fault::times(Kind::NotJson, 2));
    let output = Command::new(env!("CARGO_BIN_EXE_gce-guest"))
        .args(["metadata", "--endpoint", &server.address().to_string()])
        .args(["get", "instance/name", "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "\"example\"\n");
    assert_eq!(live.observed().requests, 3);
}
