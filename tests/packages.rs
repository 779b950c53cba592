//! The packages as apt and dnf install them, on the root directory of a Debian machine and on one that runs, where
//! Debian's own package of the Go agent has been at work before.
//!
//! Debian packages: mmdebstrap, systemd-container, openssh-client, rpm, dnf.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

#[path = "packages/rpm.rs"]
mod rpm;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use gce_guest::emulator::{Fault, Kind};
use support::machine::{self, Machine, SYSTEMD, on_machine_of, on_root};
use support::vm::{KEY, PATIENCE, entry};
use support::{PROGRAM, output_within, poll_until, run, text_of};

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
    let root = machine::root_directory(&SYSTEMD);
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

const SCRIPTS: [&str; 2] = [
    "google-startup-scripts.service",
    "google-shutdown-scripts.service",
];

const LEGACY: [&str; 11] = [
    "gce-nic-naming",
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
        for unit in SCRIPTS {
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

/// Whether a path may change when the package comes: it is the package's or its predecessor's, it says what is enabled, or it
/// is the agent's own state.
fn may_change(machine: &Machine, path: &str) -> bool {
    const OWN: [&str; 5] = [
        "/etc/systemd/system/",
        "/etc/rc",
        "/var/lib/systemd/",
        "/var/lib/gce-guest",
        "/var/lib/google/google_users.json",
    ];
    let owner = machine.text(["sh", "-c", &format!("dpkg-query --search '{path}'")]);
    let directory = Path::new(Machine::ROOT)
        .join(path.trim_start_matches('/'))
        .is_dir();
    directory
        || OWN.iter().any(|own| path.starts_with(own))
        || ["gce-guest:", "google-guest-agent:"].iter().any(|name| owner.starts_with(name))
        // Of the predecessor, and gone with it.
        || path.starts_with("/usr/share/doc/google-guest-agent")
        || path.starts_with("/usr/lib/systemd/system/google-")
        || path.starts_with("/usr/lib/systemd/system-preset/90-google-guest-agent")
        || path.starts_with("/usr/share/lintian")
}

/// Puts Debian's agent onto the machine, with a setting of the owner's.
fn prepare_predecessor(root: &Path, vm: &support::vm::Vm) {
    let here = root.to_str().unwrap();
    run([
        "dpkg",
        "--root",
        here,
        "--install",
        predecessor().to_str().unwrap(),
    ]);
    let configuration = root.join("etc/default/instance_configs.cfg");
    let text = fs::read_to_string(&configuration).unwrap();
    fs::write(
        &configuration,
        format!("{text}\n[MetadataScripts]\nrun_dir = /var/tmp\n"),
    )
    .unwrap();
    fs::copy(package("deb"), root.join("root/gce-guest.deb")).unwrap();
    vm.set_keys(&[entry("alice")]);
    vm.set(
        "instance/attributes/startup-script",
        "echo begins >> /var/startup\nuntil [ -e /var/go ]; do sleep 0.1; done\necho ends >> /var/startup",
    );
    vm.set(
        "instance/attributes/shutdown-script",
        "echo ran >> /var/shutdown",
    );
}

fn succeeds(machine: &Machine, words: &[&str]) -> String {
    let output = machine.attempt([&["env", "DEBIAN_FRONTEND=noninteractive"][..], words].concat());
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{words:?}: {said}");
    said
}

#[test]
fn debians_agent_is_replaced_without_a_change_to_what_it_made() {
    build_packages();
    fetch_predecessor();
    on_machine_of(
        &SYSTEMD,
        "debians_agent_is_replaced_without_a_change_to_what_it_made",
        &[],
        prepare_predecessor,
        |machine| {
            let home = "/home/alice/.ssh/authorized_keys";
            poll_until(
                Duration::from_secs(90),
                "the predecessor has made alice",
                || {
                    Machine::contents(home).contains(KEY)
                        && Machine::contents("/var/lib/google/google_users").contains("alice")
                        && Machine::contents("/var/startup") == "begins\n"
                },
            );
            let (root, before) = (Path::new(Machine::ROOT), census(Path::new(Machine::ROOT)));
            let install = [&apt("install")[..], &["/root/gce-guest.deb"]].concat();
            succeeds(&machine, &install);
            let changed = differences(&before, &census(root));
            assert!(changed.contains("/usr/bin/gce-guest"));
            let foreign: Vec<&String> = changed
                .iter()
                .filter(|path| !may_change(&machine, path))
                .collect();
            assert!(foreign.is_empty(), "{foreign:?}");
            look_at_the_takeover(&machine);
            // What Debian's package left of itself goes without harm to ours.
            succeeds(
                &machine,
                &[&apt("purge")[..], &["google-guest-agent"]].concat(),
            );
            for unit in SCRIPTS {
                assert_eq!(machine.text(["systemctl", "is-enabled", unit]), "enabled");
            }
            come_and_go(&machine);
            assert!(
                Machine::contents(home).contains(KEY),
                "nobody is locked out"
            );
            assert_eq!(
                Machine::contents("/var/shutdown"),
                "",
                "no shutdown script for a package"
            );
            assert_eq!(
                Machine::contents("/var/startup"),
                "begins\n",
                "it goes on, once"
            );
            fs::write(root.join("var/go"), "").unwrap();
            poll_until(PATIENCE, "the script ends as it would have", || {
                Machine::contents("/var/startup") == "begins\nends\n"
            });
        },
    );
}

/// The predecessor is gone, and there is nothing to change.
fn look_at_the_takeover(machine: &Machine) {
    let program =
        "readlink /proc/$(systemctl show --property=MainPID --value google-guest-agent)/exe";
    poll_until(PATIENCE, "our agent runs in the place of theirs", || {
        machine.text(["sh", "-c", program]) == "/usr/bin/gce-guest"
    });
    let status = machine.text([
        "dpkg-query",
        "--show",
        "--showformat=${Status}",
        "google-guest-agent",
    ]);
    assert_eq!(status, "deinstall ok config-files");
    let plan = machine.attempt(["gce-guest", "plan", "--json", "--only", "accounts"]);
    let said = String::from_utf8_lossy(&plan.stdout).into_owned();
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    // The agent's own record beside the predecessor's ledger, as long as the agent has not made a pass.
    let own = "record it in the ledger of managed users";
    for change in plan["managers"][0]["changes"].as_array().unwrap() {
        assert_eq!(change["what"], own, "nothing else is to do: {said}");
    }
}

/// An upgrade, a removal, an installation after that, and the way back to the predecessor.
fn come_and_go(machine: &Machine) {
    fs::copy(later_package(), "/run/root/root/later.deb").unwrap();
    fs::copy(predecessor(), "/run/root/root/predecessor.deb").unwrap();
    let install = |file| succeeds(machine, &[&apt("install")[..], &[file]].concat());
    install("/root/later.deb");
    succeeds(machine, &[&apt("remove")[..], &["gce-guest"]].concat());
    assert!(!Path::new("/run/root/usr/bin/gce-guest").exists());
    install("/root/later.deb");
    let active = machine.text(["systemctl", "is-active", "google-guest-agent"]);
    assert_eq!(active, "active", "what was removed is started again");
    install("/root/predecessor.deb");
    succeeds(machine, &[&apt("purge")[..], &["gce-guest"]].concat());
    assert!(!Path::new("/run/root/var/lib/gce-guest").exists());
    for unit in SCRIPTS.into_iter().chain(["google-guest-agent.service"]) {
        assert_eq!(machine.text(["systemctl", "is-enabled", unit]), "enabled");
    }
}

/// The host keys, private and public.
fn host_keys() -> String {
    text_of(["sh", "-c", "cat /run/root/etc/ssh/ssh_host_*"])
}

/// A machine without any guest environment, with the package at hand.
fn prepare_nothing(root: &Path, _: &support::vm::Vm) {
    fs::copy(package("deb"), root.join("root/gce-guest.deb")).unwrap();
    assert!(!root.join("etc/google_instance_id").exists());
}

fn install(machine: &Machine) {
    let begun = Instant::now();
    succeeds(
        machine,
        &[&apt("install")[..], &["/root/gce-guest.deb"]].concat(),
    );
    println!("installed after {:?}", begun.elapsed());
    let active = machine.text(["systemctl", "is-active", "google-guest-agent"]);
    assert_eq!(active, "active");
}

#[test]
fn a_machine_without_a_guest_environment_keeps_its_host_keys_at_the_next_boot() {
    build_packages();
    on_machine_of(
        &SYSTEMD,
        "a_machine_without_a_guest_environment_keeps_its_host_keys_at_the_next_boot",
        &[],
        prepare_nothing,
        |machine| {
            let before = host_keys();
            assert!(before.contains("PRIVATE KEY"));
            install(&machine);
            assert_eq!(host_keys(), before);
            let vm = machine.power_off();
            let machine = Machine::boot(vm);
            let result = [
                "systemctl",
                "show",
                "--value",
                "--property=ActiveState",
                "google-instance-setup",
            ];
            poll_until(Duration::from_secs(60), "set-up of the next boot", || {
                machine.text(result) == "active"
            });
            let said = machine.text(["journalctl", "--no-pager", "-b", "-t", "instance-setup"]);
            assert!(said.contains("Step host-keys unchanged"), "{said}");
            assert_eq!(host_keys(), before);
        },
    );
}

#[test]
fn a_machine_without_a_metadata_server_has_the_package_soon() {
    build_packages();
    on_machine_of(
        &SYSTEMD,
        "a_machine_without_a_metadata_server_has_the_package_soon",
        &[],
        |root, vm| {
            prepare_nothing(root, vm);
            vm.live.inject(Fault::always(Kind::Hang));
        },
        |machine| {
            let before = host_keys();
            // Without a limit it would wait for an answer until the deadline of the test.
            install(&machine);
            assert_eq!(machine.text(["pgrep", "--full", "gce-guest setup"]), "");
            assert_eq!(host_keys(), before);
            assert_eq!(Machine::contents("/etc/google_instance_id"), "");
        },
    );
}
