//! The directory that stands for `/`: the machine's own, or a temporary one in a test.

use std::path::{Path, PathBuf};

/// The root below which every absolute path of the program is resolved.
///
/// On a real machine it is `/`. A test or an image builder passes another directory; nothing else changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// The machine's own root directory.
    #[must_use]
    pub fn machine() -> Self {
        Self(PathBuf::from("/"))
    }

    /// Another directory that stands for `/`.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// The place of an absolute path below this root: `/etc/passwd` becomes `ROOT/etc/passwd`.
    #[must_use]
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.0.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_placed_below_the_root() {
        assert_eq!(
            Root::machine().path("/etc/passwd"),
            Path::new("/etc/passwd")
        );
        assert_eq!(
            Root::at("/tmp/r").path("/etc/passwd"),
            Path::new("/tmp/r/etc/passwd")
        );
        assert_eq!(Root::at("/tmp/r").path("etc"), Path::new("/tmp/r/etc"));
    }
}
