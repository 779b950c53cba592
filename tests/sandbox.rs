//! The sandbox, against witnesses of the system: inside it is a machine of its own, and the real one does not notice.
//!
//! Debian packages: iproute2, iputils-ping, openssh-server, procps, sudo, uidmap.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a failure is a panic, and programs are started directly"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::panic;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use support::outside::{PATIENCE, machine, said, sandboxed, unique_sleep};
use support::{
    Daemon, PROGRAM, attempt, in_sandbox, in_sandbox_with, output_within, poll_until, run, text_of,
};

/// The capabilities that capability.h numbers so: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP,
/// NET_BIND_SERVICE, NET_ADMIN, NET_RAW, SYS_CHROOT, AUDIT_WRITE, SETFCAP.
const CAPABILITIES: [u32; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 12, 13, 18, 29, 31];

#[test]
fn the_machine_is_untouched() {
    let before = machine();
    let left = Path::new(env!("CARGO_TARGET_TMPDIR")).join("left-behind");
    let script = format!(
        "set -e; useradd -m alice; groupadd staff2; echo changed > /etc/hosts; : > /etc/shadow; \
         touch /home/x /run/x /tmp/gce-guest-left-behind /dev/shm/gce-guest-left-behind {}; \
         ip link add x type veth peer name y; ip addr add 192.0.2.7/32 dev lo; ip link set eth0 down; \
         rm -r /usr/share/doc; (setsid sleep 4000 &)",
        left.display()
    );
    let output = sandboxed(&[], &script);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(machine(), before);
    assert!(Path::new("/usr/share/doc").exists());
    for path in [
        "/tmp/gce-guest-left-behind",
        "/dev/shm/gce-guest-left-behind",
    ] {
        assert!(!Path::new(path).exists(), "{path}");
    }
    assert!(!left.exists());
}

#[test]
fn users_and_groups_come_and_go() {
    in_sandbox("users_and_groups_come_and_go", || {
        run(["useradd", "-m", "-s", "/bin/bash", "alice"]);
        run(["groupadd", "google-sudoers"]);
        run(["gpasswd", "-a", "alice", "google-sudoers"]);
        assert!(text_of(["id", "-nG", "alice"]).contains("google-sudoers"));
        assert!(Path::new("/home/alice/.bashrc").exists());
        run(["gpasswd", "-d", "alice", "google-sudoers"]);
        assert!(!text_of(["id", "-nG", "alice"]).contains("google-sudoers"));
        run(["userdel", "-r", "alice"]);
        assert!(!attempt(["id", "alice"]).status.success());
        assert!(!Path::new("/home/alice").exists());
    });
}

#[test]
fn a_user_logs_in_and_becomes_root() {
    in_sandbox("a_user_logs_in_and_becomes_root", || {
        run(["useradd", "-m", "-s", "/bin/bash", "alice"]);
        fs::write("/etc/sudoers.d/alice", "alice ALL=(ALL:ALL) NOPASSWD:ALL\n").unwrap();
        for key in ["/tmp/host", "/tmp/user"] {
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key]);
        }
        run("install -d -m 700 -o alice -g alice /home/alice/.ssh".split(' '));
        run(
            "install -m 600 -o alice -g alice /tmp/user.pub /home/alice/.ssh/authorized_keys"
                .split(' '),
        );
        let sshd = Daemon::start(
            "sshd",
            "/usr/sbin/sshd -D -e -h /tmp/host -o ListenAddress=127.0.0.1".split(' '),
        );
        poll_until(PATIENCE, "sshd listens", || {
            TcpStream::connect("127.0.0.1:22").is_ok()
        });
        let login =
            "ssh -tt -i /tmp/user -o BatchMode=yes -o StrictHostKeyChecking=no alice@127.0.0.1";
        let output = attempt(login.split(' ').chain(["id -un; tty; sudo -n id -un"]));
        let told = said(&output);
        assert!(output.status.success(), "{told}\n{}", sshd.said());
        let lines: Vec<&str> = told.lines().map(str::trim).collect();
        assert!(
            lines.contains(&"alice") && lines.contains(&"/dev/pts/0"),
            "{told}"
        );
        assert!(
            lines.contains(&"root") && !told.contains("unable to resolve"),
            "{told}"
        );
        run(["ping", "-c", "1", "-W", "5", "10.128.0.2"]);
    });
}

/// pam_loginuid needs a capability to change the login id of a process that has one; nobody inside has it.
#[test]
fn nobody_has_logged_in_yet() {
    let script = format!(
        "echo 1234 > /proc/self/loginuid; cat /proc/self/loginuid; exec {PROGRAM} sandbox -- cat /proc/self/loginuid"
    );
    let told = said(&attempt(["sh", "-c", &script]));
    if Path::new("/proc/self/loginuid").exists() {
        assert_eq!(told, "12344294967295");
    } else {
        assert!(told.contains("No such file"), "{told}");
    }
}

#[test]
fn what_the_kernel_has_only_once_cannot_be_changed() {
    in_sandbox("what_the_kernel_has_only_once_cannot_be_changed", || {
        // Each of these would do little if it worked: it sets what is set already.
        for script in [
            "date -s '+0 seconds'",
            "mknod /tmp/device b 254 0",
            "mknod /dev/device c 1 3",
            "sysctl -w vm.swappiness=$(sysctl -n vm.swappiness)",
            "cat /proc/sys/vm/swappiness > /proc/sys/vm/swappiness",
            "cat /proc/irq/default_smp_affinity > /proc/irq/default_smp_affinity",
            "echo h > /proc/sysrq-trigger",
            "touch /sys/kernel/uevent_helper /sys/power/state",
            "chmod 666 /dev/null",
            "chown root /dev/null",
            "mount -o remount,rw /sys",
            "mount -o remount,bind,rw /proc/sys",
            "umount /proc/sys",
            "mount -t tmpfs tmpfs /mnt",
            "hostname other",
            "dmesg --console-level 4",
            "unshare --mount true",
            // Nor as root of one more user namespace.
            "unshare -Urm mount -o remount,bind,rw /proc/sys",
            "unshare -Urm umount /proc/sys",
            "unshare -Urm umount -l /proc",
            "unshare -Urpfm mount -t proc proc /mnt",
            "unshare -Urm mount -o remount,rw /sys",
        ] {
            let output = attempt(["sh", "-c", script]);
            assert!(!output.status.success(), "{script}: {}", said(&output));
        }
        let error = rustix::system::init_module(b"", c"").unwrap_err();
        // A kernel without modules has no such call.
        let refused = [rustix::io::Errno::PERM, rustix::io::Errno::NOSYS];
        assert!(refused.contains(&error), "{error}");
        // The settings of the network are the sandbox's own.
        run(["sysctl", "-w", "net.ipv4.ip_forward=1"]);
    });
}

#[test]
fn no_process_has_other_capabilities() {
    in_sandbox("no_process_has_other_capabilities", || {
        let allowed: u64 = CAPABILITIES.iter().map(|number| 1 << number).sum();
        for process in ["1", "self"] {
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
            let set = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
            };
            assert_eq!(
                [set("CapBnd:"), set("CapPrm:"), set("CapEff:")],
                [allowed; 3]
            );
            assert_eq!([set("CapInh:"), set("CapAmb:")], [0; 2]);
        }
        for line in fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
            let options = line.split(' ').nth(5).unwrap();
            let device = line.contains(" - devtmpfs ") || line.contains(" - devpts ");
            assert!(options.contains("nodev") || device, "{line}");
        }
    });
}

#[test]
fn there_is_no_way_out() {
    in_sandbox("there_is_no_way_out", || {
        for destination in ["192.0.2.1", "10.128.0.1", "2001:db8::1"] {
            let output = attempt(["ip", "route", "get", destination]);
            assert!(!output.status.success(), "{destination}: {}", said(&output));
        }
        assert_eq!(text_of(["ip", "route"]), "");
        let error = TcpStream::connect("192.0.2.1:80").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
    });
}

#[test]
fn a_metadata_server_can_be_inside() {
    in_sandbox("a_metadata_server_can_be_inside", || {
        let server = TcpListener::bind("169.254.169.254:80").unwrap();
        let mut client = TcpStream::connect("metadata.google.internal:80").unwrap();
        server.accept().unwrap().0.write_all(b"here").unwrap();
        let mut told = String::new();
        client.read_to_string(&mut told).unwrap();
        assert_eq!(told, "here");
    });
}

#[test]
fn the_interface_is_one_of_compute_engine() {
    in_sandbox("the_interface_is_one_of_compute_engine", || {
        let link = text_of(["ip", "-o", "link", "show", "eth0"]);
        assert!(link.contains("link/ether 42:01:0a:80:00:02"), "{link}");
        assert!(link.contains("UP,LOWER_UP"), "{link}");
        let address = text_of(["ip", "-4", "-o", "addr", "show", "eth0"]);
        assert!(address.contains("inet 10.128.0.2/32"), "{address}");
        let lo = text_of(["ip", "-o", "addr", "show", "lo"]);
        for address in ["127.0.0.1/8", "169.254.169.254/32", "::1/128"] {
            assert!(lo.contains(address), "{lo}");
        }
        assert_eq!(text_of(["hostname"]), "sandbox");
        assert!(text_of(["getent", "hosts", "sandbox"]).starts_with("127.0.0.1"));
    });
}

#[test]
fn interfaces_and_name_can_be_chosen() {
    let options = [
        "--nic",
        "ens4,42:01:0a:80:00:09,10.128.0.9",
        "--nic",
        "ens5,42:01:0a:81:00:09",
        "--hostname",
        "vm-1",
    ];
    let output = sandboxed(
        &options,
        "hostname; cat /etc/hostname; ip -o link; ip -4 -o addr",
    );
    let told = said(&output);
    assert!(told.starts_with("vm-1\nvm-1\n"), "{told}");
    assert!(
        told.contains("42:01:0a:81:00:09") && !told.contains("eth0"),
        "{told}"
    );
    assert!(told.contains("10.128.0.9/32"), "{told}");
}

#[test]
fn four_at_once_do_not_meet() {
    let script = "set -e; useradd -m alice; ip addr add 192.0.2.7/32 dev eth0; ip link show eth0 >/dev/null; \
                  echo $$ > /run/mine; echo $$ > /tmp/mine; sleep 0.3; cmp /run/mine /tmp/mine; userdel -r alice";
    let runs: Vec<_> = (0..4)
        .map(|_| thread::spawn(move || sandboxed(&[], script)))
        .collect();
    for one in runs {
        let output = one.join().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn only_named_descriptors_are_kept() {
    let listing = "ls /proc/self/fd | tr \"\\n\" \" \"";
    for (options, expected) in [("", "0 1 2 3 "), ("--keep-fd 9", "0 1 2 3 9 ")] {
        let script = format!(
            "exec 8</etc/passwd 9</etc/group; exec {PROGRAM} sandbox {options} -- sh -c '{listing}'"
        );
        let output = run(["bash", "-c", &script]);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{options}"
        );
    }
    let output = attempt([PROGRAM, "sandbox", "--keep-fd", "77", "--", "true"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn a_shown_directory_is_live_and_cannot_be_written() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_sleep());
    fs::create_dir(&directory).unwrap();
    let script = "echo ready; until [ -s /run/live/later ]; do sleep 0.02; done; cat /run/live/later; \
                  touch /run/live/x 2>/dev/null || echo refused";
    let mut child = Command::new(PROGRAM)
        .arg("sandbox")
        .arg(format!("--show={}=/run/live", directory.display()))
        .args(["--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut told = [0; 6];
    stdout.read_exact(&mut told).unwrap();
    fs::write(directory.join("new"), "written outside\n").unwrap();
    fs::rename(directory.join("new"), directory.join("later")).unwrap();
    let mut told = String::new();
    stdout.read_to_string(&mut told).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(told, "written outside\nrefused\n");
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn the_working_directory_is_seen_and_keeps_its_contents() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_sleep());
    let temporary = Path::new("/tmp").join(format!("gce-guest-test-{}", unique_sleep()));
    for directory in [&directory, &temporary] {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("file"), "outside").unwrap();
        let mut command = Command::new(PROGRAM);
        command
            .args([
                "sandbox",
                "--",
                "sh",
                "-c",
                "pwd; cat file; echo inside > file; touch new; ls",
            ])
            .current_dir(directory);
        let output = output_within(&mut command, PATIENCE);
        let expected = format!("{}\noutsidefile\nnew", directory.display());
        assert_eq!(said(&output), expected);
        assert_eq!(
            fs::read_to_string(directory.join("file")).unwrap(),
            "outside"
        );
        assert!(!directory.join("new").exists());
        fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn other_file_systems_are_covered_as_well() {
    let name = "other_file_systems_are_covered_as_well";
    in_sandbox_with(&["--allow-mounts"], name, || {
        for directory in ["/home", "/home/a b,c:d"] {
            fs::create_dir_all(directory).unwrap();
            run(["mount", "-t", "tmpfs", "tmpfs", directory]);
            fs::write(format!("{directory}/file"), "outside").unwrap();
        }
        let output = sandboxed(
            &[],
            "for d in /home '/home/a b,c:d'; do cat \"$d/file\"; echo inside > \"$d/file\"; cat \"$d/file\"; done",
        );
        assert_eq!(said(&output), "outsideinside\noutsideinside");
        for directory in ["/home", "/home/a b,c:d"] {
            let kept = fs::read_to_string(format!("{directory}/file")).unwrap();
            assert_eq!(kept, "outside", "{directory}");
        }
    });
}

/// Makes an ordinary user who may have a sandbox.
fn make_bob() {
    run(["useradd", "-m", "bob"]);
    run([
        "usermod",
        "--add-subuids",
        "100000-165535",
        "--add-subgids",
        "100000-165535",
        "bob",
    ]);
    // The kernel lets a user namespace have a /proc only where nothing of the present one is covered.
    run(["mount", "-t", "proc", "proc", "/proc"]);
    fs::write("/home/bob/file", "outside").unwrap();
    run(["chown", "bob:", "/home/bob/file"]);
}

/// Runs a shell script in a sandbox of the ordinary user.
fn as_bob(script: &str) -> Output {
    let mut command = Command::new("runuser");
    command
        .args([
            "-u", "bob", "--", PROGRAM, "sandbox", "--", "sh", "-c", script,
        ])
        .current_dir("/home/bob");
    output_within(&mut command, PATIENCE)
}

#[test]
fn an_ordinary_user_has_one_in_a_user_namespace() {
    let name = "an_ordinary_user_has_one_in_a_user_namespace";
    in_sandbox_with(&["--allow-mounts"], name, || {
        make_bob();
        let before = machine();
        let output = as_bob(
            "set -e; id -u; pwd; echo inside > file; test -O /etc/shadow; \
             useradd -m alice; test -d /home/alice; groupadd google-sudoers; \
             echo '%google-sudoers ALL=(ALL:ALL) NOPASSWD:ALL' > /etc/sudoers.d/google_sudoers; \
             gpasswd -a alice google-sudoers; id -nG alice; runuser -u alice -- sudo -n id -un; \
             userdel -r alice; ip -4 -o addr show eth0; hostname; \
             refused() { if \"$@\" 2>/dev/null; then echo \"not refused: $*\"; exit 1; fi; }; \
             refused touch /usr/x; refused touch /opt/x; refused ip route get 192.0.2.1; \
             refused date -s '+0 seconds'; refused mount -t tmpfs tmpfs /mnt; refused chmod 666 /dev/null",
        );
        let told = said(&output);
        assert!(output.status.success(), "{told}");
        assert!(told.starts_with("0\n/home/bob\n"), "{told}");
        for expected in [
            "alice google-sudoers\nroot\n",
            "10.128.0.2/32",
            "\nsandbox\n",
        ] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
        assert_eq!(machine(), before);
        assert_eq!(fs::read_to_string("/home/bob/file").unwrap(), "outside");
        assert_eq!(
            as_bob("(setsid sleep 4000 &) ; exit 9").status.code(),
            Some(9)
        );
    });
}

#[test]
fn an_ordinary_user_who_may_not_have_one_is_told_why() {
    let name = "an_ordinary_user_who_may_not_have_one_is_told_why";
    in_sandbox_with(&["--allow-mounts"], name, || {
        make_bob();
        // The kernel lets nobody have a user namespace in a changed root directory.
        run(["mount", "--rbind", "/", "/mnt"]);
        let chrooted = attempt([
            "chroot",
            "--userspec=bob",
            "/mnt",
            PROGRAM,
            "sandbox",
            "--",
            "true",
        ]);
        refuses(&chrooted, "cannot make a user namespace");
        run(["usermod", "--del-subuids", "100000-165535", "bob"]);
        refuses(&as_bob("true"), "/etc/subuid has no range for bob");
        run(["chmod", "0", "/usr/bin/newuidmap"]);
        refuses(&as_bob("true"), "newuidmap is not installed");
    });
}

/// One line that says what is needed, and nothing else.
fn refuses(output: &Output, reason: &str) {
    let told = said(output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(
        told.contains("needs root") && told.contains(reason),
        "{told}"
    );
}

/// The kernel stacks two overlays and no third.
#[test]
fn a_sandbox_in_a_sandbox_in_a_sandbox_has_copies() {
    let within = [PROGRAM, "sandbox", "--allow-mounts", "--"].join(" ");
    let script = "set -e; useradd -m alice; id -un alice; stat -f -c %T /; stat -c %G /etc/shadow; ip -4 -o addr show eth0";
    let output = sandboxed(
        &["--allow-mounts"],
        &format!("{within} {within} sh -c '{script}'"),
    );
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.starts_with("alice\ntmpfs\nshadow\n"), "{told}");
    assert!(told.contains("10.128.0.2/32"), "{told}");
}

#[test]
#[should_panic(expected = "is not the name of the calling test")]
fn a_misspelt_name_is_no_passed_test() {
    in_sandbox("a_misspelt_name", || {});
}

#[test]
fn a_failure_inside_is_a_failure_with_its_message() {
    let name = "a_failure_inside_is_a_failure_with_its_message";
    let failure = panic::catch_unwind(|| in_sandbox(name, || panic!("two and two"))).unwrap_err();
    if support::is_inside() {
        panic::resume_unwind(failure);
    }
    let message = failure.downcast::<String>().unwrap();
    assert!(message.contains("two and two"), "{message}");
}
