//! The documents say what is true of the tree: the tests that they name are there, the legacy names are one list, and the
//! files of packages have the form that their readers want.

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

/// The files below `packaging/files`, as their paths on a machine.
fn packaged() -> BTreeSet<String> {
    let base = root().join("packaging/files");
    let mut directories = vec![base.clone()];
    let mut found = BTreeSet::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let place = path.strip_prefix(&base).unwrap().to_str().unwrap();
                found.insert(format!("/{place}"));
            }
        }
    }
    found
}

/// What counts in a configuration file: neither comments nor empty lines.
fn settings(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// The virtual machine of tests/virtual_machine.rs shows what those for udev, sysctl and modprobe do.
#[test]
fn the_files_of_packages_are_in_the_document_and_their_readers_understand_them() {
    let document = read("docs/setup.md");
    let files = packaged();
    for file in &files {
        let row = format!("| `{file}` |");
        assert!(document.contains(&row), "docs/setup.md has no {row}");
        let text = read(&format!("packaging/files{file}"));
        assert!(text.starts_with('#'), "{file} does not say what it is for");
        let lines = settings(&text);
        match file.rsplit('/').next().unwrap() {
            name if name.ends_with(".rules") => check_rules(file, &lines),
            "60-gce-network-security.conf" => check_sysctl(&lines),
            "gce-console.conf" | "gce-resolved.conf" => {
                assert!(lines[0].starts_with('[') && lines.len() > 2, "{lines:?}");
                assert!(
                    lines[1..].iter().all(|line| line.contains('=')),
                    "{lines:?}"
                );
            }
            "90-google.conf" => assert_eq!(lines, ["daemon,kern.* /dev/console"]),
            "gce-blacklist.conf" => assert_eq!(lines, ["blacklist nouveau", "blacklist floppy"]),
            "gce.conf" => assert_eq!(lines, ["force_drivers+=\" nvme virtio_scsi \""]),
            "module-setup.sh" => check_dracut(&format!("packaging/files{file}"), &files),
            name => panic!("{name} is checked by nothing"),
        }
    }
}

/// Every key of a rule has an operator and a value in quotes, and every jump has its label further down.
fn check_rules(file: &str, lines: &[&str]) {
    let text = lines.join("\n").replace("\\\n", " ");
    for (number, line) in text.lines().enumerate() {
        // A quotation mark in a value stands behind a backslash.
        let plain = line.replace("\\\"", "");
        let parts: Vec<&str> = plain.split('"').collect();
        assert_eq!(parts.len() % 2, 1, "{file}: {line}");
        for key in parts.iter().step_by(2).filter(|key| !key.is_empty()) {
            let key = key.trim_start_matches(',').trim();
            assert!(
                ["==", "!=", "+=", "="].iter().any(|end| key.ends_with(end)),
                "{file}: {key} in {line}"
            );
        }
        if let Some((_, target)) = plain.split_once("GOTO=\"") {
            let label = format!("LABEL=\"{target}");
            let later = text.lines().skip(number + 1);
            assert!(later.into_iter().any(|other| other == label), "{line}");
        }
    }
}

/// Each key once, with a number. Whether the kernel knows it, the virtual machine shows.
fn check_sysctl(lines: &[&str]) {
    let mut seen = BTreeSet::new();
    for line in lines {
        let (name, value) = line.split_once('=').unwrap();
        assert!(seen.insert(name), "{name} is set twice");
        assert!(value.parse::<u32>().is_ok(), "{line}");
    }
    assert_eq!(lines.len(), 18);
}

/// The shell reads the module, and what it takes into the initramfs is what the packages carry.
fn check_dracut(module: &str, files: &BTreeSet<String>) {
    let script = format!(
        ". ./{module}; inst_multiple() {{ echo program \"$@\"; }}; inst_rules() {{ echo rules \"$@\"; }}; \
         check && depends && install"
    );
    let output = std::process::Command::new("bash")
        .args(["-euc", &script])
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "udev-rules",
            "program /usr/bin/gce-guest",
            "rules 65-gce-disk-naming.rules"
        ]
    );
    assert!(files.contains("/usr/lib/udev/rules.d/65-gce-disk-naming.rules"));
}
