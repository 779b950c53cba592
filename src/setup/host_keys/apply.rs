//! Makes host keys, with the real ssh-keygen, all types at the same time.
//!
//! They come into being in a directory beside their place that nobody else can enter, and are put into their place whole:
//! private key 0600, public key 0644, root's, with the SELinux context of the place (spec/core.md SEC 11).

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context as _;
use log::{info, warn};

use super::observe;
use crate::setup::LOGGER;
use crate::system::files::{Attributes, Directory, PrivateDirectory};
use crate::system::order::Map;
use crate::system::processes::{self, Invocation};
use crate::system::root::Root;
use crate::system::selinux;
use crate::system::threads;

/// The beginning of the name of the private directory.
const PRIVATE: &str = ".gce-guest-host-keys-";

/// How long one key may take: RSA keys are slow where the processor is.
const DEADLINE: Duration = Duration::from_secs(180);

/// The largest file that ssh-keygen makes, in bytes.
const LIMIT: u64 = 64 * 1024;

/// Generates a key of each type. `made` is called with each that is in its place: its type and its public key. Returns
/// the types that failed, with the reason.
///
/// # Errors
/// Nothing can be made in the directory.
pub fn generate<'a>(
    root: &Root,
    directory: &str,
    types: impl IntoIterator<Item = &'a String>,
    made: &mut (dyn FnMut(&str, String) + Send),
) -> anyhow::Result<Map<String, String>> {
    let path = root.path(directory);
    let place = Directory::open(&path).with_context(|| format!("open {directory}"))?;
    sweep(&place);
    let private = PrivateDirectory::create(&path, PRIVATE)
        .with_context(|| format!("make a private directory in {directory}"))?;
    let made = Mutex::new(made);
    let failed = Mutex::new(Map::new());
    std::thread::scope(|scope| {
        for key_type in types {
            let (made, failed, place, private) = (&made, &failed, &place, &private);
            threads::start_within(scope, move || {
                let file = format!("{directory}/ssh_host_{key_type}_key");
                info!(target: LOGGER, "Generating SSH key {file}.");
                match generate_one(root, place, private, Path::new(&file), key_type) {
                    Ok(public) => lock(made)(key_type, public),
                    Err(error) => {
                        warn!(target: LOGGER, "Could not create SSH key {file}. {error:#}");
                        lock(failed).insert(key_type.clone(), format!("{error:#}"));
                    }
                }
            });
        }
    });
    Ok(failed
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Removes what a killed run left. Best effort: it is in nobody's way.
fn sweep(place: &Directory) {
    for name in place.names().unwrap_or_default() {
        if name.to_string_lossy().starts_with(PRIVATE) {
            let _ = place.remove_tree(&name);
        }
    }
}

fn generate_one(
    root: &Root,
    place: &Directory,
    private: &PrivateDirectory,
    file: &Path,
    key_type: &str,
) -> anyhow::Result<String> {
    let name = OsString::from(format!("ssh_host_{key_type}_key"));
    let target = private.path().join(&name);
    let arguments: [&OsStr; 7] = [
        "-q".as_ref(),
        "-t".as_ref(),
        key_type.as_ref(),
        "-N".as_ref(),
        "".as_ref(),
        "-f".as_ref(),
        target.as_ref(),
    ];
    processes::run_successfully(&Invocation::new("ssh-keygen", arguments).within(DEADLINE))?;
    let public_name = with_pub(&name);
    let read = |name: &OsStr| -> anyhow::Result<Vec<u8>> {
        let bytes = private.directory().read(name, LIMIT);
        bytes
            .with_context(|| format!("read the new {}", name.to_string_lossy()))?
            .with_context(|| format!("ssh-keygen made no {}", name.to_string_lossy()))
    };
    let (key, public) = (read(&name)?, read(&public_name)?);
    let (_, word) = observe::words(&public).context("ssh-keygen made no public key")?;
    for (name, contents, mode, path) in [
        (&name, &key, 0o600, file.to_path_buf()),
        (
            &public_name,
            &public,
            0o644,
            with_pub(file.as_os_str()).into(),
        ),
    ] {
        let label = selinux::default_context(root, &path);
        let attributes = Attributes::mode(mode).owned_by(0, 0).labelled(label);
        place
            .replace(name, contents, &attributes)
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(word)
}

fn with_pub(name: &OsStr) -> OsString {
    let mut name = name.to_owned();
    name.push(".pub");
    name
}
