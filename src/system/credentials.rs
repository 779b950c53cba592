//! Acting with a user's credentials, so that a write in a home directory can reach nothing that its owner could not.
//!
//! Linux keeps credentials per thread. The work runs in a thread of its own whose effective ids are the user's; the real
//! and saved ids stay root's, so that the user cannot signal the program meanwhile (kill(2) looks at those), and the
//! thread ends with its credentials.

use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread;

/// The ids to act with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The effective user id.
    pub uid: u32,
    /// The effective group id; it is the only group: no supplementary ones.
    pub gid: u32,
}

/// Runs `work` with the credentials and returns its result. For root, and for the ids that the program has anyway, it
/// simply runs.
///
/// # Errors
/// The credentials cannot be taken (not root), or those of `work`. A panic in `work` becomes an error.
pub fn act_as<T: Send>(
    credentials: Credentials,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    if rustix::process::geteuid().as_raw() == credentials.uid {
        return work();
    }
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .name("user".into())
            .spawn_scoped(scope, || {
                take(credentials)?;
                work()
            })?;
        worker
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the work ended in a panic")))
    })
}

/// Takes the credentials for the calling thread only; there is no way back.
fn take(credentials: Credentials) -> io::Result<()> {
    let (uid, gid) = (
        Uid::from_raw(credentials.uid),
        Gid::from_raw(credentials.gid),
    );
    // Groups first: without the effective user id of root they could not be dropped any more.
    thread::set_thread_groups(&[])?;
    thread::set_thread_res_gid(rustix::process::getgid(), gid, rustix::process::getgid())?;
    thread::set_thread_res_uid(rustix::process::getuid(), uid, rustix::process::getuid())?;
    Ok(())
}
