//! A virtual machine: Debian with a kernel of its own, in QEMU. For what namespaces cannot show: the clock and the RTC,
//! interrupts, queues, disks. The metadata server is on its real address, and the machine's DMI says Google.
//!
//! The processor is emulated (TCG), so nothing but the package is needed of the real machine; a boot takes ten seconds, on
//! a busy machine half a minute. So one boot serves many assertions, and only one virtual machine runs at a time. The image
//! is made once, from Debian's packages, and kept below `target/`; every boot starts from it unchanged.
//!
//! Commands go to a shell in the guest by a virtio port and not by the network: it is there early, it knows no time-outs
//! when the clock jumps, and needs no keys. Debian packages: mmdebstrap, qemu-system-x86, cpio, e2fsprogs. Needs root.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::machine::alone_in_namespaces;
use super::vm::{PATIENCE, Vm, contents};
use super::{PROGRAM, output_within, poll_until, run};

/// Set inside: the directory of the image.
const MARK: &str = "GCE_GUEST_TEST_VIRTUAL_MACHINE";

/// How long a test may take on its virtual machine, the boot included.
const DEADLINE: Duration = Duration::from_secs(1800);

/// How long the boot may take until the guest's shell answers.
const BOOT: Duration = Duration::from_secs(300);

/// How long one command in the guest may take.
const COMMAND: Duration = Duration::from_secs(180);

const SUITE: &str = "bookworm";

/// What the guest is made of. `busybox-static` and `kmod` serve the first stage of the boot too.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,udev,kmod,busybox-static,procps,iproute2,ethtool,tzdata,openssh-server,sudo,\
                        util-linux-extra,systemd-timesyncd,libcap2,libbsd0,libssl3,libedit2,libseccomp2,libnettle8,libgnutls30";

/// What is unpacked beside them. Debian's time services exclude each other, and the tests start one at a time.
const UNPACKED: [&str; 2] = ["chrony", "ntpsec"];

/// What the first stage of the boot loads.
const MODULES: &str =
    "virtio_pci virtio_blk virtio_net virtio_scsi sd_mod virtio_rng virtio_console";

/// Makes the image in the directory $1 of the packages $2 and the unpacked packages $3, with the modules $4.
const BUILD: &str = include_str!("virtual_machine/build.sh");

/// The first process of the first stage of the boot.
const INIT: &str = include_str!("virtual_machine/init.sh");

/// The shell that the tests talk to.
const SHELL: &str = include_str!("virtual_machine/shell.sh");

const KERNEL_ARGUMENTS: &str = "console=ttyS0 net.ifnames=0 panic=-1 mitigations=off nokaslr no_timer_check audit=0 \
                                apparmor=0 random.trust_cpu=on cryptomgr.notests quiet loglevel=4 systemd.show_status=1";

/// What a virtual machine is made of, before it is switched on.
pub(crate) struct Hardware {
    /// More arguments for QEMU.
    pub(crate) arguments: Vec<String>,
    /// More arguments for the kernel.
    pub(crate) kernel_arguments: Vec<String>,
    /// What lies over the image's root directory before systemd starts; holds the program already.
    pub(crate) overlay: PathBuf,
    cards: usize,
}

/// A virtual machine that is switched on.
pub(crate) struct VirtualMachine {
    qemu: Child,
    shell: BufReader<UnixStream>,
    monitor: BufReader<UnixStream>,
    commands: u32,
    pub(crate) vm: Vm,
}

/// What came of a command in the guest.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `body` beside a virtual machine whose guest has begun to boot. `prepare` changes its hardware, its files and its
/// metadata before. `name` is the name of the calling test.
pub(crate) fn on_virtual_machine(
    name: &str,
    prepare: impl FnOnce(&mut Hardware, &Vm),
    body: impl FnOnce(VirtualMachine),
) {
    let Some(image) = std::env::var_os(MARK) else {
        let directory = Path::new(PROGRAM)
            .ancestors()
            .nth(2)
            .unwrap()
            .join("test-virtual-machine");
        fs::create_dir_all(&directory).unwrap();
        // One at a time, also among test programs: two would each take twice as long, and hold up everything else.
        let lock = File::create(directory.join("lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let image = image(&directory);
        return alone_in_namespaces(name, &[(MARK, image.as_os_str())], DEADLINE);
    };
    run(["mount", "-t", "tmpfs", "tmpfs", "/run"]);
    run(["ip", "link", "set", "lo", "up"]);
    run(["ip", "address", "add", "169.254.169.254/32", "dev", "lo"]);
    let vm = Vm::new();
    let mut hardware = Hardware::new();
    prepare(&mut hardware, &vm);
    body(VirtualMachine::boot(Path::new(&image), &hardware, vm));
}

/// Whether this is the run beside the virtual machine.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(MARK).is_some()
}

/// The image, made where it is missing: its name says what it was made from.
fn image(directory: &Path) -> PathBuf {
    let mut recipe = DefaultHasher::new();
    (SUITE, PACKAGES, UNPACKED, MODULES, BUILD, INIT, SHELL).hash(&mut recipe);
    let image = directory.join(format!("{SUITE}-{:016x}", recipe.finish()));
    if !image.is_dir() {
        let new = directory.join("new");
        run(["rm", "-rf", new.to_str().unwrap()]);
        fs::create_dir(&new).unwrap();
        for (name, script) in [("build", BUILD), ("init", INIT), ("shell", SHELL)] {
            fs::write(new.join(name), script).unwrap();
        }
        let mut build = Command::new("unshare");
        build
            .args(["--mount", "--propagation", "private", "sh"])
            .args([new.join("build"), new.clone()])
            .args([SUITE, PACKAGES, &UNPACKED.join(" "), MODULES]);
        let output = output_within(&mut build, DEADLINE);
        assert!(
            output.status.success(),
            "cannot make the image of the virtual machine:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::rename(new, &image).unwrap();
    }
    image
}

impl Hardware {
    fn new() -> Self {
        let overlay = PathBuf::from("/run/overlay/payload");
        fs::create_dir_all(overlay.join("usr/bin")).unwrap();
        // Without its debugging symbols the program is a tenth of the size, and it is unpacked by an emulated processor.
        let installed = overlay.join("usr/bin/gce-guest");
        run([
            "strip",
            "--strip-debug",
            "-o",
            installed.to_str().unwrap(),
            PROGRAM,
        ]);
        Self {
            arguments: Vec::new(),
            kernel_arguments: Vec::new(),
            overlay,
            cards: 0,
        }
    }

    /// Puts a file into the guest.
    pub(crate) fn file(&mut self, path: &str, mode: u32, contents: &str) {
        let path = self.overlay.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A network card with so many pairs of queues, beside eth0: eth1 and so on. It is connected to nothing but an interface
    /// beside the virtual machine, whose name is returned.
    pub(crate) fn network_card(&mut self, queues: usize) -> String {
        self.cards += 1;
        let name = format!("card{}", self.cards);
        // A device for several queues refuses to be one for a single queue.
        let many = if queues > 1 { " multi_queue" } else { "" };
        let words = format!("ip tuntap add {name} mode tap{many}");
        run(words.split(' '));
        run(["ip", "link", "set", &name, "up"]);
        self.argument(
            "-netdev",
            format!(
                "tap,id={name},ifname={name},script=no,downscript=no,vhost=off,queues={queues}"
            ),
        );
        self.argument(
            "-device",
            format!(
                "virtio-net-pci,netdev={name},mac=42:01:0a:80:01:{:02x},mq={},vectors={}",
                self.cards,
                if queues > 1 { "on" } else { "off" },
                2 * queues + 2
            ),
        );
        name
    }

    /// A local SSD on NVMe, of 375 GB of nothing.
    pub(crate) fn nvme(&mut self, serial: &str) {
        let file = empty_disk(serial);
        self.argument(
            "-drive",
            format!("file={file},if=none,id={serial},format=raw"),
        );
        self.argument("-device", format!("nvme,drive={serial},serial={serial}"));
    }

    /// A local SSD on virtio-scsi, of 375 GB of nothing, with so many queues.
    pub(crate) fn scsi(&mut self, serial: &str, queues: usize) {
        let file = empty_disk(serial);
        self.argument(
            "-device",
            format!("virtio-scsi-pci,id=bus-{serial},num_queues={queues}"),
        );
        self.argument(
            "-drive",
            format!("file={file},if=none,id={serial},format=raw"),
        );
        self.argument(
            "-device",
            format!(
                "scsi-hd,bus=bus-{serial}.0,drive={serial},vendor=Google,product=EphemeralDisk,serial={serial},\
                 device_id={serial}"
            ),
        );
    }

    fn argument(&mut self, option: &str, value: String) {
        self.arguments.push(option.to_owned());
        self.arguments.push(value);
    }
}

/// The name of a sparse file that is a disk.
fn empty_disk(name: &str) -> String {
    let path = format!("/run/{name}.disk");
    let size = 375 * 1024 * 1024 * 1024;
    File::create(&path).unwrap().set_len(size).unwrap();
    path
}

impl VirtualMachine {
    fn boot(image: &Path, hardware: &Hardware, vm: Vm) -> Self {
        // The guest's first stage unpacks one archive after the other; the second one is what lies over the root.
        let archive = format!(
            "cd /run/overlay && find payload | cpio --quiet --create --format=newc --owner=0:0 | \
             cat '{}' - > /run/initrd",
            image.join("initrd").display()
        );
        run(["sh", "-c", &archive]);
        let qemu = start(image, hardware);
        let (monitor, shell) = (connect("/run/monitor"), connect("/run/shell"));
        let mut machine = Self {
            qemu,
            shell,
            monitor,
            commands: 0,
            vm,
        };
        machine.line_of_monitor();
        machine.tell_monitor("qmp_capabilities", &json!({}));
        let ready = machine.line_of_shell(BOOT);
        assert_eq!(ready, "ready", "{}", Self::console());
        machine
    }

    /// Waits until systemd has started everything.
    pub(crate) fn wait_for_boot(&mut self) {
        poll_until(BOOT, "the boot is over", || {
            let state = self.attempt("systemctl is-system-running").stdout;
            matches!(state.as_str(), "running" | "degraded")
        });
    }

    /// Runs a shell script in the guest, as root.
    pub(crate) fn attempt(&mut self, script: &str) -> Answer {
        self.commands += 1;
        let (id, script) = (self.commands, STANDARD.encode(script));
        let request = format!("{id} {script}\n");
        self.shell.get_mut().write_all(request.as_bytes()).unwrap();
        let line = self.line_of_shell(COMMAND);
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words.len(), 4, "the guest's shell answers {line:?}");
        assert_eq!(words[0], id.to_string(), "the guest's shell is out of step");
        let text = |word: &str| {
            let bytes = STANDARD.decode(word.trim_start_matches('.')).unwrap();
            String::from_utf8_lossy(&bytes).trim().to_owned()
        };
        Answer {
            status: words[1].parse().unwrap(),
            stdout: text(words[2]),
            stderr: text(words[3]),
        }
    }

    /// Runs a shell script in the guest with success, and returns what it wrote to its standard output.
    pub(crate) fn run(&mut self, script: &str) -> String {
        let answer = self.attempt(script);
        assert!(
            answer.status == 0,
            "in the guest, {script:?} failed ({}):\n{}\n{}\n{}",
            answer.status,
            answer.stdout,
            answer.stderr,
            Self::console()
        );
        answer.stdout
    }

    /// Has QEMU do something (its QMP reference), and returns what it answers.
    pub(crate) fn tell_monitor(&mut self, command: &str, arguments: &Value) -> Value {
        let request = json!({"execute": command, "arguments": arguments});
        let line = format!("{request}\n");
        self.monitor.get_mut().write_all(line.as_bytes()).unwrap();
        loop {
            // Between, it tells of events.
            let answer = self.line_of_monitor();
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if let Some(value) = answer.get("return") {
                return value.clone();
            }
        }
    }

    /// Stops the machine for a while, as a migration does: its RTC goes on, its other clocks do not.
    pub(crate) fn stand_still_for(&mut self, duration: Duration) {
        self.tell_monitor("stop", &json!({}));
        std::thread::sleep(duration);
        self.tell_monitor("cont", &json!({}));
    }

    /// Has the guest boot again, and waits until its shell answers.
    pub(crate) fn reboot(&mut self) {
        self.run("systemctl --no-block reboot");
        let ready = self.line_of_shell(BOOT);
        assert_eq!(ready, "ready", "{}", Self::console());
    }

    /// Presses the power button, and waits until the machine is off.
    pub(crate) fn power_off(mut self) {
        self.tell_monitor("system_powerdown", &json!({}));
        poll_until(BOOT, "the virtual machine is off", || {
            self.qemu.try_wait().unwrap().is_some()
        });
    }

    /// What the guest wrote to its serial port.
    pub(crate) fn console() -> String {
        contents("/run/console") + &contents("/run/qemu")
    }

    fn line_of_shell(&mut self, within: Duration) -> String {
        self.shell.get_ref().set_read_timeout(Some(within)).unwrap();
        let mut line = String::new();
        if let Err(error) = self.shell.read_line(&mut line) {
            panic!(
                "the guest's shell says nothing for {within:?} ({error}):\n{}",
                Self::console()
            );
        }
        line.trim_end().to_owned()
    }

    fn line_of_monitor(&mut self) -> Value {
        let mut line = String::new();
        if let Err(error) = self.monitor.read_line(&mut line) {
            panic!("QEMU is gone ({error}):\n{}", Self::console());
        }
        serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error}: {line:?}\n{}", Self::console()))
    }
}

impl Drop for VirtualMachine {
    fn drop(&mut self) {
        // It may be off already.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Starts QEMU with the image, which it does not change.
fn start(image: &Path, hardware: &Hardware) -> Child {
    let said = File::create("/run/qemu").unwrap();
    let kernel_arguments = format!("{KERNEL_ARGUMENTS} {}", hardware.kernel_arguments.join(" "));
    let disk = image.join("disk");
    let socket = |name: &str| format!("socket,id={name},path=/run/{name},server=on,wait=off");
    Command::new("qemu-system-x86_64")
        .args(["-machine", "q35", "-cpu", "qemu64,+rdrand"])
        .args(["-accel", "tcg,thread=multi,tb-size=512"])
        .args(["-smp", "2", "-m", "768"])
        .args(["-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-rtc", "base=utc,clock=host"])
        .args([
            "-smbios",
            "type=1,manufacturer=Google,product=Google Compute Engine,serial=GoogleCloud-0123456789ABCDEF",
        ])
        .arg("-kernel")
        .arg(image.join("kernel"))
        .args(["-initrd", "/run/initrd", "-append", &kernel_arguments])
        .arg("-drive")
        .arg(format!(
            "file={},if=none,id=root,format=raw,snapshot=on",
            disk.display()
        ))
        .args(["-device", "virtio-blk-pci,drive=root"])
        .args(["-device", "virtio-rng-pci"])
        .args(["-serial", "file:/run/console"])
        .args(["-chardev", &socket("shell")])
        .args(["-device", "virtio-serial-pci"])
        .args(["-device", "virtserialport,chardev=shell,name=shell"])
        .args(["-chardev", &socket("monitor")])
        .args(["-mon", "chardev=monitor,mode=control"])
        // What the guest sends goes out through a socket of QEMU's, so it finds the metadata server in this namespace.
        // Its sshd is reached by port 22 of this namespace.
        .args(["-netdev", "user,id=eth0,hostfwd=tcp:127.0.0.1:22-:22"])
        .args(["-device", "virtio-net-pci,netdev=eth0,mac=42:01:0a:80:00:02"])
        .args(&hardware.arguments)
        .env("TMPDIR", "/run")
        .stdin(Stdio::null())
        .stdout(said.try_clone().unwrap())
        .stderr(said)
        .spawn()
        .unwrap()
}

/// Connects to a socket of QEMU's as soon as it is there.
fn connect(path: &str) -> BufReader<UnixStream> {
    let mut stream = None;
    poll_until(PATIENCE, "QEMU listens", || {
        stream = UnixStream::connect(path).ok();
        stream.is_some()
    });
    BufReader::new(stream.unwrap())
}
