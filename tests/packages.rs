//! The packages as dpkg, apt and rpm install them, on the root directory of a Debian machine and on one that runs, where
//! Debian's own package of the Go agent has been at work before.
//!
//! Debian packages: mmdebstrap, systemd-container, openssh-client, rpm.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::machine::{self, Machine, on_bare_machine, on_root};
use support::vm::{KEY, PATIENCE, contents, entry};
use support::{PROGRAM, attempt, output_within, poll_until, run, text_of};

/// How long a package may take to be built, where dependencies of the tasks have to be built before.
const BUILD: Duration = Duration::from_secs(900);

/// Where the tests have their packages.
fn directory() -> PathBuf {
    Path::new(PROGRAM)
        .ancestors()
        .nth(2)
        .unwrap()
        .join("test-packages")
}

/// Holds the others up while one builds.
fn locked<T>(name: &str, body: impl FnOnce(&Path) -> T) -> T {
    let directory = directory();
    fs::create_dir_all(&directory).unwrap();
    let lock = File::create(directory.join(format!("{name}.lock"))).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    body(&directory)
}

/// Packages of the program under test, built as `cargo xtask package` builds them, once for each build of the program.
///
/// Called outside by every test that uses one: inside there is no network, and cargo's files are not ours to touch.
fn build_packages() {
    if machine::is_inside() {
        return;
    }
    locked("build", |directory| {
        let done = directory.join("done");
        let stamp = format!("{:?}", newest());
        if fs::read_to_string(&done).is_ok_and(|last| last == stamp) {
            return;
        }
        let mut command = Command::new(env!("CARGO"));
        command
            .args(["run", "--quiet", "--package", "xtask", "--", "package"])
            .args(["--binary", PROGRAM, "--out"])
            .arg(directory)
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = output_within(&mut command, BUILD);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "cargo xtask package: {said}");
        fs::write(done, stamp).unwrap();
    });
}

/// When what goes into the packages was last changed.
fn newest() -> std::time::SystemTime {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open = ["packaging", "units", "docs", "xtask/src"]
        .map(|directory| top.join(directory))
        .to_vec();
    let mut newest = Path::new(PROGRAM).metadata().unwrap().modified().unwrap();
    while let Some(path) = open.pop() {
        if path.is_dir() && !path.is_symlink() {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let changed = path.symlink_metadata().unwrap().modified().unwrap();
        newest = newest.max(changed);
    }
    newest
}

/// The package of a format.
fn package(extension: &str) -> PathBuf {
    let of_format = |path: &PathBuf| path.extension().is_some_and(|found| found == extension);
    let mut found = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(of_format)
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("gce-guest")
        });
    let package = found.next().unwrap();
    assert_eq!(found.next(), None, "one package of each format");
    package
}

/// The same Debian package of a later version.
fn later_package() -> PathBuf {
    let tree = Path::new("/run/later");
    run([
        "dpkg-deb",
        "--raw-extract",
        package("deb").to_str().unwrap(),
        "/run/later",
    ]);
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let version = text
        .lines()
        .find(|line| line.starts_with("Version: "))
        .unwrap();
    fs::write(&control, text.replace(version, &format!("{version}.1"))).unwrap();
    let later = Path::new("/run/later.deb");
    run([
        "dpkg-deb",
        "-Znone",
        "--build",
        "/run/later",
        "/run/later.deb",
    ]);
    later.to_path_buf()
}

/// Debian's package of the Go agent, from Debian's mirror, once.
fn fetch_predecessor() {
    if machine::is_inside() {
        return;
    }
    let root = machine::root_directory();
    locked("predecessor", |directory| {
        if directory.join("predecessor.deb").is_file() {
            return;
        }
        let state = directory.join("apt");
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(state.join(part)).unwrap();
        }
        let option = |name: &str, value: &Path| format!("-oDir::{name}={}", value.display());
        let options = [
            option("Etc", &root.join("etc/apt")),
            option("State", &state.join("state")),
            option("State::status", &root.join("var/lib/dpkg/status")),
            option("Cache", &state.join("cache")),
            "-oAPT::Sandbox::User=root".to_owned(),
            "-oAcquire::Languages=none".to_owned(),
        ];
        for words in [&["update"][..], &["download", "google-guest-agent"]] {
            let mut command = Command::new("apt-get");
            command.args(&options).args(words).current_dir(&state);
            let output = output_within(&mut command, Duration::from_secs(300));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "apt-get {words:?}: {said}");
        }
        let found = fs::read_dir(&state)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
        fs::rename(found.unwrap(), directory.join("predecessor.deb")).unwrap();
    });
}

fn predecessor() -> PathBuf {
    directory().join("predecessor.deb")
}

/// Every file below `root` and what is in it; where a link leads to, whose it is and its mode. Without what the package
/// managers and the machine itself write all the time.
fn census(root: &Path) -> BTreeMap<String, String> {
    const PASSING: [&str; 9] = [
        "/var/lib/dpkg",
        "/var/lib/apt",
        "/var/cache",
        "/var/log",
        "/run",
        "/proc",
        "/sys",
        "/dev",
        "/tmp",
    ];
    let find = format!(
        "cd {} && find . -xdev -printf '%p\\t%y %m %U:%G %l\\n'; find . -xdev -type f -exec sha256sum {{}} +",
        root.display()
    );
    let mut census: BTreeMap<String, String> = BTreeMap::new();
    for line in text_of(["sh", "-c", &find]).lines() {
        let (path, told) = match line.split_once('\t') {
            Some((path, told)) => (path, told),
            None => {
                let (sum, path) = line.split_once("  ").unwrap();
                (path, sum)
            }
        };
        let path = path.trim_start_matches('.');
        if !PASSING.iter().any(|passing| path.starts_with(passing)) {
            let entry = census.entry(path.to_owned()).or_default();
            entry.push_str(told);
        }
    }
    census
}

/// What differs between two.
fn differences(
    one: &BTreeMap<String, String>,
    other: &BTreeMap<String, String>,
) -> BTreeSet<String> {
    let paths: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    paths
        .into_iter()
        .filter(|path| one.get(*path) != other.get(*path))
        .cloned()
        .collect()
}

/// Runs a command in the root directory of a machine that is switched off.
fn in_root(root: &Path, words: &[&str]) -> String {
    let mut command = Command::new("chroot");
    command
        .arg(root)
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = output_within(&mut command, Duration::from_secs(240));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{words:?}: {said}");
    said
}

fn apt(verb: &str) -> Vec<&str> {
    vec![
        "apt-get",
        "--yes",
        "--quiet=2",
        "-oAPT::Sandbox::User=root",
        verb,
    ]
}

const LEGACY: [&str; 10] = [
    "google_accounts_daemon",
    "google_clock_skew_daemon",
    "google_guest_agent",
    "google_instance_setup",
    "google_metadata_script_runner",
    "google_network_daemon",
    "google_nvme_id",
    "google_optimize_local_ssd",
    "google_set_hostname",
    "google_set_multiqueue",
];

#[test]
fn a_purge_leaves_an_image_as_it_was() {
    build_packages();
    on_root("a_purge_leaves_an_image_as_it_was", |root| {
        let before = census(root);
        fs::copy(package("deb"), root.join("tmp/gce-guest.deb")).unwrap();
        in_root(
            root,
            &[&apt("install")[..], &["/tmp/gce-guest.deb"]].concat(),
        );
        for name in LEGACY {
            let link = root.join("usr/bin").join(name);
            assert_eq!(fs::read_link(link).unwrap(), Path::new("gce-guest"));
        }
        let installed = census(root);
        let added = differences(&before, &installed);
        assert!(added.contains("/usr/bin/gce-guest"));
        for path in added.iter().filter(|path| path.starts_with("/etc")) {
            let whose = installed.get(path).map_or("", String::as_str);
            assert!(
                !before.contains_key(path) || whose.starts_with("d "),
                "{path} was there"
            );
        }
        for (path, told) in &installed {
            if added.contains(path) {
                assert!(told.contains(" 0:0 "), "{path} is root's: {told}");
            }
        }
        // The root directory was made without documents.
        let missing =
            |line: &&str| line.contains("/usr/share/doc/") || line.contains("/usr/share/man/");
        let verified = in_root(root, &["dpkg", "--verify", "gce-guest"]);
        let wrong: Vec<&str> = verified.lines().filter(|line| !missing(line)).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        let enabled = root.join("etc/systemd/system/multi-user.target.wants");
        for unit in [
            "google-startup-scripts.service",
            "google-shutdown-scripts.service",
        ] {
            assert!(enabled.join(unit).is_symlink(), "{unit}");
        }
        // An image without a metadata server: nobody asked it, and no state says so.
        assert!(!root.join("var/lib/gce-guest").exists());
        in_root(root, &[&apt("remove")[..], &["gce-guest"]].concat());
        assert!(!root.join("usr/bin/gce-guest").exists());
        assert!(
            root.join("etc/sysctl.d/60-gce-network-security.conf")
                .exists()
        );
        in_root(root, &[&apt("purge")[..], &["gce-guest"]].concat());
        let after = differences(&before, &census(root));
        let caches = ["/etc/ld.so.cache"];
        let left: Vec<&String> = after
            .iter()
            .filter(|path| !caches.contains(&path.as_str()))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    });
}
