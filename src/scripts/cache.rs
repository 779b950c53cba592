//! Copies of the shutdown scripts, so that they run when metadata and the network are gone already (pains 32).
//!
//! Written at boot and whenever metadata changes; read at shutdown. They are root's alone and end with the boot.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;

use log::{debug, warn};
use serde::{Deserialize, Serialize};

use super::fetch::{Authorization, Fetch, Limits};
use super::find::{Occasion, Origin, Script, environment, find};
use super::job::{Body, Job};
use super::source::{Source, UNIVERSE};
use super::state::State;
use crate::metadata::document::Document;
use crate::system::files::{Attributes, Directory};

/// The directory within that of the state.
const DIRECTORY: &str = "shutdown";

/// What is in it.
const MANIFEST: &str = "manifest.json";

/// The largest manifest that is read, in bytes.
const LIMIT: u64 = 64 * 1024;

/// What a shutdown without metadata needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The copies, in the order in which they run.
    scripts: Vec<Copy>,
    /// The variables for the scripts.
    environment: Vec<(String, String)>,
    /// The instance id.
    instance: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Copy {
    key: String,
    /// The URL as it stands in metadata; `None` for an inline script.
    url: Option<String>,
}

/// What is kept for a shutdown.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    manifest: Manifest,
    directory: PathBuf,
}

/// The universe of a document: the domain below which its cloud's services are.
#[must_use]
pub fn universe(document: &Document) -> &str {
    let named = document.universe_domain.present().map(String::as_str);
    let plain = |domain: &&str| {
        !domain.is_empty()
            && domain
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    };
    named.filter(plain).unwrap_or(UNIVERSE)
}

/// Keeps what the document wants to run at a shutdown. What is there already is not fetched again. Returns whether every
/// script has a copy; what could not be fetched is in the log, and tried again by the next call.
///
/// # Errors
/// The copies cannot be written.
pub fn refresh(
    state: &State,
    document: &Document,
    authorization: Authorization<'_>,
    limits: &Limits,
) -> io::Result<bool> {
    let logger = Occasion::Shutdown.logger();
    let (directory, _) = state
        .directory()?
        .open_or_create_directory(OsStr::new(DIRECTORY), 0o700)?;
    let written = read_manifest(&directory)?;
    let before = written.clone().unwrap_or_default();
    let mut manifest = Manifest {
        scripts: Vec::new(),
        environment: environment(document),
        instance: document.instance.id.present().cloned(),
    };
    let wanted = find(document, Occasion::Shutdown);
    for script in &wanted {
        let copied = match &script.origin {
            Origin::Inline(text) => keep_text(&directory, &script.key, text)?,
            Origin::Url(url) => {
                let there = before
                    .scripts
                    .iter()
                    .any(|copy| copy.url.as_ref() == Some(url))
                    && directory.status_of(OsStr::new(&script.key))?.is_some();
                let fetch = Fetch {
                    logger,
                    key: &script.key,
                    limits,
                    authorization,
                };
                there || keep_fetched(&directory, fetch, url, universe(document))
            }
        };
        if copied {
            manifest.scripts.push(copy_of(script));
        }
    }
    let whole = manifest.scripts.len() == wanted.len();
    if written.as_ref() != Some(&manifest) {
        let text = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other)?;
        directory.replace(OsStr::new(MANIFEST), &text, &Attributes::mode(0o600))?;
    }
    // Only now: until here, the old manifest and its copies belonged together.
    for copy in &before.scripts {
        if !manifest.scripts.iter().any(|kept| kept.key == copy.key) {
            directory.remove(OsStr::new(&copy.key))?;
        }
    }
    Ok(whole)
}

/// Something that [`refresh`] would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What, in words.
    pub what: String,
    /// The metadata key of the script; `None` for what concerns all of them.
    pub key: Option<String>,
}

/// What [`refresh`] would do now. Changes nothing, and fetches nothing.
///
/// # Errors
/// Those of reading the copies.
pub fn pending(state: &State, document: &Document) -> io::Result<Vec<Pending>> {
    let directory = match Directory::open(&state.path().join(DIRECTORY)) {
        Ok(directory) => Some(directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let written = directory.as_ref().map(read_manifest).transpose()?.flatten();
    let before = written.clone().unwrap_or_default();
    let wanted = find(document, Occasion::Shutdown);
    let mut pending = Vec::new();
    for script in &wanted {
        let is_kept = match (&directory, &script.origin) {
            (None, _) => false,
            (Some(directory), Origin::Inline(text)) => holds(directory, &script.key, text),
            (Some(directory), Origin::Url(_)) => {
                before.scripts.contains(&copy_of(script))
                    && directory.status_of(OsStr::new(&script.key))?.is_some()
            }
        };
        if !is_kept {
            pending.push(Pending {
                what: format!(
                    "keep a copy of the {} for a shutdown without network",
                    script.key
                ),
                key: Some(script.key.clone()),
            });
        }
    }
    for copy in &before.scripts {
        if !wanted.iter().any(|script| script.key == copy.key) {
            pending.push(Pending {
                what: format!("remove the copy of the {}", copy.key),
                key: Some(copy.key.clone()),
            });
        }
    }
    let manifest = Manifest {
        scripts: wanted.iter().map(copy_of).collect(),
        environment: environment(document),
        instance: document.instance.id.present().cloned(),
    };
    if pending.is_empty() && written.as_ref() != Some(&manifest) {
        pending.push(Pending {
            what: "write the list of what runs at a shutdown without network".into(),
            key: None,
        });
    }
    Ok(pending)
}

fn copy_of(script: &Script) -> Copy {
    Copy {
        key: script.key.clone(),
        url: match &script.origin {
            Origin::Inline(_) => None,
            Origin::Url(url) => Some(url.clone()),
        },
    }
}

fn keep_text(directory: &Directory, key: &str, text: &str) -> io::Result<bool> {
    if !holds(directory, key, text) {
        directory.replace(OsStr::new(key), text.as_bytes(), &Attributes::mode(0o600))?;
    }
    Ok(true)
}

/// Whether the copy of an inline script is there and says the same.
fn holds(directory: &Directory, key: &str, text: &str) -> bool {
    let copy = directory.read(OsStr::new(key), text.len() as u64);
    copy.ok().flatten().as_deref() == Some(text.as_bytes())
}

fn keep_fetched(directory: &Directory, fetch: Fetch<'_>, url: &str, universe: &str) -> bool {
    let (logger, key) = (fetch.logger, fetch.key);
    // The agent and the runner of the startup scripts may be at it at the same time.
    let temporary = OsString::from(format!(".{key}.{:016x}", fastrand::u64(..)));
    let kept = Source::parse(url, universe)
        .map_err(|error| error.to_string())
        .and_then(|source| {
            let written = |error: io::Error| format!("it cannot be written: {error}");
            let mut file = directory.create(&temporary, 0o600).map_err(written)?;
            fetch
                .run(&source, &mut file)
                .map_err(|error| error.to_string())?;
            file.flush().map_err(written)?;
            directory
                .rename(&temporary, OsStr::new(key))
                .map_err(written)
        });
    match kept {
        Ok(()) => {
            debug!(target: logger, "{key}: kept for a shutdown without network.");
            true
        }
        Err(reason) => {
            // What came of it is of no use; that it cannot be removed changes nothing.
            let _ = directory.remove(&temporary);
            warn!(target: logger, "{key}: there is no copy for a shutdown without network: {reason}.");
            false
        }
    }
}

/// What is kept; `None` when nothing ever was since the boot.
///
/// # Errors
/// Those of reading it.
pub fn kept(state: &State) -> io::Result<Option<Kept>> {
    let parent = state.directory()?;
    let open = match parent.open_directory(OsStr::new(DIRECTORY)) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let directory = open.path().to_path_buf();
    Ok(read_manifest(&open)?.map(|manifest| Kept {
        manifest,
        directory,
    }))
}

impl Kept {
    /// The jobs of a shutdown with this document.
    #[must_use]
    pub fn jobs(&self, document: &Document) -> Vec<Job> {
        let job = |script: Script| {
            let copy = copy_of(&script);
            let body = match script.origin {
                Origin::Inline(text) => Body::Text(text),
                Origin::Url(url) => match Source::parse(&url, universe(document)) {
                    Ok(source) if self.manifest.scripts.contains(&copy) => {
                        Body::FetchedOr(source, Limits::hasty(), self.path(&script.key))
                    }
                    source => Body::Fetched(source, Limits::patient()),
                },
            };
            Job {
                key: script.key,
                body,
            }
        };
        find(document, Occasion::Shutdown)
            .into_iter()
            .map(job)
            .collect()
    }

    /// The jobs of a shutdown without metadata.
    #[must_use]
    pub fn jobs_alone(&self) -> Vec<Job> {
        let job = |copy: &Copy| Job {
            key: copy.key.clone(),
            body: Body::Copy(
                self.path(&copy.key),
                copy.url
                    .as_deref()
                    .map_or_else(|| "inline".into(), |url| super::source::shown(url.trim())),
            ),
        };
        self.manifest.scripts.iter().map(job).collect()
    }

    /// The variables for the scripts of a shutdown without metadata.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        self.manifest.environment.clone()
    }

    /// The instance id that was known.
    #[must_use]
    pub fn instance(&self) -> Option<String> {
        self.manifest.instance.clone()
    }

    fn path(&self, key: &str) -> PathBuf {
        self.directory.join(key)
    }
}

/// The manifest; an unreadable one is as good as none, since it is written anew.
fn read_manifest(directory: &Directory) -> io::Result<Option<Manifest>> {
    let text = directory.read(OsStr::new(MANIFEST), LIMIT)?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::document::Presence;
    use crate::system::files::PrivateDirectory;
    use crate::system::root::Root;

    fn document(pairs: &[(&str, &str)]) -> Document {
        let mut document = Document::default();
        document.instance.attributes = Presence::Present(
            pairs
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect(),
        );
        document
    }

    #[test]
    fn copies_follow_the_document() {
        let place = PrivateDirectory::create(&std::env::temp_dir(), "gce-guest-cache-").unwrap();
        let state = State::at(Root::at(place.path()));
        let no_token = || Ok(None);
        let keep =
            |document: &Document| refresh(&state, document, &no_token, &Limits::hasty()).unwrap();
        let bodies = || -> Vec<String> {
            kept(&state)
                .unwrap()
                .unwrap_or_default()
                .jobs_alone()
                .iter()
                .map(|job| match &job.body {
                    Body::Copy(path, _) => std::fs::read_to_string(path).unwrap(),
                    other => panic!("{other:?}"),
                })
                .collect()
        };
        assert_eq!(bodies(), Vec::<String>::new());
        assert!(keep(&document(&[("shutdown-script", "one")])));
        assert_eq!(bodies(), ["one"]);
        assert!(keep(&document(&[
            ("shutdown-script", "two"),
            ("startup-script", "x")
        ])));
        assert_eq!(bodies(), ["two"]);
        // What cannot be fetched costs itself.
        let bad = [
            ("shutdown-script", "two"),
            ("shutdown-script-url", "file:///etc/shadow"),
        ];
        assert!(!keep(&document(&bad)));
        assert_eq!(bodies(), ["two"]);
        assert!(keep(&document(&[])));
        assert_eq!(bodies(), Vec::<String>::new());
    }

    #[test]
    fn a_universe_is_a_domain() {
        for (named, expected) in [
            ("example-universe.test", "example-universe.test"),
            ("", UNIVERSE),
            ("evil.example/x?", UNIVERSE),
        ] {
            let mut document = document(&[]);
            document.universe_domain = Presence::Present(named.into());
            assert_eq!(universe(&document), expected);
        }
    }
}
