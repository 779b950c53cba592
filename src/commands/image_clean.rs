//! `gce-guest image-clean`: takes out of a machine what must not be in an image of it.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::tell;
use crate::accounts::ledger;
use crate::config::{self, ConfigFile, INSTANCE_CONFIGS, Settings, state as instance};
use crate::scripts::state::State as Scripts;
use crate::setup::host_keys::plan::type_of;
use crate::setup::state as setup_state;
use crate::system::files::{self, Directory};
use crate::system::locks::FileLock;
use crate::system::order::Set;
use crate::system::root::Root;

/// The locks of those who would write again what is removed.
const WRITERS: [&str; 2] = [
    "/var/lock/google_instance_setup.lock",
    "/var/lock/google_accounts.lock",
];

/// Where the Go agents keep the instance id when nothing else is configured.
const USUAL_ID: &str = "/etc/google_instance_id";

/// Arguments of `gce-guest image-clean`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "\
For whoever makes an image of this machine, as the last step: the machines of
the image then make host keys of their own and adopt no users. Accounts and
their homes stay; what is below /run ends with the boot.

Exit status: 0 removed, or there was nothing; 1 something could not be removed.

Examples:
  gce-guest image-clean --dry-run    what would be removed
  gce-guest image-clean              remove it")]
pub struct Arguments {
    /// Say what would be removed; remove nothing.
    #[arg(long)]
    dry_run: bool,
}

/// One thing that must not be in an image.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    /// A file, and what it is.
    File(String, &'static str),
    /// A directory with all that is in it, and what that is.
    Tree(String, &'static str),
    /// The instance id in instance_configs.cfg.
    LegacyId,
}

impl Item {
    fn words(&self) -> String {
        match self {
            Self::File(path, what) | Self::Tree(path, what) => format!("{path}  ({what})"),
            Self::LegacyId => format!("{INSTANCE_CONFIGS}  (the instance id in it)"),
        }
    }

    fn remove(&self, root: &Root) -> anyhow::Result<()> {
        match self {
            Self::File(path, _) => files::remove(&root.path(path)).map(drop)?,
            Self::Tree(path, _) => {
                let path = root.path(path);
                if let Some((parent, name)) = path.parent().zip(path.file_name()) {
                    Directory::open(parent)?.remove_tree(name)?;
                }
            }
            Self::LegacyId => config::write_instance_configs(root, None, Some("0")).map(drop)?,
        }
        Ok(())
    }
}

/// Removes everything, or says what it would remove.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let root = Root::machine();
    let settings = config::load(&root, None).settings;
    let lock = |path: &str| {
        let lock = FileLock::try_take(&root.path(path));
        lock.map_err(|error| {
            tell(&format!(
                "gce-guest: {error}: end it first, or it writes its part again"
            ));
        })
    };
    let _locks = WRITERS.map(lock);
    let mut status = ExitCode::SUCCESS;
    let verb = if arguments.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let mut text = String::new();
    for item in items(&root, &settings)? {
        if !arguments.dry_run
            && let Err(error) = item.remove(&root)
        {
            tell(&format!(
                "gce-guest: not removed: {}: {error:#}",
                item.words()
            ));
            status = ExitCode::FAILURE;
            continue;
        }
        text += &format!("{verb}  {}\n", item.words());
    }
    if let Some(option) = host_keys_off(&settings) {
        text += &format!(
            "left  the host keys: InstanceSetup.{option} is off, so nobody here would make new ones\n"
        );
    }
    if text.is_empty() && status == ExitCode::SUCCESS {
        text = "There is nothing to remove.\n".into();
    }
    super::print(text.as_bytes())?;
    Ok(status)
}

/// What there is of all that must not be in an image.
fn items(root: &Root, settings: &Settings) -> anyhow::Result<Set<Item>> {
    let mut items = Set::new();
    let known = [
        (
            format!("{}/{}", ledger::DIRECTORY, ledger::NAMES_FILE),
            "ledger of users",
        ),
        (
            format!("{}/{}", ledger::DIRECTORY, ledger::RECORDS_FILE),
            "ledger of users",
        ),
        (Scripts::once_file(), "instance of the startup scripts"),
        (instance::instance_id_path(root, settings), "instance id"),
        (USUAL_ID.to_owned(), "instance id"),
    ];
    for (path, what) in known {
        if root.path(&path).is_file() {
            items.insert(Item::File(path, what));
        }
    }
    if root.path(setup_state::INSTANCES).is_dir() {
        let path = setup_state::INSTANCES.to_owned();
        items.insert(Item::Tree(path, "state of the set-up"));
    }
    let (legacy, _) = ConfigFile::read(root, INSTANCE_CONFIGS);
    let id = legacy.option_string("Instance", "instance_id");
    if id.is_some_and(|id| id != "0") {
        items.insert(Item::LegacyId);
    }
    if host_keys_off(settings).is_none() {
        let directory = &settings.instance_setup.host_key_dir;
        let names = names(&root.path(directory)).with_context(|| format!("read {directory}"))?;
        for name in names.iter().filter(|name| is_host_key(name)) {
            let path = format!("{directory}/{}", name.to_string_lossy());
            items.insert(Item::File(path, "host key"));
        }
    }
    Ok(items)
}

/// The option for which the set-up of a machine of the image would make no host keys.
fn host_keys_off(settings: &Settings) -> Option<&'static str> {
    let setup = &settings.instance_setup;
    [
        ("set_host_keys", setup.set_host_keys),
        ("network_enabled", setup.network_enabled),
    ]
    .into_iter()
    .find_map(|(option, on)| (!on).then_some(option))
}

fn names(directory: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    match Directory::open(directory) {
        Ok(directory) => directory.names(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is_host_key(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    type_of(name.strip_suffix(".pub").unwrap_or(&name)).is_some()
}
