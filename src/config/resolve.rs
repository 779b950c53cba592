//! The effective value of every option, with its origin. Pure: sources in, settings out.

use super::Settings;
use super::findings::{self, Finding, Severity};
use super::ini::Entry;
use super::locks::Locks;
use super::names;
use super::options::{OPTIONS, OptionSpec, Status};
use super::sources::{Origin, Source, SourceText, Sources, is_state};

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
    /// What is wrong with the sources, by file and line; nothing in here kept the settings from being complete.
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

impl Sources {
    /// Derives every setting.
    pub(super) fn resolve(mut self) -> Loaded {
        let mut findings = std::mem::take(&mut self.findings);
        for text in &self.texts {
            names::check(text, &mut findings);
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
    let finding = |severity| Finding::at(severity, &text.file, entry.line, &line);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(sources: &[(Source, &str)]) -> Loaded {
        let mut all = Sources::default();
        for (source, text) in sources {
            all.add(*source, source.place(), text.as_bytes());
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
