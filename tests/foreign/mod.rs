//! Clients of the metadata server that nobody here wrote, put into `target/foreign-clients` once.
//!
//! From PyPI, in a virtual environment: `google-auth` with `requests`, and `google-compute-engine`, the predecessor in
//! Python. From Debian, unpacked and never installed on the machine: `cloud-init`, `google-guest-agent`,
//! `google-compute-engine-oslogin`, and what they need. Inside a sandbox the unpacked packages are laid over its root.
//!
//! Needed on the machine: `python3` with `venv`, `apt-get` (Debian 12), and the registries once.
#![allow(dead_code, reason = "each test file uses its part of what is here")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod registry;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support;

/// How long a download may take.
const DEADLINE: Duration = Duration::from_secs(600);

fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("foreign-clients")
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = support::output_within(command, DEADLINE);
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?} failed ({}): the registry must be reachable once, or target/foreign-clients kept\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// A part, provided outside the sandbox only.
fn part(name: &str, provide: impl FnOnce() -> Result<PathBuf, String>) -> PathBuf {
    if support::is_inside() {
        place().join(name)
    } else {
        provide().unwrap()
    }
}

/// The directory with `python` and the scripts of the Python packages.
pub(crate) fn python() -> PathBuf {
    part("venv", || registry::python(&place(), &run)).join("bin")
}

/// The unpacked Debian packages.
pub(crate) fn debian() -> PathBuf {
    part("debian", || registry::debian(&place(), &run))
}

/// Lays the unpacked packages over the root of the sandbox that this is.
pub(crate) fn lay_over(debian: &Path) {
    assert!(support::is_inside(), "only in a sandbox");
    for name in ["etc", "lib", "sbin", "bin", "usr", "var"] {
        let from = debian.join("root").join(name);
        if from.is_dir() {
            // The dot: into the directory that is there, also where it is a link.
            support::run([
                "cp",
                "-a",
                from.join(".").to_str().unwrap(),
                &format!("/{name}/"),
            ]);
        }
    }
}
