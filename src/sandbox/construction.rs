//! A root directory that is being put together: its places, and the ways in which a directory of the machine is shown in it.

use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use crate::system::files::{self, Directory};
use crate::system::mounts::{self, Mount};
use crate::system::order::Set;

/// Where the new root is put together.
pub(super) const STAGING: &str = "/run";

/// Directories of the machine that a sandbox has its own of.
pub(super) const OWN: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];

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

impl Construction {
    /// Nothing yet. `mapped` says whether the caller is root only in a user namespace.
    pub(super) fn new(mapped: bool) -> io::Result<Self> {
        Ok(Self {
            root: Path::new(STAGING).join("root"),
            mapped,
            table: mounts::table()?,
            layers: 0,
        })
    }

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
    pub(super) fn lay_over_root(&mut self) -> io::Result<()> {
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
    pub(super) fn show(&mut self, directory: &Path) -> io::Result<()> {
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
}
