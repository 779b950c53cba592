//! The sudo rule of the managed users. Pure.

/// The group that every managed user is in (spec/core.md 6.6).
pub const GROUP: &str = "google-sudoers";
/// The directory of the rule; without it sudo is not installed.
pub const DIRECTORY: &str = "/etc/sudoers.d";
/// The file's name in it.
pub const FILE: &str = "google_sudoers";
/// The mode that sudo demands.
pub const MODE: u32 = 0o440;
/// The rule: sudo without a password, since the accounts have none.
pub const RULE: &str = "%google-sudoers ALL=(ALL:ALL) NOPASSWD:ALL\n";

/// Whether the file needs to be written: it is missing, or it is ours and was cut short by a full disk or a crash.
///
/// A file that says something else belongs to an administrator and stays.
#[must_use]
pub fn needs_writing(present: Option<&[u8]>) -> bool {
    match present {
        None => true,
        // The predecessors wrote the rule without a line end, which sudo accepts.
        Some(bytes) if bytes == RULE.trim_end().as_bytes() => false,
        Some(bytes) => bytes.len() < RULE.len() && RULE.as_bytes().starts_with(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_or_truncated_rule_is_written() {
        for (present, expected) in [
            (None, true),
            (Some(""), true),
            (Some("%google-sud"), true),
            (Some(RULE), false),
            (Some(RULE.trim_end()), false),
            (Some("%google-sudoers ALL=(ALL:ALL) ALL\n"), false),
            (Some("# emptied on purpose\n"), false),
        ] {
            assert_eq!(
                needs_writing(present.map(str::as_bytes)),
                expected,
                "{present:?}"
            );
        }
    }
}
