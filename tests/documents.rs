//! The documents say what is true of the tree: the tests that they name are there, the legacy names are one list, the help of
//! every verb, the man pages and the completions are whole, and the files of packages have the form that their readers want.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and files are read directly"
)]

// The pages and completions as `cargo xtask install` has them made.
#[path = "../examples/manual/pages.rs"]
mod pages;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
    let source = read("xtask/src/layout.rs");
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

/// Every verb that a person is shown, with its parents' names before its own; the program itself has none.
fn verbs(command: &clap::Command, names: &[String]) -> Vec<(Vec<String>, clap::Command)> {
    let mut found = vec![(names.to_vec(), command.clone())];
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let names = [names, &[verb.get_name().to_owned()]].concat();
        found.extend(verbs(verb, &names));
    }
    found
}

/// A program with nothing in its environment but where programs are and a home of its own.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("LC_ALL", "C.UTF-8");
    command
}

/// What a program printed, which must have succeeded without a complaint.
fn quiet(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(
        status.success() && stderr.is_empty(),
        "{command:?}: {status}: {stderr}"
    );
    String::from_utf8(stdout).unwrap()
}

/// The examples in a help text, without what is said of them.
fn examples(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .map(|line| line.trim_start().split("  ").next().unwrap())
        .collect()
}

#[test]
fn the_help_of_every_verb_has_examples_and_exit_status_within_80_columns() {
    let verbs = verbs(&gce_guest::cli::command(), &[]);
    assert!(verbs.len() > 40, "{} verbs", verbs.len());
    for (names, definition) in verbs {
        let gce_guest = env!("CARGO_BIN_EXE_gce-guest");
        let help = quiet(program(gce_guest).args(&names).arg("--help"));
        let told = format!("{} --help:\n{help}", names.join(" "));
        assert!(!help.contains('\u{1b}'), "escape codes in {told}");
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{line:?} is too long in {told}");
        }
        let status = |line: &str| line.starts_with("Exit status");
        assert!(help.lines().any(status), "no exit status in {told}");
        let own = ["gce-guest", &names.join(" ")].join(" ");
        let is_own = |example: &&str| example.starts_with(own.trim_end());
        assert!(examples(&help).iter().any(is_own), "no example in {told}");
        let end = definition.get_after_help().unwrap().to_string();
        for line in end.lines() {
            assert!(
                help.lines().any(|shown| shown == line),
                "{line:?} is broken in {told}"
            );
        }
    }
}

#[test]
fn the_examples_in_the_help_are_command_lines_that_the_program_takes() {
    for (names, definition) in verbs(&gce_guest::cli::command(), &[]) {
        let help = definition.get_after_help().unwrap().to_string();
        for example in examples(&help) {
            let Some(own) = example
                .split(['|', '>'])
                .next()
                .filter(|own| own.starts_with("gce-guest "))
            else {
                continue;
            };
            let words = quiet(program("sh").args(["-c", &format!("printf '%s\\n' {own}")]));
            let parsed = gce_guest::cli::command().try_get_matches_from(words.lines());
            let is_help = |error: &clap::Error| error.exit_code() == 0;
            let refused = parsed.err().filter(|error| !is_help(error));
            assert!(
                refused.is_none(),
                "{names:?}: {example}: {}",
                refused.unwrap()
            );
        }
    }
}

/// The pages and completions, written below a directory of the test.
fn manual(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    for (path, contents) in pages::files().unwrap() {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }
    directory
}

#[test]
fn there_is_a_sound_man_page_for_every_verb() {
    let directory = manual("pages").join("man/man8");
    for (names, definition) in verbs(&gce_guest::cli::command(), &["gce-guest".into()]) {
        let page = directory.join(format!("{}.8", names.join("-")));
        let lint = program("mandoc")
            .args(["-Tlint", "-Wwarning"])
            .arg(&page)
            .output()
            .unwrap();
        let found = String::from_utf8(lint.stdout).unwrap();
        // The same sources make the same pages: there is no date in them.
        let findings: Vec<&str> = found
            .lines()
            .filter(|line| !line.contains("missing date"))
            .collect();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        let text = quiet(program("mandoc").args(["-Tutf8", "-Owidth=80"]).arg(&page));
        // Bold is a letter struck twice.
        let plain: Vec<char> = text.chars().collect();
        let plain: String = plain
            .iter()
            .enumerate()
            .filter(|(at, letter)| **letter != '\u{8}' && plain.get(at + 1) != Some(&'\u{8}'))
            .map(|(_, letter)| letter)
            .collect();
        let help = definition.get_after_help().unwrap().to_string();
        assert!(
            !plain.contains('\u{2019}'),
            "a quote that no shell takes in {}",
            page.display()
        );
        for (heading, wanted) in [
            ("NAME", true),
            ("SYNOPSIS", true),
            ("OPTIONS", true),
            ("EXIT STATUS", true),
            ("EXAMPLES", true),
            ("FILES", help.contains("\nFiles:\n")),
        ] {
            let there = plain.lines().any(|line| line == heading);
            assert_eq!(there, wanted, "{heading} in {}:\n{plain}", page.display());
        }
    }
}

#[test]
fn shells_take_the_completions_and_none_of_what_is_hidden() {
    let directory = manual("completions");
    for (shell, path) in [
        ("bash", "bash-completion/completions/gce-guest"),
        ("zsh", "zsh/vendor-completions/_gce-guest"),
        ("fish", "fish/vendor_completions.d/gce-guest.fish"),
    ] {
        let path = directory.join(path);
        quiet(program(shell).arg("-n").arg(&path));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            !text.contains("sandbox-enter") && !text.contains("try-inside"),
            "{shell}"
        );
    }
    // As readline calls it after `gce-guest WORDS<TAB>`.
    let ask = "source \"$1\"; shift; function=$(complete -p gce-guest | sed 's/.* -F \\([^ ]*\\).*/\\1/'); \
               COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
               $function gce-guest \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; \
               echo \"${COMPREPLY[*]}\"";
    let complete = |words: &[&str]| {
        let script = directory.join("bash-completion/completions/gce-guest");
        let mut bash = program("bash");
        quiet(
            bash.args(["--norc", "-c", ask, "bash"])
                .arg(script)
                .args(words),
        )
    };
    assert_eq!(complete(&["gce-guest", "acc"]), "accounts\n");
    assert_eq!(
        complete(&["gce-guest", "image-clean", "--d"]),
        "--dry-run\n"
    );
    assert_eq!(complete(&["gce-guest", "accounts", "l"]), "list\n");
    let managers = complete(&["gce-guest", "agent", "--only", "n"]);
    assert_eq!(managers, "network\n");
    // zsh finds the file by itself once its directory is in fpath.
    let script =
        "fpath=($1 $fpath); autoload -Uz compinit; compinit -D -u; print $_comps[gce-guest]";
    let mut zsh = program("zsh");
    zsh.args(["-f", "-c", script, "zsh"])
        .arg(directory.join("zsh/vendor-completions"));
    assert_eq!(quiet(&mut zsh), "_gce-guest\n");
    let script = "source $argv[1]; complete -C 'gce-guest acc'";
    let mut fish = program("fish");
    fish.args(["--no-config", "-c", script])
        .arg(directory.join("fish/vendor_completions.d/gce-guest.fish"));
    assert!(quiet(&mut fish).starts_with("accounts\t"));
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
            "01autoremove-gce" => check_apt(&format!("packaging/files{file}")),
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
            // Some device above always has another driver, or none, and so the key says nothing.
            let of_parents = ["DRIVERS!", "KERNELS!", "SUBSYSTEMS!", "ATTRS{"];
            assert!(
                !(key.ends_with("!=") && of_parents.iter().any(|start| key.starts_with(start))),
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

/// apt reads it, and takes the package for one that stays.
fn check_apt(file: &str) {
    let output = Command::new("apt-config")
        .arg("dump")
        .args(["--format", "%F=%v%n", "APT::NeverAutoRemove"])
        .env("APT_CONFIG", root().join(file))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let ours = "APT::NeverAutoRemove::=^gce-guest$";
    assert!(said.lines().any(|line| line == ours), "{said}");
}

/// The shell reads the module, and what it takes into the initramfs is what the packages carry.
fn check_dracut(module: &str, files: &BTreeSet<String>) {
    let script = format!(
        ". ./{module}; inst_multiple() {{ echo program \"$@\"; }}; inst_rules() {{ echo rules \"$@\"; }}; \
         check && depends && install"
    );
    let output = Command::new("bash")
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
