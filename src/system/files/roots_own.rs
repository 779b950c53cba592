//! Opening a directory about which root alone decides, all the way from `/`.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path};

use rustix::io::Errno;

use super::{Directory, is_link};

/// How many links may be on the way, as in the kernel (path_resolution(7)).
const LINKS_LIMIT: usize = 40;

impl Directory {
    /// Opens a directory, if it and everything on the way to it belong to root and nobody else may write there. Links that
    /// are found on such a way are root's, and followed; so nobody else can steer where it leads, now or a moment later.
    ///
    /// # Errors
    /// Those of open(2), `PermissionDenied` where somebody else has a say, `ELOOP` after too many links.
    pub fn open_roots_own(path: &Path) -> io::Result<Self> {
        let mut to_go = names(path);
        let mut links = 0;
        let mut here = Self::open(Path::new("/"))?;
        let mut above = Vec::new();
        here.check_roots_own()?;
        while let Some(name) = to_go.pop_front() {
            if name == OsStr::new("..") {
                here = above.pop().unwrap_or(here);
                continue;
            }
            let status = here.status_of(&name)?;
            if !status.is_some_and(|status| is_link(&status)) {
                let next = here.open_directory(&name)?;
                next.check_roots_own()?;
                above.push(std::mem::replace(&mut here, next));
                continue;
            }
            links += 1;
            if links > LINKS_LIMIT {
                return Err(Errno::LOOP.into());
            }
            let target = here.read_link(&name)?;
            if target.is_absolute() {
                here = Self::open(Path::new("/"))?;
                above.clear();
            }
            let mut target = names(&target);
            target.append(&mut to_go);
            to_go = target;
        }
        Ok(here)
    }

    fn check_roots_own(&self) -> io::Result<()> {
        let status = self.status()?;
        if status.st_uid == 0 && status.st_mode & 0o022 == 0 {
            return Ok(());
        }
        let told = format!("{} is not root's alone", self.path().display());
        Err(io::Error::new(io::ErrorKind::PermissionDenied, told))
    }
}

/// The names of a path, in their order.
fn names(path: &Path) -> VecDeque<OsString> {
    let components = path.components();
    components
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::PrivateDirectory;

    #[test]
    fn the_systems_directories_are_roots_and_those_below_anybodys_are_not() {
        let opened = Directory::open_roots_own(Path::new("/usr/../usr/./lib")).unwrap();
        let expected = Directory::open(Path::new("/usr/lib")).unwrap();
        assert_eq!(
            opened.status().unwrap().st_ino,
            expected.status().unwrap().st_ino
        );
        // Whoever the test runs as: what is below /tmp, where everybody may write, is steered by everybody.
        let place = PrivateDirectory::create(Path::new("/tmp"), "gce-guest-roots-own-").unwrap();
        let error = Directory::open_roots_own(place.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(
            error.to_string().contains("/tmp is not root's alone"),
            "{error}"
        );
        let missing = Directory::open_roots_own(Path::new("/usr/no-such-directory"));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
