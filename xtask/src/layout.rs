//! What is installed where: the one table from which `cargo xtask install` and both packages are made.
//!
//! Only the layout is decided here. How it gets onto a machine is `install`'s business and the packages'.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::commands::{self, cargo};

/// The name of the one binary, and of the packages.
pub(crate) const PROGRAM: &str = "gce-guest";

/// Where programs go, below the root.
pub(crate) const PROGRAMS: &str = "usr/bin";

/// Where units go, below the root.
pub(crate) const UNITS: &str = "usr/lib/systemd/system";

/// The predecessors' program names (spec/core.md 0.3, spec/beyond.md 4.1): links to the one binary.
pub(crate) const LEGACY_NAMES: [&str; 11] = [
    "google_accounts_daemon",
    "google_network_daemon",
    "google_clock_skew_daemon",
    "google_instance_setup",
    "google_metadata_script_runner",
    "google_guest_agent",
    "google_set_hostname",
    "google_set_multiqueue",
    "google_optimize_local_ssd",
    "google_nvme_id",
    "gce-nic-naming",
];

/// The two kinds of packages, whose distributions want some files at different places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Debian, Ubuntu and what comes of them.
    Deb,
    /// Enterprise Linux, Fedora, SUSE.
    Rpm,
}

/// The hooks of DHCP clients and network managers: file below packaging/hooks, place, and in which package it is.
const HOOKS: [(&str, &str, Option<Format>); 5] = [
    (
        "dhclient-exit-hook.sh",
        "etc/dhcp/dhclient-exit-hooks.d/google_set_hostname",
        Some(Format::Deb),
    ),
    (
        "dhclient.d.sh",
        "etc/dhcp/dhclient.d/google_hostname.sh",
        Some(Format::Rpm),
    ),
    (
        "networkmanager-dispatcher.sh",
        "etc/NetworkManager/dispatcher.d/google_hostname.sh",
        None,
    ),
    (
        "interface-up.sh",
        "usr/lib/networkd-dispatcher/routable.d/google_hostname.sh",
        Some(Format::Deb),
    ),
    (
        "interface-up.sh",
        "etc/sysconfig/network/scripts/google_up.sh",
        Some(Format::Rpm),
    ),
];

/// Where zsh looks for the completions of packages, on Debian and elsewhere.
const ZSH_DEBIAN: &str = "usr/share/zsh/vendor-completions/_gce-guest";
const ZSH_ELSEWHERE: &str = "usr/share/zsh/site-functions/_gce-guest";

/// What starts us where systemd does not: directory below packaging/init, place, and in which package it is. Debian's
/// sysvinit, OpenRC and runit read the scripts of the first; those of the others are for distributions that have them.
const INITS: [(&str, &str, Option<Format>); 3] = [
    ("sysvinit", "etc/init.d", Some(Format::Deb)),
    ("openrc", "usr/share/gce-guest/init/openrc", None),
    ("runit", "usr/share/gce-guest/init/runit", None),
];

/// What only one kind of package has below packaging/files: whose reader is there in its distributions alone.
const OF_ONE: [(&str, Format); 1] = [("etc/apt", Format::Deb)];

/// One thing that is installed.
#[derive(Debug)]
pub(crate) enum What {
    /// A file. Its mode is 0755 or 0644, and it is root's.
    File {
        /// What is in it.
        contents: Vec<u8>,
        /// Whether it is a program.
        executable: bool,
    },
    /// A symbolic link to a name in the same directory.
    Link(PathBuf),
}

impl What {
    /// The mode; that of a link has no meaning.
    pub(crate) fn mode(&self) -> u32 {
        match self {
            Self::File {
                executable: false, ..
            } => 0o644,
            Self::File { .. } | Self::Link(_) => 0o755,
        }
    }
}

/// Everything that is installed, by its path below the root.
pub(crate) type Layout = BTreeMap<PathBuf, What>;

/// Whether a file is configuration: the administrator may change it, and a package leaves it as he did.
pub(crate) fn is_configuration(path: &Path) -> bool {
    path.starts_with("etc")
}

/// The program under all its names.
///
/// # Errors
/// The binary cannot be read.
pub(crate) fn programs(binary: &Path) -> Result<Layout> {
    let directory = Path::new(PROGRAMS);
    let program = What::File {
        contents: read(binary)?,
        executable: true,
    };
    let links = LEGACY_NAMES.map(|name| (directory.join(name), What::Link(PROGRAM.into())));
    Ok(Layout::from_iter(links)
        .into_iter()
        .chain([(directory.join(PROGRAM), program)])
        .collect())
}

/// The man pages and completions, made in the directory `scratch`. A build for tests makes them: what does is no part of
/// the program, and would be built a second time for a release.
///
/// # Errors
/// They cannot be made, or not be read.
pub(crate) fn manual(scratch: &Path, format: Format) -> Result<Layout> {
    if scratch.exists() {
        fs::remove_dir_all(scratch).with_context(|| format!("remove {}", scratch.display()))?;
    }
    let run = [
        "run",
        "--quiet",
        "--package",
        PROGRAM,
        "--example",
        "manual",
    ];
    commands::succeed(cargo(run).arg("--").arg(scratch))?;
    let mut layout = tree(scratch, Path::new("usr/share"))?;
    if format == Format::Rpm
        && let Some(zsh) = layout.remove(Path::new(ZSH_DEBIAN))
    {
        layout.insert(ZSH_ELSEWHERE.into(), zsh);
    }
    Ok(layout)
}

/// What the system reads: units, presets, scripts of other init systems, the hooks of DHCP clients, and packaging/files with
/// everything at its place.
///
/// # Errors
/// A file of the repository cannot be read.
pub(crate) fn system(format: Format) -> Result<Layout> {
    let top = crate::top();
    let mut layout = tree(&top.join("packaging/files"), Path::new(""))?;
    for (top, only) in OF_ONE {
        layout.retain(|place, _| only == format || !place.starts_with(top));
    }
    for (path, unit) in tree(&top.join("units"), Path::new(UNITS))? {
        let preset = path
            .extension()
            .is_some_and(|extension| extension == "preset");
        let place = match path.file_name() {
            Some(name) if preset => Path::new("usr/lib/systemd/system-preset").join(name),
            _ => path,
        };
        layout.insert(place, unit);
    }
    for (kind, place, only) in INITS {
        if only.is_none_or(|only| only == format) {
            layout.append(&mut tree(
                &top.join("packaging/init").join(kind),
                Path::new(place),
            )?);
        }
    }
    for (file, place, only) in HOOKS {
        if only.is_none_or(|only| only == format) {
            let path = top.join("packaging/hooks").join(file);
            layout.insert(place.into(), load(&path)?);
        }
    }
    Ok(layout)
}

/// A directory of files, as they are, below `place`.
///
/// # Errors
/// Something in it cannot be read.
pub(crate) fn tree(directory: &Path, place: &Path) -> Result<Layout> {
    let mut layout = Layout::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(current) = open.pop() {
        let told = || format!("read {}", current.display());
        for entry in fs::read_dir(&current).with_context(told)? {
            let path = entry.with_context(told)?.path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else {
                let place = place.join(path.strip_prefix(directory)?);
                layout.insert(place, load(&path)?);
            }
        }
    }
    Ok(layout)
}

fn load(path: &Path) -> Result<What> {
    let look = || format!("look at {}", path.display());
    let status = path.symlink_metadata().with_context(look)?;
    if status.is_symlink() {
        // A unit under another name.
        return Ok(What::Link(fs::read_link(path).with_context(look)?));
    }
    let mode = status.permissions().mode();
    Ok(What::File {
        contents: read(path)?,
        executable: mode & 0o100 != 0,
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_differ_in_the_hooks_and_in_what_is_of_one_only() {
        let places = |format| -> Vec<PathBuf> {
            system(format)
                .expect("the repository is whole")
                .into_keys()
                .collect()
        };
        let (deb, rpm) = (places(Format::Deb), places(Format::Rpm));
        let hooks = HOOKS.map(|(_, place, _)| PathBuf::from(place));
        for place in deb.iter().chain(&rpm) {
            let common = deb.contains(place) && rpm.contains(place);
            let of_one = OF_ONE.iter().any(|(top, _)| place.starts_with(top));
            assert!(
                common || of_one || hooks.contains(place) || place.starts_with("etc/init.d"),
                "{}",
                place.display()
            );
        }
    }

    #[test]
    fn every_hook_has_a_place_and_every_place_is_the_systems() {
        let directory = crate::top().join("packaging/hooks");
        for (path, _) in tree(&directory, Path::new("")).expect("read") {
            let name = path.to_string_lossy();
            assert!(HOOKS.iter().any(|(file, _, _)| *file == name), "{name}");
        }
        for format in [Format::Deb, Format::Rpm] {
            for place in system(format).expect("read").keys() {
                let known = ["etc", "usr/lib", "usr/share/gce-guest"]
                    .iter()
                    .any(|top| place.starts_with(top));
                assert!(known, "{}", place.display());
            }
        }
    }
}
