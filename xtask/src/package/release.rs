//! The program as it is shipped, and what can be read of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Architecture;
use crate::commands::{self, cargo};
use crate::layout::PROGRAM;

/// Builds the release and returns where it is.
pub(super) fn build(top: &Path, architecture: Architecture) -> Result<PathBuf> {
    let target = architecture.rust_target();
    commands::succeed(
        cargo(["build", "--release", "--package", PROGRAM, "--target"])
            .arg(&target)
            .args(["--target-dir", "target/package"]),
    )?;
    Ok(top
        .join("target/package")
        .join(target)
        .join("release")
        .join(PROGRAM))
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
