//! The sources and how they are read.
//!
//! Precedence (spec/core.md 3.2): `[Lock]`, the template, metadata, instance_configs.cfg, the distribution's file, the
//! built-in values. Everything is derived afresh at each load: nothing that came from metadata lasts longer than the
//! metadata (BUG 2). Reads three files and nothing else.

use std::fmt;
use std::io;

use super::findings::{Finding, Severity};
use super::format;
use super::generated;
use super::ini::{DEFAULT_SECTION, Document, Entry, Section};
use super::options::OptionSpec;
use crate::system::order::{Map, Set};
use crate::system::{files, root::Root};

/// The user's settings.
pub const TEMPLATE: &str = "/etc/default/instance_configs.cfg.template";

/// What set-up writes for other tools; a user's source only where somebody changed it by hand.
pub const INSTANCE_CONFIGS: &str = "/etc/default/instance_configs.cfg";

/// The distribution's settings.
pub const DISTRO: &str = "/etc/default/instance_configs.cfg.distro";

/// The metadata attribute whose value is a configuration.
pub const METADATA_KEY: &str = "google-instance-configs";

/// The largest configuration that is read, in bytes.
pub(super) const FILE_LIMIT: u64 = 1 << 20;

/// Where a value comes from, the strongest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// This program.
    BuiltIn,
    /// [`DISTRO`].
    Distro,
    /// [`INSTANCE_CONFIGS`], changed by hand or written by a predecessor.
    InstanceConfigs,
    /// The metadata attribute [`METADATA_KEY`].
    Metadata,
    /// [`TEMPLATE`].
    Template,
}

impl Source {
    /// Those that are read, the strongest first.
    pub(super) const READ: [Self; 4] = [
        Self::Template,
        Self::Metadata,
        Self::InstanceConfigs,
        Self::Distro,
    ];

    /// The file, or the metadata key.
    #[must_use]
    pub fn place(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Distro => DISTRO,
            Self::InstanceConfigs => INSTANCE_CONFIGS,
            Self::Metadata => "metadata google-instance-configs",
            Self::Template => TEMPLATE,
        }
    }

    /// The source in one word, for machines.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Distro => "distro",
            Self::InstanceConfigs => "instance_configs",
            Self::Metadata => "metadata",
            Self::Template => "template",
        }
    }
}

/// Where exactly a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The source.
    pub source: Source,
    /// The line in it, counted from 1; `None` for a built-in value.
    pub line: Option<usize>,
    /// Whether a `[Lock]` put it there, so that nothing else can change it.
    pub locked: bool,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.source.place())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if self.locked {
            f.write_str(" (locked)")?;
        }
        Ok(())
    }
}

/// The configuration in metadata, of the attributes of instance and project: the instance's where it is not empty, else
/// the project's. They are not merged.
#[must_use]
pub fn metadata_config<'a>(
    instance: Option<&'a Map<String, String>>,
    project: Option<&'a Map<String, String>>,
) -> Option<&'a str> {
    [instance, project]
        .into_iter()
        .filter_map(|attributes| attributes?.get(METADATA_KEY))
        .find(|text| !text.is_empty())
        .map(String::as_str)
}

/// One source that is there.
#[derive(Debug)]
pub(super) struct SourceText {
    pub(super) source: Source,
    /// What messages call it.
    pub(super) file: String,
    pub(super) document: Document,
    /// The lines that do not count as somebody's choice; only instance_configs.cfg has any.
    generated: Set<usize>,
}

impl SourceText {
    /// The sections of this name, the exact one first: the Go agents fold the case, Python does not.
    pub(super) fn sections_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Section> {
        let exact = self.document.section(name).into_iter();
        exact.chain(
            self.document.sections().iter().filter(move |section| {
                section.name != name && section.name.eq_ignore_ascii_case(name)
            }),
        )
    }

    /// Where the source sets an option, and the section whose `%(name)s` its value means.
    pub(super) fn entry(&self, option: &OptionSpec) -> Option<(&str, &Entry)> {
        let name = option.name.to_lowercase();
        let defaults = self.document.section(DEFAULT_SECTION);
        let mut named = self.sections_named(option.section).peekable();
        // The template's [DEFAULT] reaches every section, because the predecessors added theirs to it (3.4).
        let inherits = named.peek().is_some() || self.source == Source::Template;
        let own = named.find_map(|section| Some((section.name.as_str(), section.entry(&name)?)));
        let inherited = || Some((DEFAULT_SECTION, defaults?.entry(&name)?)).filter(|_| inherits);
        let kept = || {
            let entry = generated::overridden(&self.document, option)?;
            (self.source == Source::InstanceConfigs)
                .then_some((generated::OVERRIDDEN_SECTION, entry))
        };
        own.or_else(inherited)
            .filter(|(_, entry)| self.is_choice(entry))
            .or_else(kept)
    }

    /// Whether a line is somebody's choice, and not ours.
    pub(super) fn is_choice(&self, entry: &Entry) -> bool {
        !self.generated.contains(&entry.line)
    }
}

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// The sources that are there, the strongest first.
    pub(super) texts: Vec<SourceText>,
    pub(super) findings: Vec<Finding>,
}

impl Sources {
    /// Reads the three files below a root.
    pub(super) fn read(root: &Root, metadata_config: Option<&str>) -> Self {
        let mut sources = Self::default();
        for source in Source::READ {
            match source {
                Source::Metadata => {
                    if let Some(text) = metadata_config {
                        sources.add(source, source.place(), text.as_bytes());
                    }
                }
                _ => match files::read(&root.path(source.place()), FILE_LIMIT) {
                    Ok(Some(bytes)) => sources.add(source, source.place(), &bytes),
                    Ok(None) => {}
                    Err(error) => sources.findings.push(unreadable(source.place(), &error)),
                },
            }
        }
        sources
    }

    /// Adds a source weaker than those that are there, with what messages call it.
    pub(super) fn add(&mut self, source: Source, file: &str, bytes: &[u8]) {
        let (document, problems) = Document::parse(bytes);
        let syntax = problems
            .iter()
            .map(|problem| Finding::syntax(file, problem));
        self.findings.extend(syntax);
        let generated = match source {
            Source::InstanceConfigs => generated::lines(&document),
            _ => Set::new(),
        };
        self.texts.push(SourceText {
            source,
            file: file.to_owned(),
            document,
            generated,
        });
    }

    /// The raw value that somebody wrote into instance_configs.cfg, whether or not it counts or can be used.
    pub(super) fn chosen_by_hand(&self, option: &OptionSpec) -> Option<String> {
        let text = self
            .texts
            .iter()
            .find(|text| text.source == Source::InstanceConfigs)?;
        let (section, entry) = text.entry(option)?;
        Some(match text.document.expand(section, &entry.raw) {
            Ok(value) => format::escape(&value.text),
            Err(_) => entry.raw.clone(),
        })
    }
}

/// Whether an "option" is state that a program keeps: no source may set it (spec/core.md BUG 3).
pub(super) fn is_state(option: &OptionSpec) -> bool {
    option.section == "Instance" && option.name == "instance_id"
}

/// A finding for a file that cannot be read.
pub(super) fn unreadable(file: &str, error: &io::Error) -> Finding {
    let fix = match error.kind() {
        io::ErrorKind::PermissionDenied => "run as root, or let the file be read",
        io::ErrorKind::InvalidInput => "put a file there, or nothing",
        io::ErrorKind::FileTooLarge => "leave only the settings in it",
        _ => "check the file and the disk under it",
    };
    Finding::about(Severity::Error, file).say(
        format!("the file cannot be read: {error}"),
        format!("{fix}; the lower sources count"),
    )
}
