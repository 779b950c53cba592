//! The sudo rule of the managed users. Pure.

use crate::config::settings;

/// The group that every managed user is in (spec/core.md 6.6).
pub const GROUP: &str = "google-sudoers";
/// The directory of the rule; without it sudo is not installed.
pub const DIRECTORY: &str = "/etc/sudoers.d";
/// The file's name in it.
pub const FILE: &str = "google_sudoers";
/// The mode that sudo demands.
pub const MODE: u32 = 0o440;
/// The first line of a file with another rule than the predecessors', so that we know it as ours.
const MARK: &str = "# Written by gce-guest from Accounts.sudoers_rule\n";

/// The file's contents for a rule, the part after the group's name: by default sudo without a password, since the
/// accounts have none.
#[must_use]
pub fn contents(rule: &str) -> String {
    let line = format!("%{GROUP} {rule}\n");
    if rule == settings::Accounts::default().sudoers_rule {
        line
    } else {
        format!("{MARK}{line}")
    }
}

/// Whether a file was written by us or by a predecessor, perhaps cut short by a full disk or a crash. Any other belongs to
/// an administrator and stays.
#[must_use]
pub fn is_ours(present: &[u8]) -> bool {
    let predecessors = contents(&settings::Accounts::default().sudoers_rule);
    present.starts_with(MARK.as_bytes()) || predecessors.as_bytes().starts_with(present)
}

/// Whether the file says what it should. The predecessors wrote the rule without a line end, which sudo accepts.
#[must_use]
pub fn says(present: &[u8], rule: &str) -> bool {
    let wanted = contents(rule);
    present == wanted.as_bytes() || present == wanted.trim_end().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "ALL=(ALL:ALL) NOPASSWD:ALL";

    #[test]
    fn ours_are_told_from_an_administrators() {
        for (present, ours, right) in [
            ("", true, false),
            ("%google-sud", true, false),
            ("%google-sudoers ALL=(ALL:ALL) NOPASSWD:ALL\n", true, true),
            ("%google-sudoers ALL=(ALL:ALL) NOPASSWD:ALL", true, true),
            (
                "# Written by gce-guest from Accounts.sudoers_rule\n%google-sudoers x\n",
                true,
                false,
            ),
            ("%google-sudoers ALL=(ALL:ALL) ALL\n", false, false),
            ("# emptied on purpose\n", false, false),
        ] {
            assert_eq!(
                (is_ours(present.as_bytes()), says(present.as_bytes(), RULE)),
                (ours, right),
                "{present:?}"
            );
        }
        let other = contents("ALL=(ALL) ALL");
        assert!(
            is_ours(other.as_bytes())
                && says(other.as_bytes(), "ALL=(ALL) ALL")
                && !says(other.as_bytes(), RULE)
        );
    }
}
