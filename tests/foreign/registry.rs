//! What comes from PyPI and from Debian, and how it gets into a directory. Shared by the tests and by `cargo xtask bench`, so
//! that there is one place for it (`target/foreign-clients`) and one list.

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

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

/// Runs a command that downloads; how it is run, and for how long at most, is the caller's business.
pub(crate) type Run<'a> = &'a dyn Fn(&mut Command) -> Result<(), String>;

/// The virtual environment with the Python packages below `place`, made where it is missing.
///
/// # Errors
/// Those of the file system, of `run`, and of a registry that cannot be reached.
pub(crate) fn python(place: &Path, run: Run) -> Result<PathBuf, String> {
    provide(place, "venv", |directory| {
        run(Command::new("python3").args(["-m", "venv"]).arg(directory))?;
        run(Command::new(directory.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(PYTHON_PACKAGES))
    })
}

/// The directory with the unpacked Debian packages, in `root`, below `place`; made where it is missing.
///
/// # Errors
/// As for [`python`].
pub(crate) fn debian(place: &Path, run: Run) -> Result<PathBuf, String> {
    provide(place, "debian", |directory| {
        let packages = directory.join("packages");
        fs::create_dir_all(&packages).map_err(|error| told(&packages, &error))?;
        run(Command::new("apt-get")
            .args(["download", "-o", "APT::Sandbox::User=root"])
            .args(DEBIAN_PACKAGES)
            .current_dir(&packages))?;
        let entries = fs::read_dir(&packages).map_err(|error| told(&packages, &error))?;
        for package in entries.flatten() {
            run(Command::new("dpkg-deb")
                .arg("-x")
                .arg(package.path())
                .arg(directory.join("root")))?;
        }
        Ok(())
    })
}

/// Sees to it that a part is there; a part that is half done is begun anew.
fn provide(
    place: &Path,
    part: &str,
    make: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let directory = place.join(part);
    fs::create_dir_all(place).map_err(|error| told(place, &error))?;
    let lock = place.join("lock");
    let lock = File::create(&lock).map_err(|error| told(&lock, &error))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| told(place, &error.into()))?;
    let complete = directory.join("complete");
    if !complete.exists() {
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(|error| told(&directory, &error))?;
        }
        make(&directory)?;
        fs::write(&complete, "").map_err(|error| told(&complete, &error))?;
    }
    Ok(directory)
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
