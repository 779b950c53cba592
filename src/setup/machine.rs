//! Which machine and which boot this is, without asking anybody.
//!
//! The firmware of a VM has an identity that is its own, and a copy of its disk in another VM sees another one
//! (<https://docs.kernel.org/ABI/testing/sysfs-class-dmi>). It is no instance id, but together with the id that was
//! stored when it was seen last it says before the network is up that this is the same instance.

use std::io;
use std::path::Path;

use crate::system::files;
use crate::system::root::Root;

/// What the firmware says, the best first, and how it begins where it is an identity: a serial number may be a phrase that
/// many machines have. Both are for root alone.
const IDENTITIES: [(&str, &str); 2] = [
    ("/sys/class/dmi/id/product_uuid", ""),
    ("/sys/class/dmi/id/product_serial", "GoogleCloud-"),
];

/// A number that the kernel draws at each boot (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Where systemd is the service manager (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// The largest of these files, in bytes.
const LIMIT: u64 = 4096;

/// The identity of the machine; `None` where the firmware has none, as in a container.
#[must_use]
pub fn identity(root: &Root) -> Option<String> {
    IDENTITIES.iter().find_map(|(path, beginning)| {
        let text = files::read_stream(&root.path(path), LIMIT).ok()?;
        words(&text).filter(|identity| identity.starts_with(beginning))
    })
}

/// The boot.
///
/// # Errors
/// Those of reading the file.
pub fn boot(root: &Root) -> io::Result<String> {
    let text = files::read_stream(&root.path(BOOT_ID), LIMIT)?;
    words(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether systemd starts and stops the services of this machine.
#[must_use]
pub fn has_systemd(root: &Root) -> bool {
    is_directory(&root.path(SYSTEMD))
}

fn is_directory(path: &Path) -> bool {
    files::Directory::open(path).is_ok()
}

fn words(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::{Attributes, PrivateDirectory};

    #[test]
    fn the_first_identity_that_says_something_counts() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-machine-").unwrap();
        let root = Root::at(place.path());
        assert_eq!(identity(&root), None);
        files::create_directories(&root.path("/sys/class/dmi/id"), 0o755).unwrap();
        for (path, text, expected) in [
            (IDENTITIES[0].0, "\n", None),
            (IDENTITIES[1].0, "Not Specified\n", None),
            (IDENTITIES[1].0, "GoogleCloud-1\n", Some("GoogleCloud-1")),
            (IDENTITIES[0].0, "uuid-1\n", Some("uuid-1")),
        ] {
            files::replace(&root.path(path), text.as_bytes(), &Attributes::mode(0o400)).unwrap();
            assert_eq!(identity(&root).as_deref(), expected, "{path} {text:?}");
        }
    }
}
