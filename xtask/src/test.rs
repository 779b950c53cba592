//! `cargo xtask test`: every check of the project, as named and timed steps.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;

use crate::commands::{self, cargo};
use crate::libtest::{self, Tally};
use crate::verdict::{Outcome, Verdict};
use crate::{deny, oldest, package, packages, workloads};

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run the unit tests only; they need nothing but the toolchain
    #[arg(long, conflicts_with = "only")]
    quick: bool,
    /// Run this step only (may be given more than once)
    #[arg(long, value_name = "STEP", value_parser = PossibleValuesParser::new(STEPS.map(|step| step.name)))]
    only: Vec<String>,
    /// Print the steps and run none
    #[arg(long)]
    list: bool,
}

/// One check.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<Verdict>,
}

/// Every step, in the order in which they run: what fails fastest comes first.
const STEPS: [Step; 9] = [
    Step {
        name: "packages",
        about: "what the tests need of the machine is there, or is installed",
        run: || Ok(Verdict::passed(packages::provide()?)),
    },
    Step {
        name: "fmt",
        about: "the code is formatted",
        run: || one(&["fmt", "--all", "--check"]),
    },
    Step {
        name: "clippy",
        about: "no warning from the compiler or from clippy, in the program, the tests and the tasks",
        run: || {
            one(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])
        },
    },
    Step {
        name: "doc",
        about: "no warning from rustdoc",
        run: document,
    },
    Step {
        name: "deny",
        about: "licences, duplicate versions and sources of the dependencies, and advisories where they can be had",
        run: deny::check,
    },
    Step {
        name: "oldest",
        about: "the oldest Rust that Cargo.toml names builds the program",
        run: oldest::check,
    },
    Step {
        name: "package",
        about: "the program as its users get it: as .deb, which lintian has nothing against, and as .rpm",
        run: package::check,
    },
    Step {
        name: "workloads",
        about: "fixed pieces of work take no more instructions than recorded",
        run: workloads::check,
    },
    Step {
        name: "test",
        about: "all tests, none left out",
        run: test,
    },
];

/// The only step of `--quick`; not in the table, since `test` covers it.
const UNIT: Step = Step {
    name: "unit",
    about: "the tests beside the code",
    run: unit,
};

/// Runs the steps that the options name and says how they went.
///
/// The last line is `N passed, N failed`, the sum over all tests; a failed step without a failed test counts as one, so
/// that the line never says more than is true.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.list {
        for step in &STEPS {
            println!("{:<10} {}", step.name, step.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let steps: Vec<&Step> = if options.quick {
        vec![&UNIT]
    } else {
        let wanted = |step: &&Step| {
            options.only.is_empty() || options.only.iter().any(|name| name == step.name)
        };
        STEPS.iter().filter(wanted).collect()
    };
    let mut ended: Vec<(&str, Verdict, Duration)> = Vec::new();
    for step in steps {
        println!("\n=== {}: {}", step.name, step.about);
        let started = Instant::now();
        let verdict = (step.run)().unwrap_or_else(|error| {
            println!("{error:#}");
            Verdict::new(Outcome::Failed, first_line(&format!("{error:#}")))
        });
        let failed = verdict.outcome == Outcome::Failed;
        ended.push((step.name, verdict, started.elapsed()));
        if failed && step.name == "packages" {
            println!("\nNothing else is run: the tests would fail for want of these.");
            break;
        }
    }
    let closing = closing(ended.iter().map(|(_, verdict, _)| verdict));
    print_summary(&ended);
    println!("\n{} passed, {} failed", closing.passed, closing.failed);
    Ok(if closing.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print_summary(ended: &[(&str, Verdict, Duration)]) {
    println!("\n=== summary");
    for (name, verdict, time) in ended {
        let outcome = match verdict.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "FAILED",
            Outcome::NotRun => "not run",
        };
        let line = format!(
            "{name:<10} {outcome:<8} {:>7.1} s  {}",
            time.as_secs_f32(),
            verdict.note
        );
        println!("{}", line.trim_end());
    }
}

/// The counts of the closing line.
fn closing<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Tally {
    verdicts.fold(Tally::default(), |sum, verdict| {
        let silent = verdict.outcome == Outcome::Failed && verdict.tally.failed == 0;
        Tally {
            passed: sum.passed + verdict.tally.passed,
            failed: sum.failed + verdict.tally.failed + u64::from(silent),
        }
    })
}

fn one(arguments: &[&str]) -> Result<Verdict> {
    commands::succeed(&mut cargo(arguments))?;
    Ok(Verdict::passed(""))
}

fn document() -> Result<Verdict> {
    commands::succeed(
        cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    Ok(Verdict::passed(""))
}

fn unit() -> Result<Verdict> {
    tests(
        &["test", "--workspace", "--no-fail-fast", "--lib", "--bins"],
        &[],
    )
}

fn test() -> Result<Verdict> {
    tests(
        &["test", "--workspace", "--no-fail-fast"],
        &test_files(&crate::top().join("tests"))?,
    )
}

fn tests(arguments: &[&str], expected: &[String]) -> Result<Verdict> {
    let (status, transcript) = commands::transcript(&mut cargo(arguments))?;
    let targets = libtest::targets(&transcript);
    let tally = libtest::sum(&targets);
    let omissions = libtest::omissions(&targets, expected);
    for omission in &omissions {
        println!("left out: {omission}");
    }
    let (outcome, note) = if tally.failed > 0 {
        (Outcome::Failed, format!("{} tests failed", tally.failed))
    } else if !status.success() {
        (
            Outcome::Failed,
            format!("cargo {} failed ({status})", arguments.join(" ")),
        )
    } else if let Some(first) = omissions.first() {
        (
            Outcome::Failed,
            format!("{} left out: {first}", omissions.len()),
        )
    } else {
        let note = format!(
            "{} tests in {} targets, none left out",
            tally.passed,
            targets.len()
        );
        (Outcome::Passed, note)
    };
    Ok(Verdict {
        outcome,
        note,
        tally,
    })
}

/// The files that must each have run as a target of their own, such as `tests/house.rs`.
fn test_files(directory: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    if !directory.is_dir() {
        return Ok(files);
    }
    for entry in fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(format!("tests/{name}"));
        } else if path.join("main.rs").is_file() {
            files.push(format!("tests/{name}/main.rs"));
        }
    }
    files.sort();
    Ok(files)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(outcome: Outcome, passed: u64, failed: u64) -> Verdict {
        Verdict {
            tally: Tally { passed, failed },
            ..Verdict::new(outcome, "")
        }
    }

    #[test]
    fn the_closing_line_never_hides_a_failed_step() {
        let sum = |verdicts: &[Verdict]| {
            let tally = closing(verdicts.iter());
            (tally.passed, tally.failed)
        };
        let passed = || counted(Outcome::Passed, 0, 0);
        assert_eq!(sum(&[passed(), counted(Outcome::Passed, 7, 0)]), (7, 0));
        assert_eq!(sum(&[passed(), counted(Outcome::Failed, 5, 2)]), (5, 2));
        assert_eq!(
            sum(&[
                counted(Outcome::Failed, 0, 0),
                counted(Outcome::Passed, 7, 0)
            ]),
            (7, 1)
        );
        assert_eq!(
            sum(&[Verdict::not_run("no tool"), counted(Outcome::Passed, 7, 0)]),
            (7, 0)
        );
    }

    #[test]
    fn files_and_directories_of_tests_are_expected_to_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("login")).expect("made");
        fs::create_dir_all(at("support")).expect("made");
        for name in ["house.rs", "login/main.rs", "support/mod.rs", "key.pub"] {
            fs::write(at(name), "").expect("written");
        }
        assert_eq!(
            test_files(directory.path()).expect("read"),
            ["tests/house.rs", "tests/login/main.rs"]
        );
    }

    #[test]
    fn steps_have_names_of_their_own() {
        let mut names = STEPS.map(|step| step.name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }
}
