//! What the tests with real parts need of the machine, and how it gets there.
//!
//! Needs are looked for by what the tests use (a program, a module), not by package, so that any distribution will do. Only
//! root on a machine with apt-get has them installed; everybody else is told what is missing and how to get it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::commands;

/// Something that the tests use.
#[derive(Debug)]
struct Need {
    /// The Debian package that brings it.
    package: &'static str,
    /// How to see whether it is there.
    probe: Probe,
    /// What the tests do with it.
    reason: &'static str,
}

#[derive(Debug)]
enum Probe {
    Program(&'static str),
    PythonModule(&'static str),
}

const NEEDS: [Need; 24] = [
    Need {
        package: "openssh-server",
        probe: Probe::Program("sshd"),
        reason: "the login that keys in metadata open is made at a real sshd",
    },
    Need {
        package: "openssh-client",
        probe: Probe::Program("ssh-keygen"),
        reason: "makes the key pairs, and ssh makes the login",
    },
    Need {
        package: "sudo",
        probe: Probe::Program("sudo"),
        reason: "shows that the sudo rights work, and visudo that the file is sound",
    },
    Need {
        package: "iproute2",
        probe: Probe::Program("ip"),
        reason: "the witness for routes and addresses that we set by netlink",
    },
    Need {
        package: "procps",
        probe: Probe::Program("ps"),
        reason: "shows that no process is left behind",
    },
    Need {
        package: "uidmap",
        probe: Probe::Program("newuidmap"),
        reason: "the sandbox of a user who is not root maps more than one user id",
    },
    Need {
        package: "python3",
        probe: Probe::Program("python3"),
        reason: "the witness for configuration files (its configparser wrote the dialect) and for the emulator",
    },
    Need {
        package: "python3-venv",
        probe: Probe::PythonModule("ensurepip"),
        reason: "holds Python programs that the tests compare with, apart from the system's",
    },
    Need {
        package: "curl",
        probe: Probe::Program("curl"),
        reason: "the witness for the emulator's HTTP",
    },
    Need {
        package: "openssl",
        probe: Probe::Program("openssl"),
        reason: "makes the certificates of the hosts from which scripts are fetched, good ones and bad ones",
    },
    Need {
        package: "isc-dhcp-client",
        probe: Probe::Program("dhclient"),
        reason: "calls our hook as a DHCP client does",
    },
    Need {
        package: "dnsmasq-base",
        probe: Probe::Program("dnsmasq"),
        reason: "the DHCP server of the tests, with leases as on Compute Engine",
    },
    Need {
        package: "mmdebstrap",
        probe: Probe::Program("mmdebstrap"),
        reason: "makes the root directory of the machine on which the units are tried, once",
    },
    Need {
        package: "systemd-container",
        probe: Probe::Program("systemd-nspawn"),
        reason: "boots that machine, with a systemd of its own",
    },
    Need {
        package: "qemu-system-x86",
        probe: Probe::Program("qemu-system-x86_64"),
        reason: "boots a virtual machine, for the clock, the interrupts and the disks",
    },
    Need {
        package: "cpio",
        probe: Probe::Program("cpio"),
        reason: "packs the first stage of that boot",
    },
    Need {
        package: "e2fsprogs",
        probe: Probe::Program("mkfs.ext4"),
        reason: "makes the disk of that virtual machine, once",
    },
    Need {
        package: "rpm",
        probe: Probe::Program("rpmbuild"),
        reason: "builds the RPM, and checks what is installed of it in the tests",
    },
    Need {
        package: "dnf",
        probe: Probe::Program("dnf"),
        reason: "installs the RPM in the tests, as on Enterprise Linux",
    },
    Need {
        package: "lintian",
        probe: Probe::Program("lintian"),
        reason: "says what is wrong with the Debian package",
    },
    Need {
        package: "valgrind",
        probe: Probe::Program("valgrind"),
        reason: "counts the instructions of fixed pieces of work",
    },
    Need {
        package: "mandoc",
        probe: Probe::Program("mandoc"),
        reason: "reads the man pages and says what is wrong with them",
    },
    Need {
        package: "zsh",
        probe: Probe::Program("zsh"),
        reason: "takes the completions that are made for it",
    },
    Need {
        package: "fish",
        probe: Probe::Program("fish"),
        reason: "takes the completions that are made for it",
    },
];

impl Need {
    fn is_met(&self) -> bool {
        match self.probe {
            Probe::Program(name) => commands::find(name).is_some(),
            Probe::PythonModule(name) => Command::new("python3")
                .args(["-c", &format!("import {name}")])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success()),
        }
    }
}

/// Sees to it that everything is there. Returns a note for the summary.
///
/// # Errors
/// Something is missing and may not be installed, or its installation failed; the text says what to do.
pub(crate) fn provide() -> Result<String> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(format!("all {} are there", NEEDS.len()));
    }
    println!("Missing:\n{}", list(&missing));
    if !rustix::process::geteuid().is_root() || commands::find("apt-get").is_none() {
        bail!("{}", advice(&missing));
    }
    install(&missing).with_context(|| advice(&missing))?;
    let still: Vec<&Need> = missing
        .iter()
        .copied()
        .filter(|need| !need.is_met())
        .collect();
    if !still.is_empty() {
        bail!("still missing after the installation:\n{}", list(&still));
    }
    Ok(format!("installed {}", names(&missing)))
}

fn missing() -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| !need.is_met()).collect()
}

fn names(needs: &[&Need]) -> String {
    let names: Vec<_> = needs.iter().map(|need| need.package).collect();
    names.join(" ")
}

fn list(needs: &[&Need]) -> String {
    let lines: Vec<_> = needs
        .iter()
        .map(|need| {
            let what = match need.probe {
                Probe::Program(name) => name.to_owned(),
                Probe::PythonModule(name) => format!("Python's {name}"),
            };
            format!("  {what:<18} {:<16} {}", need.package, need.reason)
        })
        .collect();
    lines.join("\n")
}

fn advice(needs: &[&Need]) -> String {
    let names = names(needs);
    format!(
        "this machine lacks {names}, which the tests use. On Debian and Ubuntu:\n  \
         sudo apt-get install --no-install-recommends {names}\n\
         Elsewhere the same programs from your distribution will do. `cargo xtask test --quick` needs none of them."
    )
}

fn install(needs: &[&Need]) -> Result<()> {
    let _policy = StartPolicy::deny(Path::new("/usr/sbin/policy-rc.d"))?;
    if let Err(error) = commands::succeed(apt_get().arg("update")) {
        // What is missing may be in the lists or in the cache all the same.
        println!("{error:#}; going on with the package lists that are there");
    }
    let install = |more: &[&str]| {
        commands::succeed(
            apt_get()
                .args(["install", "--yes", "--no-install-recommends"])
                .args(needs.iter().map(|need| need.package))
                .args(more),
        )
    };
    // A newer qemu-utils from the backports excludes the release's qemu-system-x86, and nothing here needs it.
    let conflicts = needs.iter().any(|need| need.package == "qemu-system-x86");
    match install(&[]) {
        Err(error) if conflicts => {
            println!("{error:#}; trying again without qemu-utils");
            install(&["qemu-utils-"])
        }
        result => result,
    }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["--quiet", "--quiet"])
        // Another installation is waited for, not fought with.
        .args(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"])
        .stdin(Stdio::null());
    command
}

/// While it lives, packages start no daemon at their installation. An administrator's own policy is left alone.
#[derive(Debug)]
struct StartPolicy {
    written: Option<PathBuf>,
}

/// 101 is "action not allowed" in the interface of invoke-rc.d (Debian policy, 9.3.3).
const DENY_ALL: &str = "#!/bin/sh\n# Written by `cargo xtask test` while it installs packages; remove it if none runs.\nexit 101\n";

impl StartPolicy {
    fn deny(path: &Path) -> Result<Self> {
        if fs::read_to_string(path).is_ok_and(|text| text == DENY_ALL) {
            // A run that was killed left it; it is ours to take away.
            return Ok(Self {
                written: Some(path.to_path_buf()),
            });
        }
        if path.symlink_metadata().is_ok() {
            return Ok(Self { written: None });
        }
        let what = || format!("write {}", path.display());
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(path)
            .with_context(what)?;
        // From here on it is removed whatever happens, also when the writing fails.
        let policy = Self {
            written: Some(path.to_path_buf()),
        };
        file.write_all(DENY_ALL.as_bytes()).with_context(what)?;
        Ok(policy)
    }
}

impl Drop for StartPolicy {
    fn drop(&mut self) {
        if let Some(path) = &self.written
            && let Err(error) = fs::remove_file(path)
        {
            println!(
                "cannot remove {}: {error}; remove it by hand",
                path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_advice_names_what_is_missing_and_the_command() {
        let needs = [&NEEDS[0], &NEEDS[2]];
        let advice = advice(&needs);
        assert!(
            advice.contains("sudo apt-get install --no-install-recommends openssh-server sudo\n"),
            "{advice}"
        );
        assert!(list(&needs).contains(NEEDS[2].reason));
    }

    #[test]
    fn a_policy_is_written_executable_and_taken_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("policy-rc.d");
        let policy = StartPolicy::deny(&path).expect("a policy");
        // By the shell: another test's fork may hold the file open for writing, and then it cannot be executed itself.
        let status = Command::new("/bin/sh").arg(&path).status();
        assert_eq!(status.expect("it runs").code(), Some(101));
        let mode = path.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        drop(policy);
        assert!(!path.exists());
    }

    #[test]
    fn an_administrators_policy_is_left_alone_and_our_own_leftover_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("policy-rc.d");
        fs::write(&path, "#!/bin/sh\nexit 0\n").expect("written");
        drop(StartPolicy::deny(&path).expect("a policy"));
        assert_eq!(
            fs::read_to_string(&path).expect("still there"),
            "#!/bin/sh\nexit 0\n"
        );
        fs::write(&path, DENY_ALL).expect("written");
        drop(StartPolicy::deny(&path).expect("a policy"));
        assert!(!path.exists());
    }

    #[test]
    fn needs_are_seen_by_what_they_are_used_for() {
        let need = |probe| Need {
            package: "x",
            probe,
            reason: "x",
        };
        assert!(need(Probe::Program("sh")).is_met());
        assert!(!need(Probe::Program("no-such-program")).is_met());
        assert!(!need(Probe::PythonModule("no_such_module")).is_met());
    }
}
