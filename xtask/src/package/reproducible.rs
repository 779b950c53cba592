//! Whether a second build gives the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Options, licences, pack, release};
use crate::commands;

/// Builds the packages again, from a copy of the sources at another place and with nothing built before, and compares.
///
/// # Errors
/// The second build fails, or a package differs.
pub(super) fn check(options: &Options, first: &[PathBuf]) -> Result<()> {
    let other = std::env::temp_dir().join(format!("gce-guest-again-{}", std::process::id()));
    let compared = copy(&other).and_then(|()| compare(options, first, &other));
    // The first error is the one to tell.
    let removed = fs::remove_dir_all(&other);
    compared?;
    removed.with_context(|| format!("remove {}", other.display()))
}

/// Copies the files that git knows, as they are now.
fn copy(other: &Path) -> Result<()> {
    fs::create_dir_all(other).with_context(|| format!("create {}", other.display()))?;
    commands::succeed(
        Command::new("sh")
            .args([
                "-c",
                "git ls-files -z | tar --null --files-from=- --create | tar --extract --directory=\"$0\"",
            ])
            .arg(other)
            .current_dir(crate::top()),
    )
}

fn compare(options: &Options, first: &[PathBuf], other: &Path) -> Result<()> {
    let release = release::build(other, options.architecture)?;
    let linked = licences::linked(&options.architecture.rust_target())?;
    let second = pack(
        options,
        other,
        &release.program,
        &linked,
        &other.join("out"),
    )?;
    for (one, two) in first.iter().zip(&second) {
        let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
        if read(one)? != read(two)? {
            let kept = one.with_extension("again");
            fs::copy(two, &kept)?;
            bail!(
                "{} differs from one that was built at another place: compare it with {}",
                one.display(),
                kept.display()
            );
        }
        println!("reproducible   {}", one.display());
    }
    Ok(())
}
