//! The crates that are in the program, and the terms that come with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::commands::{self, cargo};
use crate::layout::PROGRAM;

/// One crate.
#[derive(Debug)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
    /// What its manifest says, such as `MIT OR Apache-2.0`.
    licence: String,
    /// Where its sources are.
    directory: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
}

/// The crates that are linked into the program for a target, without the program's own; what only works at build time, such
/// as derive macros, is not in it.
///
/// # Errors
/// cargo fails, or a crate has no licence.
pub(super) fn linked(target: &str) -> Result<Vec<Crate>> {
    let edges = "normal,no-proc-macro";
    let tree = output(
        cargo(["tree", "--locked", "--package", PROGRAM, "--edges", edges])
            .args(["--prefix", "none", "--format", "{p}", "--target", target]),
    )?;
    let linked: BTreeSet<(&str, &str)> = tree.lines().filter_map(name_and_version).collect();
    let described = output(
        cargo(["metadata", "--locked", "--format-version", "1"])
            .args(["--filter-platform", target]),
    )?;
    let metadata: Metadata = serde_json::from_str(&described).context("read cargo's metadata")?;
    let mut crates = Vec::new();
    for described in metadata.packages {
        let known = linked.contains(&(described.name.as_str(), described.version.as_str()));
        if described.name == PROGRAM || !known {
            continue;
        }
        let licence = described
            .license
            .with_context(|| format!("the crate {} names no licence", described.name))?;
        crates.push(Crate {
            name: described.name,
            version: described.version,
            licence,
            directory: described
                .manifest_path
                .parent()
                .unwrap_or(Path::new("/"))
                .to_path_buf(),
        });
    }
    if crates.len() + 1 != linked.len() {
        bail!(
            "cargo tree has {} crates, cargo metadata describes {} of them",
            linked.len() - 1,
            crates.len()
        );
    }
    crates.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    Ok(crates)
}

/// Of a line of `cargo tree`, such as `ring v0.17.14 (*)`.
fn name_and_version(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_whitespace();
    Some((words.next()?, words.next()?.strip_prefix('v')?))
}

fn output(command: &mut Command) -> Result<String> {
    let line = commands::shown(command);
    let output = command
        .output()
        .with_context(|| format!("cannot run {line}"))?;
    if !output.status.success() {
        bail!(
            "`{line}` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The licences under which we take the crates, with our own, as one expression.
pub(super) fn expression(crates: &[Crate]) -> String {
    let mut names = BTreeSet::from(["Apache-2.0"]);
    for one in crates {
        names.extend(chosen(&one.licence));
    }
    names.into_iter().collect::<Vec<_>>().join(" AND ")
}

/// Of what is offered with OR, the licence that is ours already, else the first that deny.toml takes.
fn chosen(licence: &str) -> Vec<&str> {
    if licence.contains(" AND ") {
        return licence.split(" AND ").map(str::trim).collect();
    }
    let offered: Vec<&str> = licence.split(" OR ").map(str::trim).collect();
    let wanted = ["Apache-2.0", "MIT"]
        .into_iter()
        .find(|wanted| offered.contains(wanted));
    vec![wanted.unwrap_or(offered[0])]
}

/// Every crate with its licence, and the texts that the crates bring, each text once.
///
/// # Errors
/// The sources of a crate cannot be read.
pub(super) fn notice(crates: &[Crate]) -> Result<String> {
    let mut notice = String::from(
        "The program contains these crates, which others wrote, under the terms that they name:\n\n",
    );
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in crates {
        let name = format!("{} {}", one.name, one.version);
        writeln!(notice, "  {name:<32} {}", one.licence)?;
        for text in texts_of(&one.directory)? {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    // In the order of the first crate, and not of the text.
    let mut texts: Vec<(Vec<String>, String)> = texts
        .into_iter()
        .map(|(text, names)| (names, text))
        .collect();
    texts.sort();
    for (names, text) in texts {
        write!(
            notice,
            "\n{}\nFrom {}:\n\n{}\n",
            "-".repeat(80),
            names.join(", "),
            text.trim_end()
        )?;
    }
    Ok(notice)
}

/// The files with terms in a crate's sources, but for the Apache licence, which is the program's own.
fn texts_of(directory: &Path) -> Result<Vec<String>> {
    let told = || format!("read {}", directory.display());
    let mut texts = Vec::new();
    for entry in fs::read_dir(directory).with_context(told)? {
        let path = entry.with_context(told)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_uppercase();
        let terms = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
        let is_text = !name.ends_with(".RS") && path.is_file();
        if is_text && terms.iter().any(|terms| name.starts_with(terms)) {
            let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let text = String::from_utf8_lossy(&text).replace("\r\n", "\n");
            if !is_apache(&text) {
                texts.push(text);
            }
        }
    }
    texts.sort();
    Ok(texts)
}

fn is_apache(text: &str) -> bool {
    let begin: Vec<&str> = text.split_whitespace().take(6).collect();
    begin.join(" ") == "Apache License Version 2.0, January 2004"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_taken_under_our_own_terms_where_it_offers_them() {
        for (licence, expected) in [
            ("MIT OR Apache-2.0", vec!["Apache-2.0"]),
            (
                "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
                vec!["Apache-2.0"],
            ),
            ("Unlicense OR MIT", vec!["MIT"]),
            ("Apache-2.0 AND ISC", vec!["Apache-2.0", "ISC"]),
            ("ISC", vec!["ISC"]),
        ] {
            assert_eq!(chosen(licence), expected, "{licence}");
        }
    }

    #[test]
    fn a_line_of_the_tree_names_a_crate() {
        assert_eq!(
            name_and_version("ring v0.17.14 (*)"),
            Some(("ring", "0.17.14"))
        );
        assert_eq!(name_and_version(""), None);
    }

    #[test]
    fn the_apache_licence_is_known_by_its_beginning() {
        assert!(is_apache(
            "\n        Apache License\n    Version 2.0, January 2004\n http://www.apache.org/"
        ));
        assert!(!is_apache("The MIT License (MIT)"));
    }
}
