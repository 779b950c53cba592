//! The RPM package, by rpmbuild.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{PREDECESSORS, Package, REVISION, fill_in, require, stage};
use crate::commands;
use crate::layout::{What, is_configuration};

/// Later than every version of a predecessor: these are dates, and some have the epoch 1.
const EVERY_VERSION: &str = "2:0";

/// Builds the package into `out`, and returns where it is.
pub(super) fn build(package: &Package, scratch: &Path, out: &Path) -> Result<PathBuf> {
    require("rpmbuild", "rpm on Debian, rpm-build elsewhere")?;
    let (root, work) = (scratch.join("rpm"), scratch.join("rpmbuild"));
    stage::write(&package.layout, &root)?;
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    }
    fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    let specification = work.join("gce-guest.spec");
    fs::write(&specification, specify(package, &root)?)
        .with_context(|| format!("write {}", specification.display()))?;
    let architecture = package.architecture.rpm();
    let mut command = Command::new("rpmbuild");
    command.args(["-bb", "--quiet", "--target", architecture]);
    for (name, value) in macros(&work, package.trial) {
        command.args(["--define", &format!("{name} {value}")]);
    }
    commands::succeed(
        command
            .arg(&specification)
            .env("SOURCE_DATE_EPOCH", package.time.to_string())
            .env("TZ", "UTC"),
    )?;
    let name = format!(
        "gce-guest-{}-{REVISION}.{architecture}.rpm",
        Package::version()
    );
    let path = out.join(&name);
    fs::copy(work.join("out").join(architecture).join(&name), &path)
        .with_context(|| format!("copy {name} to {}", out.display()))?;
    Ok(path)
}

/// What makes rpmbuild take the files as they are, and say nothing of this machine in the package.
fn macros(work: &Path, trial: bool) -> [(&'static str, String); 11] {
    let payload = if trial { "w1.gzdio" } else { "w9.xzdio" };
    [
        ("_topdir", work.display().to_string()),
        ("_rpmdir", work.join("out").display().to_string()),
        ("_buildhost", "localhost".to_owned()),
        ("_binary_payload", payload.to_owned()),
        ("use_source_date_epoch_as_buildtime", "1".to_owned()),
        ("clamp_mtime_to_source_date_epoch", "1".to_owned()),
        ("source_date_epoch_from_changelog", "0".to_owned()),
        ("_build_id_links", "none".to_owned()),
        ("debug_package", "%{nil}".to_owned()),
        ("__os_install_post", "%{nil}".to_owned()),
        ("_unpackaged_files_terminate_build", "1".to_owned()),
    ]
}

fn specify(package: &Package, root: &Path) -> Result<String> {
    let mut files = String::new();
    for (path, what) in &package.layout {
        let kind = if is_configuration(path) {
            "%config(noreplace) "
        } else if path.starts_with("usr/share/licenses") {
            "%license "
        } else if path.starts_with("usr/share/doc") || path.starts_with("usr/share/man") {
            "%doc "
        } else {
            ""
        };
        if let What::File { .. } = what {
            write!(files, "%attr({:04o},root,root) ", what.mode())?;
        }
        writeln!(files, "{kind}/{}", path.display())?;
    }
    for own in ["doc", "licenses"] {
        writeln!(files, "%dir /usr/share/{own}/gce-guest")?;
    }
    let mut predecessors = String::new();
    for name in PREDECESSORS {
        writeln!(
            predecessors,
            "Obsoletes: {name} < {EVERY_VERSION}\nConflicts: {name}"
        )?;
    }
    for name in super::PROVIDED {
        writeln!(predecessors, "Provides: {name}")?;
    }
    fill_in(
        "rpm/gce-guest.spec",
        &[
            ("VERSION", Package::version()),
            ("RELEASE", REVISION),
            ("LICENCES", &package.licences),
            ("PREDECESSORS", predecessors.trim_end()),
            ("STAGE", &root.display().to_string()),
            ("FILES", files.trim_end()),
            ("UNITS", &package.units().join(" ")),
        ],
    )
}
