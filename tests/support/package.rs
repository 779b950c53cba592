//! The Debian package of the program under test, as `cargo xtask package` makes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{PROGRAM, output_within, run};

/// How long making it may take on a loaded machine, the tasks and the man pages included.
const DEADLINE: Duration = Duration::from_secs(600);

/// The package, made for the calling test before it goes onto its machine: that has no time for it.
pub(crate) fn for_test(name: &str) -> PathBuf {
    let target = Path::new(PROGRAM).ancestors().nth(2).unwrap();
    let directory = target.join("test-package").join(name);
    let is_inside = super::machine::is_inside() || super::virtual_machine::is_inside();
    if !is_inside {
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
        }
        make(&directory);
    }
    let files = fs::read_dir(directory.join("packages")).unwrap();
    let mut packages = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|name| name == "deb"));
    packages.next().unwrap()
}

fn make(directory: &Path) {
    let binary = directory.join("gce-guest");
    fs::create_dir_all(directory).unwrap();
    // Unpacked by whatever processor: without its debugging symbols it is a tenth of the size.
    let stripped = binary.to_str().unwrap();
    run(["strip", "--strip-debug", "-o", stripped, PROGRAM]);
    let out = directory.join("packages");
    let mut make = Command::new(std::env::var("CARGO").unwrap());
    make.args(["run", "--quiet", "--offline", "--package", "xtask", "--"])
        .args(["package", "--binary", stripped, "--out"])
        .arg(&out)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo tells a test of its package would be news to the build scripts of dependencies, which are then built again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|beginning| text.starts_with(beginning))
        {
            make.env_remove(&name);
        }
    }
    let made = output_within(&mut make, DEADLINE);
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "{said}");
}

/// The same package with another version, in the directory `place`.
pub(crate) fn with_version(package: &Path, version: &str, place: &Path) -> PathBuf {
    let tree = place.join(version);
    let (from, to) = (package.to_str().unwrap(), tree.to_str().unwrap());
    run(["dpkg-deb", "--raw-extract", from, to]);
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let lines = text.lines().map(|line| match line.split_once(": ") {
        Some(("Version", _)) => format!("Version: {version}\n"),
        _ => format!("{line}\n"),
    });
    fs::write(&control, lines.collect::<String>()).unwrap();
    let other = place.join("newer.deb");
    run(["dpkg-deb", "--build", "-Znone", to, other.to_str().unwrap()]);
    other
}
