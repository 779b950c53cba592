//! SELinux contexts for new files, without libselinux.
//!
//! A replaced file keeps its context (see [`super::files`]). A new one gets what the policy says for its path, set on the
//! temporary file before the rename, so that there is no moment with the wrong one. Where SELinux is off, nothing is done.

use std::path::Path;
use std::time::Duration;

use super::processes::{self, Invocation};
use super::root::Root;

/// How long the policy's look-up may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// The context that the policy wants for a path, as the bytes of the extended attribute; `None` where SELinux is off, the
/// tool matchpathcon(8) is missing, or the policy has no opinion.
#[must_use]
pub fn default_context(root: &Root, path: &Path) -> Option<Vec<u8>> {
    if !root.path("/sys/fs/selinux/enforce").exists() {
        return None;
    }
    let matchpathcon =
        Invocation::new("matchpathcon", ["-n".as_ref(), path.as_os_str()]).within(DEADLINE);
    let finished = processes::run_successfully(&matchpathcon).ok()?;
    context(&finished.stdout)
}

/// The attribute's bytes from what matchpathcon prints: the context, NUL-terminated as the kernel keeps it.
fn context(printed: &[u8]) -> Option<Vec<u8>> {
    let text = printed.trim_ascii();
    if text.is_empty() || text == b"<<none>>" {
        return None;
    }
    let mut context = text.to_vec();
    context.push(0);
    Some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matchpathcon_prints_becomes_the_attribute() {
        assert_eq!(
            context(b"unconfined_u:object_r:ssh_home_t:s0\n").unwrap(),
            b"unconfined_u:object_r:ssh_home_t:s0\0"
        );
        assert_eq!(context(b"<<none>>\n"), None);
        assert_eq!(context(b""), None);
    }

    #[test]
    fn without_selinux_there_is_no_context() {
        assert_eq!(
            default_context(&Root::at("/nonexistent"), Path::new("/etc/passwd")),
            None
        );
    }
}
