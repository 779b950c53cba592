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

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::support;

/// What comes from PyPI.
const PYTHON_PACKAGES: [&str; 3] = ["google-auth", "requests", "google-compute-engine"];

/// What comes from Debian 12: three clients, and what cloud-init and the OS Login tools are linked to or import.
const DEBIAN_PACKAGES: [&str; 28] = [
    "cloud-init",
    "google-compute-engine-oslogin",
    "google-guest-agent",
    "gdisk",
    "libcurl4",
    "libjson-c5",
    "libyaml-0-2",
    "python3-attr",
    "python3-blinker",
    "python3-certifi",
    "python3-chardet",
    "python3-charset-normalizer",
    "python3-configobj",
    "python3-idna",
    "python3-jinja2",
    "python3-json-pointer",
    "python3-jsonpatch",
    "python3-jsonschema",
    "python3-jwt",
    "python3-markupsafe",
    "python3-netifaces",
    "python3-oauthlib",
    "python3-pyrsistent",
    "python3-requests",
    "python3-serial",
    "python3-six",
    "python3-urllib3",
    "python3-yaml",
];

/// How long a download may take.
const DEADLINE: Duration = Duration::from_secs(600);

fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("foreign-clients")
}

/// Sees to it that a part is there; a part that is half done is begun anew. Nothing is done inside a sandbox.
fn provide(part: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let directory = place().join(part);
    if support::is_inside() {
        return directory;
    }
    fs::create_dir_all(place()).unwrap();
    let lock = File::create(place().join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let complete = directory.join("complete");
    if !complete.exists() {
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
        }
        make(&directory);
        fs::write(complete, "").unwrap();
    }
    directory
}

fn run(command: &mut Command) {
    let output = support::output_within(command, DEADLINE);
    assert!(
        output.status.success(),
        "{command:?} failed ({}): the registry must be reachable once, or target/foreign-clients kept\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The directory with `python` and the scripts of the Python packages.
pub(crate) fn python() -> PathBuf {
    let environment = provide("venv", |directory| {
        run(Command::new("python3").args(["-m", "venv"]).arg(directory));
        run(Command::new(directory.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(PYTHON_PACKAGES));
    });
    environment.join("bin")
}

/// The unpacked Debian packages.
pub(crate) fn debian() -> PathBuf {
    provide("debian", |directory| {
        let packages = directory.join("packages");
        fs::create_dir_all(&packages).unwrap();
        run(Command::new("apt-get")
            .args(["download", "-o", "APT::Sandbox::User=root"])
            .args(DEBIAN_PACKAGES)
            .current_dir(&packages));
        for package in fs::read_dir(&packages).unwrap() {
            let package = package.unwrap().path();
            run(Command::new("dpkg-deb")
                .arg("-x")
                .arg(package)
                .arg(directory.join("root")));
        }
    })
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
