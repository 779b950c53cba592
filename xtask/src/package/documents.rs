//! What a package says about itself: changes, terms, and the project's documents.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::licences::{self, Crate};
use super::{Package, REVISION, stage};
use crate::layout::{self, Format, Layout};

/// Every document.
///
/// # Errors
/// A file of the repository cannot be read, or a program that is needed fails.
pub(super) fn all(format: Format, time: u64, linked: &[Crate]) -> Result<Layout> {
    let place = Path::new("usr/share/doc/gce-guest");
    let top = crate::top();
    let read = |name: &str| {
        let path = top.join(name);
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    let mut layout = layout::tree(&top.join("docs"), place)?;
    // For those who change the program, and not for those who have it.
    layout.remove(&place.join("structure.md"));
    let notice = licences::notice(linked)?.into_bytes();
    let changes = read("CHANGELOG.md")?;
    let mut add = |path: &str, contents| layout.insert(path.into(), stage::file(contents));
    match format {
        Format::Deb => {
            add(
                "usr/share/lintian/overrides/gce-guest",
                read("packaging/debian/lintian-overrides")?,
            );
            add(
                "usr/share/doc/gce-guest/copyright",
                read("packaging/debian/copyright")?,
            );
            add(
                "usr/share/doc/gce-guest/THIRD-PARTY.gz",
                stage::gzip(&notice)?,
            );
            add(
                "usr/share/doc/gce-guest/changelog.gz",
                stage::gzip(&changes)?,
            );
            add(
                "usr/share/doc/gce-guest/changelog.Debian.gz",
                stage::gzip(debian_changelog(time)?.as_bytes())?,
            );
        }
        Format::Rpm => {
            add("usr/share/licenses/gce-guest/LICENSE", read("LICENSE")?);
            add("usr/share/licenses/gce-guest/THIRD-PARTY", notice);
            add("usr/share/doc/gce-guest/CHANGELOG.md", changes);
        }
    }
    Ok(layout)
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
