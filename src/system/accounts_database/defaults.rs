//! What useradd(8) would go by: `/etc/login.defs` and the answer of `useradd -D`. Pure.
//!
//! Strict on purpose: a setting that changes what useradd does and is not understood here is a reason to leave the work to
//! useradd itself.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::Unsuitable;
use crate::system::order::Map;

/// Settings that change what useradd writes and that are not imitated, with the value that means "off".
const FOREIGN: [(&str, &str); 5] = [
    ("MAX_MEMBERS_PER_GROUP", "0"),
    ("USE_TCB", "no"),
    ("SUB_UID_DETERMINISTIC", "no"),
    ("SUB_GID_DETERMINISTIC", "no"),
    ("UNSAFE_SUB_UID_DETERMINISTIC_WRAP", "no"),
];

/// What a new user gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Defaults {
    /// The user ids to choose from.
    pub(super) uids: RangeInclusive<u32>,
    /// The group ids to choose from.
    pub(super) gids: RangeInclusive<u32>,
    /// Subordinate user ids.
    pub(super) subordinate_uids: Subordinate,
    /// Subordinate group ids.
    pub(super) subordinate_gids: Subordinate,
    /// The fields of shadow(5) from the minimum age to the expiry, as text: `0:99999:7::`.
    pub(super) ageing: String,
    /// The directory of the home directories.
    pub(super) homes: PathBuf,
    /// The permission bits of a home directory.
    pub(super) home_mode: u32,
    /// What a new home is filled with.
    pub(super) skeleton: PathBuf,
    /// The directory in which a mailbox is made; `None` when none is wanted.
    pub(super) mailboxes: Option<PathBuf>,
}

/// How subordinate ids are given (login.defs(5), `SUB_UID_MIN` and its sisters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subordinate {
    /// The first id.
    pub(super) first: u64,
    /// The last id.
    pub(super) last: u64,
    /// How many a user gets; none at all with 0.
    pub(super) count: u64,
}

impl Defaults {
    /// Reads both texts.
    ///
    /// # Errors
    /// A setting is not understood, or asks for something that only useradd does.
    pub(super) fn parse(login: &str, useradd: &str) -> Result<Self, Unsuitable> {
        let login = Login::parse(login)?;
        let useradd = pairs(useradd, "=")?;
        let answer = |key: &str| useradd.get(key).map(String::as_str).unwrap_or_default();
        for (key, off) in FOREIGN {
            if login.text(key).is_some_and(|value| value != off) {
                return Err(Unsuitable::new(format!(
                    "{key} of /etc/login.defs is for useradd only"
                )));
            }
        }
        if login.text("USERGROUPS_ENAB") != Some("yes") {
            return Err(Unsuitable::new(
                "USERGROUPS_ENAB of /etc/login.defs is not yes",
            ));
        }
        if !answer("EXPIRE").is_empty() {
            return Err(Unsuitable::new(
                "useradd -D says EXPIRE, which is for useradd only",
            ));
        }
        let inactive = match answer("INACTIVE") {
            "" | "-1" => String::new(),
            days => number("INACTIVE", days)?.to_string(),
        };
        let ageing = format!(
            "{}:{}:{}:{inactive}:",
            login.days("PASS_MIN_DAYS")?,
            login.days("PASS_MAX_DAYS")?,
            login.days("PASS_WARN_AGE")?
        );
        let home_mode = match login.text("HOME_MODE") {
            Some(mode) => number("HOME_MODE", mode)?,
            None => 0o777 & !login.number("UMASK", 0o022)?,
        };
        Ok(Self {
            uids: login.ids("UID_MIN", "UID_MAX")?,
            gids: login.ids("GID_MIN", "GID_MAX")?,
            subordinate_uids: login.subordinate("UID")?,
            subordinate_gids: login.subordinate("GID")?,
            ageing,
            homes: absolute("HOME", answer("HOME"))?,
            home_mode: narrow("HOME_MODE", home_mode)? & 0o7777,
            skeleton: absolute("SKEL", answer("SKEL"))?,
            mailboxes: login.mailboxes(answer("CREATE_MAIL_SPOOL"))?,
        })
    }
}

/// The settings of `/etc/login.defs`.
struct Login(Map<String, String>);

impl Login {
    fn parse(text: &str) -> Result<Self, Unsuitable> {
        pairs(text, " \t").map(Self)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn number(&self, key: &str, default: u64) -> Result<u64, Unsuitable> {
        self.text(key)
            .map_or(Ok(default), |value| number(key, value))
    }

    /// A field of shadow(5): absent and -1 are an empty one.
    fn days(&self, key: &str) -> Result<String, Unsuitable> {
        match self.text(key) {
            None | Some("-1") => Ok(String::new()),
            Some(value) => Ok(number(key, value)?.to_string()),
        }
    }

    fn ids(&self, first: &str, last: &str) -> Result<RangeInclusive<u32>, Unsuitable> {
        let range =
            narrow(first, self.number(first, 1000)?)?..=narrow(last, self.number(last, 60_000)?)?;
        if range.is_empty() || *range.start() == 0 {
            return Err(Unsuitable::new(format!(
                "{first} and {last} of /etc/login.defs leave no ids"
            )));
        }
        Ok(range)
    }

    fn subordinate(&self, kind: &str) -> Result<Subordinate, Unsuitable> {
        let given = Subordinate {
            first: self.number(&format!("SUB_{kind}_MIN"), 100_000)?,
            last: self.number(&format!("SUB_{kind}_MAX"), 600_100_000)?,
            count: self.number(&format!("SUB_{kind}_COUNT"), 65_536)?,
        };
        let in_order = given.first <= given.last && given.last <= u64::from(u32::MAX);
        if given.count > 0 && !in_order {
            return Err(Unsuitable::new(format!(
                "SUB_{kind}_MIN and SUB_{kind}_MAX are not in order"
            )));
        }
        Ok(given)
    }

    fn mailboxes(&self, create: &str) -> Result<Option<PathBuf>, Unsuitable> {
        match create {
            "" | "no" => Ok(None),
            "yes" if self.text("MAIL_FILE").is_some() => Err(Unsuitable::new(
                "MAIL_FILE of /etc/login.defs is for useradd only",
            )),
            "yes" => absolute("MAIL_DIR", self.text("MAIL_DIR").unwrap_or("/var/mail")).map(Some),
            _ => Err(Unsuitable::new(
                "useradd -D says neither yes nor no for CREATE_MAIL_SPOOL",
            )),
        }
    }
}

/// Lines of a key, a separator and a value; the last line of a key counts, as in useradd.
fn pairs(text: &str, separators: &str) -> Result<Map<String, String>, Unsuitable> {
    let mut pairs = Map::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let split = line.split_once(|character| separators.contains(character));
        let (key, value) = split.unwrap_or((line, ""));
        let value = value.trim();
        if value.contains('"') {
            return Err(Unsuitable::new(format!("the value of {key} is quoted")));
        }
        pairs.insert(key.to_owned(), value.to_owned());
    }
    Ok(pairs)
}

/// A number as strtol(3) reads it with base 0: decimal, octal after a 0, hexadecimal after 0x.
fn number(key: &str, text: &str) -> Result<u64, Unsuitable> {
    let parsed = if let Some(digits) = text.strip_prefix("0x") {
        u64::from_str_radix(digits, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        u64::from_str_radix(text, 8)
    } else {
        text.parse()
    };
    let is_plain = text.starts_with(|first: char| first.is_ascii_digit());
    match parsed {
        Ok(number) if is_plain => Ok(number),
        _ => Err(Unsuitable::new(format!("the value of {key} is no number"))),
    }
}

fn narrow(key: &str, number: u64) -> Result<u32, Unsuitable> {
    u32::try_from(number).map_err(|_| Unsuitable::new(format!("the value of {key} is too large")))
}

fn absolute(key: &str, path: &str) -> Result<PathBuf, Unsuitable> {
    let plain = path.starts_with('/') && path.len() > 1 && !path.contains([':', '\n']);
    if plain {
        Ok(PathBuf::from(path))
    } else {
        Err(Unsuitable::new(format!("{key} is no absolute path")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERADD: &str = "GROUP=100\nHOME=/home\nINACTIVE=-1\nEXPIRE=\nSHELL=/bin/sh\nSKEL=/etc/skel\n\
                           CREATE_MAIL_SPOOL=no\nLOG_INIT=yes\n";

    #[test]
    fn the_settings_of_two_distributions_are_read() {
        let debian = "# a remark\nUMASK\t\t022\nPASS_MAX_DAYS\t99999\nPASS_MIN_DAYS\t0\nPASS_WARN_AGE\t7\n\
                      UID_MIN\t\t\t 1000\nUSERGROUPS_ENAB yes\nMAIL_DIR        /var/mail\n";
        let defaults = Defaults::parse(debian, USERADD).unwrap();
        assert_eq!(
            (defaults.uids, defaults.gids),
            (1000..=60_000, 1000..=60_000)
        );
        assert_eq!(
            (defaults.home_mode, defaults.ageing.as_str()),
            (0o755, "0:99999:7::")
        );
        assert_eq!(defaults.mailboxes, None);
        assert_eq!(defaults.subordinate_uids.count, 65_536);
        let enterprise = "UMASK 022\nHOME_MODE 0700\nUSERGROUPS_ENAB yes\nMAIL_DIR /var/spool/mail\nUID_MIN 5000\n\
                          UID_MAX 0x2000\nSUB_UID_COUNT 0\n";
        let answer = USERADD
            .replace("SPOOL=no", "SPOOL=yes")
            .replace("INACTIVE=-1", "INACTIVE=30");
        let defaults = Defaults::parse(enterprise, &answer).unwrap();
        assert_eq!((defaults.uids, defaults.home_mode), (5000..=8192, 0o700));
        assert_eq!(defaults.ageing, ":::30:");
        assert_eq!(defaults.mailboxes, Some("/var/spool/mail".into()));
        assert_eq!(defaults.subordinate_uids.count, 0);
    }

    #[test]
    fn what_is_not_understood_is_left_to_useradd() {
        let enabled = "USERGROUPS_ENAB yes\n";
        for (login, useradd) in [
            ("", USERADD),
            ("USERGROUPS_ENAB no\n", USERADD),
            ("USERGROUPS_ENAB yes\nUID_MIN 1e3\n", USERADD),
            ("USERGROUPS_ENAB yes\nUID_MIN -5\n", USERADD),
            ("USERGROUPS_ENAB yes\nUID_MIN 70000\n", USERADD),
            ("USERGROUPS_ENAB yes\nUID_MIN 0\n", USERADD),
            ("USERGROUPS_ENAB yes\nUID_MIN \"1000\"\n", USERADD),
            ("USERGROUPS_ENAB yes\nUMASK 099\n", USERADD),
            ("USERGROUPS_ENAB yes\nMAX_MEMBERS_PER_GROUP 10\n", USERADD),
            ("USERGROUPS_ENAB yes\nUSE_TCB yes\n", USERADD),
            (enabled, ""),
            (enabled, &USERADD.replace("EXPIRE=", "EXPIRE=2030-01-01")),
            (enabled, &USERADD.replace("HOME=/home", "HOME=home")),
            (enabled, &USERADD.replace("SPOOL=no", "SPOOL=maybe")),
        ] {
            assert!(
                Defaults::parse(login, useradd).is_err(),
                "{login:?} {useradd:?}"
            );
        }
    }
}
