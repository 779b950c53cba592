//! What `cargo test` said: which targets ran, how many of their tests passed, and whether any was left out.

/// Counts of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
}

/// One test binary, or the examples in one crate's documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// `src/lib.rs of gce_guest`, `tests/house.rs of house`, `documents of gce_guest`.
    pub(crate) name: String,
    /// What its closing line says; `None` when it ended without one.
    pub(crate) summary: Option<Summary>,
}

/// The counts of one closing line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    tally: Tally,
    ignored: u64,
    filtered: u64,
}

/// Targets in which no test is not a mistake.
const MAY_BE_EMPTY: [&str; 1] = [
    // argv to command to exit status and nothing else: what it calls is tested where it is.
    "src/main.rs of gce_guest",
];

/// The test targets of a transcript, in their order.
pub(crate) fn targets(transcript: &str) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for line in transcript.lines() {
        if let Some(name) = heading(line) {
            targets.push(Target {
                name,
                summary: None,
            });
        } else if let (Some(summary), Some(target)) = (summary(line), targets.last_mut()) {
            target.summary = Some(summary);
        }
    }
    targets
}

/// The sum over all targets.
pub(crate) fn sum(targets: &[Target]) -> Tally {
    let summaries = targets.iter().filter_map(|target| target.summary);
    summaries.fold(Tally::default(), |sum, summary| Tally {
        passed: sum.passed + summary.tally.passed,
        failed: sum.failed + summary.tally.failed,
    })
}

/// Everything that a reader of "all tests passed" would want to know and was not told: tests that were left out, targets
/// without tests, targets that did not report, and files of tests that never ran.
///
/// `expected` are the files that must have run, such as `tests/house.rs`.
pub(crate) fn omissions(targets: &[Target], expected: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for target in targets {
        let name = &target.name;
        let Some(summary) = target.summary else {
            found.push(format!("{name}: ended without the line `test result: ...`"));
            continue;
        };
        if summary.ignored > 0 {
            found.push(format!("{name}: {} ignored", summary.ignored));
        }
        if summary.filtered > 0 {
            found.push(format!("{name}: {} filtered out", summary.filtered));
        }
        let empty = summary.tally == Tally::default() && summary.ignored == 0;
        let may_be_empty = name.starts_with(DOCUMENTS) || MAY_BE_EMPTY.contains(&name.as_str());
        if empty && !may_be_empty {
            found.push(format!("{name}: has no tests"));
        }
    }
    for file in expected {
        let prefix = format!("{file} of ");
        if !targets
            .iter()
            .any(|target| target.name.starts_with(&prefix))
        {
            found.push(format!("{file}: did not run"));
        }
    }
    found
}

/// How the name of a target of examples begins.
const DOCUMENTS: &str = "documents of ";

/// The name in a line by which cargo announces a target:
/// `     Running unittests src/lib.rs (target/debug/deps/gce_guest-0123456789abcdef)` or `   Doc-tests gce_guest`.
fn heading(line: &str) -> Option<String> {
    // cargo's words are right-aligned; a test's own output is not.
    if let Some(krate) = line.strip_prefix("   Doc-tests ") {
        return Some(format!("{DOCUMENTS}{krate}"));
    }
    let (file, binary) = line.strip_prefix("     Running ")?.split_once(" (")?;
    let file = file.strip_prefix("unittests ").unwrap_or(file);
    let binary = binary.strip_suffix(')')?;
    let stem = binary.rsplit('/').next()?;
    let krate = stem.rsplit_once('-').map_or(stem, |(krate, _hash)| krate);
    Some(format!("{file} of {krate}"))
}

/// The counts in a closing line:
/// `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s`.
fn summary(line: &str) -> Option<Summary> {
    let (_verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        counts
            .split("; ")
            .find_map(|part| part.strip_suffix(what)?.trim_end().parse().ok())
    };
    Some(Summary {
        tally: Tally {
            passed: count("passed")?,
            failed: count("failed")?,
        },
        ignored: count("ignored")?,
        filtered: count("filtered out")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSCRIPT: &str = "\
    Finished `test` profile [unoptimized + debuginfo] target(s) in 0.05s
     Running unittests src/lib.rs (target/debug/deps/gce_guest-31cc8c3e8b0b6e53)

running 3 tests
test system::root::tests::a ... ok
test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2.11s

     Running unittests src/main.rs (target/debug/deps/gce_guest-b9cc7b61d4cbe94c)

running 0 tests

test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/house.rs (target/debug/deps/house-ffd31f4c0c5c5ed1)
test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests gce_guest

running 0 tests

test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    fn expected(files: &[&str]) -> Vec<String> {
        files.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn targets_are_named_and_counted() {
        let targets = targets(TRANSCRIPT);
        let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "src/lib.rs of gce_guest",
                "src/main.rs of gce_guest",
                "tests/house.rs of house",
                "documents of gce_guest"
            ]
        );
        assert_eq!(
            sum(&targets),
            Tally {
                passed: 14,
                failed: 1
            }
        );
        assert_eq!(
            omissions(&targets, &expected(&["tests/house.rs"])),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_file_of_tests_that_did_not_run_is_told() {
        assert_eq!(
            omissions(&targets(TRANSCRIPT), &expected(&["tests/login.rs"])),
            ["tests/login.rs: did not run"]
        );
    }

    #[test]
    fn ignored_filtered_empty_and_silent_targets_are_told() {
        for (from, to, told) in [
            (
                "12 passed; 0 failed; 0 ignored",
                "12 passed; 0 failed; 2 ignored",
                "tests/house.rs of house: 2 ignored",
            ),
            (
                "12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered",
                "12 passed; 0 failed; 0 ignored; 0 measured; 5 filtered",
                "tests/house.rs of house: 5 filtered out",
            ),
            (
                "12 passed",
                "0 passed",
                "tests/house.rs of house: has no tests",
            ),
            (
                "test result: ok. 12",
                "killed: 12",
                "tests/house.rs of house: ended without the line `test result: ...`",
            ),
        ] {
            assert!(TRANSCRIPT.contains(from), "{from}");
            let transcript = TRANSCRIPT.replace(from, to);
            assert_eq!(omissions(&targets(&transcript), &[]), [told]);
        }
    }

    #[test]
    fn other_lines_are_not_taken_for_cargos() {
        assert_eq!(heading("Running tests/a.rs (x)"), None);
        assert_eq!(heading("     Running `target/debug/xtask test`"), None);
        assert_eq!(summary("test result: strange"), None);
        assert_eq!(summary("test a ... ok"), None);
    }
}
