//! A whole machine: Debian with systemd as its first process, in a container, with the program and its units installed, and
//! with the metadata server on its real address. For what a sandbox cannot show: units, their order, boot and shutdown.
//!
//! The root directory is made once, by mmdebstrap (a minute), and kept below `target/`; each machine writes to a layer in
//! memory above it. Debian packages: mmdebstrap, systemd-container. Needs root.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::panic::{catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use super::vm::{PATIENCE, Vm};
use super::{PROGRAM, attempt, output_within, poll_until, run};

/// Set inside.
const MARK: &str = "GCE_GUEST_TEST_MACHINE";

/// The name of its control group, inside.
const GROUP: &str = "GCE_GUEST_TEST_GROUP";

/// How long a test may take on its machine, several boots included: on a loaded machine some take minutes.
const DEADLINE: Duration = Duration::from_secs(900);

/// How long one command on it may take.
const COMMAND: Duration = Duration::from_secs(280);

/// Where the machine's root is, inside.
const ROOT: &str = "/run/root";

const SUITE: &str = "bookworm";

/// What a machine's root directory is made of.
#[derive(Clone, Copy)]
pub(crate) struct Image {
    /// The beginning of its directory's name.
    name: &'static str,
    packages: &'static str,
    /// A script for the new root, $1.
    customize: &'static str,
    /// What the first process is called.
    init: &'static str,
}

/// The machine of nearly all tests.
pub(crate) const SYSTEMD: Image = Image {
    name: "systemd",
    packages: concat!(
        "systemd,systemd-sysv,dbus,procps,",
        // Programs that manage a network, and those that let users in.
        "network-manager,netplan.io,ifupdown,isc-dhcp-client,dhcpcd-base,iproute2,iputils-ping,networkd-dispatcher,",
        "openssh-server,sudo"
    ),
    customize: QUIET,
    init: "/lib/systemd/systemd",
};

/// Debian with another first process than systemd.
pub(crate) const SYSVINIT: Image = Image {
    name: "sysvinit",
    packages: "sysvinit-core,sysv-rc,initscripts,procps,iproute2,openssh-server,sudo",
    customize: "true",
    init: "init",
};

/// The same, with OpenRC in place of sysv-rc.
pub(crate) const OPENRC: Image = Image {
    name: "openrc",
    packages: "sysvinit-core,openrc,initscripts,procps,iproute2,openssh-server,sudo",
    ..SYSVINIT
};

/// Debian with runit as the first process.
pub(crate) const RUNIT: Image = Image {
    name: "runit",
    packages: "runit-init,runit,runit-services,initscripts,procps,iproute2,openssh-server,sudo",
    customize: "true",
    init: "runit",
};

/// What packages switch on at boot and the tests switch on themselves, each its own.
const QUIET: &str = "systemctl --quiet --root=\"$1\" disable NetworkManager.service \
                     NetworkManager-wait-online.service networking.service networkd-dispatcher.service ssh.service";

/// A machine that is switched on.
pub(crate) struct Machine {
    container: Child,
    leader: String,
    pub(crate) vm: Vm,
}

/// Runs `body` beside a machine that is about to boot. `prepare` changes its root directory and its metadata before.
/// `name` is the name of the calling test.
pub(crate) fn on_machine(name: &str, prepare: impl FnOnce(&Path, &Vm), body: impl FnOnce(Machine)) {
    on_machine_with(name, &[], prepare, body);
}

/// The same with options of systemd-nspawn, such as those for a network of its own.
pub(crate) fn on_machine_with(
    name: &str,
    options: &[&str],
    prepare: impl FnOnce(&Path, &Vm),
    body: impl FnOnce(Machine),
) {
    let prepare = |root: &Path, vm: &Vm| {
        install(root);
        prepare(root, vm);
    };
    on_machine_of(&SYSTEMD, name, options, prepare, body);
}

/// The same with another image, and with nothing installed.
pub(crate) fn on_machine_of(
    image: &Image,
    name: &str,
    options: &[&str],
    prepare: impl FnOnce(&Path, &Vm),
    body: impl FnOnce(Machine),
) {
    on_machine_for(DEADLINE, image, name, options, prepare, body);
}

/// The same for a test that takes longer, or less long, than others.
pub(crate) fn on_machine_for(
    deadline: Duration,
    image: &Image,
    name: &str,
    options: &[&str],
    prepare: impl FnOnce(&Path, &Vm),
    body: impl FnOnce(Machine),
) {
    if std::env::var_os(MARK).is_none() {
        return run_inside(image, name, deadline);
    }
    assemble();
    let vm = Vm::new();
    prepare(Path::new(ROOT), &vm);
    body(Machine::boot_image(image, vm, options));
}

/// Whether this is the run on the machine.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Runs `body` with the root directory of a machine that is switched off, as whoever makes images has it.
pub(crate) fn on_root(name: &str, body: impl FnOnce(&Path)) {
    if !is_inside() {
        return run_inside(&SYSTEMD, name, DEADLINE);
    }
    assemble();
    body(Path::new(ROOT));
}

/// Runs this test alone in a container's namespaces, with a control group that is removed afterwards.
fn run_inside(image: &Image, name: &str, deadline: Duration) {
    let (root, group) = (root_directory(image), group(name));
    let told = catch_unwind(|| {
        alone_in_namespaces(
            name,
            &[(MARK, root.as_os_str()), (GROUP, group.as_ref())],
            deadline,
        );
    });
    remove_group(name);
    if let Err(failure) = told {
        resume_unwind(failure);
    }
}

/// Runs this test alone in namespaces of its own, without the right to touch the clock or the kernel of the real machine,
/// and with these variables set. The files are those of the real machine.
pub(crate) fn alone_in_namespaces(name: &str, variables: &[(&str, &OsStr)], deadline: Duration) {
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--net",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["--propagation", "private", "--"])
        .args([
            "setpriv",
            "--bounding-set=-sys_time,-sys_module,-sys_rawio",
            "--",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .envs(variables.iter().copied());
    let output = output_within(&mut command, deadline);
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && told.contains("test result: ok. 1 passed"),
        "{name} failed on its machine ({}):\n{told}",
        output.status
    );
    print!("{told}");
}

/// The pristine root directory, made where it is missing: its name says what it was made from.
pub(crate) fn root_directory(image: &Image) -> PathBuf {
    let target = Path::new(PROGRAM)
        .ancestors()
        .nth(2)
        .unwrap()
        .join("test-machine");
    fs::create_dir_all(&target).unwrap();
    let lock = File::create(target.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut recipe = DefaultHasher::new();
    (image.packages, image.customize).hash(&mut recipe);
    let root = target.join(format!("{SUITE}-{}-{:016x}", image.name, recipe.finish()));
    if !root.is_dir() {
        let new = target.join("new");
        run(["rm", "-rf", new.to_str().unwrap()]);
        // It mounts what the packages' scripts need: for itself, and not for all to see.
        run([
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--variant=minbase",
            &format!("--include={}", image.packages),
            &format!("--customize-hook={}", image.customize),
            "--aptopt=APT::Install-Recommends \"false\"",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            SUITE,
            new.to_str().unwrap(),
        ]);
        fs::rename(new, &root).unwrap();
    }
    root
}

/// Puts the machine's root together, and what the container needs around it.
fn assemble() {
    let lower = std::env::var(MARK).unwrap();
    run(["mount", "-t", "tmpfs", "tmpfs", "/run"]);
    for directory in ["upper", "work", "root"] {
        fs::create_dir(Path::new("/run").join(directory)).unwrap();
    }
    let options = format!("lowerdir={lower},upperdir=/run/upper,workdir=/run/work");
    run(["mount", "-t", "overlay", "overlay", "-o", &options, ROOT]);
    run(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"]);
    let group = Path::new("/sys/fs/cgroup").join(std::env::var(GROUP).unwrap());
    fs::create_dir(&group).unwrap();
    fs::write(group.join("cgroup.procs"), "0").unwrap();
    run(["ip", "link", "set", "lo", "up"]);
    run(["ip", "address", "add", "169.254.169.254/32", "dev", "lo"]);
}

/// The name of the control group of a machine. The hierarchy is the real machine's, so it is tidied up afterwards.
fn group(name: &str) -> String {
    format!("gce-guest-test-{}-{name}", std::process::id())
}

/// Removes the control group of a machine that is gone, in whatever way it went.
fn remove_group(name: &str) {
    let find = format!(
        "find /sys/fs/cgroup/{} -depth -type d -exec rmdir {{}} +",
        group(name)
    );
    let script = format!("mount -t cgroup2 cgroup2 /sys/fs/cgroup && {find}");
    let words = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
    ];
    poll_until(PATIENCE, "its control group is empty", || {
        attempt(words).status.success()
    });
}

/// Installs the program and all of its units, enabled by their preset, as the package does it.
pub(crate) fn install_all(root: &Path) {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("units");
    install_program(root);
    let (place, presets) = (
        root.join("usr/lib/systemd/system"),
        root.join("usr/lib/systemd/system-preset"),
    );
    let root = format!("--root={}", root.display());
    for file in fs::read_dir(units).unwrap() {
        let file = file.unwrap().path();
        let is_preset = file.extension().unwrap() == "preset";
        let to = if is_preset { &presets } else { &place };
        fs::create_dir_all(to).unwrap();
        run(["cp", "-Pf", file.to_str().unwrap(), to.to_str().unwrap()]);
        if !is_preset && !file.is_symlink() {
            let name = file.file_name().unwrap().to_str().unwrap();
            run(["systemctl", "--quiet", &root, "enable", name]);
        }
    }
}

/// Installs the program, without its debugging symbols.
pub(crate) fn install_program(root: &Path) {
    let program = root.join("usr/bin/gce-guest");
    run([
        "strip",
        "--strip-debug",
        "-o",
        program.to_str().unwrap(),
        PROGRAM,
    ]);
}

/// Installs the program and its units for scripts, enabled, and nothing else.
pub(crate) fn install(root: &Path) {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("units");
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).unwrap();
    fs::copy(PROGRAM, root.join("usr/bin/gce-guest")).unwrap();
    let legacy = root.join("usr/bin/google_metadata_script_runner");
    std::os::unix::fs::symlink("gce-guest", legacy).unwrap();
    for unit in [
        "google-startup-scripts.service",
        "google-shutdown-scripts.service",
    ] {
        let place = format!("usr/lib/systemd/system/{unit}");
        fs::copy(units.join(unit), root.join(&place)).unwrap();
        std::os::unix::fs::symlink(format!("/{place}"), wants.join(unit)).unwrap();
    }
}

impl Machine {
    /// Where its root directory is, seen from the test.
    pub(crate) const ROOT: &str = ROOT;

    /// Switches the machine on, again after a [`Machine::power_off`].
    pub(crate) fn boot(vm: Vm) -> Self {
        Self::boot_with(vm, &[])
    }

    /// The same with the options that it had before.
    pub(crate) fn boot_with(vm: Vm, options: &[&str]) -> Self {
        Self::boot_image(&SYSTEMD, vm, options)
    }

    /// The same with another first process than systemd.
    pub(crate) fn boot_image(image: &Image, vm: Vm, options: &[&str]) -> Self {
        let console = File::create("/run/console").unwrap();
        // A network of its own comes with its own settings below /proc/sys/net.
        let api = if options.is_empty() { "no" } else { "network" };
        let container = Command::new("systemd-nspawn")
            .args([
                "--quiet",
                "--directory",
                ROOT,
                "--machine=machine",
                "--keep-unit",
                "--register=no",
            ])
            .args([
                "--link-journal=no",
                "--resolv-conf=off",
                "--timezone=off",
                "--console=read-only",
            ])
            .args(["--kill-signal=SIGRTMIN+3", "--boot"])
            .args(options)
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", api)
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .unwrap();
        let parent = container.id().to_string();
        let mut machine = Self {
            container,
            leader: String::new(),
            vm,
        };
        poll_until(PATIENCE, "the machine starts", || {
            let found = attempt(["pgrep", "-P", &parent, "-f", image.init]);
            machine.leader = String::from_utf8(found.stdout).unwrap().trim().to_owned();
            !machine.leader.is_empty()
        });
        let is_systemd = image.init == SYSTEMD.init;
        poll_until(Duration::from_secs(120), "systemd answers", || {
            !is_systemd
                || matches!(
                    machine.state().as_str(),
                    "starting" | "running" | "degraded"
                )
        });
        machine
    }

    /// What systemd says of itself.
    pub(crate) fn state(&self) -> String {
        self.text(["systemctl", "is-system-running"])
    }

    /// Runs a command on the machine.
    pub(crate) fn attempt(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &self.leader,
                "--mount",
                "--uts",
                "--ipc",
                "--net",
                "--pid",
                "--cgroup",
            ])
            .args(["--root", "--wd", "--", "env", "-i", "HOME=/root"])
            .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .args(words.into_iter().map(|word| word.as_ref().to_owned()));
        output_within(&mut command, COMMAND)
    }

    /// What a command on the machine writes to its standard output.
    pub(crate) fn text(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        String::from_utf8_lossy(&self.attempt(words).stdout)
            .trim()
            .to_owned()
    }

    /// Switches the machine off in the orderly way, and waits until it is.
    pub(crate) fn power_off(self) -> Vm {
        self.power_off_by(&["systemctl", "--no-block", "poweroff"])
    }

    /// The same in the words of another first process than systemd.
    pub(crate) fn power_off_by(mut self, words: &[&str]) -> Vm {
        self.attempt(words);
        poll_until(Duration::from_secs(120), "the machine is off", || {
            self.container.try_wait().unwrap().is_some()
        });
        self.vm
    }

    /// What a file of the machine says; empty when there is none. Also after it is switched off, but for /run.
    pub(crate) fn contents(path: &str) -> String {
        super::vm::contents(&format!("{ROOT}{path}"))
    }

    /// What the machine wrote to its console.
    pub(crate) fn console() -> String {
        super::vm::contents("/run/console")
    }
}
