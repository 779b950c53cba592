//! Holds the lines of docs/structure.md that no lint can: which room may name which, what is pure, where `unsafe` is.
//!
//! The sources are read as text and taken apart into words and signs; comments and literals are left out, and it is known
//! which lines are tests, so that prose may speak of `unsafe` and tests may unwrap. Every breach is told with its file, its
//! line and the rule.
#![allow(
    clippy::panic,
    reason = "a test that cannot read the sources has failed; it is no production code"
)]

use std::fs;
use std::path::Path;

#[path = "house/source.rs"]
mod source;

use source::{Breach, File, attribute_end, is_type, triples};

// ---- The rules -----------------------------------------------------------------------------------------------------

/// What a manager may name: Linux, the settings, the document that it is given with the grammar of its values, and the
/// one schedule of retries. Never another manager.
const MANAGER: &[&str] = &[
    "system",
    "config",
    "metadata::document",
    "metadata::attributes",
    "metadata::backoff",
];

/// Every room of the library, and the rooms that it may name besides itself.
const ARROWS: [(&str, &[&str]); 19] = [
    ("system", &[]),
    ("metadata", &["system"]),
    ("config", &["system"]),
    ("accounts", MANAGER),
    ("oslogin", MANAGER),
    ("network", MANAGER),
    ("hostname", MANAGER),
    ("clock", MANAGER),
    ("setup", MANAGER),
    ("scripts", MANAGER),
    (
        "emulator",
        &["system", "metadata::document", "metadata::attributes"],
    ),
    ("sandbox", &["system"]),
    // What `try` plays: it starts the real programs and never calls them.
    (
        "scene",
        &["system", "metadata::document", "emulator", "sandbox"],
    ),
    // The loop sees the managers, but neither the commands above it nor what stands in for the machine in trials.
    (
        "agent",
        &[
            "system", "metadata", "config", "accounts", "oslogin", "network", "clock", "setup",
            "scripts", "hostname",
        ],
    ),
    // Looks at what the others look at, from beside the loop.
    (
        "doctor",
        &[
            "system", "metadata", "config", "accounts", "oslogin", "network", "setup", "agent",
        ],
    ),
    // Every room below; what is typed is above them, and they are told of it as values.
    (
        "commands",
        &[
            "system", "metadata", "config", "accounts", "network", "hostname", "clock", "setup",
            "scripts", "doctor", "agent", "emulator", "sandbox", "scene",
        ],
    ),
    ("cli", &["commands", "system"]),
    ("main", &["cli"]),
    // The root of the library says which rooms there are and nothing else.
    ("lib", &[]),
];

/// The types of `metadata::document` that `metadata` exports under its own name.
const DOCUMENT_TYPES: [&str; 6] = [
    "Attributes",
    "Document",
    "Instance",
    "NetworkInterface",
    "Presence",
    "Project",
];

/// Rooms that act on the machine through `system` and in no other way.
const THROUGH_SYSTEM: [&str; 11] = [
    "doctor", "accounts", "oslogin", "network", "hostname", "clock", "setup", "scripts", "config",
    "metadata", "agent",
];

/// What acts without `system`. Types that merely describe (`std::net::Ipv4Addr`, an exit status) are not in the list.
const ACTS: [&str; 8] = [
    "std::fs",
    "std::process::Command",
    "std::process::exit",
    "std::process::id",
    "std::env",
    "rustix",
    "libc",
    "netlink_sys",
];

/// What a plan does not know, besides [`ACTS`].
const IMPURE: [&str; 9] = [
    "std::process",
    "std::thread",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os::unix::net",
    "log",
    "ureq",
];

/// Macros that log or print.
const SPEAKING: [&str; 9] = [
    "debug", "eprint", "eprintln", "error", "info", "print", "println", "trace", "warn",
];

/// Types of `system` that are open files: a plan may hold what describes, not what acts.
const OPEN: [&str; 2] = ["Directory", "FileLock"];

/// Maps and sets that are for tests only.
const TREES: [&str; 2] = ["std::collections::BTreeMap", "std::collections::BTreeSet"];

/// How long a file may be without its tests, in lines.
const LONGEST: usize = 500;

fn arrows(file: &File) -> Vec<Breach> {
    let room = file.room();
    let allowed = ARROWS.iter().find(|(name, _)| *name == room);
    let Some((_, allowed)) = allowed else {
        return vec![file.breach(
            1,
            format!("`{room}` is no room of the table in tests/house.rs"),
        )];
    };
    let mut breaches = Vec::new();
    for path in file.paths() {
        let Some(target) = file.within_crate(&path) else {
            continue;
        };
        let Some(named) = target.first() else {
            continue;
        };
        let known = ARROWS.iter().any(|(name, _)| name == named);
        if !known {
            let rule = format!("`crate::{}` is no room", target.join("::"));
            breaches.push(file.breach(path.line, rule));
        } else if named != room && !allowed.iter().any(|room| admits(room, target)) {
            let rule = format!(
                "`{room}` names `{}`; it may name {}",
                target.join("::"),
                if allowed.is_empty() {
                    "no other room".to_owned()
                } else {
                    allowed.join(", ")
                }
            );
            breaches.push(file.breach(path.line, rule));
        }
    }
    breaches
}

/// Whether an entry of the table covers a path below the crate.
fn admits(entry: &str, target: &[String]) -> bool {
    let second = target.get(1).map_or("", String::as_str);
    match entry.split_once("::") {
        None => entry == target[0],
        Some((room, part)) => {
            target[0] == room && (second == part || DOCUMENT_TYPES.contains(&second))
        }
    }
}

fn through_system(file: &File) -> Vec<Breach> {
    if !THROUGH_SYSTEM.contains(&file.room()) {
        return Vec::new();
    }
    named(
        file,
        &ACTS,
        "which acts on the machine: only `system` does that",
    )
}

fn pure_plans(file: &File) -> Vec<Breach> {
    if !file.is_plan() {
        return Vec::new();
    }
    let mut breaches = named(file, &ACTS, "but a plan is pure");
    breaches.extend(named(file, &IMPURE, "but a plan is pure"));
    for path in file.paths() {
        let shown = path.segments.join("::");
        if path.segments.len() > 1 && path.segments.last().is_some_and(|last| last == "now") {
            let rule = format!("`{shown}` reads a clock: time is an argument of a plan");
            breaches.push(file.breach(path.line, rule));
        }
        let Some([system, inside @ ..]) = file.within_crate(&path) else {
            continue;
        };
        if system != "system" {
            continue;
        }
        let describes = inside.iter().any(|name| is_type(name));
        if !describes || inside.iter().any(|name| OPEN.contains(&name.as_str())) {
            let rule = format!("`{shown}`: of `system`, a plan names only types that describe");
            breaches.push(file.breach(path.line, rule));
        }
    }
    for pair in file.code().windows(2) {
        if SPEAKING.contains(&pair[0].text.as_str()) && pair[1].text == "!" {
            let rule = format!("`{}!`: a plan neither logs nor prints", pair[0].text);
            breaches.push(file.breach(pair[0].line, rule));
        }
    }
    breaches
}

fn small_maps(file: &File) -> Vec<Breach> {
    named(
        file,
        &TREES,
        "of which each type takes kilobytes: take those of `system::order`",
    )
}

fn named(file: &File, forbidden: &[&str], why: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for path in file.paths() {
        let shown = path.segments.join("::");
        let is_named = |entry: &&str| shown == *entry || shown.starts_with(&format!("{entry}::"));
        if forbidden.iter().any(is_named) && !is_error_number(&path.segments) {
            breaches.push(file.breach(path.line, format!("names `{shown}`, {why}")));
        }
    }
    breaches
}

/// An error number tells what happened and does nothing: `rustix::io::Errno::LOOP`, `libc::EAFNOSUPPORT`.
fn is_error_number(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path[..] {
        ["rustix", "io", "Errno", ..] => true,
        ["libc", name] => name.starts_with('E') && name.chars().all(char::is_uppercase),
        _ => false,
    }
}

fn unsafe_only_in_system(file: &File) -> Vec<Breach> {
    if file.room() == "system" {
        return Vec::new();
    }
    let words = file
        .tokens
        .iter()
        .filter(|token| matches!(token.text.as_str(), "unsafe" | "unsafe_code"));
    words
        .map(|token| file.breach(token.line, format!("`{}` outside src/system", token.text)))
        .collect()
}

fn short_files(file: &File) -> Vec<Breach> {
    let length = file.lines
        - file
            .tests
            .iter()
            .map(|range| range.1 - range.0 + 1)
            .sum::<usize>();
    if file.is_test() || length <= LONGEST {
        return Vec::new();
    }
    let rule = format!("{length} lines without tests; over {LONGEST} a file wants to be two");
    vec![file.breach(LONGEST, rule)]
}

fn no_panics(file: &File) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for [before, word, after] in triples(&file.code()) {
        let called = before.text == "." && after.text == "(";
        let is_macro = after.text == "!";
        if (called && matches!(word.text.as_str(), "unwrap" | "unwrap_err"))
            || (is_macro && matches!(word.text.as_str(), "todo" | "unimplemented" | "panic"))
        {
            let rule = format!(
                "`{}` outside tests: return an error, or `expect` with the invariant",
                word.text
            );
            breaches.push(file.breach(word.line, rule));
        }
    }
    breaches
}

fn no_ignored_tests(file: &File) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut position = 0;
    while position < file.tokens.len() {
        let Some(end) = attribute_end(&file.tokens, position) else {
            position += 1;
            continue;
        };
        let mut words = file.tokens[position..end].iter();
        if let Some(word) = words.find(|token| token.text == "ignore") {
            let rule = "an ignored test: it runs everywhere, or it goes".to_owned();
            breaches.push(file.breach(word.line, rule));
        }
        position = end;
    }
    breaches
}

// ---- The project ---------------------------------------------------------------------------------------------------

#[test]
fn rooms_name_only_the_rooms_that_they_may() {
    hold(&sources("src"), arrows);
}

#[test]
fn rooms_act_on_the_machine_through_system_only() {
    hold(&sources("src"), through_system);
}

#[test]
fn plans_are_pure() {
    hold(&sources("src"), pure_plans);
}

#[test]
fn maps_and_sets_are_small() {
    hold(&sources("src"), small_maps);
}

#[test]
fn unsafe_is_in_system_only() {
    hold(&sources("src"), unsafe_only_in_system);
}

#[test]
fn files_are_short_enough_to_read() {
    hold(&sources("src"), short_files);
}

#[test]
fn nothing_panics_outside_tests() {
    hold(&sources("src"), no_panics);
}

#[test]
fn no_test_is_ignored() {
    for directory in ["src", "tests", "xtask/src"] {
        hold(&sources(directory), no_ignored_tests);
    }
}

#[test]
fn every_room_is_in_the_document_on_structure() {
    let document = read("docs/structure.md");
    for (room, _) in ARROWS {
        let named = ["/`", ".rs`"].map(|end| format!("`{room}{end}"));
        assert!(
            named.iter().any(|name| document.contains(name)),
            "docs/structure.md does not speak of {room}"
        );
    }
}

fn hold(files: &[File], rule: fn(&File) -> Vec<Breach>) {
    assert!(!files.is_empty(), "no sources were read");
    let breaches: Vec<String> = files
        .iter()
        .flat_map(rule)
        .map(|breach| breach.to_string())
        .collect();
    assert!(
        breaches.is_empty(),
        "\n{}\nThe lines are drawn in docs/structure.md.",
        breaches.join("\n")
    );
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// Every Rust file below a directory of the project.
fn sources(directory: &str) -> Vec<File> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut open = vec![top.join(directory)];
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("read {}: {error}", directory.display()));
        for entry in entries {
            let path = entry.expect("a directory can be read to its end").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(top).expect("it was found below the top");
                let name = name.to_string_lossy().into_owned();
                let text = read(&name);
                files.push(File::new(name, &text));
            }
        }
    }
    files.sort_by(|left, right| left.name.cmp(&right.name));
    files
}

// ---- The checks can fail -------------------------------------------------------------------------------------------

/// The breaches of one rule in one small file, as they would be told.
fn breaches(rule: fn(&File) -> Vec<Breach>, name: &str, text: &str) -> Vec<String> {
    let told = rule(&File::new(name, text));
    told.iter().map(ToString::to_string).collect()
}

fn breaks(rule: fn(&File) -> Vec<Breach>, name: &str, text: &str) -> bool {
    !breaches(rule, name, text).is_empty()
}

#[test]
fn a_breach_is_told_with_file_line_and_rule() {
    let text = "//! Keys.\n\nuse crate::network::plan;\n";
    assert_eq!(
        breaches(arrows, "src/accounts/keys.rs", text),
        ["src/accounts/keys.rs:3: `accounts` names `network::plan`; \
             it may name system, config, metadata::document, metadata::attributes, metadata::backoff"]
    );
}

#[test]
fn arrows_are_found_in_every_form() {
    for text in [
        "use crate::network;",
        "use crate::{system::files, network::{plan, routes}};",
        "fn f() { crate::network::run() }",
        "use super::super::network::plan;",
        "use crate::metadata::client::Client;",
        "use crate::metadata::Watcher;",
        "use crate::*;",
        "use crate::{*};",
        "use crate::nowhere::Thing;",
        "mod inner { use super::super::super::network; }",
    ] {
        assert!(breaks(arrows, "src/accounts/keys.rs", text), "{text}");
    }
    assert!(breaks(
        arrows,
        "src/system/files.rs",
        "use crate::config::Settings;"
    ));
    assert!(breaks(
        arrows,
        "src/agent/mod.rs",
        "use crate::commands::status;"
    ));
    assert!(breaks(
        arrows,
        "src/main.rs",
        "fn main() { gce_guest::agent::run() }"
    ));
    assert!(breaks(
        arrows,
        "src/lib.rs",
        "pub use crate::system::files;"
    ));
    assert!(breaks(arrows, "src/helpers.rs", ""));
}

#[test]
fn arrows_that_may_be_are_left_alone() {
    for text in [
        "use crate::system::{files, users::User};",
        "use crate::config::Settings;",
        "use crate::metadata::{Document, document::Presence as There};",
        "use crate::accounts::plan::Change;",
        "use super::plan::Change;",
        "mod inner { use super::super::plan; }",
        "pub(crate) fn f() {} pub(in crate::accounts) fn g() {}",
        "// use crate::network;\n/* use crate::network; */ const A: &str = \"crate::network::x\";",
        "#[cfg(test)]\nmod tests { use crate::emulator::Store; }",
    ] {
        assert_eq!(
            breaches(arrows, "src/accounts/keys.rs", text),
            Vec::<String>::new(),
            "{text}"
        );
    }
    let everything = "use crate::{accounts, agent, emulator, sandbox};";
    assert!(!breaks(arrows, "src/commands/attempt.rs", everything));
    assert!(!breaks(
        arrows,
        "src/main.rs",
        "fn main() { gce_guest::cli::run() }"
    ));
    assert!(!breaks(arrows, "src/lib.rs", "pub mod accounts;"));
}

#[test]
fn rooms_that_act_on_their_own_are_found() {
    for text in [
        "use std::fs;",
        "use std::{fs::File, io};",
        "fn f() { std::process::Command::new(\"ip\"); }",
        "use rustix::fs::openat;",
        "use rustix::io::{Errno, write};",
        "fn f() { libc::getpid() }",
    ] {
        assert!(
            breaks(through_system, "src/network/apply.rs", text),
            "{text}"
        );
        assert!(
            !breaks(through_system, "src/system/files.rs", text),
            "{text}"
        );
    }
    for describes in [
        "use std::net::Ipv4Addr; use std::process::ExitStatus;",
        "use rustix::io::Errno; const A: Errno = Errno::LOOP;",
        "const A: i32 = libc::EAFNOSUPPORT;",
    ] {
        assert!(!breaks(through_system, "src/network/apply.rs", describes));
    }
}

#[test]
fn impure_plans_are_found() {
    for text in [
        "use std::fs::read;",
        "use std::net::{Ipv4Addr, TcpStream};",
        "fn f() { let now = jiff::Timestamp::now(); }",
        "fn f() { log::info!(\"done\"); }",
        "fn f() { warn!(\"done\"); }",
        "use crate::system::time;",
        "use crate::system::users::lookup;",
        "fn f() { crate::system::time::now(); }",
        "use crate::system::files::Directory;",
    ] {
        for file in ["src/accounts/plan.rs", "src/network/plan/routes.rs"] {
            assert!(breaks(pure_plans, file, text), "{text}");
        }
        assert!(!breaks(pure_plans, "src/accounts/apply.rs", text), "{text}");
    }
}

#[test]
fn pure_plans_are_left_alone() {
    for text in [
        "use std::net::{IpAddr, Ipv4Addr};",
        "use crate::system::users::{Group, User};",
        "fn f(now: jiff::Timestamp, info: bool, other: bool) -> bool { info != other }",
        "#[cfg(test)]\nmod tests { fn f() { println!(\"{}\", jiff::Timestamp::now()); } }",
    ] {
        assert_eq!(
            breaches(pure_plans, "src/accounts/plan.rs", text),
            Vec::<String>::new(),
            "{text}"
        );
    }
}

#[test]
fn large_maps_and_sets_are_found() {
    let file = "src/system/users.rs";
    for text in [
        "use std::collections::BTreeMap;",
        "use std::collections::{BTreeSet as Set, HashMap};",
        "fn f() { std::collections::BTreeMap::<u8, u8>::new(); }",
    ] {
        assert!(breaks(small_maps, file, text), "{text}");
    }
    for text in [
        "use std::collections::{HashMap, VecDeque};",
        "use crate::system::order::{Map, Set};",
        "#[cfg(test)]\nmod tests { use std::collections::BTreeMap; }",
    ] {
        assert!(!breaks(small_maps, file, text), "{text}");
    }
}

#[test]
fn unsafe_outside_system_is_found() {
    let text = "// unsafe\nfn f() { unsafe { g() } }";
    assert_eq!(
        breaches(unsafe_only_in_system, "src/sandbox/mod.rs", text),
        ["src/sandbox/mod.rs:2: `unsafe` outside src/system"]
    );
    assert!(!breaks(unsafe_only_in_system, "src/system/users.rs", text));
    let permission = "#![allow(unsafe_code)]";
    assert!(breaks(unsafe_only_in_system, "src/lib.rs", permission));
}

#[test]
fn long_files_are_found_and_their_tests_do_not_count() {
    let code = "fn f() {}\n".repeat(LONGEST);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{code}}}\n");
    let file = "src/accounts/keys.rs";
    assert!(!breaks(short_files, file, &code));
    assert!(!breaks(short_files, file, &format!("{code}{tests}")));
    assert!(breaks(
        short_files,
        file,
        &format!("{code}fn g() {{}}\n{tests}")
    ));
    assert!(breaks(
        short_files,
        file,
        &format!("{tests}{code}fn g() {{}}\n")
    ));
    assert!(!breaks(
        short_files,
        "src/accounts/tests.rs",
        &code.repeat(2)
    ));
}

#[test]
fn panics_outside_tests_are_found() {
    let file = "src/accounts/keys.rs";
    for text in [
        "fn f() { g().unwrap(); }",
        "fn f() { g()\n.unwrap_err(); }",
        "fn f() { todo!() }",
        "fn f() { panic!(\"no\") }",
        "#[cfg(not(test))]\nfn f() { unimplemented!() }",
        "#[cfg(test)]\nfn f() { g().unwrap(); }\nfn h() { g().unwrap(); }",
    ] {
        assert_eq!(breaches(no_panics, file, text).len(), 1, "{text}");
    }
    for text in [
        "fn f() { g().unwrap_or_default(); }",
        "fn f() { std::panic::catch_unwind(g); }",
        "// g().unwrap()\nconst A: &str = \".unwrap()\";",
        "#[cfg(test)]\n#[allow(dead_code)]\nmod tests { fn f() { g().unwrap(); } }",
        "#[cfg(all(test, target_os = \"linux\"))]\nmod tests { fn f() { todo!() } }",
    ] {
        assert!(!breaks(no_panics, file, text), "{text}");
    }
}

#[test]
fn ignored_tests_are_found() {
    for text in [
        "#[test]\n#[ignore]\nfn f() {}",
        "#[ignore = \"slow\"] #[test] fn f() {}",
        "#[cfg_attr(not(feature = \"root\"), ignore)] #[test] fn f() {}",
    ] {
        assert_eq!(
            breaches(no_ignored_tests, "tests/login.rs", text).len(),
            1,
            "{text}"
        );
    }
    assert!(!breaks(
        no_ignored_tests,
        "tests/login.rs",
        "#[test]\nfn ignore() {}"
    ));
}
