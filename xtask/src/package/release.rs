//! The program as it is shipped, and what can be read of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::licences::Crate;
use super::toolchain::{folding, link_for, without_places};
use super::{Architecture, standard_library};
use crate::commands;
use crate::layout::PROGRAM;
use crate::tools::Tool;

/// Writes the list of crates, with their versions, into a section of the program, where scanners of packages look for it.
const AUDITABLE: Tool = Tool {
    name: "cargo-auditable",
    version: "0.7.7",
};

/// How large the program may be at most, in bytes.
const LIMIT: u64 = 4 * 1024 * 1024;

/// A release that was built.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) program: PathBuf,
    /// Whether all that makes it small was there: the linker that folds, and the standard library's sources.
    is_small: bool,
}

/// Builds the release of the sources at `top` in its directory `target/package`.
///
/// Not in target/release: nothing there knows of the paths that are left out here, and each would undo the other's work.
///
/// # Errors
/// It cannot be built, or a tool for it not be had.
pub(super) fn build(top: &Path, architecture: Architecture) -> Result<Release> {
    let tool = AUDITABLE.provide()?;
    let target = architecture.rust_target();
    let directory = top.join("target/package");
    let library = standard_library::build(&directory.join("standard-library"), architecture)?;
    let folding = folding()?;
    let is_small = library.is_some() && !folding.is_empty();
    let mut flags = without_places(top)?;
    // Shorter instructions for what is on the stack and shorter tables for unwinding; and perf(1) can follow calls.
    flags.push("-Cforce-frame-pointers=yes".to_owned());
    flags.extend(folding);
    flags.extend(library.map(|sysroot| format!("--sysroot={}", sysroot.display())));
    let mut command = Command::new(tool);
    command
        .args(["auditable", "build", "--locked", "--release"])
        .args(["--package", PROGRAM, "--target", &target])
        .current_dir(top)
        .env("CARGO_TARGET_DIR", &directory)
        // In this form it counts before every other; the packages are the same whatever flags a user likes.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    link_for(architecture, &mut command);
    commands::succeed(&mut command)?;
    Ok(Release {
        program: place(top, architecture),
        is_small,
    })
}

/// Where the program is that [`build`] makes.
pub(super) fn place(top: &Path, architecture: Architecture) -> PathBuf {
    top.join("target/package")
        .join(architecture.rust_target())
        .join("release")
        .join(PROGRAM)
}

/// Sees the program of the packages at work: the tests try another one, with what only a debugger reads and with the
/// toolchain's own standard library.
///
/// # Errors
/// There is no sandbox, or no user after the agent's first pass.
pub(super) fn try_out(program: &Path, scratch: &Path) -> Result<()> {
    let metadata = scratch.join("metadata.json");
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPUZWnCVkYZTJ7C6vHzRdmAcgUfm2fpt1PlFXvHrJb0";
    let tree =
        serde_json::json!({"instance": {"attributes": {"ssh-keys": format!("alice:{key}")}}});
    fs::write(&metadata, tree.to_string())
        .with_context(|| format!("write {}", metadata.display()))?;
    commands::succeed(
        Command::new(program)
            .args(["try", "--metadata"])
            .arg(&metadata)
            .args(["--", "getent", "passwd", "alice"]),
    )
}

/// Looks at what was built, and says it: the size, and how many crates are in it.
///
/// # Errors
/// The list in it is not that of its crates, or it is larger than it may be.
pub(super) fn examine(release: &Release, linked: &[Crate]) -> Result<()> {
    let binary = &release.program;
    let size = binary
        .metadata()
        .with_context(|| format!("look at {}", binary.display()))?
        .len();
    let list = auditable_info::audit_info_from_file(binary, auditable_info::Limits::default())
        .with_context(|| format!("read the list of crates in {}", binary.display()))?;
    let has = |one: &Crate| {
        list.packages
            .iter()
            .any(|package| package.name == one.name && package.version.to_string() == one.version)
    };
    if let Some(missing) = linked.iter().find(|one| !has(one)) {
        bail!("the list of crates in the program lacks {}", missing.name);
    }
    println!("program        {size} bytes, of {LIMIT} at most");
    if size > LIMIT && release.is_small {
        bail!(
            "the program has {} bytes too many: docs/benchmarks.md says what it consists of",
            size - LIMIT
        );
    }
    println!(
        "crates         {} in the program, {} with those that only build it; its section .dep-v0 names them",
        linked.len(),
        list.packages.len() - 1
    );
    Ok(())
}

/// A program of the caller's without what only a debugger reads, in the directory `scratch`.
pub(super) fn stripped(binary: &Path, scratch: &Path) -> Result<PathBuf> {
    fs::create_dir_all(scratch).with_context(|| format!("create {}", scratch.display()))?;
    let stripped = scratch.join(PROGRAM);
    commands::succeed(Command::new("strip").arg("-o").arg(&stripped).arg(binary))?;
    Ok(stripped)
}

/// The oldest C library with everything that a program asks of it, from the versions of the symbols that it needs.
pub(super) fn c_library(binary: &Path) -> Result<String> {
    let output = Command::new("readelf")
        .args(["--version-info", "--wide"])
        .arg(binary)
        .output()
        .context("run readelf, of binutils")?;
    if !output.status.success() {
        bail!(
            "readelf {}: {}",
            binary.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    newest(&text)
        .with_context(|| format!("{} asks for no version of the C library", binary.display()))
}

/// The highest version of glibc in what readelf prints. What is marked as weak the program does without.
fn newest(text: &str) -> Option<String> {
    let version = |line: &str| -> Option<Vec<u32>> {
        let (_, rest) = line.split_once("Name: GLIBC_")?;
        let (version, rest) = rest.split_once(' ')?;
        if rest.contains("Flags: WEAK") {
            return None;
        }
        version.split('.').map(|part| part.parse().ok()).collect()
    };
    let newest = text.lines().filter_map(version).max()?;
    let parts: Vec<_> = newest.iter().map(u32::to_string).collect();
    Some(parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_counts_as_a_number_and_weak_ones_do_not() {
        let text = "\
  000000: Version: 1  File: libgcc_s.so.1  Cnt: 1
  0x0010:   Name: GCC_4.2.0  Flags: none  Version: 10
  0x0020: Version: 1  File: libc.so.6  Cnt: 4
  0x0030:   Name: GLIBC_2.2.5  Flags: none  Version: 3
  0x0040:   Name: GLIBC_2.34  Flags: none  Version: 2
  0x0050:   Name: GLIBC_2.9  Flags: none  Version: 22
  0x0060:   Name: GLIBC_2.39  Flags: WEAK  Version: 23\n";
        assert_eq!(newest(text).as_deref(), Some("2.34"));
        assert_eq!(newest("nothing"), None);
    }
}
