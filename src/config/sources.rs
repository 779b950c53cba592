//! The sources, their precedence, and the effective value of every option with its origin.
//!
//! Precedence (spec/core.md 3.2): `[Lock]`, the template, metadata, instance_configs.cfg, the distribution's file, the
//! built-in values. Everything is derived afresh at each load: nothing that came from metadata lasts longer than the
//! metadata (BUG 2). Reads three files and nothing else.

use std::fmt;
use std::io;

use super::Settings;
use super::findings::{self, Finding, Severity};
use super::generated;
use super::ini::{DEFAULT_SECTION, Document, Entry, Section};
use super::locks::Locks;
use super::options::{self, OPTIONS, OptionSpec, Status};
use super::policy::LOCK_SECTION;
use crate::metadata;
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

/// An option with its effective value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The option's section, as documented.
    pub section: &'static str,
    /// The option's name.
    pub name: &'static str,
    /// The value as text, with `%` expanded.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Where it is set too, without counting; the strongest first.
    pub overridden: Vec<Origin>,
}

/// A loaded configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Every setting, effective.
    pub settings: Settings,
    /// What is wrong with the sources; nothing in here kept the settings from being complete.
    pub warnings: Vec<Finding>,
    /// Every known option with its value and its origin, in the order of the table.
    pub options: Vec<Effective>,
}

impl Loaded {
    /// An option with its value and its origin; case does not count.
    #[must_use]
    pub fn option(&self, section: &str, name: &str) -> Option<&Effective> {
        self.options.iter().find(|option| {
            option.section.eq_ignore_ascii_case(section) && option.name.eq_ignore_ascii_case(name)
        })
    }

    /// Whether somebody chose the option's value, be it the built-in one.
    #[must_use]
    pub fn is_chosen(&self, section: &str, name: &str) -> bool {
        self.option(section, name)
            .is_some_and(|option| option.origin.source != Source::BuiltIn)
    }
}

/// Reads the configuration below a root and derives every setting. Never fails: what cannot be used is in `warnings`, and
/// the next lower source counts in its place.
///
/// `metadata_config` is the value of `google-instance-configs` ([`metadata_config`]), where metadata is known.
#[must_use]
pub fn load(root: &Root, metadata_config: Option<&str>) -> Loaded {
    Sources::read(root, metadata_config).resolve()
}

/// The configuration in metadata: the instance's where it is not empty, else the project's. They are not merged.
#[must_use]
pub fn metadata_config(document: &metadata::Document) -> Option<&str> {
    [&document.instance.attributes, &document.project.attributes]
        .into_iter()
        .filter_map(|attributes| attributes.present()?.get(METADATA_KEY))
        .find(|text| !text.is_empty())
        .map(String::as_str)
}

/// One source that is there.
#[derive(Debug)]
pub(super) struct SourceText {
    pub(super) source: Source,
    pub(super) document: Document,
    /// The lines that do not count as somebody's choice; only instance_configs.cfg has any.
    generated: Vec<usize>,
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
    fn entry(&self, option: &OptionSpec) -> Option<(&str, &Entry)> {
        let name = option.name.to_lowercase();
        let defaults = self.document.section(DEFAULT_SECTION);
        let mut named = self.sections_named(option.section).peekable();
        // The template's [DEFAULT] reaches every section, because the predecessors added theirs to it (3.4).
        let inherits = named.peek().is_some() || self.source == Source::Template;
        let own = named.find_map(|section| Some((section.name.as_str(), section.entry(&name)?)));
        let inherited = || Some((DEFAULT_SECTION, defaults?.entry(&name)?)).filter(|_| inherits);
        own.or_else(inherited)
            .filter(|(_, entry)| !self.generated.contains(&entry.line))
    }
}

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// The sources that are there, the strongest first.
    pub(super) texts: Vec<SourceText>,
    findings: Vec<Finding>,
}

impl Sources {
    /// Reads the three files below a root.
    pub(super) fn read(root: &Root, metadata_config: Option<&str>) -> Self {
        let mut sources = Self::default();
        for source in Source::READ {
            match source {
                Source::Metadata => {
                    if let Some(text) = metadata_config {
                        sources.add(source, text.as_bytes());
                    }
                }
                _ => match files::read(&root.path(source.place()), FILE_LIMIT) {
                    Ok(Some(bytes)) => sources.add(source, &bytes),
                    Ok(None) => {}
                    Err(error) => sources.findings.push(unreadable(source.place(), &error)),
                },
            }
        }
        sources
    }

    /// Adds a source weaker than those that are there.
    pub(super) fn add(&mut self, source: Source, bytes: &[u8]) {
        let (document, problems) = Document::parse(bytes);
        let syntax = problems
            .iter()
            .map(|problem| Finding::syntax(source.place(), problem));
        self.findings.extend(syntax);
        let generated = match source {
            Source::InstanceConfigs => generated::lines(&document),
            _ => Vec::new(),
        };
        self.texts.push(SourceText {
            source,
            document,
            generated,
        });
    }

    /// Derives every setting.
    pub(super) fn resolve(mut self) -> Loaded {
        let mut findings = std::mem::take(&mut self.findings);
        for text in &self.texts {
            unknown_names(text, &mut findings);
        }
        let locks = Locks::collect(&self.texts, &mut findings);
        let mut settings = Settings {
            policy: locks.policy.clone(),
            ..Settings::default()
        };
        let options = OPTIONS
            .iter()
            .map(|option| self.effective(option, &locks, &mut settings, &mut findings))
            .collect();
        findings.sort_by_key(|finding| {
            let place = Source::READ
                .iter()
                .position(|source| source.place() == finding.file);
            (place, finding.line)
        });
        Loaded {
            settings,
            warnings: findings::limit(findings),
            options,
        }
    }

    fn effective(
        &self,
        option: &'static OptionSpec,
        locks: &Locks,
        settings: &mut Settings,
        findings: &mut Vec<Finding>,
    ) -> Effective {
        let mut effective = Effective {
            section: option.section,
            name: option.name,
            value: option.default_text(),
            origin: Origin {
                source: Source::BuiltIn,
                line: None,
                locked: false,
            },
            overridden: Vec::new(),
        };
        let mut decided = false;
        if let Some(pin) = locks.pin(option)
            && option.assign(settings, &pin.value).is_ok()
        {
            effective.value.clone_from(&pin.value);
            effective.origin = pin.origin;
            decided = true;
        }
        if is_state(option) {
            return effective;
        }
        for text in &self.texts {
            let Some((section, entry)) = text.entry(option) else {
                continue;
            };
            let origin = Origin {
                source: text.source,
                line: Some(entry.line),
                locked: false,
            };
            if text.source == Source::Metadata && locks.shuts_out_metadata(option) {
                effective.overridden.push(origin);
                continue;
            }
            match usable(text, section, entry, option, settings, decided, findings) {
                Some(_) if decided => effective.overridden.push(origin),
                Some(value) => {
                    effective.value = value;
                    effective.origin = origin;
                    decided = true;
                }
                None => {}
            }
        }
        if let Some(value) = option.render(settings) {
            effective.value = value;
        }
        effective
    }
}

/// The value of an entry when it can be used; a finding when it cannot, and for one without effect. Sets the option
/// unless a stronger source has decided.
fn usable(
    text: &SourceText,
    section: &str,
    entry: &Entry,
    option: &OptionSpec,
    settings: &mut Settings,
    decided: bool,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let line = format!("{} = {}", entry.name, entry.raw);
    let finding = |severity| Finding::at(severity, text.source.place(), entry.line, &line);
    let value = match text.document.expand(section, &entry.raw) {
        Ok(value) => value,
        Err(error) => {
            findings.push(finding(Severity::Error).say(
                error.to_string(),
                "name an option of this section, or write '%%' for a percent sign; the next lower source counts",
            ));
            return None;
        }
    };
    let mut discarded = Settings::default();
    let target = if decided { &mut discarded } else { settings };
    if let Err(invalid) = option.assign(target, &value.text) {
        findings.push(finding(Severity::Error).say(
            format!("not a value of {}", option.path()),
            format!("write {}; the next lower source counts", invalid.0),
        ));
        return None;
    }
    if value.stray_percent {
        findings.push(finding(Severity::Warning).say(
            "a lone '%' is taken as it is",
            "write '%%'; Python refuses the value",
        ));
    }
    match option.status {
        Status::Effective => {}
        _ if value.text == option.default_text() => {}
        Status::Deprecated(instead) => findings.push(finding(Severity::Warning).say(
            format!("{} is deprecated", option.path()),
            format!("it counts; use {instead}"),
        )),
        Status::Nothing(why) => findings.push(finding(Severity::Warning).say(
            format!("{} means nothing here: {why}", option.path()),
            "remove it, or leave it for other tools",
        )),
    }
    Some(value.text)
}

/// Whether an "option" is state that a program keeps: no source may set it (spec/core.md BUG 3).
pub(super) fn is_state(option: &OptionSpec) -> bool {
    option.section == "Instance" && option.name == "instance_id"
}

/// Names that nobody knows, and sections whose case Python would not accept.
fn unknown_names(text: &SourceText, findings: &mut Vec<Finding>) {
    let file = text.source.place();
    for section in text.document.sections() {
        let name = section.name.as_str();
        let header = format!("[{name}]");
        let finding = |severity| Finding::at(severity, file, section.line, &header);
        if name == DEFAULT_SECTION
            || name.eq_ignore_ascii_case(LOCK_SECTION)
            || text.source == Source::InstanceConfigs && generated::is_record(name)
        {
            continue;
        }
        let Some(known) = options::sections().find(|known| known.eq_ignore_ascii_case(name)) else {
            findings.push(
                finding(Severity::Warning)
                    .say("no section of this name", findings::suggest_section(name)),
            );
            continue;
        };
        if known != name {
            findings.push(finding(Severity::Warning).say(
                "the section counts, but Python's programs ignore it",
                format!("write [{known}]"),
            ));
        }
        unknown_options(text, section, findings);
    }
}

fn unknown_options(text: &SourceText, section: &Section, findings: &mut Vec<Finding>) {
    for entry in section.entries() {
        let line = format!("{} = {}", entry.name, entry.raw);
        let finding = |severity| Finding::at(severity, text.source.place(), entry.line, &line);
        match options::find(&section.name, &entry.name) {
            None => findings.push(finding(Severity::Warning).say(
                format!("no option of this name in [{}]", section.name),
                findings::suggest_option(&section.name, &entry.name),
            )),
            Some(option) if is_state(option) && text.source != Source::InstanceConfigs => {
                findings.push(finding(Severity::Warning).say(
                    "the instance id is no setting and is ignored",
                    "remove the line",
                ));
            }
            Some(_) => {}
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(sources: &[(Source, &str)]) -> Loaded {
        let mut all = Sources::default();
        for (source, text) in sources {
            all.add(*source, text.as_bytes());
        }
        all.resolve()
    }

    fn shown(loaded: &Loaded, section: &str, name: &str) -> (String, String) {
        let option = loaded.option(section, name).unwrap();
        (option.value.clone(), option.origin.to_string())
    }

    #[test]
    fn without_any_source_everything_is_built_in() {
        let loaded = resolve(&[]);
        assert_eq!(loaded.settings, Settings::default());
        assert!(loaded.warnings.is_empty());
        assert_eq!(loaded.options.len(), OPTIONS.len());
        // SEC 1: absent is not true here.
        assert!(!loaded.settings.accounts.deprovision_remove);
    }

    #[test]
    fn each_source_beats_the_weaker_ones() {
        let text = |group: &str| format!("[Accounts]\ngroups = {group}\n");
        let texts: Vec<(Source, String)> = Source::READ
            .into_iter()
            .map(|source| (source, text(source.word())))
            .collect();
        for first in 0..texts.len() {
            let present: Vec<(Source, &str)> = texts[first..]
                .iter()
                .map(|(source, text)| (*source, text.as_str()))
                .collect();
            let loaded = resolve(&present);
            let strongest = present[0].0;
            assert_eq!(loaded.settings.accounts.groups, [strongest.word()]);
            let option = loaded.option("accounts", "groups").unwrap();
            assert_eq!(option.origin.source, strongest);
            assert_eq!(option.origin.line, Some(2));
            let weaker: Vec<Source> = option.overridden.iter().map(|o| o.source).collect();
            assert_eq!(weaker, Source::READ[first + 1..]);
        }
    }

    #[test]
    fn a_bad_value_costs_itself_and_the_next_source_counts() {
        let loaded = resolve(&[
            (
                Source::Template,
                "[Daemons]\naccounts_daemon = flase\nclock_skew_daemon = off\n",
            ),
            (Source::Distro, "[Daemons]\naccounts_daemon = no\n"),
        ]);
        assert!(!loaded.settings.daemons.accounts_daemon);
        assert!(!loaded.settings.daemons.clock_skew_daemon);
        assert_eq!(
            shown(&loaded, "Daemons", "accounts_daemon").1,
            format!("{DISTRO}:2")
        );
        assert_eq!(
            loaded.warnings[0].to_string(),
            format!(
                "{TEMPLATE}:2: not a value of Daemons.accounts_daemon: \"accounts_daemon = flase\"; \
                 write true or false; the next lower source counts"
            )
        );
        assert_eq!(loaded.warnings.len(), 1);
    }
}
