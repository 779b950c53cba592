//! The Identify command of NVMe, by the driver's ioctl (linux/nvme_ioctl.h): what a controller and a namespace say of
//! themselves. No program is run and no text is parsed.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, Mode, OFlags};

/// The length of every Identify structure, in bytes (NVM Express base specification, 5.17).
pub const IDENTIFY_LENGTH: usize = 4096;

/// `_IO('N', 0x40)`: the id of the namespace that a block device is.
const NAMESPACE_ID: u32 = 0x4e40;

/// `_IOWR('N', 0x41, struct nvme_admin_cmd)`; the size of the structure is 72 bytes.
const ADMIN_COMMAND: u32 = 0xc048_4e41;

/// The opcode of Identify.
const IDENTIFY: u8 = 0x06;

/// What to identify: the field CNS of the command.
const OF_NAMESPACE: u32 = 0;
const OF_CONTROLLER: u32 = 1;

/// How long the controller may take, in milliseconds: at boot, udev waits for us.
const DEADLINE: u32 = 5_000;

/// `struct nvme_passthru_cmd`.
#[repr(C)]
#[derive(Default)]
struct AdminCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    words_2_and_3: [u32; 2],
    metadata: u64,
    address: u64,
    metadata_length: u32,
    data_length: u32,
    words_10_to_15: [u32; 6],
    timeout: u32,
    result: u32,
}

const _: () = assert!(size_of::<AdminCommand>() == 72);

/// An open namespace of an NVMe controller, such as `/dev/nvme0n1`, or a partition of it.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
    id: u32,
}

impl Namespace {
    /// Opens it by its device.
    ///
    /// # Errors
    /// Those of open(2), and `ENOTTY` for what is no namespace of an NVMe controller.
    pub fn open(device: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = fs::open(device, flags, Mode::empty())?;
        let id = namespace_id(&fd)?;
        Ok(Self { fd, id })
    }

    /// Its number on its controller, from 1.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What the namespace says of itself.
    ///
    /// # Errors
    /// Those of ioctl(2): `EACCES` without the privilege; `EIO` when the controller refuses.
    pub fn identify(&self) -> io::Result<Box<[u8; IDENTIFY_LENGTH]>> {
        identify(&self.fd, self.id, OF_NAMESPACE)
    }

    /// What the controller that the namespace is on says of itself.
    ///
    /// # Errors
    /// The same.
    pub fn identify_controller(&self) -> io::Result<Box<[u8; IDENTIFY_LENGTH]>> {
        identify(&self.fd, 0, OF_CONTROLLER)
    }
}

#[expect(unsafe_code, reason = "rustix has no ioctl of NVMe")]
fn namespace_id(fd: &OwnedFd) -> io::Result<u32> {
    // SAFETY: the descriptor is open, and this command takes no argument: a driver that does not know it refuses it.
    let id = unsafe { libc::ioctl(fd.as_raw_fd(), NAMESPACE_ID as _) };
    match u32::try_from(id) {
        Ok(id) => Ok(id),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

#[expect(unsafe_code, reason = "rustix has no ioctl of NVMe")]
fn identify(fd: &OwnedFd, namespace: u32, what: u32) -> io::Result<Box<[u8; IDENTIFY_LENGTH]>> {
    let mut data = Box::new([0_u8; IDENTIFY_LENGTH]);
    let mut command = AdminCommand {
        opcode: IDENTIFY,
        namespace,
        address: data.as_mut_ptr() as u64,
        data_length: u32::try_from(IDENTIFY_LENGTH).expect("4096 fits"),
        timeout: DEADLINE,
        ..AdminCommand::default()
    };
    command.words_10_to_15[0] = what;
    // SAFETY: the descriptor is that of an NVMe namespace (the id was read from it); the command has the layout of
    // struct nvme_passthru_cmd, and its address is that of `data`, which is as long as it says and lives until the end.
    let status = unsafe { libc::ioctl(fd.as_raw_fd(), ADMIN_COMMAND as _, &raw mut command) };
    match status {
        0 => Ok(data),
        refused if refused > 0 => Err(io::Error::other(format!(
            "the controller refuses to identify itself (NVMe status {refused:#x})"
        ))),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_namespace_is_an_error() {
        let error = Namespace::open(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY), "{error}");
        let error = Namespace::open(Path::new("/dev/no-such-device")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
