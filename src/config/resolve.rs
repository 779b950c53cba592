//! The effective value of every option, with its origin. Pure: sources in, settings out.

use super::Settings;
use super::findings::{self, Finding, Severity};
use super::ini::Entry;
use super::locks::Locks;
use super::names;
use super::options::{OPTIONS, OptionSpec, Status};
use super::sources::{Origin, Source, SourceText, Sources, is_state};
use crate::system::order::InOrder;

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
        findings.put_in_order_by(|finding| {
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
        _ if option.canonical(&value.text) == Ok(option.default_text()) => {}
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
    use crate::config::policy::Function;
    use crate::config::sources::{DISTRO, TEMPLATE};
    use crate::config::values::{Kind, Value};

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

    /// Every value class of a kind, and one that is none.
    fn values(kind: Kind) -> (Vec<String>, &'static str) {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match kind {
            Kind::Boolean => (
                words(&[
                    "1", "yes", "TRUE", "on", "y", "t", "0", "No", "false", "off", "n", "f",
                ]),
                "maybe",
            ),
            Kind::OptionalBoolean => (words(&["true", "false"]), "maybe"),
            Kind::Integer { max, .. } => (vec!["0".into(), "1".into(), max.to_string()], "-1"),
            Kind::Text => (words(&["/some/text {user}", "x = y: %%"]), "a\0b"),
            Kind::List => (words(&["one", "one, two", "one,\n  two,three"]), "a\0b"),
            Kind::MacList => (words(&["42:01:0a:00:00:02"]), "42:01"),
            Kind::Words(known) => (words(known), "neither"),
        }
    }

    /// The fields whose values differ between two settings.
    fn changed_fields(one: &Settings, other: &Settings) -> Vec<String> {
        let (one, other) = (format!("{one:#?}"), format!("{other:#?}"));
        let fields = |text: &str| -> Vec<(String, String)> {
            let mut fields: Vec<(String, String)> = Vec::new();
            for line in text.lines() {
                let name = line
                    .strip_prefix("        ")
                    .filter(|rest| !rest.starts_with(' '))
                    .and_then(|rest| rest.split_once(": "));
                match (name, fields.last_mut()) {
                    (Some((name, value)), _) => fields.push((name.into(), value.into())),
                    (None, Some((_, value))) if line.starts_with("        ") => {
                        value.push_str(line);
                    }
                    (None, _) => {}
                }
            }
            fields
        };
        let (one, other) = (fields(&one), fields(&other));
        assert_eq!(one.len(), other.len());
        one.iter()
            .zip(&other)
            .filter(|(a, b)| a.1 != b.1)
            .map(|(a, _)| a.0.clone())
            .collect()
    }

    /// On and off, for every option, every class of value and every source: the typed field changes, it and no other.
    #[test]
    fn every_option_has_its_effect_from_every_source() {
        for option in OPTIONS.iter().filter(|option| !is_state(option)) {
            let (valid, invalid) = values(option.kind());
            let mut effects = 0;
            for source in Source::READ {
                for value in &valid {
                    let text = format!("[{}]\n{} = {value}\n", option.section, option.name);
                    let loaded = resolve(&[(source, &text)]);
                    let effective = loaded.option(option.section, option.name).unwrap();
                    assert_eq!(effective.origin.source, source, "{text}");
                    let changed = changed_fields(&Settings::default(), &loaded.settings);
                    let expected = match option.render(&loaded.settings) {
                        Some(now) if now != option.default_text() => vec![option.name.to_owned()],
                        _ => vec![],
                    };
                    effects += expected.len();
                    assert_eq!(changed, expected, "{text}");
                    let is_default =
                        option.canonical(&effective.value) == Ok(option.default_text());
                    let is_quiet = option.status == Status::Effective || is_default;
                    assert_eq!(
                        loaded.warnings.is_empty(),
                        is_quiet,
                        "{text}{:?}",
                        loaded.warnings
                    );
                }
                let text = format!("[{}]\n{} = {invalid}\n", option.section, option.name);
                let loaded = resolve(&[(source, &text)]);
                assert_eq!(loaded.settings, Settings::default(), "{text}");
                assert_eq!(loaded.warnings.len(), 1, "{text}");
                assert_eq!(loaded.warnings[0].line, Some(2), "{text}");
            }
            let has_effect = !matches!(option.status, Status::Nothing(_));
            assert_eq!(effects > 0, has_effect, "{}", option.path());
        }
    }

    #[test]
    fn options_without_a_meaning_here_say_so() {
        let loaded = resolve(&[(
            Source::Template,
            "[Core]\ncloud_logging_enabled = false\nlog_verbosity = x\n",
        )]);
        assert_eq!(loaded.warnings.len(), 2);
        assert!(loaded.warnings[0].problem.contains("means nothing here"));
        assert!(loaded.warnings[1].problem.contains("not a value"));
    }

    #[test]
    fn the_instance_id_is_never_a_setting() {
        for source in [Source::Template, Source::Metadata, Source::Distro] {
            let loaded = resolve(&[(source, "[Instance]\ninstance_id = 42\n")]);
            assert_eq!(
                shown(&loaded, "Instance", "instance_id"),
                ("0".into(), "built-in".into())
            );
            assert_eq!(loaded.warnings.len(), 1);
        }
        // There it is state, and no reason to complain.
        let loaded = resolve(&[(Source::InstanceConfigs, "[Instance]\ninstance_id = 42\n")]);
        assert!(loaded.warnings.is_empty());
    }

    #[test]
    fn a_lock_beats_every_source_and_metadata_cannot_lock() {
        let lock = "[Lock]\nAccounts.Deprovision_Remove = false\ndisable = clock, OSLogin\n[Accounts]\ndeprovision_remove = true\n";
        let metadata = "[Accounts]\ndeprovision_remove = true\n[Daemons]\nclock_skew_daemon = true\n\
                        [Lock]\nDaemons.accounts_daemon = false\ndisable = accounts\n";
        for source in [Source::Template, Source::InstanceConfigs, Source::Distro] {
            let mut sources = vec![(Source::Metadata, metadata), (source, lock)];
            sources.sort_by_key(|(source, _)| std::cmp::Reverse(*source));
            let loaded = resolve(&sources);
            assert!(!loaded.settings.accounts.deprovision_remove);
            assert!(!loaded.settings.daemons.clock_skew_daemon);
            assert!(!loaded.settings.policy.allows(Function::Clock));
            assert!(!loaded.settings.policy.allows(Function::OsLogin));
            assert!(!loaded.settings.os_login.manage_sshd);
            // What metadata tried to lock is as it was.
            assert!(loaded.settings.daemons.accounts_daemon);
            assert!(loaded.settings.policy.allows(Function::Accounts));
            assert_eq!(
                shown(&loaded, "Accounts", "deprovision_remove").1,
                format!("{}:2 (locked)", source.place())
            );
            let overridden = &loaded
                .option("Accounts", "deprovision_remove")
                .unwrap()
                .overridden;
            assert_eq!(overridden.len(), 2);
            assert!(
                loaded
                    .warnings
                    .iter()
                    .any(|w| w.problem.contains("metadata cannot lock"))
            );
        }
    }

    #[test]
    fn metadata_can_be_shut_out_of_options_without_pinning_them() {
        let metadata =
            "[Accounts]\ngroups = m\nuseradd_cmd = m\n[Daemons]\nnetwork_daemon = false\n";
        for (word, groups, useradd, network) in [
            ("Accounts.groups", "d", "m", false),
            ("accounts.*", "d", "d", false),
            ("*", "d", "d", true),
            (
                "Accounts.useradd_cmd, Daemons.network_daemon",
                "m",
                "d",
                true,
            ),
        ] {
            let distro = format!(
                "[Lock]\nignore_metadata = {word}\n[Accounts]\ngroups = d\nuseradd_cmd = d\n"
            );
            let loaded = resolve(&[(Source::Metadata, metadata), (Source::Distro, &distro)]);
            assert_eq!(loaded.settings.accounts.groups, [groups], "{word}");
            assert_eq!(loaded.settings.accounts.useradd_cmd, useradd, "{word}");
            assert_eq!(loaded.settings.daemons.network_daemon, network, "{word}");
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            // The files may still set them.
            let template = "[Accounts]\ngroups = t\n";
            let loaded = resolve(&[
                (Source::Template, template),
                (Source::Metadata, metadata),
                (Source::Distro, &distro),
            ]);
            assert_eq!(loaded.settings.accounts.groups, ["t"]);
        }
    }

    #[test]
    fn every_function_can_be_switched_off_for_good() {
        let on: String = OPTIONS
            .iter()
            .filter(|option| {
                option.kind() == Kind::Boolean && option.render(&Settings::default()).is_some()
            })
            .map(|option| format!("[{}]\n{} = true\n", option.section, option.name))
            .collect();
        for function in Function::ALL {
            let distro = format!("[Lock]\ndisable = {}\n", function.word());
            let template = format!("{on}[Hostname]\nmode = static\n");
            let loaded = resolve(&[
                (Source::Template, &template),
                (Source::Metadata, &on),
                (Source::Distro, &distro),
            ]);
            assert!(!loaded.settings.policy.allows(function));
            for (section, name, value) in function.pins() {
                assert_eq!(shown(&loaded, section, name).0, *value, "{section}.{name}");
            }
            let others = Function::ALL
                .into_iter()
                .filter(|other| *other != function && !loaded.settings.policy.allows(*other));
            let expected = if function == Function::Network { 3 } else { 0 };
            assert_eq!(others.count(), expected);
        }
    }

    #[test]
    fn mistakes_in_a_lock_are_errors_and_fail_closed() {
        let lock = "[Lock]\n\
            disable = clokc\n\
            ignore_metadata = Acounts.*\n\
            Accounts.grops = x\n\
            Daemons.network_daemon = maybe\n\
            Instance.instance_id = 3\n\
            nonsense = 1\n";
        let metadata = "[Daemons]\nnetwork_daemon = false\n";
        let loaded = resolve(&[(Source::Template, lock), (Source::Metadata, metadata)]);
        let lines: Vec<_> = loaded
            .warnings
            .iter()
            .map(|w| (w.severity, w.line))
            .collect();
        let expected: Vec<_> = (2..=7).map(|line| (Severity::Error, Some(line))).collect();
        assert_eq!(lines, expected);
        assert!(loaded.warnings[0].fix.contains("did you mean clock?"));
        assert!(loaded.warnings[1].fix.contains("did you mean [Accounts]?"));
        assert!(loaded.warnings[2].fix.contains("did you mean groups?"));
        // It was to be locked: metadata does not set it, though the value cannot be used.
        assert!(loaded.settings.daemons.network_daemon);
    }

    #[test]
    fn the_template_contradicts_itself_and_each_time_one_rule_decides() {
        let loaded = resolve(&[(
            Source::Template,
            "[Lock]\nDaemons.accounts_daemon = true\ndisable = accounts\nDaemons.accounts_daemon = true\n\
             [Daemons]\naccounts_daemon = true\naccounts_daemon = false\n[daemons]\naccounts_daemon = true\n",
        )]);
        assert!(!loaded.settings.daemons.accounts_daemon);
        let problems: Vec<&str> = loaded.warnings.iter().map(|w| w.problem.as_str()).collect();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems.iter().any(|p| p.contains("already set in line 2")));
        assert!(problems.iter().any(|p| p.contains("already set in line 6")));
        assert!(
            problems
                .iter()
                .any(|p| p.contains("Python's programs ignore it"))
        );
        assert!(
            problems
                .iter()
                .any(|p| p.contains("already locked at 'false'"))
        );
        // Of two locks the stronger file's counts, and the other is told.
        let loaded = resolve(&[
            (Source::Template, "[Lock]\nClock.max_step = 5\n"),
            (Source::Distro, "[Lock]\nClock.max_step = 6\n"),
        ]);
        assert_eq!(loaded.settings.clock.max_step, 5);
        assert!(loaded.warnings[0].problem.contains("already locked"));
    }

    #[test]
    fn defaults_reach_the_sections_of_their_file_and_from_the_template_all() {
        let text = "[DEFAULT]\nstartup = false\nwho = w\n[Accounts]\ngroups = %(who)s\n";
        let template = resolve(&[(Source::Template, text)]);
        assert!(!template.settings.metadata_scripts.startup);
        assert_eq!(template.settings.accounts.groups, ["w"]);
        let distro = resolve(&[(Source::Distro, text)]);
        assert!(distro.settings.metadata_scripts.startup);
        let distro = resolve(&[(Source::Distro, &format!("{text}[MetadataScripts]\n"))]);
        assert!(!distro.settings.metadata_scripts.startup);
        assert!(template.warnings.is_empty() && distro.warnings.is_empty());
    }

    #[test]
    fn percent_signs_that_end_python_end_nothing_here() {
        let loaded = resolve(&[
            (
                Source::Template,
                "[Accounts]\nuserdel_cmd = del %(gone)s\nuseradd_cmd = add %%d %d\n",
            ),
            (Source::Distro, "[Accounts]\nuserdel_cmd = distro\n"),
        ]);
        assert_eq!(loaded.settings.accounts.useradd_cmd, "add %d %d");
        assert_eq!(loaded.settings.accounts.userdel_cmd, "distro");
        let severities: Vec<_> = loaded
            .warnings
            .iter()
            .map(|w| (w.line, w.severity))
            .collect();
        assert_eq!(
            severities,
            [(Some(2), Severity::Error), (Some(3), Severity::Warning)]
        );
    }

    #[test]
    fn sections_in_another_case_count_with_a_warning_and_the_exact_one_is_stronger() {
        let loaded = resolve(&[(
            Source::Template,
            "[accounts]\ngroups = lower\nsudo = none\n[Accounts]\ngroups = exact\n",
        )]);
        assert_eq!(loaded.settings.accounts.groups, ["exact"]);
        assert_eq!(loaded.settings.accounts.sudo.render(), "none");
        assert_eq!(loaded.warnings.len(), 1);
        assert!(loaded.warnings[0].fix.contains("write [Accounts]"));
    }
}
