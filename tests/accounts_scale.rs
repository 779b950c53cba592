//! Thousands of users: created at once they are what useradd would have made, whatever happens in between; and a pass over
//! them is cheap. Witnesses are the system's own tools.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

use std::time::{Duration, Instant};

use support::vm::{Vm, contents, entry, groups, passwd};
use support::{Daemon, attempt, in_sandbox, poll_until, run, text_of};

/// How long thousands of users may take on a loaded machine before a test fails.
const LONG: Duration = Duration::from_secs(120);

const FILES: [&str; 6] = ["passwd", "shadow", "group", "gshadow", "subuid", "subgid"];

/// The lines of metadata for so many users, `user-0000` and so on.
fn entries(count: usize) -> Vec<String> {
    names(count).iter().map(|name| entry(name)).collect()
}

fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("user-{number:04}"))
        .collect()
}

/// Runs a shell script with success and returns what it printed.
fn shell(script: &str) -> String {
    text_of(["sh", "-ec", script])
}

/// Everything that creating users leaves behind, times of directories aside.
fn everything() -> String {
    let mut all = String::new();
    for file in FILES {
        all += &format!("== {file}\n{}", contents(&format!("/etc/{file}")));
    }
    all += &shell(
        "cd /etc; stat -c '%n %a %U %G' passwd* shadow* group* gshadow* subuid* subgid*
         cd /; find var/mail -printf '%p %M %U %G %s\\n' | sort
         find home srv -name .ssh -prune -o -type d -printf '%p %M %U %G\\n' -o -printf '%p %M %U %G %l %T@ ' -exec md5sum -z {} \\; -printf '\\n' | tr -d '\\0' | sort",
    );
    all
}

/// What the system's own checkers say about the files, apart from what they said before.
fn complaints(before: &str) -> String {
    let now = checks();
    let new = now
        .lines()
        .filter(|line| !before.lines().any(|old| old == *line));
    new.collect::<Vec<_>>().join("\n")
}

fn checks() -> String {
    shell("{ pwck -r; grpck -r; } 2>&1 | grep -v 'no changes' || true")
}

fn count_in(file: &str, name: &str) -> usize {
    contents(file)
        .lines()
        .filter(|line| line.starts_with(name))
        .count()
}

/// Creates 40 users with useradd, puts the machine back, lets the agent create them, and compares all that is left.
fn compare_with_useradd(set_up: &str) {
    shell(set_up);
    run(["groupadd", "google-sudoers"]);
    let before = checks();
    let extra = ["adm", "dip", "docker", "lxd", "plugdev", "video"];
    let present = extra
        .iter()
        .filter(|group| attempt(["getent", "group", group]).status.success());
    let groups: Vec<&str> = present.copied().chain(["google-sudoers"]).collect();
    shell(
        "mkdir /tmp/before; cp -a /etc/passwd /etc/shadow /etc/group /etc/gshadow /tmp/before
           cp -a /etc/subuid /etc/subgid /tmp/before || true",
    );
    for name in names(40) {
        run([
            "useradd",
            "-m",
            "-s",
            "/bin/bash",
            "-p",
            "*",
            "-G",
            &groups.join(","),
            &name,
        ]);
    }
    let expected = everything();
    shell(
        "rm -rf /home/user-* /srv/homes/user-* /var/mail/user-* /etc/subuid /etc/subgid; cp -a /tmp/before/* /etc/",
    );
    let vm = Vm::new();
    vm.set_keys(&entries(40));
    let agent = vm.agent();
    let log = vm.settled(&agent);
    assert!(!log.contains("one by one"), "{log}");
    let created = everything();
    for (ours, theirs) in created.lines().zip(expected.lines()) {
        assert_eq!(ours, theirs, "\n{log}");
    }
    assert_eq!(created.lines().count(), expected.lines().count());
    for file in ["passwd", "shadow", "subuid"] {
        assert_eq!(
            contents(&format!("/etc/{file}-")),
            contents(&format!("/tmp/before/{file}"))
        );
    }
    assert_eq!(complaints(&before), "");
}

#[test]
fn users_created_at_once_are_what_useradd_makes() {
    in_sandbox("users_created_at_once_are_what_useradd_makes", || {
        compare_with_useradd("true")
    });
}

#[test]
fn users_created_at_once_follow_the_settings_of_the_machine() {
    in_sandbox(
        "users_created_at_once_follow_the_settings_of_the_machine",
        || {
            compare_with_useradd(
            "sed -i 's/^PASS_MAX_DAYS.*/PASS_MAX_DAYS 90/; s/^PASS_MIN_DAYS.*/PASS_MIN_DAYS 1/; s/^UID_MIN.*/UID_MIN 5000/
                     s/^PASS_WARN_AGE.*/PASS_WARN_AGE -1/; s/^UMASK.*/UMASK 077/' /etc/login.defs
             echo 'HOME_MODE 0711' >> /etc/login.defs
             printf 'HOME=/srv/homes\\nINACTIVE=30\\nSKEL=/etc/skeleton\\nCREATE_MAIL_SPOOL=yes\\n' > /etc/default/useradd
             mkdir -p /srv/homes /etc/skeleton/deep/er;
             printf x > /etc/skeleton/deep/er/file; chmod 4751 /etc/skeleton/deep/er/file; chmod 1700 /etc/skeleton/deep
             ln -s .profile /etc/skeleton/link; touch -d 2001-02-03 /etc/skeleton/empty; touch -h -d 2002-02-03 /etc/skeleton/link
             groupadd -g 5001 skew; useradd -u 5007 -N nobodys; useradd -u 59990 -g 5001 high
             groupadd -g 6000 six; useradd -u 60000 -N last
             printf 'x:100000:65536\\ny:300000:65536\\n' > /etc/subuid; rm -f /etc/subgid",
        );
            assert_eq!(
                shell("stat -c '%a %U' /srv/homes/user-0039 /srv/homes/user-0039/deep/er/file"),
                "711 user-0039\n4751 user-0039"
            );
            assert_eq!(
                shell("cat /srv/homes/user-0000/deep/er/file; readlink /srv/homes/user-0000/link"),
                "x.profile"
            );
        },
    );
}
