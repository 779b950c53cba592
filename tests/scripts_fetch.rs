//! Scripts from the web: real TLS, the system's certificate store, a server that misbehaves. The servers' own record of
//! what they were asked is the witness.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use gce_guest::scripts::fetch::{Fetch, FetchError, Limits};
use gce_guest::scripts::source::{Source, UNIVERSE};
use gce_guest::system::files::PrivateDirectory;
use gce_guest::system::web::Times;
use support::vm::{PATIENCE, Vm};
use support::web::{P256, TOKEN, Web};
use support::{Daemon, PROGRAM, in_sandbox, output_within, poll_until, run};

/// What the script that every host serves prints, as it stands in the log.
const RAN: &str = "startup-script: INFO startup-script-url: fetched from the web";

/// A VM with a token, and the web.
fn machine() -> (Vm, Web) {
    let vm = Vm::new();
    vm.set("instance/serviceAccounts/default/token", TOKEN);
    (vm, Web::new())
}

/// Runs the startup scripts with this URL, and an inline one after it that always has to run, and returns the log.
fn startup(vm: &Vm, url: &str) -> String {
    vm.set("instance/attributes/startup-script-url", url);
    vm.set("instance/attributes/startup-script", "echo inline too");
    let said = String::from_utf8(run([PROGRAM, "scripts", "startup"]).stderr).unwrap();
    assert!(
        said.contains("startup-script: INFO startup-script: inline too\n"),
        "one script does not cost the other:\n{said}"
    );
    assert!(!said.contains(TOKEN), "the token is in the log:\n{said}");
    said
}

#[test]
fn every_form_of_an_object_is_asked_for_with_the_token_over_tls() {
    in_sandbox(
        "every_form_of_an_object_is_asked_for_with_the_token_over_tls",
        || {
            let (vm, web) = machine();
            for (url, path) in [
                ("gs://bucket/dir/private.sh", "/bucket/dir/private.sh"),
                ("\n gs://bucket/private.sh\r\n", "/bucket/private.sh"),
                (
                    "gs://bucket/private name#1.sh",
                    "/bucket/private%20name%231.sh",
                ),
                (
                    "http://bucket.storage.googleapis.com/private",
                    "/bucket/private",
                ),
                (
                    "http://storage.googleapis.com/bucket/private",
                    "/bucket/private",
                ),
                (
                    "https://storage.cloud.google.com/bucket/private",
                    "/bucket/private",
                ),
            ] {
                web.forget();
                let said = startup(&vm, url);
                assert!(said.contains(RAN), "{url}:\n{said}");
                assert_eq!(
                    web.seen(),
                    [format!("storage.googleapis.com {path} TOKEN")],
                    "{url}"
                );
            }
            web.forget();
            vm.set("universe/universeDomain", "example-universe.test");
            assert!(startup(&vm, "gs://bucket/private").contains(RAN));
            assert_eq!(
                web.seen(),
                ["storage.example-universe.test /bucket/private TOKEN"]
            );
        },
    );
}

#[test]
fn a_plain_url_never_gets_the_token() {
    in_sandbox("a_plain_url_never_gets_the_token", || {
        let (vm, web) = machine();
        for (url, seen) in [
            ("https://other.example/a b.sh", "other.example /a%20b.sh"),
            ("http://other.example/x", "other.example /x CLEAR"),
            (
                "https://storage.googleapis.com/bucket/x?X-Goog-Signature=1",
                "storage.googleapis.com /bucket/x?X-Goog-Signature=1",
            ),
            (
                "https://storage.googleapis.com@other.example/bucket/x",
                "other.example /bucket/x",
            ),
        ] {
            web.forget();
            let said = startup(&vm, url);
            assert!(said.contains(RAN), "{url}:\n{said}");
            assert_eq!(web.seen(), [seen], "{url}");
            assert!(
                !said.contains("Signature"),
                "what a query holds is not logged:\n{said}"
            );
        }
    });
}

#[test]
fn a_redirect_never_carries_the_token() {
    in_sandbox("a_redirect_never_carries_the_token", || {
        let (vm, web) = machine();
        for (target, seen) in [
            ("https/other.example/x", "other.example /x"),
            (
                "https/storage.googleapis.com/bucket/y",
                "storage.googleapis.com /bucket/y",
            ),
        ] {
            web.forget();
            let said = startup(&vm, &format!("gs://bucket/moved-to-{target}"));
            assert!(said.contains(RAN), "{said}");
            let first = format!("storage.googleapis.com /bucket/moved-to-{target} TOKEN");
            assert_eq!(web.seen(), [first.as_str(), seen]);
        }
        for (target, why) in [
            (
                "http/other.example/x",
                "is redirected to http://other.example/x, which is not followed",
            ),
            (
                "file/x/etc/shadow",
                "is redirected to file://x/etc/shadow, which is not followed",
            ),
        ] {
            web.forget();
            let said = startup(&vm, &format!("gs://bucket/moved-to-{target}"));
            assert!(said.contains(why) && !said.contains(RAN), "{said}");
            assert_eq!(web.seen().len(), 1, "nobody else was asked");
        }
        web.forget();
        let said = startup(&vm, "https://other.example/loop");
        assert!(said.contains("redirected more than 5 times"), "{said}");
        assert_eq!(web.seen().len(), 6);
    });
}

#[test]
fn an_untrusted_server_gets_no_request_and_runs_no_script() {
    in_sandbox(
        "an_untrusted_server_gets_no_request_and_runs_no_script",
        || {
            let (vm, web) = machine();
            for (host, why) in [
                (
                    "stranger.example",
                    "signed by nobody in the system's certificate store",
                ),
                ("expired.example", "has expired"),
                ("misnamed.example", "is for another name"),
            ] {
                let said = startup(&vm, &format!("https://{host}/x"));
                assert!(said.contains(why) && !said.contains(RAN), "{said}");
                assert_eq!(web.seen(), Vec::<String>::new());
            }
            // The storage host itself, with a certificate of somebody else: the token stays here.
            fs::write(
                "/etc/ssl/certs/ca-certificates.crt",
                fs::read("/tmp/web/stranger.crt").unwrap(),
            )
            .unwrap();
            let said = startup(&vm, "gs://bucket/x");
            assert!(
                said.contains("signed by nobody") && !said.contains(RAN),
                "{said}"
            );
            assert_eq!(web.seen(), Vec::<String>::new());
        },
    );
}

#[test]
fn a_server_is_understood_with_every_kind_of_key_and_by_either_tls() {
    in_sandbox(
        "a_server_is_understood_with_every_kind_of_key_and_by_either_tls",
        || {
            let web = Web::new();
            let p384 = "ec -pkeyopt ec_paramgen_curve:secp384r1";
            let kinds = [
                ("rsa", "rsa:2048"),
                ("p256", P256),
                ("p384", p384),
                ("ed25519", "ed25519"),
            ];
            let url = |port: u16| format!("https://other.example:{port}/script");
            let mut port = 4430;
            for (name, kind) in kinds {
                for options in [
                    "-tls1_2",
                    "-tls1_3",
                    "-tls1_2 -cipher ECDHE+AES128",
                    "-tls1_3 -groups P-384",
                ] {
                    port += 1;
                    let server = web.openssl_server(name, kind, port, options);
                    let fetched = fetch(&url(port), &Limits::patient());
                    let said = server.said();
                    assert!(fetched.is_ok(), "{name} {options}: {fetched:?}\n{said}");
                    assert!(said.contains("FILE:script"), "{name} {options}:\n{said}");
                }
            }
            for options in [
                "-tls1_2 -cipher CHACHA20",
                "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256",
            ] {
                port += 1;
                let server = web.openssl_server("rsa", "rsa:2048", port, options);
                let told = fetch(&url(port), &Limits::patient())
                    .unwrap_err()
                    .to_string();
                assert!(told.contains("have it allow AES-GCM"), "{options}: {told}");
                assert!(!server.said().contains("FILE:"), "{}", server.said());
            }
        },
    );
}

#[test]
fn a_server_that_recovers_is_asked_again() {
    in_sandbox("a_server_that_recovers_is_asked_again", || {
        let (vm, web) = machine();
        for marker in ["503-twice", "reset-twice"] {
            web.forget();
            let said = startup(&vm, &format!("gs://bucket/{marker}"));
            assert!(said.contains(RAN), "{said}");
            assert!(said.contains("Attempt 3 of 8 follows"), "{said}");
            assert_eq!(web.seen().len(), 3, "{said}");
        }
    });
}

#[test]
fn what_the_token_may_not_read_is_tried_without_it_and_both_errors_are_told() {
    in_sandbox(
        "what_the_token_may_not_read_is_tried_without_it_and_both_errors_are_told",
        || {
            let (vm, web) = machine();
            let said = startup(&vm, "gs://bucket/public-only");
            assert!(said.contains(RAN), "{said}");
            assert!(
                said.contains("Attempting unauthenticated download."),
                "{said}"
            );
            let path = "storage.googleapis.com /bucket/public-only";
            assert_eq!(web.seen(), [&format!("{path} TOKEN"), path]);
            web.forget();
            let said = startup(&vm, "gs://bucket/forbidden");
            let both = "with the token: the server answered 403 (forbidden: may the VM's service account, and its scopes, \
                        read it?); without it: the server answered 403";
            assert!(said.contains(both) && !said.contains(RAN), "{said}");
            web.forget();
            assert!(vm.live.remove("instance/serviceAccounts/default"));
            let said = startup(&vm, "gs://bucket/x");
            assert!(
                said.contains(RAN) && said.contains("Authentication token not found."),
                "{said}"
            );
            assert_eq!(web.seen(), ["storage.googleapis.com /bucket/x"]);
        },
    );
}

#[test]
fn proxies_of_the_environment_are_for_scripts_only() {
    in_sandbox("proxies_of_the_environment_are_for_scripts_only", || {
        let (vm, web) = machine();
        vm.set(
            "instance/attributes/startup-script",
            "echo proxy=$https_proxy",
        );
        let startup = |url: &str, no_proxy: &str| {
            vm.set("instance/attributes/startup-script-url", url);
            let mut command = std::process::Command::new(PROGRAM);
            command
                .args(["scripts", "startup"])
                .env("https_proxy", "http://127.0.0.1:3128")
                .env("http_proxy", "http://127.0.0.1:3128")
                .env("no_proxy", no_proxy);
            let said = output_within(&mut command, Duration::from_secs(60)).stderr;
            String::from_utf8(said).unwrap()
        };
        // Metadata is read and the token fetched although the proxy cannot reach it.
        let said = startup("gs://bucket/private", "");
        assert!(said.contains(RAN), "{said}");
        assert!(
            said.contains("proxy=http://127.0.0.1:3128"),
            "scripts are told: {said}"
        );
        let tunnelled = "storage.googleapis.com:443 storage.googleapis.com:443 CLEAR";
        let asked = "storage.googleapis.com /bucket/private TOKEN";
        assert_eq!(
            web.seen(),
            [tunnelled, asked],
            "the proxy sees the name and no token"
        );
        web.forget();
        assert!(startup("http://other.example/x", "").contains(RAN));
        let tunnelled = "other.example:80 other.example:80 CLEAR";
        assert_eq!(web.seen(), [tunnelled, "other.example /x CLEAR"]);
        web.forget();
        assert!(startup("gs://bucket/private", "storage.googleapis.com").contains(RAN));
        assert_eq!(web.seen(), [asked]);
    });
}

#[test]
fn a_script_of_100_mebibytes_is_not_held_in_memory() {
    in_sandbox("a_script_of_100_mebibytes_is_not_held_in_memory", || {
        let (vm, _web) = machine();
        let started = Instant::now();
        let said = startup(&vm, "gs://bucket/big");
        println!("100 MiB fetched and run in {:?}", started.elapsed());
        // The script prints the highest memory of its parent, the runner.
        let peak = said
            .split("VmHWM:")
            .nth(1)
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap();
        println!("highest memory of the runner: {peak} KiB");
        assert!(peak.parse::<u64>().unwrap() < 40 * 1024, "{said}");
        assert!(
            said.contains("startup-script-url: Return code 0."),
            "{said}"
        );
    });
}

#[test]
fn a_long_download_tells_how_it_gets_on() {
    in_sandbox("a_long_download_tells_how_it_gets_on", || {
        let (vm, _web) = machine();
        let said = startup(&vm, "https://other.example/seven-seconds");
        assert!(said.contains(RAN), "{said}");
        assert!(said.contains(" MiB downloaded after "), "{said}");
    });
}

#[test]
fn a_network_that_comes_up_late_is_waited_for() {
    in_sandbox("a_network_that_comes_up_late_is_waited_for", || {
        let (vm, _web) = machine();
        let hosts = fs::read_to_string("/etc/hosts").unwrap();
        fs::write(
            "/etc/hosts",
            hosts.replace("storage.googleapis.com", "elsewhere.example"),
        )
        .unwrap();
        vm.set(
            "instance/attributes/startup-script-url",
            "gs://bucket/private",
        );
        let mut runner = Daemon::start("runner", [PROGRAM, "scripts", "startup"]);
        poll_until(PATIENCE, "the first attempts", || {
            runner
                .said()
                .contains("the name storage.googleapis.com cannot be resolved. Attempt 3 of 8")
        });
        // Now the name is there, and nobody listens yet; then everything is.
        fs::write(
            "/etc/hosts",
            hosts.replace(
                "127.0.0.1 storage.googleapis.com",
                "127.0.0.9 storage.googleapis.com",
            ),
        )
        .unwrap();
        poll_until(PATIENCE, "an attempt at the connection", || {
            runner.said().contains("the connection failed")
        });
        fs::write("/etc/hosts", hosts).unwrap();
        assert!(runner.wait(Duration::from_secs(60)).success());
        assert!(runner.said().contains(RAN), "{}", runner.said());
    });
}

/// Fetches with limits that a test has the time for.
fn fetch(url: &str, limits: &Limits) -> Result<u64, FetchError> {
    let place = PrivateDirectory::create("/tmp".as_ref(), "fetch-").unwrap();
    let mut file = place.directory().create("file".as_ref(), 0o600).unwrap();
    let fetch = Fetch {
        logger: "test",
        key: "startup-script-url",
        limits,
        authorization: &|| Ok(None),
    };
    fetch.run(&Source::parse(url, UNIVERSE).unwrap(), &mut file)
}

/// One attempt at a small download, in which the server may say nothing for as long as `stall`. A loaded machine takes its time
/// for an answer as well, so only what never comes has little.
fn within(stall: Duration) -> Limits {
    Limits {
        times: Times {
            connect: PATIENCE,
            stall,
            total: PATIENCE,
        },
        attempts: 1,
        slowest: 1000,
        window: Duration::from_secs(2),
        size: 1024 * 1024,
        ..Limits::patient()
    }
}

#[test]
fn a_download_ends_one_way_or_the_other() {
    in_sandbox("a_download_ends_one_way_or_the_other", || {
        let web = Web::new();
        let (soon, later) = (Duration::from_millis(500), Duration::from_secs(5));
        let expected = [
            ("drip", PATIENCE, "the download stalled after"),
            ("stall", later, "the download stalled after 36 bytes"),
            ("silent", soon, "it took too long to answer"),
            ("big", PATIENCE, "it is larger than 1 MiB"),
            ("endless", PATIENCE, "it is larger than 1 MiB"),
            ("packed", PATIENCE, "Content-Encoding gzip"),
            (
                "missing",
                PATIENCE,
                "the server answered 404 (there is no such object)",
            ),
            (
                "always-503",
                PATIENCE,
                "the server answered 503 (its own failure)",
            ),
        ];
        for (path, stall, why) in expected {
            for scheme in ["https", "http"] {
                let url = format!("{scheme}://other.example/{path}");
                let started = Instant::now();
                let told = fetch(&url, &within(stall)).unwrap_err().to_string();
                println!("{url}: {told} ({:?})", started.elapsed());
                assert!(told.contains(why), "{url}: {told}");
            }
        }
        for scheme in ["https", "http"] {
            let url = format!("{scheme}://other.example/short");
            let told = fetch(&url, &within(PATIENCE)).unwrap_err();
            assert!(
                matches!(told, FetchError::Broken { .. } | FetchError::Short { .. }),
                "{told:?}"
            );
        }
        let told = fetch("https://nobody.invalid/x", &within(PATIENCE))
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("the name nobody.invalid cannot be resolved"),
            "{told}"
        );
        let told = fetch("https://127.0.0.1:9/x", &within(PATIENCE))
            .unwrap_err()
            .to_string();
        assert!(told.contains("the connection failed"), "{told}");
        drop(web);
    });
}

#[test]
fn a_server_that_says_when_to_come_back_is_believed() {
    in_sandbox("a_server_that_says_when_to_come_back_is_believed", || {
        let _web = Web::new();
        for status in ["503", "429"] {
            let limits = Limits {
                attempts: 2,
                first_wait: Duration::from_millis(1),
                ..Limits::patient()
            };
            let started = Instant::now();
            let url = format!("http://other.example/come-back-later-{status}");
            fetch(&url, &limits).unwrap();
            assert!(started.elapsed() >= Duration::from_secs(4), "{status}");
        }
    });
}

#[test]
fn a_runner_that_is_stopped_while_it_fetches_leaves_nothing_behind() {
    in_sandbox(
        "a_runner_that_is_stopped_while_it_fetches_leaves_nothing_behind",
        || {
            let (vm, _web) = machine();
            for signal in ["TERM", "INT"] {
                let url = "https://other.example/stall";
                vm.set("instance/attributes/startup-script-url", url);
                let mut runner = Daemon::start("runner", [PROGRAM, "scripts", "startup"]);
                let directories = || {
                    let names = fs::read_dir("/run").unwrap();
                    names
                        .filter(|entry| {
                            let name = entry.as_ref().unwrap().file_name();
                            name.to_string_lossy().starts_with("startup-")
                        })
                        .count()
                };
                poll_until(PATIENCE, "it fetches", || {
                    directories() == 1 && runner.said().contains("Downloading url")
                });
                runner.signal(signal);
                assert!(!runner.wait(PATIENCE).success());
                assert_eq!(directories(), 0, "{signal}");
            }
        },
    );
}
