//! What to do about OS Login. Pure: the decision table of spec/core.md 6.9.

use std::time::Duration;

use crate::metadata::Document;
use crate::metadata::attributes::effective_boolean;

/// How old the cache of users may become.
const CACHE_LIFETIME: Duration = Duration::from_secs(6 * 60 * 60);

/// What metadata asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Not to be used.
    Off,
    /// To be used, perhaps with two factors.
    On {
        /// Whether a second factor is asked for.
        two_factor: bool,
    },
}

/// Reads what metadata asks for: the instance's word, else the project's.
#[must_use]
pub(super) fn wanted(document: &Document) -> Wanted {
    if super::is_wanted(document) {
        Wanted::On {
            two_factor: effective_boolean(document, "enable-oslogin-2fa") == Some(true),
        }
    } else {
        Wanted::Off
    }
}

/// The machine as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observed {
    /// The control program is not there.
    NotInstalled,
    /// It says that its pieces are not all configured, or the cache of users is missing.
    Inactive,
    /// It is configured.
    Active {
        /// With two factors.
        two_factor: bool,
    },
}

/// A call of one of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// `activate`.
    Activate {
        /// With `--twofactor`.
        two_factor: bool,
    },
    /// `deactivate`.
    Deactivate,
    /// Fill the cache of users.
    RefreshCache,
    /// Delete the cache of users, which would go on answering.
    RemoveCache,
}

/// What to do, each only after the one before it succeeded. `refreshed` is the age of the cache that we filled ourselves.
#[must_use]
pub(super) fn plan(wanted: Wanted, observed: Observed, refreshed: Option<Duration>) -> Vec<Action> {
    let fresh = refreshed.is_some_and(|age| age < CACHE_LIFETIME);
    match (wanted, observed) {
        (_, Observed::NotInstalled) | (Wanted::Off, Observed::Inactive) => Vec::new(),
        (Wanted::Off, Observed::Active { .. }) => vec![Action::Deactivate, Action::RemoveCache],
        (Wanted::On { two_factor }, Observed::Inactive) => {
            vec![Action::Activate { two_factor }, Action::RefreshCache]
        }
        (Wanted::On { two_factor: true }, Observed::Active { two_factor: false }) => {
            vec![Action::Activate { two_factor: true }, Action::RefreshCache]
        }
        (Wanted::On { two_factor: false }, Observed::Active { two_factor: true }) => {
            vec![Action::Deactivate, Action::Activate { two_factor: false }]
        }
        (Wanted::On { .. }, Observed::Active { .. }) if fresh => Vec::new(),
        (Wanted::On { .. }, Observed::Active { .. }) => vec![Action::RefreshCache],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::document::{Attributes, Presence};

    #[test]
    #[expect(clippy::too_many_lines, reason = "one row for each line of the table")]
    fn the_decision_table() {
        let (on, on_2fa) = (
            Wanted::On { two_factor: false },
            Wanted::On { two_factor: true },
        );
        let (active, active_2fa) = (
            Observed::Active { two_factor: false },
            Observed::Active { two_factor: true },
        );
        let (young, old) = (
            Some(Duration::from_secs(60)),
            Some(Duration::from_secs(21_601)),
        );
        let activate = |two_factor| Action::Activate { two_factor };
        for (wanted, observed, refreshed, expected) in [
            (on, Observed::NotInstalled, None, vec![]),
            (Wanted::Off, Observed::NotInstalled, None, vec![]),
            (
                on,
                Observed::Inactive,
                None,
                vec![activate(false), Action::RefreshCache],
            ),
            (
                on_2fa,
                Observed::Inactive,
                None,
                vec![activate(true), Action::RefreshCache],
            ),
            (
                on_2fa,
                active,
                None,
                vec![activate(true), Action::RefreshCache],
            ),
            (
                on,
                active_2fa,
                young,
                vec![Action::Deactivate, activate(false)],
            ),
            (on, active, None, vec![Action::RefreshCache]),
            (on, active, young, vec![]),
            (on_2fa, active_2fa, old, vec![Action::RefreshCache]),
            (
                Wanted::Off,
                active,
                young,
                vec![Action::Deactivate, Action::RemoveCache],
            ),
            (
                Wanted::Off,
                active_2fa,
                None,
                vec![Action::Deactivate, Action::RemoveCache],
            ),
            (Wanted::Off, Observed::Inactive, None, vec![]),
        ] {
            assert_eq!(
                plan(wanted, observed, refreshed),
                expected,
                "{wanted:?} {observed:?}"
            );
        }
    }

    #[test]
    fn the_instance_has_the_last_word() {
        let document = |instance: &[(&str, &str)], project: &[(&str, &str)]| {
            let attributes = |pairs: &[(&str, &str)]| -> Presence<Attributes> {
                Presence::Present(
                    pairs
                        .iter()
                        .map(|(name, value)| ((*name).into(), (*value).into()))
                        .collect(),
                )
            };
            let mut document = Document::default();
            document.instance.attributes = attributes(instance);
            document.project.attributes = attributes(project);
            document
        };
        let on = ("enable-oslogin", "TRUE");
        assert_eq!(
            wanted(&document(&[], &[on])),
            Wanted::On { two_factor: false }
        );
        assert_eq!(
            wanted(&document(&[("enable-oslogin", "false")], &[on])),
            Wanted::Off
        );
        let both = [on, ("enable-oslogin-2fa", "true")];
        assert_eq!(
            wanted(&document(&both, &[])),
            Wanted::On { two_factor: true }
        );
        assert_eq!(
            wanted(&document(&both[1..], &[])),
            Wanted::Off,
            "two factors are those of OS Login only"
        );
        assert_eq!(wanted(&Document::default()), Wanted::Off);
    }
}
