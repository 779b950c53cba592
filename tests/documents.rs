//! The documents say what is true of the tree: the tests that they name are there, and the legacy names are one list.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and files are read directly"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names of all functions in the tree.
fn functions() -> BTreeSet<String> {
    let mut files = Vec::new();
    for directory in ["src", "tests", "xtask"] {
        sources(&root().join(directory), &mut files);
    }
    let texts = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap());
    let of_text = |text: String| -> Vec<String> {
        text.lines()
            .filter_map(|line| {
                line.trim_start()
                    .strip_prefix("fn ")?
                    .split(['(', '<'])
                    .next()
                    .map(String::from)
            })
            .collect()
    };
    texts.flat_map(of_text).collect()
}

#[test]
fn every_difference_is_numbered_once_and_held_by_tests_that_exist() {
    let functions = functions();
    let text = read("docs/behaviour.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.split(" | ").collect())
        .collect();
    let mut numbers = Vec::new();
    for row in rows {
        let Ok(number) = row[0].trim_start_matches("| ").parse::<u32>() else {
            continue;
        };
        numbers.push(number);
        assert_eq!(row.len(), 5, "row {number} has five columns");
        let tests: Vec<&str> = row[4].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "row {number} names no test");
        for test in tests {
            assert!(
                functions.contains(test),
                "row {number}: there is no test {test}"
            );
        }
    }
    let expected: Vec<u32> = (1..=u32::try_from(numbers.len()).unwrap()).collect();
    assert_eq!(numbers, expected, "each number once, in order");
    assert!(numbers.len() >= 50);
}

#[test]
fn the_links_that_are_installed_are_the_names_that_the_program_knows() {
    let source = read("xtask/src/install.rs");
    let list = source
        .split_once("LEGACY_NAMES")
        .unwrap()
        .1
        .split_once("];")
        .unwrap()
        .0;
    let installed: BTreeSet<&str> = list.split('"').skip(1).step_by(2).collect();
    let known: BTreeSet<&str> = gce_guest::commands::legacy::NAMES
        .iter()
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(installed, known);
}

#[test]
fn the_readme_names_documents_that_exist() {
    let readme = read("README.md");
    for link in readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
    {
        if !link.contains("://") && !link.starts_with('#') {
            assert!(root().join(link).exists(), "README.md links to {link}");
        }
    }
}
