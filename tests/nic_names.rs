//! `gce-guest nic-name` on copies of /sys of machines that there are not, and the move of what is in the way in a network
//! of its own. tests/virtual_machine.rs has udev read the rules.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use gce_guest::system::netlink::{MacAddress, Socket};
use support::{PROGRAM, in_sandbox, in_sandbox_with, output_within};

const ETHERNET: &str = "8086:1452";
const FUNCTION: &str = "8086:145c";
const CONNECTX: &str = "15b3:101e";
const CONNECTX_8: &str = "15b3:1023";
const H200: &str = "10de:2335";
const GB300: &str = "10de:31c2";

/// The two bridges of the machines below, on buses of their own.
const LEFT: &str = "pci0000:80/0000:80:00.0";
const RIGHT: &str = "pci0000:90/0000:90:00.0";

/// A machine on paper: a copy of /sys.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let root = Path::new("/tmp/nics").join(name);
        fs::create_dir_all(root.join("sys/bus/pci/devices")).unwrap();
        fs::create_dir_all(root.join("sys/class/net")).unwrap();
        Self(root)
    }

    /// Devices of one kind, each with its path below /sys/devices.
    fn with(self, id: &str, paths: &[String]) -> Self {
        let (vendor, device) = id.split_once(':').unwrap();
        for path in paths {
            let directory = self.device(path);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("vendor"), format!("0x{vendor}\n")).unwrap();
            fs::write(directory.join("device"), format!("0x{device}\n")).unwrap();
            let link = self.0.join("sys/bus/pci/devices").join(last(path));
            symlink(format!("../../../devices/{path}"), link).unwrap();
        }
        self
    }

    /// An interface of a device.
    fn interface(self, path: &str, name: &str, port: Option<&str>) -> Self {
        let directory = self.device(path).join("net").join(name);
        fs::create_dir_all(&directory).unwrap();
        if let Some(port) = port {
            fs::write(directory.join("phys_port_name"), format!("{port}\n")).unwrap();
        }
        let link = self.0.join("sys/class/net").join(name);
        symlink(format!("../../devices/{path}/net/{name}"), link).unwrap();
        self
    }

    fn device(&self, path: &str) -> PathBuf {
        self.0.join("sys/devices").join(path)
    }

    fn infiniband(self, path: &str) -> Self {
        fs::create_dir(self.device(path).join("infiniband")).unwrap();
        self
    }

    /// Makes one device the virtual function of another.
    fn function_of(self, path: &str, physical: &str) -> Self {
        let link = self.device(path).join("physfn");
        symlink(format!("../{}", last(physical)), link).unwrap();
        self
    }

    fn command(&self, path: &str, interface: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["nic-name", "--device"])
            .arg(format!("/devices/{path}/net/{interface}"))
            .env("GCE_NIC_NAMING_FAKEROOT", &self.0)
            .env("ID_NET_NAME_PATH", "enp0s9");
        command
    }

    /// The name of an interface that nothing in /sys/class speaks of.
    fn name(&self, path: &str) -> Result<String, String> {
        said(&mut self.command(path, "nic"))
    }

    fn names(&self, paths: &[String]) -> Vec<String> {
        paths.iter().map(|path| self.name(path).unwrap()).collect()
    }
}

/// What a run printed, or why it did not.
fn said(command: &mut Command) -> Result<String, String> {
    let Output {
        status,
        stdout,
        stderr,
    } = output_within(command, Duration::from_secs(60));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    let (stdout, stderr) = (text(stdout), text(stderr));
    match status.code() {
        Some(0) => Ok(stdout),
        Some(1) if stdout.is_empty() && !stderr.is_empty() => Err(stderr),
        _ => panic!("{status}: {stdout} {stderr}"),
    }
}

fn refused(result: Result<String, String>, reason: &str) {
    let said = result.unwrap_err();
    assert!(said.contains(reason), "{said}\nlacks: {reason}");
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

/// Devices on the bus behind a bridge, by their numbers.
fn behind(bridge: &str, bus: &str, devices: &[&str]) -> Vec<String> {
    let address = |device: &&str| format!("{bridge}/0000:{bus}:{device}");
    devices.iter().map(address).collect()
}

fn plain(devices: &[&str]) -> Vec<String> {
    behind("pci0000:00", "00", devices)
}

#[test]
fn intels_nics_are_numbered_in_the_order_of_the_bus() {
    in_sandbox("intels_nics_are_numbered_in_the_order_of_the_bus", || {
        // The order of the texts is not that of the bus: the domain has five digits.
        let late = "pci10000:00/10000:00:01.0".to_owned();
        let nics = [plain(&["03.0", "0a.0", "1f.0"]), vec![late]].concat();
        let tree = Tree::new("ethernet")
            .with(ETHERNET, &nics)
            .with("1af4:1000", &plain(&["04.0"]));
        assert_eq!(tree.names(&nics), ["eth0", "eth1", "eth2", "eth3"]);
        refused(
            tree.name(&plain(&["04.0"])[0]),
            "has no name of the platform",
        );
        refused(
            tree.name(&plain(&["05.0"])[0]),
            "there is no PCI device 0000:00:05.0",
        );

        let functions = plain(&["05.0", "06.0"]);
        let tree = Tree::new("functions")
            .with(ETHERNET, &plain(&["04.0"]))
            .with(FUNCTION, &functions)
            .infiniband(&functions[1]);
        assert_eq!(tree.names(&functions), ["enp0s9", "rdma2"]);
        let mut without = tree.command(&functions[0], "nic");
        refused(
            said(without.env_remove("ID_NET_NAME_PATH")),
            "no name by its path",
        );
        for bad in ["a b", "../x", "averyveryverylongname"] {
            let mut command = tree.command(&functions[0], "nic");
            refused(said(command.env("ID_NET_NAME_PATH", bad)), "too long");
        }
    });
}

#[test]
fn nics_of_gpus_are_named_by_their_gpu() {
    in_sandbox("nics_of_gpus_are_named_by_their_gpu", || {
        // The GPUs of the left bridge are first on the bus, its NICs as well.
        let nics = [
            behind(LEFT, "81", &["00.0", "01.0"]),
            behind(RIGHT, "91", &["00.0", "01.0"]),
        ];
        let gpus = [
            behind(LEFT, "81", &["10.0", "11.0"]),
            behind(RIGHT, "91", &["10.0", "11.0"]),
        ];
        let one_to_one = Tree::new("one-to-one")
            .with(CONNECTX, &nics.concat())
            .with(H200, &gpus.concat());
        let names = one_to_one.names(&nics.concat());
        assert_eq!(names, ["gpu0rdma0", "gpu1rdma0", "gpu2rdma0", "gpu3rdma0"]);

        // NICs and GPUs whose orders are opposite: what counts is the bridge.
        let crossed = Tree::new("crossed")
            .with(CONNECTX, &behind(LEFT, "81", &["00.0"]))
            .with(CONNECTX, &behind(RIGHT, "91", &["00.0"]))
            .with(H200, &["pci0000:80/0000:80:00.0/0000:f1:00.0".to_owned()])
            .with(H200, &["pci0000:90/0000:90:00.0/0000:c1:00.0".to_owned()]);
        let crossing = [nics[0][0].clone(), nics[1][0].clone()];
        assert_eq!(crossed.names(&crossing), ["gpu1rdma0", "gpu0rdma0"]);

        let one_gpu = [gpus[0][..1].to_vec(), gpus[1][..1].to_vec()].concat();
        let more_nics = Tree::new("more-nics")
            .with(CONNECTX_8, &nics.concat())
            .with(GB300, &one_gpu);
        let names = more_nics.names(&nics.concat());
        assert_eq!(names, ["gpu0rdma0", "gpu0rdma1", "gpu1rdma0", "gpu1rdma1"]);

        let one_nic = [nics[0][..1].to_vec(), nics[1][..1].to_vec()].concat();
        let more_gpus = Tree::new("more-gpus")
            .with(CONNECTX, &one_nic)
            .with(H200, &gpus.concat());
        assert_eq!(more_gpus.names(&one_nic), ["gpu0_1rdma0", "gpu2_3rdma0"]);
    });
}

#[test]
fn functions_and_their_representors_are_told_apart() {
    in_sandbox("functions_and_their_representors_are_told_apart", || {
        let physical = behind(LEFT, "81", &["00.0", "00.1"]);
        let virtuals = behind(LEFT, "81", &["00.2", "00.3", "01.1"]);
        let mut tree = Tree::new("functions")
            .with(CONNECTX_8, &physical)
            .with(GB300, &behind(LEFT, "81", &["10.0"]))
            .with(CONNECTX, &virtuals);
        for path in &virtuals {
            tree = tree.function_of(path, &physical[0]);
        }
        // The virtual ones do not count as NICs of a GPU.
        assert_eq!(tree.names(&physical), ["gpu0rdma0", "gpu0rdma1"]);
        assert_eq!(tree.names(&virtuals[..2]), ["gpu0rdma2", "gpu0rdma3"]);
        // The first one has the name of a physical function.
        refused(
            tree.name(&virtuals[2]),
            "gpu0rdma1 would be the name of 0000:81:00.1, too",
        );

        for (number, (port, name)) in [
            ("p0", "gpu0rdma0"),
            ("pf0vf0", "gpu0rdma2_rep"),
            ("c1pf0vf13", "gpu0rdma15_rep"),
        ]
        .into_iter()
        .enumerate()
        {
            let nic = format!("nic{number}");
            tree = tree.interface(&physical[0], &nic, Some(port));
            assert_eq!(said(&mut tree.command(&physical[0], &nic)).unwrap(), name);
        }
        for (number, port) in ["pf0sf7", "pf0vf", "pf0vfx", "pf0vf99999", "?"]
            .into_iter()
            .enumerate()
        {
            let nic = format!("odd{number}");
            tree = tree.interface(&physical[0], &nic, Some(port));
            let result = said(&mut tree.command(&physical[0], &nic));
            refused(result, "of no kind that is named");
        }
        // Another interface has the name.
        tree = tree.interface(&physical[1], "gpu0rdma0", None);
        refused(
            tree.name(&physical[0]),
            "gpu0rdma0 is the name of another interface",
        );
    });
}

#[test]
fn what_is_not_as_it_should_be_keeps_its_name() {
    in_sandbox("what_is_not_as_it_should_be_keeps_its_name", || {
        let nics = behind(LEFT, "81", &["00.0", "01.0"]);
        let gpus = behind(RIGHT, "91", &["10.0", "11.0", "12.0"]);
        let nic = nics[0].as_str();
        refused(Tree::new("empty").name(nic), "there is no PCI device");
        let tree = Tree::new("no-gpu").with(CONNECTX, &nics);
        refused(tree.name(nic), "there are 2 NICs and 0 GPUs");
        // A GPU or a NIC has fallen off the bus, and nobody knows whose neighbour it was.
        let three = behind(LEFT, "81", &["00.0", "01.0", "02.0"]);
        for (name, nics, count) in [
            ("one-gpu-less", &three[..], 2),
            ("one-nic-less", &nics[..], 3),
        ] {
            let tree = Tree::new(name)
                .with(CONNECTX, nics)
                .with(H200, &gpus[..count]);
            for nic in nics {
                refused(tree.name(nic), "cannot be told its GPU");
            }
        }

        for file in ["vendor", "device"] {
            let tree = Tree::new(file).with(CONNECTX, &nics).with(H200, &gpus[..2]);
            fs::remove_file(tree.device(&gpus[1]).join(file)).unwrap();
            refused(
                tree.name(nic),
                "vendor or device of 0000:91:11.0 cannot be read",
            );
        }
    });
}

#[test]
fn what_udev_says_is_heeded() {
    in_sandbox("what_udev_says_is_heeded", || {
        let nics = behind(LEFT, "81", &["00.0", "01.0"]);
        let nic = nics[0].as_str();
        let tree = Tree::new("paths").with(ETHERNET, &nics);
        for device in [
            "",
            "/",
            "eth0",
            "/devices/virtual/net/lo",
            "/devices/0000:81:00.0/sf/net/x",
            "/devices/pci/0000:81:00.0",
            "/devices/0000:81:00.0/net/",
            "\u{1f980}/net/x",
        ] {
            let mut command = Command::new(PROGRAM);
            command.arg("nic-name").arg(format!("--device={device}"));
            let result = said(command.env("GCE_NIC_NAMING_FAKEROOT", &tree.0));
            refused(result, "no network interface of a PCI device");
        }
        refused(
            said(Command::new(PROGRAM).arg("nic-name").env_remove("DEVPATH")),
            "--device",
        );
        let mut off = tree.command(nic, "nic");
        refused(
            said(off.env("GCE_NIC_NAMING", "disable")),
            "GCE_NIC_NAMING says so",
        );
        assert_eq!(
            said(tree.command(nic, "nic").env("GCE_NIC_NAMING", "on")).unwrap(),
            "eth0"
        );

        // The predecessor's program takes what udev says, and the name of a driver.
        let legacy = Path::new("/tmp/nics/gce-nic-naming");
        symlink(PROGRAM, legacy).unwrap();
        let mut command = Command::new(legacy);
        command
            .arg("idpf")
            .env("DEVPATH", format!("/devices/{nic}/net/nic"));
        assert_eq!(
            said(command.env("GCE_NIC_NAMING_FAKEROOT", &tree.0)).unwrap(),
            "eth0"
        );
    });
}

#[test]
fn a_name_is_freed_by_whoever_is_to_have_another() {
    let test = "a_name_is_freed_by_whoever_is_to_have_another";
    in_sandbox_with(&["--allow-mounts"], test, || {
        let nics = plain(&[
            "01.0", "02.0", "03.0", "04.0", "05.0", "06.0", "07.0", "08.0",
        ]);
        let tree = Tree::new("swapped")
            .with(ETHERNET, &nics)
            .interface(&nics[6], "eth7", None)
            .interface(&nics[7], "eth6", None);
        let mut socket = Socket::open().unwrap();
        let names = |socket: &mut Socket| -> Vec<String> {
            let links = socket.links().unwrap();
            links.into_iter().map(|link| link.name).collect()
        };
        let mac = MacAddress([0x42, 1, 0x0a, 0x80, 0, 2]);
        socket.create_veth("eth6", mac, "eth7").unwrap();
        let before = names(&mut socket);

        // A copy of a machine: this one stays as it is.
        let mut copied = tree.command(&nics[6], "eth7");
        assert_eq!(said(copied.arg("--make-way")).unwrap(), "eth6");
        assert_eq!(names(&mut socket), before);

        let mut mount = Command::new("mount");
        mount.arg("--bind").arg(tree.0.join("sys")).arg("/sys");
        assert_eq!(said(&mut mount), Ok(String::new()));
        let on_it = |options: &[&str]| {
            let device = format!("/devices/{}/net/eth7", nics[6]);
            said(
                Command::new(PROGRAM)
                    .args(["nic-name", "--device", &device])
                    .args(options),
            )
        };
        assert_eq!(on_it(&[]).unwrap(), "eth6");
        assert_eq!(names(&mut socket), before);
        assert_eq!(on_it(&["--make-way"]).unwrap(), "eth6");
        let after = names(&mut socket);
        assert!(after.contains(&"eth6tmp".to_owned()), "{after:?}");
        assert!(!after.contains(&"eth6".to_owned()), "{after:?}");

        // What is not named by these rules keeps the name, and so does what is asked about.
        let foreign = Tree::new("foreign")
            .with(ETHERNET, &nics)
            .with("1af4:1000", &plain(&["09.0"]))
            .interface(&plain(&["09.0"])[0], "eth6", None);
        refused(
            foreign.name(&nics[6]),
            "eth6 is the name of another interface",
        );
    });
}
