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

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::inotify;
use support::vm::{KEY, Vm, contents, entry, groups};
use support::{Daemon, attempt, in_sandbox, in_sandbox_with, poll_until, run, text_of};

/// How long thousands of users may take on a loaded machine before a test fails.
const LONG: Duration = Duration::from_secs(120);

/// How many times a figure is taken.
const ROUNDS: usize = 15;

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

/// Which lock files the system's own tools have made in `/etc`.
struct LockFiles(OwnedFd);

impl LockFiles {
    fn watch() -> Self {
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, "/etc", inotify::WatchFlags::CREATE).unwrap();
        Self(watch)
    }

    fn made(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        let mut made = Vec::new();
        while let Ok(event) = events.next() {
            let name = event.file_name().unwrap().to_str().unwrap();
            made.extend(name.ends_with(".lock").then(|| name.to_owned()));
        }
        made
    }
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

/// How many lines of a log contain this.
fn lines_with(log: &str, words: &str) -> usize {
    log.lines().filter(|line| line.contains(words)).count()
}

/// How many lines for our users a file in `/etc` has.
fn count_in(file: &str) -> usize {
    let text = contents(&format!("/etc/{file}"));
    text.lines()
        .filter(|line| line.starts_with("user-"))
        .count()
}

/// Waits until every user is there with a key, and nothing is under way in the ledger.
fn wait_for(agent: &Daemon, count: usize) {
    let last = names(count).pop().unwrap();
    let file = format!("/home/{last}/.ssh/authorized_keys");
    poll_until(LONG, &format!("{count} users"), || {
        assert!(!agent.said().contains("PANIC"), "{}", agent.said());
        let ledger = contents("/var/lib/google/google_users.json");
        contents(&file).contains(KEY) && ledger.contains(&last) && !ledger.contains("creating")
    });
}

/// Checks that so many users are whole: in every file, with a filled home and a key that is theirs.
fn assert_whole(count: usize) {
    for file in FILES {
        assert_eq!(count_in(file), count, "{file}");
    }
    for (what, found) in [
        (
            "homes",
            "find /home -maxdepth 1 -name 'user-*' -perm 755 ! -user root | wc -l",
        ),
        (
            "skeletons",
            "find /home/user-* -maxdepth 1 -name .bashrc -size +0 ! -user root | wc -l",
        ),
        (
            "keys",
            "find /home/user-*/.ssh/authorized_keys -perm 600 ! -user root | wc -l",
        ),
    ] {
        assert_eq!(shell(found), count.to_string(), "{what}");
    }
    assert_eq!(
        shell("find /etc -name '*gce-guest*'"),
        "",
        "nothing temporary is left"
    );
    assert!(groups("user-0000").contains(&"google-sudoers".to_owned()));
}

/// Creates users with useradd, puts the machine back, lets the agent create them, and compares all that is left.
fn compare_with_useradd(count: usize, set_up: &str) {
    shell(set_up);
    let before = checks();
    let extra = ["adm", "dip", "docker", "lxd", "plugdev", "video"];
    let present = extra
        .iter()
        .filter(|group| attempt(["getent", "group", group]).status.success());
    let groups: Vec<&str> = present.copied().chain(["google-sudoers"]).collect();
    // The tools' lock file, which is left behind, has to be there first.
    run(["groupadd", "first"]);
    run(["groupdel", "first"]);
    shell(
        "mkdir /tmp/before; cp -a /etc/passwd /etc/shadow /etc/group /etc/gshadow /tmp/before
           cp -a /etc/subuid /etc/subgid /tmp/before || true",
    );
    run(["groupadd", "google-sudoers"]);
    for name in names(count) {
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
    vm.set_keys(&entries(count));
    let locks = LockFiles::watch();
    let agent = vm.agent();
    let log = vm.settled(&agent);
    assert!(!log.contains("one by one"), "{log}");
    assert_eq!(
        locks.made(),
        [""; 0],
        "useradd and groupadd make such files"
    );
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
        compare_with_useradd(40, "true");
    });
}

#[test]
fn one_user_and_the_group_of_administrators_are_what_the_tools_make() {
    in_sandbox(
        "one_user_and_the_group_of_administrators_are_what_the_tools_make",
        || compare_with_useradd(1, "groupadd -g 59999 high; groupadd -g 1004 low"),
    );
}

#[test]
fn a_groupadd_of_an_administrator_makes_the_group() {
    in_sandbox("a_groupadd_of_an_administrator_makes_the_group", || {
        shell(
            "printf '#!/bin/sh\n/usr/sbin/groupadd -g 4321 \"$@\"\n' > /usr/local/sbin/groupadd
             chmod 755 /usr/local/sbin/groupadd",
        );
        let vm = Vm::new();
        vm.set_keys(&entries(1));
        let agent = vm.agent();
        wait_for(&agent, 1);
        let group = shell("getent group google-sudoers");
        assert_eq!(group, "google-sudoers:x:4321:user-0000");
    });
}

#[test]
fn users_created_at_once_follow_the_settings_of_the_machine() {
    in_sandbox(
        "users_created_at_once_follow_the_settings_of_the_machine",
        || {
            compare_with_useradd(
            40,
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

/// How long one key more and one key less take for a user, from the change in the emulator to the bytes on disk: the
/// medians of many. Figures for people: nothing is asserted but that they come.
fn one_key(vm: &Vm, lines: &[String], user: &str) -> [Duration; 2] {
    let path = format!("/home/{user}/.ssh/authorized_keys");
    let mut more = lines.to_vec();
    more.push(format!("{user}:{KEY} second"));
    let (lines, more) = (lines.join("\n"), more.join("\n"));
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..2 * ROUNDS {
        let is_less = round % 2;
        std::thread::sleep(Duration::from_millis(50));
        let started = Instant::now();
        let text = if is_less == 1 { &lines } else { &more };
        vm.set("instance/attributes/ssh-keys", text.as_str());
        while contents(&path).contains("second") == (is_less == 1) {
            assert!(started.elapsed() < LONG, "one key for {user}");
            std::thread::sleep(Duration::from_micros(50));
        }
        took[is_less].push(started.elapsed());
    }
    took.map(|mut took| {
        took.sort();
        took[took.len() / 2]
    })
}

#[test]
fn thousands_of_users_are_made_and_one_more_key_is_cheap() {
    in_sandbox(
        "thousands_of_users_are_made_and_one_more_key_is_cheap",
        || {
            let before = checks();
            let vm = Vm::new();
            let agent = vm.agent();
            vm.set_keys(&entries(10));
            wait_for(&agent, 10);
            // Files that changed a moment ago make the agent look at everybody.
            std::thread::sleep(Duration::from_secs(3));
            let few = one_key(&vm, &entries(10), "user-0005");
            println!(
                "with 10 users one key more takes {:?}, one less {:?}",
                few[0], few[1]
            );
            run(["useradd", "-m", "-s", "/bin/bash", "user-1234"]);
            let started = Instant::now();
            vm.set_keys(&entries(2500));
            poll_until(LONG, "the user who only needs a key", || {
                contents("/home/user-1234/.ssh/authorized_keys").contains(KEY)
            });
            wait_for(&agent, 2500);
            println!("2,500 users in {:?}", started.elapsed());
            // By the times of the files: the agent goes on while this test looks.
            let changed = |path| std::fs::metadata(path).unwrap().modified().unwrap();
            assert!(
                changed("/home/user-1234/.ssh/authorized_keys") <= changed("/etc/passwd"),
                "who only needs a key is served before anybody is created"
            );
            std::thread::sleep(Duration::from_secs(3));
            assert_whole(2500);
            assert_eq!(complaints(&before), "");
            assert!(!agent.said().contains("one by one"));

            let [more, less] = one_key(&vm, &entries(2500), "user-2000");
            println!("with 2,500 users one key more takes {more:?}, one less {less:?}");
            println!(
                "that is {:.1} and {:.1} times what it takes with 10",
                more.as_secs_f64() / few[0].as_secs_f64(),
                less.as_secs_f64() / few[1].as_secs_f64()
            );
            let mut lines = entries(2500);
            lines.push(format!("user-2000:{KEY} second"));
            vm.set_keys(&lines);
            poll_until(LONG, "the second key", || {
                contents("/home/user-2000/.ssh/authorized_keys").contains("second")
            });
            // A user who was not looked at is still seen to when the wish changes, and when the user goes.
            lines.retain(|line| !line.starts_with("user-0001:") && !line.ends_with("second"));
            vm.set_keys(&lines);
            poll_until(LONG, "the key that went", || {
                !std::path::Path::new("/home/user-0001/.ssh/authorized_keys").exists()
                    && !contents("/home/user-2000/.ssh/authorized_keys").contains("second")
            });
            poll_until(LONG, "the sudo right that went", || {
                !groups("user-0001").contains(&"google-sudoers".to_owned())
            });
        },
    );
}

#[test]
fn a_kill_at_any_moment_is_made_good_by_the_next_start() {
    in_sandbox(
        "a_kill_at_any_moment_is_made_good_by_the_next_start",
        || {
            let before = checks();
            run(["groupadd", "google-sudoers"]);
            shell(
                "touch /etc/subuid /etc/subgid; mkdir /tmp/before
               cd /etc; cp -a passwd shadow group gshadow subuid subgid /tmp/before",
            );
            let vm = Vm::new();
            vm.set_keys(&entries(60));
            // What is awaited before the kill: each file in the order of writing, then homes.
            let moments = [
                "subuid", "gshadow", "group", "shadow", "passwd", "home", "keys",
            ];
            for moment in moments {
                shell("cp -a /tmp/before/* /etc/; rm -rf /home/user-* /var/lib/google");
                let agent = vm.agent();
                poll_until(LONG, moment, || match moment {
                    "home" => std::path::Path::new("/home/user-0000").exists(),
                    "keys" => std::path::Path::new("/home/user-0003/.ssh").exists(),
                    file => count_in(file) > 0,
                });
                agent.signal("KILL");
                drop(agent);
                let agent = vm.agent();
                wait_for(&agent, 60);
                assert_whole(60);
                assert_eq!(complaints(&before), "", "killed when {moment} was there");
            }
        },
    );
}

#[test]
fn whoever_holds_the_lock_is_waited_for_or_named() {
    in_sandbox("whoever_holds_the_lock_is_waited_for_or_named", || {
        run(["groupadd", "google-sudoers"]);
        let before = checks();
        let hold = "import fcntl, sys, time; file = open('/etc/.pwd.lock', 'r+b'); fcntl.lockf(file, fcntl.LOCK_EX); \
                    open('/tmp/held', 'w').close(); time.sleep(1000)";
        let holder = Daemon::start("holder", ["python3", "-c", hold]);
        poll_until(LONG, "the lock is held", || {
            std::path::Path::new("/tmp/held").exists()
        });
        let vm = Vm::new();
        vm.set_keys(&entries(40));
        let agent = vm.agent();
        poll_until(LONG, "the holder is named", || {
            agent.said().contains(&format!(
                "/etc/.pwd.lock is locked by python3 (process {})",
                holder.id()
            ))
        });
        assert_eq!(count_in("passwd"), 0);
        drop(holder);
        wait_for(&agent, 40);
        assert_whole(40);
        assert_eq!(complaints(&before), "");
    });
}

#[test]
fn tools_that_run_at_the_same_time_lose_nothing() {
    in_sandbox("tools_that_run_at_the_same_time_lose_nothing", || {
        run(["groupadd", "google-sudoers"]);
        let before = checks();
        let vm = Vm::new();
        let tools = "for n in $(seq 12); do useradd -m other-$n; usermod -c text-$n other-$n; groupadd group-$n
                     gpasswd -a other-$n group-$n; done > /dev/null; touch /tmp/done";
        let mut tools = Daemon::start("tools", ["sh", "-ec", tools]);
        vm.set_keys(&entries(300));
        let agent = vm.agent();
        wait_for(&agent, 300);
        assert!(tools.wait(LONG).success(), "{}", tools.said());
        assert_whole(300);
        for number in 1..=12 {
            let user = format!("other-{number}");
            assert!(
                support::vm::passwd(&user).contains(&format!(":text-{number}:")),
                "{user}"
            );
            assert!(groups(&user).contains(&format!("group-{number}")), "{user}");
        }
        assert_eq!(complaints(&before), "");
    });
}

#[test]
fn a_full_disk_in_the_middle_costs_nothing_for_ever() {
    in_sandbox_with(
        &["--allow-mounts"],
        "a_full_disk_in_the_middle_costs_nothing_for_ever",
        || {
            run(["groupadd", "google-sudoers"]);
            let before = checks();
            let vm = Vm::new();
            vm.set_keys(&entries(200));
            shell(
                "cp -a /etc /tmp/etc; mount -t tmpfs -o size=8m none /etc
                   cp -a /tmp/etc/* /tmp/etc/.pwd.lock /etc/",
            );
            let mut told = 0;
            // Room for none of the files, for some of them, for nearly all of them.
            for room in [4, 20, 36, 52] {
                shell(&format!(
                    "dd if=/dev/zero of=/etc/filler bs=4k 2> /dev/null || true
                     truncate -s -{room}k /etc/filler"
                ));
                let agent = vm.agent();
                poll_until(LONG, &format!("a full disk with {room} KiB"), || {
                    agent.said().contains("No space left on device")
                });
                assert_eq!(count_in("passwd"), 0, "with {room} KiB");
                told += lines_with(&agent.said(), "No space left on device");
                drop(agent);
                shell("rm /etc/filler");
                let agent = vm.agent();
                wait_for(&agent, 200);
                assert_whole(200);
                assert_eq!(complaints(&before), "", "with {room} KiB");
                drop(agent);
                shell("cp -a /tmp/etc/* /etc/; rm -rf /home/user-* /var/lib/google");
            }
            assert!(told <= 8, "one message for all users, not one for each");
        },
    );
}

#[test]
fn a_read_only_system_is_told_once_and_made_good() {
    in_sandbox_with(
        &["--allow-mounts"],
        "a_read_only_system_is_told_once_and_made_good",
        || {
            run(["groupadd", "google-sudoers"]);
            let before = checks();
            shell("mount --bind /etc /etc; mount -o remount,bind,ro /etc");
            let vm = Vm::new();
            vm.set_keys(&entries(40));
            let agent = vm.agent();
            poll_until(LONG, "the read-only system is told", || {
                lines_with(&agent.said(), "user-0000 and 39 more") > 0
            });
            assert!(agent.said().contains("Read-only file system"));
            assert_eq!(lines_with(&agent.said(), "user-00"), 1);
            shell("mount -o remount,bind,rw /etc");
            wait_for(&agent, 40);
            assert_whole(40);
            assert_eq!(complaints(&before), "");
        },
    );
}

#[test]
fn a_machine_that_is_not_plain_is_left_to_useradd() {
    in_sandbox("a_machine_that_is_not_plain_is_left_to_useradd", || {
        shell("mkdir -p /etc/shadow-maint/useradd-post.d; echo '+::::::' >> /etc/passwd");
        let vm = Vm::new();
        vm.set_keys(&entries(12));
        let agent = vm.agent();
        wait_for(&agent, 12);
        assert!(
            agent
                .said()
                .contains("12 users are created one by one: useradd runs hooks"),
            "{}",
            agent.said()
        );
        assert_whole(12);
        assert!(
            contents("/etc/passwd").ends_with("+::::::\n"),
            "useradd keeps such lines at the end"
        );
    });
}
