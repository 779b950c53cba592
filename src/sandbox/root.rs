//! The root directory of the sandbox.
//!
//! It is put together in a file system in memory that is mounted over `/run`, which every Linux system has and of which
//! nothing is needed inside. Only this mount namespace sees it.

use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::{Shown, copies, devices};
use crate::system::files;
use crate::system::files::Directory;
use crate::system::mounts::{self, Mount};
use crate::system::order::Set;

/// Where the new root is put together.
pub(super) const STAGING: &str = "/run";

/// How much memory the written files of a sandbox may take.
const SIZE: &str = "size=25%,mode=755";

/// Directories of the machine that a sandbox has its own of.
pub(super) const OWN: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];

/// What the root shall be.
pub(super) struct Plan<'a> {
    /// Whether the caller is root only in a user namespace.
    pub(super) mapped: bool,
    /// Directories that the command needs wherever they are: its working directory, its program's.
    pub(super) needed: &'a [&'a Path],
    /// Directories that stay live.
    pub(super) shown: &'a [Shown],
}

/// A root that is being put together.
pub(super) struct Construction {
    /// The new root.
    pub(super) root: PathBuf,
    /// Whether the caller is root only in a user namespace.
    pub(super) mapped: bool,
    /// The mounts of the machine.
    pub(super) table: Vec<Mount>,
    layers: u32,
}

/// Builds the root and makes it the caller's.
pub(super) fn change(plan: &Plan<'_>) -> io::Result<()> {
    rustix::process::chdir("/")?;
    mounts::make_private()?;
    let mut construction = Construction {
        root: Path::new(STAGING).join("root"),
        mapped: plan.mapped,
        table: mounts::table()?,
        layers: 0,
    };
    let tmpfs = MountFlags::NODEV | MountFlags::NOSUID;
    mounts::mount("tmpfs", Path::new(STAGING), tmpfs, SIZE)?;
    files::create_directories(&construction.root, 0o755)?;
    // Refused in a user namespace, and on a root that is itself an overlay on an overlay.
    let copied = plan.mapped || construction.lay_over_root().is_err();
    if copied {
        copies::populate(&construction)?;
    }
    devices::mount(&construction)?;
    construction.show_needed(plan.needed, copied)?;
    for shown in plan.shown {
        construction.show_live(Path::new(&shown.from), Path::new(&shown.at))?;
    }
    mounts::change_root(&construction.root)
}

impl Construction {
    /// The place of an absolute path in the new root.
    pub(super) fn path(&self, absolute: &Path) -> PathBuf {
        self.root
            .join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// Makes a directory of the new root, with what is missing above it.
    pub(super) fn directory(&self, absolute: &Path) -> io::Result<Directory> {
        files::create_directories(&self.path(absolute), 0o755)
    }

    /// An overlay over the root, and one over every other file system with files of its own.
    fn lay_over_root(&mut self) -> io::Result<()> {
        self.lay_over(Path::new("/"))?;
        let points: Set<PathBuf> = self.table.iter().map(|mount| mount.point.clone()).collect();
        for point in points {
            let own = OWN.iter().any(|own| point.starts_with(own));
            if point == Path::new("/") || own || !point.is_dir() || !self.path(&point).is_dir() {
                continue;
            }
            // One that can be shown in neither way is an empty directory inside: no reason to have no sandbox at all.
            let _ = self.show(&point);
        }
        Ok(())
    }

    fn lay_over(&mut self, directory: &Path) -> io::Result<()> {
        self.layers += 1;
        let layers = Path::new(STAGING)
            .join("layers")
            .join(self.layers.to_string());
        mounts::overlay(directory, &layers, &self.path(directory), self.mapped)
    }

    /// Shows a directory of the machine at its own place: writable without effect where an overlay can be had on it,
    /// else read-only.
    fn show(&mut self, directory: &Path) -> io::Result<()> {
        self.lay_over(directory)
            .or_else(|_| self.show_live(directory, directory))
    }

    /// Shows a directory of the machine, and what becomes of it, read-only.
    pub(super) fn show_live(&self, from: &Path, at: &Path) -> io::Result<()> {
        self.directory(at)?;
        let target = self.path(at);
        mounts::bind(from, &target)?;
        let restricted = mounts::restrict(&target, MountFlags::RDONLY | MountFlags::NODEV);
        if restricted.is_err() {
            // Rather nothing than something that can be written.
            mounts::unmount(&target)?;
        }
        restricted
    }

    /// Shows what the command needs of the directories that are the sandbox's own.
    fn show_needed(&mut self, needed: &[&Path], copied: bool) -> io::Result<()> {
        let hidden: Set<PathBuf> = needed
            .iter()
            .filter_map(|path| {
                if copied {
                    copies::hidden(path)
                } else {
                    hidden(path)
                }
            })
            .collect();
        let mut last: Option<PathBuf> = None;
        // In the order of their names, so that a directory comes before those below it.
        for directory in hidden {
            if last
                .as_ref()
                .is_some_and(|last| directory.starts_with(last))
                || !directory.is_dir()
            {
                continue;
            }
            self.directory(&directory)?;
            self.show(&directory)?;
            last = Some(directory);
        }
        Ok(())
    }
}

/// The directory to show so that a path is there that an overlay on everything does not show: of `/tmp`, only the entry
/// that the path is in.
fn hidden(path: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix("/tmp").ok()?;
    Some(Path::new("/tmp").join(below.components().next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_needed_entry_of_tmp_is_shown() {
        assert_eq!(
            hidden(Path::new("/tmp/a/b/c")),
            Some(PathBuf::from("/tmp/a"))
        );
        assert_eq!(hidden(Path::new("/tmp/a")), Some(PathBuf::from("/tmp/a")));
        assert_eq!(hidden(Path::new("/tmp")), None);
        assert_eq!(hidden(Path::new("/home/a")), None);
    }
}
