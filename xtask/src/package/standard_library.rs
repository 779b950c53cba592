//! The standard library of the packages' program, built from the toolchain's own sources.
//!
//! The one that comes with a toolchain is made for speed, and brings a reader of debug information with the message that a
//! panic prints. The program has no such information to read. What is built here is the same library for size and without
//! that reader; only this is built with unstable features, which are the library's own: the program and its dependencies
//! see the stable compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Architecture;
use super::toolchain::{link_for, of_toolchain, without_places};
use crate::commands;

/// Compiler options of the library: what the toolchain's own build gives, with frame pointers as in the rest of the program.
const FLAGS: [&str; 3] = [
    "-Zforce-unstable-if-unmarked",
    "-Cembed-bitcode=yes",
    "-Cforce-frame-pointers=yes",
];

/// Builds it below `directory`, and returns what is to be the compiler's `--sysroot`. None where the toolchain's sources
/// cannot be had; then the library that comes with the toolchain will do, and the program is a quarter of a megabyte larger.
///
/// # Errors
/// There are sources, and they cannot be built.
pub(super) fn build(directory: &Path, architecture: Architecture) -> Result<Option<PathBuf>> {
    let Some(sources) = sources()? else {
        println!(
            "The standard library's sources are not there (rustup component add rust-src): the program will be larger."
        );
        return Ok(None);
    };
    let archives = compile(&sources, directory, architecture)?;
    let sysroot = directory.join("sysroot");
    let place = sysroot
        .join("lib/rustlib")
        .join(architecture.rust_target())
        .join("lib");
    // What a toolchain of another version left there would be found too.
    if sysroot.exists() {
        fs::remove_dir_all(&sysroot).with_context(|| format!("remove {}", sysroot.display()))?;
    }
    fs::create_dir_all(&place).with_context(|| format!("create {}", place.display()))?;
    for archive in archives {
        let name = archive
            .file_name()
            .with_context(|| format!("{} is no file", archive.display()))?;
        fs::copy(&archive, place.join(name))
            .with_context(|| format!("copy {}", archive.display()))?;
    }
    Ok(Some(sysroot))
}

/// Where the sources of the toolchain's library are, fetched by rustup when they are not there.
fn sources() -> Result<Option<PathBuf>> {
    let sources = of_toolchain("sysroot")?.join("lib/rustlib/src/rust/library");
    if !sources.join("Cargo.lock").is_file() && commands::find("rustup").is_some() {
        let add = ["component", "add", "rust-src"];
        if let Err(error) = commands::succeed(Command::new("rustup").args(add)) {
            println!("{error:#}");
        }
    }
    let is_there = sources.join("Cargo.lock").is_file();
    Ok(is_there.then_some(sources))
}

/// Compiles it, and returns the archives of its crates.
fn compile(sources: &Path, directory: &Path, architecture: Architecture) -> Result<Vec<PathBuf>> {
    let mut flags = FLAGS.map(str::to_owned).to_vec();
    flags.extend(without_places(sources)?);
    let mut command = commands::cargo(["build", "--locked", "--release", "--package", "std"]);
    command
        .args(["--no-default-features", "--features"])
        .arg("panic-unwind,optimize_for_size")
        .args(["--target", &architecture.rust_target()])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(sources.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", directory)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        // Allows the library what only the library may; it counts for this one build.
        .env("RUSTC_BOOTSTRAP", "1")
        .stderr(Stdio::inherit());
    link_for(architecture, &mut command);
    let output = command.output().context("run cargo")?;
    if !output.status.success() {
        bail!(
            "the standard library in {} does not build",
            sources.display()
        );
    }
    let archives = archives(&String::from_utf8_lossy(&output.stdout));
    if archives.is_empty() {
        bail!("cargo names no archive of the standard library");
    }
    Ok(archives)
}

/// A line of what cargo says to programs.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// The archives that cargo names, one line for each crate.
fn archives(messages: &str) -> Vec<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .flat_map(|message| message.filenames)
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "rlib")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_those_that_cargo_names() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"core"},"filenames":["/t/libcore-1.rlib","/t/libcore-1.rmeta"],"fresh":true}
{"reason":"build-script-executed","package_id":"path+file:///s#std@0.0.0","env":[]}
{"reason":"compiler-artifact","target":{"name":"std"},"filenames":["/t/libstd.rlib","/t/libstd.so"],"fresh":false}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(
            archives(messages),
            [Path::new("/t/libcore-1.rlib"), Path::new("/t/libstd.rlib")]
        );
        assert!(archives("no JSON at all\n").is_empty());
    }
}
