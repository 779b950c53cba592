//! What new users add to the six files. Pure: the name service is asked by a closure, the day is an argument.
//!
//! Field by field what `useradd -m -s SHELL -p '*' -G GROUPS NAME` adds, one after the other.

use std::collections::VecDeque;
use std::io;

use super::defaults::{Defaults, Subordinate};
use super::tables::{Lines, Table, list};
use super::{Account, NewUser, Unsuitable};
use crate::system::order::{InOrder, Map, Set};

/// A question to the name service, which knows more than the local files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question<'a> {
    /// Whether some user has this id.
    Uid(u32),
    /// Whether some group has this id.
    Gid(u32),
    /// Whether there is a group of this name.
    Group(&'a str),
}

/// The files as they are.
pub(super) struct Tables<'a> {
    /// Every file that the machine has.
    pub(super) lines: Map<Table, Lines<'a>>,
}

/// What to write, and who that makes.
#[derive(Debug, Default)]
pub(super) struct Additions {
    /// The new bytes of every file that changes, in the order of writing.
    pub(super) files: Vec<(Table, Vec<u8>)>,
    /// The users that will be there.
    pub(super) accounts: Map<String, Account>,
    /// Users that are left to useradd.
    pub(super) left: Set<String>,
    /// Users for whom the name service could not be asked, and why.
    pub(super) unasked: Option<(Set<String>, io::Error)>,
}

/// What a line is added for.
struct Addition<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    /// Whether the group of the same name is there already, from a run that was cut short.
    has_group: bool,
}

/// Works out what `users` add.
///
/// A user of `resumed`, whose creation was cut short, may have the empty group that was made for it.
///
/// # Errors
/// Something in the files is not understood, or the ids run out.
pub(super) fn additions<'a>(
    tables: &Tables<'a>,
    defaults: &Defaults,
    users: &'a [NewUser],
    resumed: &Set<String>,
    day: i64,
    mut ask: impl FnMut(Question<'_>) -> io::Result<bool>,
) -> Result<Additions, Unsuitable> {
    let passwd = tables.lines(Table::Passwd)?;
    let (present, groups) = (passwd.by_name()?, tables.lines(Table::Group)?.by_name()?);
    for name in users.iter().flat_map(|user| &user.groups) {
        if !groups.contains_key(name.as_bytes()) {
            return Err(Unsuitable::new(format!(
                "the group {name} is not in /etc/group"
            )));
        }
    }
    let mut ids = Ids::new(passwd, tables.lines(Table::Group)?, defaults)?;
    let (mut left, mut unasked) = (Set::new(), None);
    let mut added = Vec::new();
    for (index, user) in users.iter().enumerate() {
        let own_group = groups.get(user.name.as_bytes()).copied();
        let leftover = own_group
            .filter(|fields| resumed.contains(&user.name) && ids.is_leftover(fields, defaults));
        let is_known =
            present.contains_key(user.name.as_bytes()) || own_group.is_some() && leftover.is_none();
        if is_known {
            left.insert(user.name.clone());
            continue;
        }
        let gid = leftover
            .map(|fields| passwd.number(fields[2]))
            .transpose()?;
        match ids.for_user(&user.name, gid, &mut ask) {
            Ok(Some((uid, gid))) => added.push((
                user,
                Addition {
                    name: &user.name,
                    uid,
                    gid,
                    has_group: leftover.is_some(),
                },
            )),
            Ok(None) => {
                left.insert(user.name.clone());
            }
            Err(NoIds::None(what)) => return Err(Unsuitable::new(what)),
            // Whoever asks on would wait as long for each of the others.
            Err(NoIds::Unasked(error)) => {
                let names = users[index..].iter().map(|user| user.name.clone());
                unasked = Some((names.collect(), error));
                break;
            }
        }
    }
    let accounts = added.iter().map(|(user, addition)| {
        let account = Account {
            uid: addition.uid,
            gid: addition.gid,
            home: defaults.homes.join(&user.name),
        };
        (user.name.clone(), account)
    });
    Ok(Additions {
        accounts: accounts.collect(),
        files: tables.with(&added, defaults, day)?,
        left,
        unasked,
    })
}

/// The new bytes of the files that a group without members changes; of none, if there is one of the name.
///
/// # Errors
/// Something in the files is not understood, the ids run out, or the name service could not be asked.
pub(super) fn new_group(
    tables: &Tables<'_>,
    defaults: &Defaults,
    name: &str,
    mut ask: impl FnMut(Question<'_>) -> io::Result<bool>,
) -> Result<Vec<(Table, Vec<u8>)>, Unsuitable> {
    let group = tables.lines(Table::Group)?;
    let unasked = |error: io::Error| Unsuitable::new(error.to_string());
    if group.by_name()?.contains_key(name.as_bytes())
        || ask(Question::Group(name)).map_err(unasked)?
    {
        return Ok(Vec::new());
    }
    let gids = group.numbers(2)?;
    let mut free = candidates(&gids, &defaults.gids).filter(|gid| !gids.contains(gid));
    let gid = loop {
        let gid = free.next();
        let gid = gid.ok_or_else(|| Unsuitable::new("there are no free group ids"))?;
        if !ask(Question::Gid(gid)).map_err(unasked)? {
            break gid;
        }
    };
    let (no_lines, no_members) = (Map::new(), Map::new());
    let mut files = Vec::new();
    if let Some(lines) = tables.lines.get(&Table::Gshadow) {
        let line = format!("{name}:!::").into_bytes();
        let is_stale = lines.by_name()?.contains_key(name.as_bytes());
        let (old, new) = match is_stale {
            true => (Map::from([(name.as_bytes(), line)]), Vec::new()),
            false => (Map::new(), vec![line]),
        };
        files.push((Table::Gshadow, lines.format(&old, &no_members, &new)));
    }
    let line = format!("{name}:x:{gid}:").into_bytes();
    files.push((Table::Group, group.format(&no_lines, &no_members, &[line])));
    Ok(files)
}

impl<'a> Tables<'a> {
    fn lines(&self, table: Table) -> Result<&Lines<'a>, Unsuitable> {
        self.lines
            .get(&table)
            .ok_or_else(|| Unsuitable::new(format!("/etc/{} is missing", table.file())))
    }

    /// The new bytes of every file that changes.
    fn with(
        &self,
        added: &[(&'a NewUser, Addition<'a>)],
        defaults: &Defaults,
        day: i64,
    ) -> Result<Vec<(Table, Vec<u8>)>, Unsuitable> {
        let mut members: Map<&[u8], Vec<&[u8]>> = Map::new();
        for (user, _) in added {
            for group in &user.groups {
                members
                    .get_or_insert_with(group.as_bytes(), Vec::new)
                    .push(user.name.as_bytes());
            }
        }
        let (no_lines, no_members) = (Map::new(), Map::new());
        let mut files = Vec::new();
        for table in Table::ALL {
            let Some(lines) = self.lines.get(&table) else {
                continue;
            };
            let text = match table {
                Table::Subuid => with_ranges(lines, added, defaults.subordinate_uids)?,
                Table::Subgid => with_ranges(lines, added, defaults.subordinate_gids)?,
                Table::Group => {
                    let new = added.iter().filter(|(_, addition)| !addition.has_group);
                    let new = new.map(|(_, addition)| {
                        format!("{}:x:{}:", addition.name, addition.gid).into_bytes()
                    });
                    Some(lines.format(&no_lines, &members, &new.collect::<Vec<_>>()))
                }
                Table::Gshadow => {
                    let line = |addition: &Addition<'_>| format!("{}:!::", addition.name);
                    let (old, new) = split(lines, added, line)?;
                    Some(lines.format(&old, &members, &new))
                }
                Table::Shadow => {
                    let line = |addition: &Addition<'_>| {
                        format!("{}:*:{day}:{}:", addition.name, defaults.ageing)
                    };
                    let (old, new) = split(lines, added, line)?;
                    Some(lines.format(&old, &no_members, &new))
                }
                Table::Passwd => {
                    let line = |(user, addition): &(&NewUser, Addition<'_>)| {
                        let home = defaults.homes.join(addition.name);
                        let (uid, gid) = (addition.uid, addition.gid);
                        format!(
                            "{}:x:{uid}:{gid}::{}:{}",
                            addition.name,
                            home.display(),
                            user.shell
                        )
                        .into_bytes()
                    };
                    let new: Vec<Vec<u8>> = added.iter().map(line).collect();
                    Some(lines.format(&no_lines, &no_members, &new))
                }
            };
            files.extend(text.map(|text| (table, text)));
        }
        Ok(files)
    }
}

/// Lines that replace one of the same name, by that name, and lines that are new.
type OldAndNew<'a> = (Map<&'a [u8], Vec<u8>>, Vec<Vec<u8>>);

/// The lines of new users in a file that may have stale ones of the same names, which useradd would replace too.
fn split<'a>(
    lines: &Lines<'_>,
    added: &'a [(&NewUser, Addition<'_>)],
    line: impl Fn(&Addition<'_>) -> String,
) -> Result<OldAndNew<'a>, Unsuitable> {
    let present = lines.by_name()?;
    let (mut old, mut new) = (Map::new(), Vec::new());
    for (_, addition) in added {
        let text = line(addition).into_bytes();
        match present.contains_key(addition.name.as_bytes()) {
            true => drop(old.insert(addition.name.as_bytes(), text)),
            false => new.push(text),
        }
    }
    Ok((old, new))
}

/// A file of subordinate ids with the ranges of new users: the first holes that are large enough, from below. As useradd
/// leaves it, in the order of the ids.
fn with_ranges(
    lines: &Lines<'_>,
    added: &[(&NewUser, Addition<'_>)],
    given: Subordinate,
) -> Result<Option<Vec<u8>>, Unsuitable> {
    let mut ranges = lines.ranges()?;
    ranges.put_in_order_by(|(owner, first, count)| (*first, *count, *owner));
    let owners: Set<&[u8]> = ranges.iter().map(|range| range.0).collect();
    let has_one = |addition: &Addition<'_>| {
        owners.contains(addition.name.as_bytes())
            || owners.contains(addition.uid.to_string().as_bytes())
    };
    let mut taken: VecDeque<(u64, u64)> = ranges.iter().map(|range| (range.1, range.2)).collect();
    let mut low = given.first;
    let mut new = Vec::new();
    for (_, addition) in added.iter().filter(|(_, addition)| !has_one(addition)) {
        while let Some((first, count)) = taken.front()
            && *first < low + given.count
        {
            low = low.max(first + count);
            taken.pop_front();
        }
        if given.count > 0 && low + given.count - 1 > given.last {
            return Err(Unsuitable::new("there are not enough subordinate ids"));
        }
        new.push((addition.name.as_bytes(), low, given.count));
        low += given.count;
    }
    if given.count == 0 || new.is_empty() {
        return Ok(None);
    }
    ranges.extend(new);
    ranges.put_in_order_by(|range| range.1);
    let mut text = Vec::new();
    for (owner, first, count) in ranges {
        text.extend_from_slice(owner);
        text.extend_from_slice(format!(":{first}:{count}\n").as_bytes());
    }
    Ok(Some(text))
}

/// The ids that are free: after the highest one in use, then the holes from below, as useradd chooses.
struct Ids {
    uids: Set<u32>,
    gids: Set<u32>,
    /// The ids that are some user's primary group.
    primary: Set<u32>,
    next_uids: Box<dyn Iterator<Item = u32>>,
    next_gids: Box<dyn Iterator<Item = u32>>,
    allowed_gids: std::ops::RangeInclusive<u32>,
}

impl Ids {
    fn new(passwd: &Lines<'_>, group: &Lines<'_>, defaults: &Defaults) -> Result<Self, Unsuitable> {
        let (uids, gids) = (passwd.numbers(2)?, group.numbers(2)?);
        Ok(Self {
            next_uids: candidates(&uids, &defaults.uids),
            next_gids: candidates(&gids, &defaults.gids),
            primary: passwd.numbers(3)?,
            allowed_gids: defaults.gids.clone(),
            uids,
            gids,
        })
    }

    /// Whether a group of a new user's name is what an interrupted run left: nobody's, and of an ordinary id.
    fn is_leftover(&self, group: &[&[u8]], defaults: &Defaults) -> bool {
        let gid = std::str::from_utf8(group[2])
            .ok()
            .and_then(|gid| gid.parse().ok());
        gid.is_some_and(|gid| defaults.gids.contains(&gid) && !self.primary.contains(&gid))
            && list(group[3]).next().is_none()
    }

    /// Ids for a user of this name, whose group is there already with this id or must not be; `None` when it is.
    fn for_user(
        &mut self,
        name: &str,
        gid: Option<u32>,
        ask: &mut impl FnMut(Question<'_>) -> io::Result<bool>,
    ) -> Result<Option<(u32, u32)>, NoIds> {
        if gid.is_none() && ask(Question::Group(name))? {
            return Ok(None);
        }
        let uid = self.next_uid(ask)?;
        let gid = gid.map_or_else(|| self.next_gid(uid, ask), Ok)?;
        Ok(Some((uid, gid)))
    }

    fn next_uid(
        &mut self,
        ask: &mut impl FnMut(Question<'_>) -> io::Result<bool>,
    ) -> Result<u32, NoIds> {
        for uid in self.next_uids.by_ref() {
            if !self.uids.contains(&uid) && !ask(Question::Uid(uid))? {
                self.uids.insert(uid);
                return Ok(uid);
            }
        }
        Err(NoIds::None("there are no free user ids"))
    }

    /// The id of a user's own group: the user's where that is free.
    fn next_gid(
        &mut self,
        uid: u32,
        ask: &mut impl FnMut(Question<'_>) -> io::Result<bool>,
    ) -> Result<u32, NoIds> {
        let preferred = self.allowed_gids.contains(&uid).then_some(uid);
        if let Some(gid) = preferred
            && self.gids.insert(gid)
            && !ask(Question::Gid(gid))?
        {
            return Ok(gid);
        }
        for gid in self.next_gids.by_ref() {
            if self.gids.insert(gid) && !ask(Question::Gid(gid))? {
                return Ok(gid);
            }
        }
        Err(NoIds::None("there are no free group ids"))
    }
}

/// Why there are no ids for a user.
#[derive(Debug)]
enum NoIds {
    /// All are taken.
    None(&'static str),
    /// The name service could not be asked.
    Unasked(io::Error),
}

impl From<io::Error> for NoIds {
    fn from(error: io::Error) -> Self {
        Self::Unasked(error)
    }
}

/// The ids above the highest in use, then those below it.
fn candidates(
    used: &Set<u32>,
    allowed: &std::ops::RangeInclusive<u32>,
) -> Box<dyn Iterator<Item = u32>> {
    let (first, last) = (*allowed.start(), *allowed.end());
    match used.iter().rev().find(|id| allowed.contains(*id)) {
        Some(highest) => Box::new((highest + 1..=last).chain(first..=*highest)),
        None => Box::new(first..=last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [(Table, &str); 6] = [
        (Table::Subuid, "old:100000:65536\nfar:400000:10\n"),
        (Table::Subgid, "old:100000:65536\n"),
        (Table::Gshadow, "root:*::\nwheel:*::old\nold:!::\n"),
        (Table::Group, "root:x:0:\nwheel:x:10:old\nold:x:1000:\n"),
        (Table::Shadow, "root:*:20000::::::\nold:*:20000::::::\n"),
        (
            Table::Passwd,
            "root:x:0:0::/root:/bin/sh\nold:x:1000:1000::/home/old:/bin/sh\n",
        ),
    ];

    fn defaults() -> Defaults {
        let login = "USERGROUPS_ENAB yes\nUID_MAX 1005\nGID_MAX 1005\nPASS_MAX_DAYS 9\n";
        Defaults::parse(login, "HOME=/home\nSKEL=/etc/skel\n").unwrap()
    }

    fn user(name: &str, groups: &[&str]) -> NewUser {
        NewUser {
            name: name.into(),
            shell: "/bin/bash".into(),
            groups: groups.iter().map(|group| (*group).into()).collect(),
        }
    }

    /// What is added to these files when the name service says yes to these questions.
    fn added(
        files: &[(Table, &str)],
        users: &[NewUser],
        resumed: &[&str],
        yes: &[Question<'_>],
    ) -> Result<Additions, Unsuitable> {
        let mut lines = Map::new();
        for (table, text) in files {
            lines.insert(*table, Lines::parse(*table, text.as_bytes())?);
        }
        let resumed = resumed.iter().map(|name| (*name).to_owned()).collect();
        let ask = |question: Question<'_>| Ok(yes.contains(&question));
        additions(&Tables { lines }, &defaults(), users, &resumed, 20_000, ask)
    }

    fn text(additions: &Additions, table: Table) -> String {
        let file = additions
            .files
            .iter()
            .find(|(written, _)| *written == table);
        String::from_utf8(file.unwrap().1.clone()).unwrap()
    }

    fn ids(additions: &Additions) -> Vec<(u32, u32)> {
        let accounts = additions.accounts.values();
        accounts.map(|account| (account.uid, account.gid)).collect()
    }

    #[test]
    fn whoever_cannot_be_asked_about_waits_with_those_after() {
        let mut lines = Map::new();
        for (table, text) in &FILES {
            lines.insert(*table, Lines::parse(*table, text.as_bytes()).unwrap());
        }
        let mut answers = 0;
        let ask = |_: Question<'_>| {
            answers += 1;
            match answers {
                // The group, the user id and the group id of the first user.
                1..=3 => Ok(false),
                _ => Err(io::Error::from(io::ErrorKind::TimedOut)),
            }
        };
        let users = [user("a", &[]), user("b", &[]), user("c", &[])];
        let tables = Tables { lines };
        let resumed = Set::new();
        let additions = additions(&tables, &defaults(), &users, &resumed, 20_000, ask).unwrap();
        assert_eq!(additions.accounts.keys().collect::<Vec<_>>(), ["a"]);
        let (waiting, error) = additions.unasked.unwrap();
        assert_eq!(waiting.iter().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(answers, 4, "those after it are not asked about");
    }

    #[test]
    fn every_file_gets_its_lines_and_passwd_comes_last() {
        let additions = added(
            &FILES,
            &[user("a", &["wheel"]), user("b", &["wheel"])],
            &[],
            &[],
        )
        .unwrap();
        let order: Vec<Table> = additions.files.iter().map(|(table, _)| *table).collect();
        assert_eq!(order, Table::ALL);
        assert!(
            text(&additions, Table::Passwd).ends_with(
                "\na:x:1001:1001::/home/a:/bin/bash\nb:x:1002:1002::/home/b:/bin/bash\n"
            )
        );
        assert!(
            text(&additions, Table::Shadow).ends_with("\na:*:20000::9::::\nb:*:20000::9::::\n")
        );
        assert_eq!(
            text(&additions, Table::Group),
            "root:x:0:\nwheel:x:10:old,a,b\nold:x:1000:\na:x:1001:\nb:x:1002:\n"
        );
        assert_eq!(
            text(&additions, Table::Gshadow),
            "root:*::\nwheel:*::old,a,b\nold:!::\na:!::\nb:!::\n"
        );
        assert_eq!(
            text(&additions, Table::Subuid),
            "old:100000:65536\na:165536:65536\nb:231072:65536\nfar:400000:10\n"
        );
    }

    #[test]
    fn ids_that_anybody_has_are_not_given() {
        let yes = [
            Question::Uid(1001),
            Question::Gid(1002),
            Question::Group("taken"),
        ];
        let users = [
            user("a", &[]),
            user("b", &[]),
            user("taken", &[]),
            user("old", &[]),
        ];
        let additions = added(&FILES, &users, &[], &yes).unwrap();
        // After the highest in use comes 1001; a's own id is no free group id.
        assert_eq!(ids(&additions), [(1002, 1001), (1003, 1003)]);
        assert_eq!(
            additions.left.into_iter().collect::<Vec<_>>(),
            ["old", "taken"]
        );
    }

    #[test]
    fn too_few_ids_are_left_to_useradd() {
        let users: Vec<NewUser> = (0..6)
            .map(|number| user(&format!("u{number}"), &[]))
            .collect();
        assert_eq!(
            added(&FILES, &users[..5], &[], &[]).unwrap().accounts.len(),
            5
        );
        assert!(added(&FILES, &users, &[], &[]).is_err());
        assert!(added(&FILES, &[user("a", &["nobodys"])], &[], &[]).is_err());
        assert!(added(&FILES[..5], &[user("a", &[])], &[], &[]).is_err());
    }

    #[test]
    fn every_interruption_is_taken_over_without_a_second_line() {
        let users = [user("a", &["wheel"]), user("b", &["wheel"])];
        let whole = added(&FILES, &users, &[], &[]).unwrap();
        for written in 0..Table::ALL.len() - 1 {
            let mut files = FILES.map(|(table, text)| (table, text.to_owned()));
            for (table, _) in &whole.files[..=written] {
                let file = files
                    .iter_mut()
                    .find(|(present, _)| present == table)
                    .unwrap();
                file.1 = text(&whole, *table);
            }
            let files = files
                .each_ref()
                .map(|(table, text)| (*table, text.as_str()));
            let again = added(&files, &users, &["a", "b"], &[]).unwrap();
            assert_eq!(again.accounts, whole.accounts, "after {written}");
            for table in Table::ALL {
                let before = files
                    .iter()
                    .find(|(present, _)| *present == table)
                    .unwrap()
                    .1;
                let after = again.files.iter().find(|(changed, _)| *changed == table);
                let after = after.map_or(before.to_owned(), |_| text(&again, table));
                assert_eq!(after, text(&whole, table), "after {written}: {table:?}");
            }
        }
    }

    #[test]
    fn a_group_of_the_name_is_taken_over_only_where_it_is_a_leftover() {
        let with = |line: &str| {
            let group = format!("{}{line}\n", FILES[3].1);
            let mut files = FILES;
            files[3].1 = &group;
            let resumed = added(&files, &[user("a", &[])], &["a"], &[]).unwrap();
            let fresh = added(&files, &[user("a", &[])], &[], &[]).unwrap();
            (
                resumed.accounts.contains_key("a"),
                fresh.accounts.contains_key("a"),
            )
        };
        assert_eq!(with("a:x:1003:"), (true, false));
        for other in ["a:x:1003:old", "a:x:11:", "a:x:1000:"] {
            assert_eq!(with(other), (false, false), "{other}");
        }
    }
}
