//! The ledger of managed users: what we did to which account, so that exactly that can be undone. Pure.
//!
//! Two files. `google_users` is the predecessors': one name per line, so that going back to them works. `google_users.json`
//! beside it says for each name where the account came from and which rights we gave; and which accounts are being created
//! at this moment, so that a kill between `useradd` and the record of it forgets nothing (spec/core.md 6.8, SEC 9).

use serde::{Deserialize, Serialize};

use super::names;
use crate::system::order::{Map, Set};

/// The directory of both files.
pub const DIRECTORY: &str = "/var/lib/google";
/// The predecessors' file: one name per line.
pub const NAMES_FILE: &str = "google_users";
/// What we know besides the names.
pub const RECORDS_FILE: &str = "google_users.json";

/// How many users a notice names.
const NAMED: usize = 20;

/// Where an account came from.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// We made it, so with `deprovision_remove` we may delete it.
    Created,
    /// It was there before: an image user, a directory user, root. It is only ever added to.
    Adopted,
}

/// What we did to one account.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Where the account came from.
    pub origin: Origin,
    /// Whether we put it into the sudoers group, so that we take it out again.
    pub sudo_given: bool,
}

/// Everything that the ledger says.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// The instance on which it was written; a clone of the machine has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// The managed users.
    #[serde(default)]
    pub users: Map<String, Record>,
    /// Accounts whose creation was about to begin when this was written.
    #[serde(default, skip_serializing_if = "Set::is_empty")]
    pub creating: Set<String>,
}

impl Ledger {
    /// Reads both files. Names that only the predecessors' file has were managed by a predecessor, which did not record
    /// where they came from: they count as adopted, with the sudo right that every predecessor gave.
    ///
    /// The second value says what was wrong with them; a ledger that cannot be read is never taken for an empty one where
    /// the other file still has names.
    #[must_use]
    pub fn parse(names: &[u8], records: &[u8]) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let mut ledger = if records.is_empty() {
            Self::default()
        } else {
            serde_json::from_slice(records).unwrap_or_else(|error| {
                problems.push(format!(
                    "{RECORDS_FILE} cannot be read ({error}); its users count as not created by us"
                ));
                Self::default()
            })
        };
        for line in String::from_utf8_lossy(names)
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            if names::check(line).is_ok() {
                let unknown = Record {
                    origin: Origin::Adopted,
                    sudo_given: true,
                };
                ledger.users.get_or_insert_with(line.to_owned(), || unknown);
            } else {
                problems.push(format!(
                    "{NAMES_FILE} contains a line that is no user name; it is dropped"
                ));
            }
        }
        let usable = |name: &String| names::check(name).is_ok();
        ledger.users.retain(|name, _| usable(name));
        ledger.creating.retain(usable);
        (ledger, problems)
    }

    /// What we did to every account, those included whose creation was cut short: if they exist, we made them.
    #[must_use]
    pub fn records(&self) -> Map<String, Record> {
        self.records_of(self.users.keys().chain(&self.creating))
    }

    /// The same for some accounts.
    #[must_use]
    pub fn records_of<'a>(&self, names: impl Iterator<Item = &'a String>) -> Map<String, Record> {
        let created = Record {
            origin: Origin::Created,
            sudo_given: true,
        };
        let record = |name: &String| {
            let begun = self.creating.contains(name).then_some(created);
            self.users.get(name).copied().or(begun)
        };
        names
            .filter_map(|name| Some((name.clone(), record(name)?)))
            .collect()
    }

    /// What to say where it is another instance's: who the users of the image are, since nobody takes back their keys and
    /// rights.
    #[must_use]
    pub fn notice_of_clone(&self) -> String {
        let names: Vec<&str> = self.users.keys().map(String::as_str).collect();
        let (named, more) = names.split_at(names.len().min(NAMED));
        let more = match more.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let users = match named {
            [] => "it names nobody".to_owned(),
            named => format!(
                "these users of the image stay as they are, with the keys and rights that they have: {}{more}",
                named.join(", ")
            ),
        };
        format!("the ledger of managed users is another instance's; {users}")
    }

    /// Whether this is what it says of a user: the record, or that there is none, and no creation that was begun.
    #[must_use]
    pub fn says(&self, user: &str, record: Option<&Record>) -> bool {
        self.users.get(user) == record && !self.creating.contains(user)
    }

    /// The predecessors' file.
    #[must_use]
    pub fn format_names(&self) -> Vec<u8> {
        self.users
            .keys()
            .map(|name| format!("{name}\n"))
            .collect::<String>()
            .into_bytes()
    }

    /// Our file.
    #[must_use]
    pub fn format_records(&self) -> Vec<u8> {
        let mut text =
            serde_json::to_vec_pretty(self).expect("maps with string keys are always JSON");
        text.push(b'\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(origin: Origin) -> Record {
        Record {
            origin,
            sudo_given: true,
        }
    }

    #[test]
    fn a_ledger_survives_writing_and_reading() {
        let ledger = Ledger {
            instance_id: Some("42".into()),
            users: [
                ("alice".into(), record(Origin::Created)),
                ("root".into(), record(Origin::Adopted)),
            ]
            .into(),
            creating: ["bob".into()].into(),
        };
        assert_eq!(ledger.format_names(), b"alice\nroot\n");
        assert_eq!(
            Ledger::parse(&ledger.format_names(), &ledger.format_records()),
            (ledger, vec![])
        );
    }

    #[test]
    fn a_predecessors_file_is_taken_over_without_the_right_to_delete() {
        let (ledger, problems) = Ledger::parse(b"alice\n\n-f victim\n  bob \r\n..\n", b"");
        assert_eq!(ledger.users.keys().collect::<Vec<_>>(), ["alice", "bob"]);
        assert!(
            ledger
                .users
                .values()
                .all(|user| *user == record(Origin::Adopted))
        );
        assert_eq!(
            problems.len(),
            2,
            "names that could become options are dropped: {problems:?}"
        );
    }

    #[test]
    fn a_broken_file_costs_the_origins_and_not_the_names() {
        let (ledger, problems) = Ledger::parse(b"alice\n", b"{ not json");
        assert_eq!(ledger.users["alice"], record(Origin::Adopted));
        assert_eq!(problems.len(), 1);
    }
}
