//! SELinux contexts for new files, without libselinux.
//!
//! A replaced file keeps its context (see [`super::files`]). A new one gets what the policy says for its path, set on the
//! temporary file before the rename, so that there is no moment with the wrong one. Where SELinux is off, nothing is done.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::processes::{self, Invocation};
use super::root::Root;
use crate::system::order::Map;

/// How long the policy's look-up may take: most of that is reading the policy.
const DEADLINE: Duration = Duration::from_secs(5);

/// How many paths are looked up by one process: what it prints has to fit into what is kept of it (64 KiB).
const AT_ONCE: usize = 200;

/// The context that the policy wants for a path, as the bytes of the extended attribute; `None` where SELinux is off, the
/// tool matchpathcon(8) is missing, or the policy has no opinion.
#[must_use]
pub fn default_context(root: &Root, path: &Path) -> Option<Vec<u8>> {
    default_contexts(root, &[path.to_path_buf()]).remove(path)
}

/// The same for many paths, in one process for hundreds: the policy is read once by each.
#[must_use]
pub fn default_contexts(root: &Root, paths: &[PathBuf]) -> Map<PathBuf, Vec<u8>> {
    let mut contexts = Map::new();
    if !is_on(root) {
        return contexts;
    }
    for paths in paths.chunks(AT_ONCE) {
        let matchpathcon = Invocation::new("matchpathcon", paths).within(DEADLINE);
        // It fails when it fails for one of them; the others are printed all the same.
        let Ok(finished) = processes::run(&matchpathcon) else {
            return contexts;
        };
        contexts.extend(printed(&finished.stdout));
    }
    contexts
}

/// Whether the kernel has SELinux on.
#[must_use]
pub fn is_on(root: &Root) -> bool {
    root.path("/sys/fs/selinux/enforce").exists()
}

/// What matchpathcon prints for each path: the path, a tab, the context; as attributes, NUL-terminated as the kernel keeps
/// them. Where the policy has no opinion it says `<<none>>`.
fn printed(text: &[u8]) -> impl Iterator<Item = (PathBuf, Vec<u8>)> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let tab = line.iter().rposition(|byte| *byte == b'\t')?;
        let (path, context) = (&line[..tab], line[tab..].trim_ascii());
        let is_some = !context.is_empty() && context != b"<<none>>";
        let context = [context, b"\0"].concat();
        is_some.then(|| (PathBuf::from(OsStr::from_bytes(path)), context))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matchpathcon_prints_becomes_the_attributes() {
        let text = b"/home/a/.ssh\tunconfined_u:object_r:ssh_home_t:s0\n/x\t<<none>>\nnoise\n/y\t\n/a b\tu:r:t:s0-s0:c0\n";
        let found: Vec<_> = printed(text).collect();
        let expected = [
            (
                "/home/a/.ssh",
                b"unconfined_u:object_r:ssh_home_t:s0\0".to_vec(),
            ),
            ("/a b", b"u:r:t:s0-s0:c0\0".to_vec()),
        ];
        assert_eq!(
            found,
            expected.map(|(path, context)| (path.into(), context))
        );
    }

    #[test]
    fn without_selinux_there_is_no_context() {
        assert_eq!(
            default_context(&Root::at("/nonexistent"), Path::new("/etc/passwd")),
            None
        );
    }
}
