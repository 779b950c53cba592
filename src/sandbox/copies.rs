//! A root without an overlay: `/etc` is a copy, `/home`, `/root` and `/var` are new, the rest is shown read-only.

use std::io;
use std::path::{Path, PathBuf};

use super::root::Construction;

/// Makes the root.
pub(super) fn populate(_construction: &Construction) -> io::Result<()> {
    Err(io::Error::other("not yet"))
}

/// The directory to show so that a path is there.
pub(super) fn hidden(_path: &Path) -> Option<PathBuf> {
    None
}
