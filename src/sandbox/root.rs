//! The root directory of the sandbox.
//!
//! It is put together in a file system in memory that is mounted over `/run`, which every Linux system has and of which
//! nothing is needed inside. Only this mount namespace sees it.

use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::construction::{Construction, STAGING};
use super::{Shown, copies, devices};
use crate::system::files;
use crate::system::mounts;
use crate::system::order::Set;

/// How much memory the written files of a sandbox may take.
const SIZE: &str = "size=25%,mode=755";

/// What the root shall be.
pub(super) struct Plan<'a> {
    /// Whether the caller is root only in a user namespace.
    pub(super) mapped: bool,
    /// Directories that the command needs wherever they are: its working directory, its program's.
    pub(super) needed: &'a [&'a Path],
    /// Directories that stay live.
    pub(super) shown: &'a [Shown],
}

/// Builds the root and makes it the caller's.
pub(super) fn change(plan: &Plan<'_>) -> io::Result<()> {
    rustix::process::chdir("/")?;
    mounts::make_private()?;
    let mut construction = Construction::new(plan.mapped)?;
    let tmpfs = MountFlags::NODEV | MountFlags::NOSUID;
    mounts::mount("tmpfs", Path::new(STAGING), tmpfs, SIZE)?;
    files::create_directories(&construction.root, 0o755)?;
    // Refused in a user namespace, and on a root that is itself an overlay on an overlay.
    let copied = plan.mapped || construction.lay_over_root().is_err();
    if copied {
        copies::populate(&construction)?;
    }
    devices::mount(&construction)?;
    show_needed(&mut construction, plan.needed, copied)?;
    for shown in plan.shown {
        construction.show_live(Path::new(&shown.from), Path::new(&shown.at))?;
    }
    mounts::change_root(&construction.root)
}

/// Shows what the command needs of the directories that are the sandbox's own.
fn show_needed(construction: &mut Construction, needed: &[&Path], copied: bool) -> io::Result<()> {
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
        construction.directory(&directory)?;
        construction.show(&directory)?;
        last = Some(directory);
    }
    Ok(())
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
