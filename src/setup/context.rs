//! What a step may use: the machine, the settings, metadata once it is there, and what earlier steps found.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use log::warn;

use super::LOGGER;
use super::state::Place;
use crate::config::{self, Settings};
use crate::metadata::document::Document;
use crate::system::root::Root;

/// The name of the record with the configuration that metadata gave this instance.
const METADATA_CONFIG: &str = "metadata-config";

/// What comes from outside of the room.
pub struct Outside<'a> {
    /// Waits for the metadata document; an error says why there is none.
    pub fetch: &'a (dyn Fn(&Settings) -> Result<Document, String> + Sync),
    /// Writes a guest attribute of a namespace: key and value.
    pub publish: &'a (dyn Fn(&str, &str, &str) -> Result<(), String> + Sync),
    /// Tells the service manager that sshd may start. Returns whether there is one that waits for it.
    pub ready: &'a (dyn Fn() -> bool + Sync),
}

/// What is known with metadata.
struct Late {
    document: Document,
    instance: Option<String>,
    config: Option<String>,
    settings: Settings,
}

/// What a step may use.
pub struct Context<'a> {
    /// The machine.
    pub root: Root,
    /// Take the present host keys for this instance's: a package that is installed on a running VM.
    pub keep_host_keys: bool,
    outside: Outside<'a>,
    network_enabled: bool,
    early: Settings,
    late: OnceLock<Late>,
    host_keys_renewed: AtomicBool,
    sshd_has_old_keys: AtomicBool,
    ready: OnceLock<bool>,
}

impl<'a> Context<'a> {
    /// Reads the configuration: the files, and what metadata said the last time. Whether metadata is asked at all is said
    /// by the files alone (spec/core.md 9.1).
    #[must_use]
    pub fn new(root: Root, keep_host_keys: bool, outside: Outside<'a>) -> Self {
        let files = config::load(&root, None);
        for finding in &files.warnings {
            warn!(target: LOGGER, "{finding}");
        }
        let network_enabled = files.settings.instance_setup.network_enabled;
        let remembered = remembered_config(&root, &files.settings).filter(|_| network_enabled);
        let early = match remembered {
            Some(text) => config::load(&root, Some(&text)).settings,
            None => files.settings,
        };
        Self {
            root,
            keep_host_keys,
            outside,
            network_enabled,
            early,
            late: OnceLock::new(),
            host_keys_renewed: AtomicBool::new(false),
            sshd_has_old_keys: AtomicBool::new(false),
            ready: OnceLock::new(),
        }
    }

    /// Whether metadata is asked for.
    #[must_use]
    pub fn network_enabled(&self) -> bool {
        self.network_enabled
    }

    /// The settings as far as they are known at this moment.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.late.get().map_or(&self.early, |late| &late.settings)
    }

    /// The document, once it is there.
    #[must_use]
    pub fn document(&self) -> Option<&Document> {
        self.late.get().map(|late| &late.document)
    }

    /// The instance id, once it is known.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.late.get()?.instance.as_deref()
    }

    /// What the instance keeps, once it is known.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        Place::of_instance(&self.root, self.instance()?)
    }

    /// The configuration in metadata, once it is there.
    #[must_use]
    pub fn metadata_config(&self) -> Option<&str> {
        self.late.get()?.config.as_deref()
    }

    /// Waits for metadata and reads the configuration again with it.
    ///
    /// # Errors
    /// Why there is no metadata.
    pub fn fetch(&self) -> Result<&Document, String> {
        let document = (self.outside.fetch)(&self.early)?;
        let config = config::metadata_config(
            document.instance.attributes.present(),
            document.project.attributes.present(),
        )
        .map(String::from);
        let loaded = config::load(&self.root, config.as_deref());
        for finding in &loaded.warnings {
            if finding.file == config::Source::Metadata.place() {
                warn!(target: LOGGER, "{finding}");
            }
        }
        let id = document.instance.id.present();
        let late = Late {
            instance: id
                .filter(|id| Place::of_instance(&self.root, id).is_some())
                .cloned(),
            config,
            settings: loaded.settings,
            document,
        };
        Ok(&self.late.get_or_init(|| late).document)
    }

    /// Remembers what metadata says of the configuration, for the steps of the next boot that do not wait for it.
    pub(super) fn remember_config(&self) {
        let Some(place) = self.place() else { return };
        let text = self.metadata_config().unwrap_or_default();
        let known = place.load::<String>(METADATA_CONFIG).ok().flatten();
        if known.unwrap_or_default() == text {
            return;
        }
        if let Err(error) = place.save(METADATA_CONFIG, &text) {
            warn!(target: LOGGER, "The configuration in metadata cannot be kept for the next boot: {error}.");
        }
    }

    /// Writes a guest attribute.
    ///
    /// # Errors
    /// What the server said.
    pub fn publish(&self, namespace: &str, key: &str, value: &str) -> Result<(), String> {
        (self.outside.publish)(namespace, key, value)
    }

    /// sshd may start. Only the first call counts.
    pub fn ready(&self) {
        self.ready.get_or_init(|| (self.outside.ready)());
    }

    /// Notes that host keys are others than before. When sshd was let go with the old ones, it has to be told.
    pub(super) fn note_renewed_host_keys(&self) {
        self.host_keys_renewed.store(true, Ordering::Relaxed);
        if self.ready.get() == Some(&true) {
            self.sshd_has_old_keys.store(true, Ordering::Relaxed);
        }
    }

    /// Whether host keys are others than before this run.
    #[must_use]
    pub fn host_keys_renewed(&self) -> bool {
        self.host_keys_renewed.load(Ordering::Relaxed)
    }

    /// Whether the service manager may have started sshd with host keys that were renewed later.
    #[must_use]
    pub fn sshd_has_old_keys(&self) -> bool {
        self.sshd_has_old_keys.load(Ordering::Relaxed)
    }
}

/// The configuration that metadata gave the instance for which this machine was set up.
fn remembered_config(root: &Root, settings: &Settings) -> Option<String> {
    let id = config::state::instance_id(root, settings).ok()??;
    Place::of_instance(root, &id)?
        .load(METADATA_CONFIG)
        .ok()
        .flatten()
}
