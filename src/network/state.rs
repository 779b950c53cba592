//! Where the record of our routes is kept: below /run, because routes end with the boot as well.

use std::ffi::OsStr;
use std::io;

use super::record::Record;
use crate::system::files::{self, Attributes};
use crate::system::root::Root;

/// The directory of everything of ours that ends with the boot.
const DIRECTORY: &str = "/run/gce-guest";

const NAME: &str = "network.json";

/// The largest record that is read, in bytes: some 500,000 routes.
const LIMIT: u64 = 64 * 1024 * 1024;

/// The place of the record.
#[derive(Clone, Debug)]
pub struct State {
    root: Root,
}

impl State {
    /// Below a root.
    #[must_use]
    pub fn at(root: Root) -> Self {
        Self { root }
    }

    /// Reads the record; an empty one when there is none, or none that can be read.
    #[must_use]
    pub fn read(&self) -> Record {
        let path = self.root.path(DIRECTORY).join(NAME);
        let bytes = files::read(&path, LIMIT).ok().flatten();
        bytes.map_or_else(Record::default, |bytes| Record::parse(&bytes))
    }

    /// Writes the record.
    ///
    /// # Errors
    /// Those of mkdir(2) and of the atomic writer.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let directory = files::create_directories(&self.root.path(DIRECTORY), 0o755)?;
        let attributes = Attributes::mode(0o644);
        directory.replace(OsStr::new(NAME), &record.format(), &attributes)
    }
}
