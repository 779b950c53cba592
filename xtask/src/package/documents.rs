//! What a package says about itself, below usr/share/doc/gce-guest.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Package, REVISION, stage};
use crate::layout::Layout;

const PLACE: &str = "usr/share/doc/gce-guest";

/// Every document.
///
/// # Errors
/// A file of the repository cannot be read, or a program that is needed fails.
pub(super) fn all(time: u64) -> Result<Layout> {
    let place = Path::new(PLACE);
    let top = crate::top();
    let read = |name: &str| {
        let path = top.join(name);
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    Ok(Layout::from([
        (
            place.join("copyright"),
            stage::file(read("packaging/debian/copyright")?),
        ),
        (
            place.join("changelog.gz"),
            stage::file(stage::gzip(&read("CHANGELOG.md")?)?),
        ),
        (
            place.join("changelog.Debian.gz"),
            stage::file(stage::gzip(debian_changelog(time)?.as_bytes())?),
        ),
    ]))
}

/// The changes of the packaging, in Debian's form. What changes in the program is in the other one.
fn debian_changelog(time: u64) -> Result<String> {
    let output = Command::new("date")
        .args(["--utc", "--rfc-email", &format!("--date=@{time}")])
        .env("LC_ALL", "C")
        .output()
        .context("run date")?;
    Ok(format!(
        "gce-guest ({}-{REVISION}) unstable; urgency=medium\n\n  * Package of this version; see changelog.gz for what changed.\n\n -- {}  {}\n",
        Package::version(),
        Package::maintainer(),
        String::from_utf8_lossy(&output.stdout).trim()
    ))
}
