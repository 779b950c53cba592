//! What the packages ask of the toolchain: where it keeps what, the linker for each processor, and flags for a program that is
//! the same wherever it is built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Architecture;

/// Has cargo link for another processor with the linker for that one.
pub(super) fn link_for(architecture: Architecture, command: &mut Command) {
    if architecture != Architecture::native() {
        let target = architecture.rust_target();
        let variable = target.replace('-', "_").to_uppercase();
        let linker = format!("{}-linux-gnu-gcc", architecture.rpm());
        command.env(format!("CARGO_TARGET_{variable}_LINKER"), linker);
    }
}

/// A directory of the toolchain, by the name that `rustc --print` has for it.
///
/// # Errors
/// There is no rustc, or it does not say.
pub(super) fn of_toolchain(name: &str) -> Result<PathBuf> {
    let output = Command::new("rustc")
        .args(["--print", name])
        .output()
        .context("run rustc")?;
    if !output.status.success() {
        bail!(
            "rustc --print {name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

/// Has functions that are the same for several types only once in the program, by the linker that rustup's toolchains
/// bring. Where there is none, the program is a little larger.
pub(super) fn folding() -> Result<Vec<String>> {
    let linkers = of_toolchain("target-libdir")?.join("../bin/gcc-ld");
    if !linkers.join("ld.lld").is_file() {
        return Ok(Vec::new());
    }
    let place = format!("-B{}", linkers.display());
    let arguments = [&place, "-fuse-ld=lld", "-Wl,--icf=all"];
    Ok(arguments
        .map(|argument| format!("-Clink-arg={argument}"))
        .to_vec())
}

/// Leaves the places of this machine out of what is built from the sources at `top`: panics name the file in which they
/// are, and would name ours.
///
/// # Errors
/// It is not known where cargo keeps the sources of crates, or they cannot be listed.
pub(super) fn without_places(top: &Path) -> Result<Vec<String>> {
    let mut flags = vec![format!("--remap-path-prefix={}=.", top.display())];
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    // Each registry has a directory of its own, whose name depends on where the registry is.
    let sources = home.join("registry/src");
    if sources.is_dir() {
        let told = || format!("read {}", sources.display());
        for entry in fs::read_dir(&sources).with_context(told)? {
            let path = entry.with_context(told)?.path();
            flags.push(format!("--remap-path-prefix={}=crates", path.display()));
        }
    }
    flags.sort();
    Ok(flags)
}
