//! `/dev`, `/proc`, `/sys`, `/run` and `/tmp` of the sandbox: its own, and read-only where the kernel has only one.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use rustix::fs::FileType;
use rustix::mount::MountFlags;

use super::construction::Construction;
use crate::system::files::{Attributes, Directory};
use crate::system::mounts;

/// The devices that programs expect and that belong to nobody.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// The links that programs expect beside them.
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Mounts all of them.
pub(super) fn mount(construction: &Construction) -> io::Result<()> {
    let safe = MountFlags::NOSUID | MountFlags::NODEV;
    for (point, data) in [
        ("/run", "mode=755,size=10%"),
        ("/tmp", "mode=1777,size=25%"),
        ("/dev", "mode=755,size=1m"),
        ("/dev/shm", "mode=1777,size=10%"),
    ] {
        let point = Path::new(point);
        construction.directory(point)?;
        mounts::mount("tmpfs", &construction.path(point), safe, data)?;
    }
    fill_dev(construction)?;
    construction.directory(Path::new("/run/sshd"))?;
    construction
        .directory(Path::new("/run/lock"))?
        .set_mode(0o1777)?;
    mount_proc(construction)?;
    mount_sys(construction)
}

fn fill_dev(construction: &Construction) -> io::Result<()> {
    let dev = construction.directory(Path::new("/dev"))?;
    for name in DEVICES {
        // The machine's own node rather than a new one: a user namespace may not make any, and so the file system can
        // refuse devices altogether. Read-only, so that its owner and mode stay; the device takes writes all the same.
        let source = Path::new("/dev").join(name);
        let target = dev.path().join(name);
        dev.replace(OsStr::new(name), b"", &Attributes::mode(0o666))?;
        mounts::bind(&source, &target)?;
        mounts::restrict(&target, MountFlags::RDONLY)?;
    }
    for (name, target) in LINKS {
        dev.create_link(OsStr::new(name), Path::new(target))?;
    }
    construction.directory(Path::new("/dev/pts"))?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let point = construction.path(Path::new("/dev/pts"));
    // Group 5 is tty (the same on every distribution), which a small range of subordinate ids may not have.
    mounts::mount(
        "devpts",
        &point,
        flags,
        "newinstance,ptmxmode=0666,mode=0620,gid=5",
    )
    .or_else(|_| {
        mounts::mount(
            "devpts",
            &point,
            flags,
            "newinstance,ptmxmode=0666,mode=0620",
        )
    })
}

/// The processes of the sandbox; everything in `/proc` that is not about them is read-only, but for the settings of the
/// network, which the sandbox has its own of.
fn mount_proc(construction: &Construction) -> io::Result<()> {
    let point = construction.path(Path::new("/proc"));
    construction.directory(Path::new("/proc"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mounts::mount("proc", &point, flags, "")?;
    let proc = Directory::open(&point)?;
    for name in proc.names()? {
        if !is_machine_wide(&proc, &name)? {
            continue;
        }
        let target = point.join(&name);
        mounts::bind(&target, &target)?;
        mounts::restrict(&target, MountFlags::RDONLY)?;
    }
    let settings = point.join("sys/net");
    mounts::bind(&settings, &settings)?;
    mounts::make_writable(&settings)
}

/// Whether an entry of `/proc` is about the machine and can be written, itself or below.
fn is_machine_wide(proc: &Directory, name: &OsStr) -> io::Result<bool> {
    let process = name
        .to_string_lossy()
        .bytes()
        .all(|byte| byte.is_ascii_digit());
    if process {
        return Ok(false);
    }
    Ok(proc
        .status_of(name)?
        .is_some_and(|status| match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => true,
            FileType::Symlink => false,
            _ => status.st_mode & 0o222 != 0,
        }))
}

/// The devices of the machine, read-only; the network interfaces are those of the sandbox.
fn mount_sys(construction: &Construction) -> io::Result<()> {
    construction.directory(Path::new("/sys"))?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mounts::mount("sysfs", &construction.path(Path::new("/sys")), flags, "")
}
