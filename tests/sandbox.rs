//! The sandbox, against witnesses of the system: it is a machine of its own, and the real one does not notice.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

use support::{attempt, in_sandbox, run, text_of};

#[test]
fn users_and_groups_come_and_go() {
    in_sandbox("users_and_groups_come_and_go", || {
        run(["useradd", "-m", "-s", "/bin/bash", "alice"]);
        run(["groupadd", "google-sudoers"]);
        run(["gpasswd", "-a", "alice", "google-sudoers"]);
        assert!(text_of(["id", "-nG", "alice"]).contains("google-sudoers"));
        assert!(std::path::Path::new("/home/alice/.bashrc").exists());
        run(["userdel", "-r", "alice"]);
        assert!(!attempt(["id", "alice"]).status.success());
        assert!(!std::path::Path::new("/home/alice").exists());
    });
}
