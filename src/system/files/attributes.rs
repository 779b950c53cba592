//! What a written file shall be besides its bytes.

use std::io;
use std::path::Path;

use rustix::fs::{self, Mode};

/// The mode that a written file shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileMode {
    /// Exactly these permission bits.
    Exact(u32),
    /// Those of the file that is replaced, or these when there is none.
    KeepOr(u32),
}

/// What a written file shall be, besides its bytes.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// The permission bits.
    pub mode: FileMode,
    /// User and group id; `None` leaves those of the file that is replaced, or of the writer when there is none.
    pub owner: Option<(u32, u32)>,
    /// The SELinux context of a new file. A replaced file keeps its own.
    pub label: Option<Vec<u8>>,
}

impl Attributes {
    /// Exactly these permission bits, owner and label as they were or as the system gives them.
    #[must_use]
    pub fn mode(bits: u32) -> Self {
        Self {
            mode: FileMode::Exact(bits),
            owner: None,
            label: None,
        }
    }

    /// The permission bits of the replaced file, or these for a new one.
    #[must_use]
    pub fn keep_mode_or(bits: u32) -> Self {
        Self {
            mode: FileMode::KeepOr(bits),
            owner: None,
            label: None,
        }
    }

    /// The same with an owner: user id and group id. Zero is an id like any other (spec/core.md BUG 37).
    #[must_use]
    pub fn owned_by(mut self, uid: u32, gid: u32) -> Self {
        self.owner = Some((uid, gid));
        self
    }

    /// The same with the SELinux context that a new file gets.
    #[must_use]
    pub fn labelled(mut self, label: Option<Vec<u8>>) -> Self {
        self.label = label;
        self
    }
}

/// Adds permission bits to those that a path has. Symbolic links are followed, so do it with the credentials of whoever
/// controls the path.
///
/// # Errors
/// Those of stat(2) and chmod(2).
pub fn add_to_mode(path: &Path, bits: u32) -> io::Result<()> {
    let mode = fs::stat(path)?.st_mode & 0o7777;
    if mode & bits == bits {
        return Ok(());
    }
    Ok(fs::chmod(path, Mode::from_raw_mode(mode | bits))?)
}
