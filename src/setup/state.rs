//! What is kept of the set-up, as small JSON files that only root reads.
//!
//! What belongs to an instance is in a directory with its id as the name: a clone of the disk has another id and begins
//! afresh, and what an earlier instance left is swept (pains 53). What belongs to a boot is below /run.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::Run;
use crate::system::files::{self, Attributes, Directory};
use crate::system::root::Root;

/// The directory of the instances' directories.
pub const INSTANCES: &str = "/var/lib/gce-guest/instances";

/// What ends with the boot.
pub const BOOT: &str = "/run/gce-guest/setup";

/// The first run since the boot, and the last one.
const RUNS: [&str; 2] = ["boot", "last"];

/// The largest file of ours that is read, in bytes.
const LIMIT: u64 = 1024 * 1024;

/// A directory of records.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
}

impl Place {
    /// What the boot keeps.
    #[must_use]
    pub fn of_boot(root: &Root) -> Self {
        Self {
            path: root.path(BOOT),
        }
    }

    /// What an instance keeps; `None` when its id is no number, which could be the name of anything.
    #[must_use]
    pub fn of_instance(root: &Root, id: &str) -> Option<Self> {
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        let path = root.path(INSTANCES).join(id);
        is_id.then_some(Self { path })
    }

    /// Reads a record; `None` when there is none.
    ///
    /// # Errors
    /// Those of open(2), and `InvalidData` when it is something else.
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        let Some(text) = files::read(&self.path.join(format!("{name}.json")), LIMIT)? else {
            return Ok(None);
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Writes a record. The directory is made where it is missing.
    ///
    /// # Errors
    /// Those of mkdir(2) and [`Directory::replace`].
    pub fn save<T: Serialize>(&self, name: &str, record: &T) -> io::Result<()> {
        self.write(
            name,
            serde_json::to_vec_pretty(record).map_err(io::Error::other)?,
        )
    }

    fn write(&self, name: &str, mut text: Vec<u8>) -> io::Result<()> {
        text.push(b'\n');
        self.directory()?.replace(
            OsStr::new(&format!("{name}.json")),
            &text,
            &Attributes::mode(0o600),
        )
    }

    fn directory(&self) -> io::Result<Directory> {
        let (parent, name) = self
            .path
            .parent()
            .zip(self.path.file_name())
            .ok_or(io::ErrorKind::InvalidInput)?;
        let parent = files::create_directories(parent, 0o755)?;
        Ok(parent.open_or_create_directory(name, 0o700)?.0)
    }
}

/// Writes the record of a run; that of the first run since the boot stays beside later ones.
///
/// # Errors
/// Those of [`Place::save`].
pub fn save_run(root: &Root, run: &Run) -> io::Result<()> {
    let place = Place::of_boot(root);
    let [boot, last] = RUNS;
    if !matches!(place.load::<Run>(boot), Ok(Some(_))) {
        place.save(boot, run)?;
    }
    place.save(last, run)
}

/// The record of the first run since the boot, or of the last one.
///
/// # Errors
/// Those of [`Place::load`].
pub fn run(root: &Root, last: bool) -> io::Result<Option<Run>> {
    Place::of_boot(root).load(RUNS[usize::from(last)])
}

/// Removes what other instances than this one left. Returns their ids.
///
/// # Errors
/// Those of reading the directory and of unlinkat(2).
pub fn sweep(root: &Root, own: &str) -> io::Result<Vec<String>> {
    let instances = match Directory::open(&root.path(INSTANCES)) {
        Ok(instances) => instances,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut swept = Vec::new();
    for name in instances.names()? {
        if name != own {
            instances.remove_tree(&name)?;
            swept.push(name.to_string_lossy().into_owned());
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::PrivateDirectory;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn records_belong_to_an_instance_and_those_of_others_are_swept() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-state-").unwrap();
        let root = Root::at(place.path());
        assert_eq!(sweep(&root, "1").unwrap(), Vec::<String>::new());
        for id in ["1", "2"] {
            let place = Place::of_instance(&root, id).unwrap();
            assert_eq!(place.load::<String>("x").unwrap(), None);
            place.save("x", &format!("of {id}")).unwrap();
            assert_eq!(
                place.load::<String>("x").unwrap().unwrap(),
                format!("of {id}")
            );
        }
        let own = root.path(INSTANCES).join("2");
        assert_eq!(own.metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(sweep(&root, "2").unwrap(), ["1"]);
        let other = Place::of_instance(&root, "1").unwrap();
        assert_eq!(other.load::<String>("x").unwrap(), None);
        for no_id in ["", "..", "1/2", "None", "-1"] {
            assert!(Place::of_instance(&root, no_id).is_none(), "{no_id}");
        }
    }

    #[test]
    fn the_first_run_of_a_boot_is_kept_beside_the_last_one() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-state-").unwrap();
        let root = Root::at(place.path());
        assert_eq!(run(&root, false).unwrap(), None);
        for boot in ["a", "b"] {
            let record = Run {
                instance: None,
                boot: boot.into(),
                began: String::new(),
                uptime: 0.0,
                seconds: 0.0,
                steps: Vec::new(),
            };
            save_run(&root, &record).unwrap();
        }
        assert_eq!(run(&root, false).unwrap().unwrap().boot, "a");
        assert_eq!(run(&root, true).unwrap().unwrap().boot, "b");
    }
}
