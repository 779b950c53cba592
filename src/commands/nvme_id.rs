//! `gce-guest nvme-id`: the name of an NVMe disk, for the udev rules (spec/beyond.md 20.2).

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::setup::disk_names::{self, DiskName};
use crate::system::files::{self, Directory};
use crate::system::nvme::Namespace;
use crate::system::root::Root;

/// Where the names of disks are.
const BY_ID: &str = "/dev/disk/by-id";

/// Arguments of `gce-guest nvme-id`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
Prints ID_SERIAL_SHORT= and ID_SERIAL=, as udev's IMPORT{program} reads them.

Exit status: 0 done, 1 the device is no NVMe disk of Compute Engine or does not
answer.

Examples:
  gce-guest nvme-id -d /dev/nvme0n1
  gce-guest nvme-id -s -d /dev/nvme0n1p1    make the link of the rules")]
pub struct Arguments {
    /// The disk or partition, such as /dev/nvme0n1.
    #[arg(short, long, value_name = "DEVICE")]
    device: PathBuf,
    /// Make the link /dev/disk/by-id/google-NAME, and print nothing.
    #[arg(short, long)]
    symlink: bool,
}

/// Runs `gce-guest nvme-id`.
///
/// # Errors
/// The device is no disk of the platform, it cannot be asked, or the link cannot be made.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let device = &arguments.device;
    let name = identify(device).with_context(|| format!("identify {}", device.display()))?;
    if arguments.symlink {
        link(&Root::machine(), device, &name)?;
    } else {
        write!(
            io::stdout(),
            "ID_SERIAL_SHORT={}\nID_SERIAL={}\n",
            name.short,
            name.long
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn identify(device: &Path) -> anyhow::Result<DiskName> {
    let namespace = Namespace::open(device)?;
    let controller = namespace.identify_controller()?;
    let of_namespace = || match namespace.identify() {
        Ok(data) => Ok(data.to_vec()),
        Err(error) => Err(error.to_string()),
    };
    Ok(disk_names::name(
        &controller[..],
        namespace.id(),
        of_namespace,
    )?)
}

/// Makes the link to the device, in the place of an older link.
fn link(root: &Root, device: &Path, name: &DiskName) -> anyhow::Result<()> {
    let mut file = format!("google-{}", name.short);
    if let Some(partition) = partition(device) {
        file += &format!("-part{partition}");
    }
    let directory = files::create_directories(&root.path(BY_ID), 0o755)
        .with_context(|| format!("create {BY_ID}"))?;
    let shown = || format!("link {BY_ID}/{file} to {}", device.display());
    place_link(&directory, OsStr::new(&file), device).with_context(shown)
}

fn place_link(directory: &Directory, name: &OsStr, target: &Path) -> anyhow::Result<()> {
    match directory.status_of(name)? {
        None => {}
        Some(status) if files::is_link(&status) => {
            if directory.read_link(name)? == target {
                return Ok(());
            }
            directory.remove(name)?;
        }
        Some(_) => bail!("something else has that name"),
    }
    Ok(directory.create_link(name, target)?)
}

/// The number after the `p` of `/dev/nvme0n1p2`.
fn partition(device: &Path) -> Option<&str> {
    let name = device.file_name()?.to_str()?.strip_prefix("nvme")?;
    let (_, partition) = name.split_once('p')?;
    let is_number = !partition.is_empty() && partition.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(partition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::PrivateDirectory;

    #[test]
    fn the_link_is_made_once_and_follows_the_disk() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-link-").unwrap();
        let root = Root::at(place.path());
        let name = DiskName {
            short: "data".to_owned(),
            long: String::new(),
        };
        for (device, file) in [
            ("/dev/nvme0n1", "google-data"),
            ("/dev/nvme0n1", "google-data"),
            ("/dev/nvme1n1", "google-data"),
            ("/dev/nvme1n1p15", "google-data-part15"),
        ] {
            link(&root, Path::new(device), &name).unwrap();
            let made = std::fs::read_link(root.path(BY_ID).join(file)).unwrap();
            assert_eq!(made, Path::new(device));
        }
        assert_eq!(files::setting::names_in(&root.path(BY_ID)).len(), 2);
    }

    #[test]
    fn partitions_are_told_from_disks() {
        for (device, number) in [
            ("/dev/nvme0n1", None),
            ("/dev/nvme10n24p1", Some("1")),
            ("/dev/nvme0n1px", None),
            ("/dev/tmp/b259:3", None),
        ] {
            assert_eq!(partition(Path::new(device)), number, "{device}");
        }
    }
}
