//! The six local files of users and groups as they stand, parsed strictly. Pure.
//!
//! passwd(5), shadow(5), group(5), gshadow(5), subuid(5), subgid(5). Every line must have its fields; a remark, an empty
//! line, an entry of NIS or a file that does not end with a line end is a reason to leave the files to the system's tools.

use super::Unsuitable;
use crate::system::order::{Map, Set};

/// A line of subuid(5): whose range, its first id, how many there are.
pub(super) type Range<'a> = (&'a [u8], u64, u64);

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Subordinate user ids.
    Subuid,
    /// Subordinate group ids.
    Subgid,
    /// What only root knows of groups.
    Gshadow,
    /// The groups.
    Group,
    /// What only root knows of users.
    Shadow,
    /// The users.
    Passwd,
}

impl Table {
    /// All of them in the order in which additions are written: what an entry needs is there before it, and the entry in
    /// passwd, which alone makes a user exist, comes last.
    pub(super) const ALL: [Self; 6] = [
        Self::Subuid,
        Self::Subgid,
        Self::Gshadow,
        Self::Group,
        Self::Shadow,
        Self::Passwd,
    ];

    /// The file's name in `/etc`.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Subuid => "subuid",
            Self::Subgid => "subgid",
            Self::Gshadow => "gshadow",
            Self::Group => "group",
            Self::Shadow => "shadow",
            Self::Passwd => "passwd",
        }
    }

    /// How many fields a line has.
    fn fields(self) -> usize {
        match self {
            Self::Subuid | Self::Subgid => 3,
            Self::Group | Self::Gshadow => 4,
            Self::Passwd => 7,
            Self::Shadow => 9,
        }
    }

    /// Whether a machine may lack it.
    pub(super) fn is_optional(self) -> bool {
        matches!(self, Self::Subuid | Self::Subgid)
    }
}

/// A file as lines of fields, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lines<'a> {
    table: Table,
    lines: Vec<Vec<&'a [u8]>>,
}

impl<'a> Lines<'a> {
    /// Takes a file apart.
    ///
    /// # Errors
    /// It is not made of proper lines only.
    pub(super) fn parse(table: Table, bytes: &'a [u8]) -> Result<Self, Unsuitable> {
        let odd = |what: String| Unsuitable::new(format!("/etc/{}: {what}", table.file()));
        let mut lines = Vec::new();
        if !bytes.is_empty() && !bytes.ends_with(b"\n") {
            return Err(odd("the last line has no end".into()));
        }
        for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
            let name = fields.first().copied().unwrap_or_default();
            let proper = fields.len() == table.fields()
                && name.first().is_some_and(|first| !b"+-#".contains(first))
                && !line.contains(&0)
                && !line.contains(&b'\r');
            if !proper {
                return Err(odd(format!("line {} is not understood", index + 1)));
            }
            lines.push(fields);
        }
        Ok(Self { table, lines })
    }

    /// The lines by the name in their first field.
    ///
    /// # Errors
    /// Two lines have the same name.
    pub(super) fn by_name(&self) -> Result<Map<&'a [u8], &[&'a [u8]]>, Unsuitable> {
        let lines = self.lines.iter();
        let found: Map<_, _> = lines.map(|fields| (fields[0], fields.as_slice())).collect();
        if found.len() == self.lines.len() {
            return Ok(found);
        }
        let (mut names, mut seen) = (self.lines.iter().map(|fields| fields[0]), Set::new());
        let second = names.find(|name| !seen.insert(*name)).unwrap_or_default();
        Err(Unsuitable::new(format!(
            "/etc/{} has two lines for {}",
            self.table.file(),
            String::from_utf8_lossy(second)
        )))
    }

    /// The numbers in a field of every line.
    ///
    /// # Errors
    /// One is no number.
    pub(super) fn numbers(&self, field: usize) -> Result<Set<u32>, Unsuitable> {
        let numbers = self.lines.iter().map(|fields| self.number(fields[field]));
        numbers.collect()
    }

    /// The ranges of subuid(5): who has it, its first id, and how many there are.
    ///
    /// # Errors
    /// A field is no number.
    pub(super) fn ranges(&self) -> Result<Vec<Range<'a>>, Unsuitable> {
        let range = |fields: &Vec<&'a [u8]>| {
            Ok((
                fields[0],
                u64::from(self.number(fields[1])?),
                u64::from(self.number(fields[2])?),
            ))
        };
        self.lines.iter().map(range).collect()
    }

    /// The number that a field of this file is.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn number(&self, field: &[u8]) -> Result<u32, Unsuitable> {
        let digits = std::str::from_utf8(field)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        digits
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| {
                Unsuitable::new(format!(
                    "/etc/{}: {} is no number",
                    self.table.file(),
                    String::from_utf8_lossy(field)
                ))
            })
    }

    /// The file with changes: lines of `replaced` in the place of those with the same name, members added to the last
    /// field of groups, and `added` lines at the end.
    pub(super) fn format(
        &self,
        replaced: &Map<&[u8], Vec<u8>>,
        members: &Map<&[u8], Vec<&[u8]>>,
        added: &[Vec<u8>],
    ) -> Vec<u8> {
        let mut text = Vec::new();
        for fields in &self.lines {
            match replaced.get(fields[0]) {
                Some(line) => text.extend_from_slice(line),
                None => text.extend_from_slice(&fields.join(&b':')),
            }
            let present: Set<&[u8]> = list(fields[fields.len() - 1]).collect();
            let mut is_first = present.is_empty();
            for member in members.get(fields[0]).into_iter().flatten() {
                if !present.contains(member) {
                    if !is_first {
                        text.push(b',');
                    }
                    is_first = false;
                    text.extend_from_slice(member);
                }
            }
            text.push(b'\n');
        }
        for line in added {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        text
    }
}

/// The names of a list with commas.
pub(super) fn list(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field
        .split(|byte| *byte == b',')
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_proper_files_are_taken() {
        for (table, text) in [
            (Table::Passwd, "root:x:0:0:root:/root:/bin/bash\n+::::::\n"),
            (Table::Passwd, "root:x:0:0:root:/root:/bin/bash"),
            (Table::Passwd, "root:x:0:0:root:/root\n"),
            (Table::Passwd, "# users\n"),
            (Table::Passwd, "\n"),
            (Table::Group, "wheel:x:10:a:b\n"),
            (Table::Group, "-nis:::\n"),
            (Table::Group, ":x:1:\n"),
            (Table::Group, "wheel:x:10:a\r\n"),
        ] {
            assert!(Lines::parse(table, text.as_bytes()).is_err(), "{text:?}");
        }
        let twice = Lines::parse(Table::Group, b"a:x:1:\na:x:2:\n").unwrap();
        assert!(twice.by_name().is_err());
        let odd = Lines::parse(Table::Group, b"a:x:0x1:\n").unwrap();
        assert!(odd.numbers(2).is_err());
    }

    proptest! {
        #[test]
        fn a_file_that_is_taken_comes_out_as_it_was(bytes in "([a-z]{0,3}:[x!]?:[0-9]{0,4}:[a-z,]{0,6}\n){0,6}") {
            if let Ok(lines) = Lines::parse(Table::Group, bytes.as_bytes()) {
                let none = (Map::new(), Map::new());
                prop_assert_eq!(lines.format(&none.0, &none.1, &[]), bytes.into_bytes());
            }
        }
    }
}
