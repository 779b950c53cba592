//! Reading the machine as far as OS Login is concerned. Changes nothing.

use std::io;
use std::path::{Path, PathBuf};

use super::plan::{File, Observed, Package};
use crate::system::files::{self, Attributes, Directory, PrivateDirectory, Stamp};
use crate::system::order::Map;
use crate::system::processes::{self, Invocation};

/// The largest file that is read, in bytes.
const SIZE_LIMIT: u64 = 1024 * 1024;
/// Where libraries are, apart from directories below them for one kind of processor.
const LIBRARIES: [&str; 6] = [
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
];
/// The directories into which the package writes: who may use sudo, and who has logged in.
pub(super) const DIRECTORIES: [&str; 2] = ["/var/google-sudoers.d", "/var/google-users.d"];
/// From where sudo reads rules.
const SUDOERS_DIRECTORY: &str = "/etc/sudoers.d";
/// Present from the first changed file until every service knows.
pub(super) const PENDING: &str = "/run/gce-guest/oslogin-reload";

/// Reads what the plan needs to know. What there is of the package decides only where OS Login is `wanted`, and to look for it
/// takes longer than all the rest: directories of libraries are long.
///
/// # Errors
/// A file is there and cannot be read, with its path.
pub(super) fn observe(wanted: bool) -> io::Result<Observed> {
    let (mut found, mut vendor) = (Map::new(), Map::new());
    for file in File::ALL {
        if let Some(bytes) = read(file.path())? {
            found.insert(file, bytes);
        } else if let Some(path) = file.vendor_path()
            && let Some(bytes) = read(path)?
        {
            vendor.insert(file, bytes);
        }
    }
    let sshd = found.get(&File::Sshd).or_else(|| vendor.get(&File::Sshd));
    let knows_include = !wanted || sshd.is_some_and(|text| has_include(text)) || knows_include();
    let is_directory = |path: &str| Path::new(path).is_dir();
    Ok(Observed {
        package: wanted.then(package).unwrap_or_default(),
        files: found,
        vendor,
        has_sudoers_directory: is_directory(SUDOERS_DIRECTORY),
        has_directories: DIRECTORIES.into_iter().all(is_directory),
        knows_include,
        reload_pending: Path::new(PENDING).exists(),
    })
}

/// The stamps of everything that [`observe`] looks at where OS Login is not wanted, at `now` in seconds since 1970.
pub(super) fn stamps(now: i64) -> Vec<Stamp> {
    let mut stamps = Vec::new();
    for file in File::ALL {
        let stamp = Stamp::of(Path::new(file.path()), now);
        // The distribution's own counts only where there is no other.
        let vendor = file.vendor_path().filter(|_| stamp.is_absent());
        stamps.push(stamp);
        stamps.extend(vendor.map(|path| Stamp::of(Path::new(path), now)));
    }
    let others = [SUDOERS_DIRECTORY, PENDING];
    stamps.extend(others.map(|path| Stamp::of(Path::new(path), now)));
    stamps
}

/// A file; nothing where there is none. The trusted authorities of a predecessor are a named pipe, which counts as none.
fn read(path: &str) -> io::Result<Option<Vec<u8>>> {
    match files::read(Path::new(path), SIZE_LIMIT) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        result => {
            result.map_err(|error| io::Error::new(error.kind(), format!("read {path}: {error}")))
        }
    }
}

/// Whether a configuration of sshd includes others, so that its sshd knows how.
fn has_include(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).lines().any(|line| {
        let word = line.split_whitespace().next();
        word.is_some_and(|word| word.eq_ignore_ascii_case("Include"))
    })
}

/// Whether sshd knows `Include`: those before OpenSSH 8.2 refuse a configuration that has it, but where the distribution
/// has added it, so its version does not say. In doubt it does: it is asked again before its configuration is changed.
fn knows_include() -> bool {
    let Ok(place) = PrivateDirectory::create(Path::new("/run"), "gce-guest-sshd-") else {
        return true;
    };
    let path = place.path().join("sshd_config");
    let line = b"Include /var/google-users.d/*\n";
    if files::replace(&path, line, &Attributes::mode(0o600)).is_err() {
        return true;
    }
    let sshd = Invocation::new("sshd", ["-t".as_ref(), "-f".as_ref(), path.as_os_str()]);
    let Ok(finished) = processes::run(&sshd) else {
        return true;
    };
    let told = String::from_utf8_lossy(&finished.stderr).to_ascii_lowercase();
    !told.contains("bad configuration option: include")
}

fn package() -> Package {
    let directories = library_directories();
    let has = |name: &str| {
        directories
            .iter()
            .any(|directory| directory.join(name).is_file())
    };
    let program = |name: &str| {
        let paths = ["/usr/bin", "/usr/local/bin"].map(|directory| format!("{directory}/{name}"));
        paths
            .into_iter()
            .find(|path| processes::find(path).is_some())
    };
    Package {
        nss: has("libnss_oslogin.so.2"),
        pam_login: has("security/pam_oslogin_login.so"),
        pam_admin: has("security/pam_oslogin_admin.so"),
        keys_command: program("google_authorized_keys"),
        security_keys_command: program("google_authorized_keys_sk"),
        principals_command: program("google_authorized_principals"),
    }
}

/// The directories of libraries, with those of Debian for one kind of processor, `x86_64-linux-gnu` say.
fn library_directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = LIBRARIES.iter().map(PathBuf::from).collect();
    for parent in LIBRARIES {
        let names = Directory::open(Path::new(parent)).and_then(|directory| directory.names());
        let names = names.unwrap_or_default().into_iter();
        let kinds = names.filter(|name| name.to_string_lossy().contains("-linux-"));
        directories.extend(kinds.map(|name| Path::new(parent).join(name)));
    }
    directories
}
