//! The Debian package, by dpkg-deb.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{PREDECESSORS, Package, REVISION, fill_in, require, stage};
use crate::commands;
use crate::layout::{What, is_configuration};

/// The scripts of the maintainer, in packaging/debian.
const SCRIPTS: [&str; 4] = ["preinst", "postinst", "prerm", "postrm"];

/// Builds the package into `out`, and returns where it is.
pub(super) fn build(package: &Package, scratch: &Path, out: &Path) -> Result<PathBuf> {
    require("dpkg-deb", "dpkg")?;
    let root = scratch.join("deb");
    stage::write(&package.layout, &root)?;
    write_control(package, &root)?;
    let name = format!(
        "gce-guest_{}-{REVISION}_{}.deb",
        Package::version(),
        package.architecture.debian()
    );
    let path = out.join(name);
    commands::succeed(
        Command::new("dpkg-deb")
            .arg("--root-owner-group")
            .arg(if package.trial { "-Zgzip" } else { "-Zxz" })
            .arg(if package.trial { "-z1" } else { "-z9" })
            .arg("--build")
            .arg(&root)
            .arg(&path)
            // Times later than this one become this one; and with more threads xz gives other bytes.
            .env("SOURCE_DATE_EPOCH", package.time.to_string())
            .env("DPKG_DEB_THREADS_MAX", "1"),
    )?;
    Ok(path)
}

fn write_control(package: &Package, root: &Path) -> Result<()> {
    let directory = root.join("DEBIAN");
    let checksums = checksums(package, root)?;
    fs::create_dir(&directory).with_context(|| format!("create {}", directory.display()))?;
    fs::set_permissions(&directory, Permissions::from_mode(0o755))?;
    let write = |name: &str, contents: &str, mode: u32| -> Result<()> {
        let path = directory.join(name);
        fs::write(&path, contents).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok(())
    };
    write("control", &control(package)?, 0o644)?;
    write("md5sums", &checksums, 0o644)?;
    let configuration: String = package
        .layout
        .keys()
        .filter(|path| is_configuration(path))
        .map(|path| format!("/{}\n", path.display()))
        .collect();
    write("conffiles", &configuration, 0o644)?;
    write("triggers", &fill_in("debian/triggers", &[])?, 0o644)?;
    let (units, scripts) = (package.units().join(" "), package.init_scripts().join(" "));
    for script in SCRIPTS {
        let values = [("UNITS", units.as_str()), ("INIT_SCRIPTS", &scripts)];
        write(
            script,
            &fill_in(&format!("debian/{script}"), &values)?,
            0o755,
        )?;
    }
    Ok(())
}

fn control(package: &Package) -> Result<String> {
    let version = format!("{}-{REVISION}", Package::version());
    let bytes: usize = package
        .layout
        .values()
        .map(|what| match what {
            What::File { contents, .. } => contents.len().next_multiple_of(1024),
            What::Link(_) => 1024,
        })
        .sum();
    fill_in(
        "debian/control",
        &[
            ("VERSION", &version),
            ("ARCHITECTURE", package.architecture.debian()),
            ("MAINTAINER", &Package::maintainer()),
            ("SIZE", &(bytes / 1024).to_string()),
            ("GLIBC", &package.c_library),
            ("PREDECESSORS", &PREDECESSORS.join(", ")),
        ],
    )
}

/// What `dpkg --verify` compares with: every file but configuration.
fn checksums(package: &Package, root: &Path) -> Result<String> {
    let files = package
        .layout
        .iter()
        .filter(|(path, what)| matches!(what, What::File { .. }) && !is_configuration(path))
        .map(|(path, _)| path);
    let output = Command::new("md5sum")
        .args(files)
        .current_dir(root)
        .output()
        .context("run md5sum")?;
    if !output.status.success() {
        bail!("md5sum failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
