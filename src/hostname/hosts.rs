//! Our lines in /etc/hosts, and everybody else's. Pure: bytes in, bytes out.
//!
//! A line is ours when it ends with the predecessors' mark; theirs are taken over, so that nothing is there twice
//! (pains.md 50). The form of both lines, two blanks included, is what image tests look for (spec/core.md 13.1). All of
//! ours stand in one block, and what is not ours keeps its bytes and its order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::names::Name;

/// What every line of ours ends with.
const MARK: &str = "# Added by Google";

/// The name that programs know the metadata server by.
const METADATA_NAME: &str = "metadata.google.internal";

/// The metadata server, and where it is on a machine without IPv4.
const METADATA_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
const METADATA_SERVER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254));

/// What /etc/hosts shall say about this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    /// The addresses of the machine, each a line; at least one.
    pub addresses: Vec<IpAddr>,
    /// Its name.
    pub name: Name,
    /// More names for it.
    pub aliases: Vec<Name>,
}

/// A line of somebody else that gives the machine's name another address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rival {
    /// The number of the line, from 1.
    pub line: usize,
    /// The name that it gives away.
    pub name: String,
    /// The address that it gives it.
    pub address: IpAddr,
}

/// The file with our block as it shall be: where the first line of ours was, or at the end. A file that has it already
/// comes back byte for byte.
#[must_use]
pub fn rewritten(present: &[u8], entries: &Entries) -> Vec<u8> {
    let lines: Vec<&[u8]> = present.split_inclusive(|byte| *byte == b'\n').collect();
    let foreign = lines.iter().copied().filter(|line| !is_ours(line));
    let block = block(foreign, entries);
    let mut file = Vec::with_capacity(present.len() + block.len() + 1);
    let mut placed = false;
    for line in lines {
        if !is_ours(line) {
            file.extend_from_slice(line);
        } else if !placed {
            file.extend_from_slice(block.as_bytes());
            placed = true;
        }
    }
    if !placed {
        if file.last().is_some_and(|last| *last != b'\n') {
            file.push(b'\n');
        }
        file.extend_from_slice(block.as_bytes());
    }
    file
}

fn block<'a>(foreign: impl Iterator<Item = &'a [u8]>, entries: &Entries) -> String {
    let server = if entries.addresses.iter().any(IpAddr::is_ipv4) {
        METADATA_SERVER
    } else {
        METADATA_SERVER_V6
    };
    let mut parsed = foreign.filter_map(parse);
    let mut block = String::new();
    // First of all, so that no name of ours comes before it (spec/core.md SEC 14).
    if !parsed.any(|(address, mut names)| {
        address == server && names.any(|name| name.eq_ignore_ascii_case(METADATA_NAME))
    }) {
        block.push_str(&line(server, &[METADATA_NAME]));
    }
    let mut names: Vec<&str> = Vec::new();
    let own = [entries.name.full(), entries.name.short()];
    for name in own
        .into_iter()
        .chain(entries.aliases.iter().map(Name::full))
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    block.extend(
        entries
            .addresses
            .iter()
            .map(|address| line(*address, &names)),
    );
    block
}

fn line(address: IpAddr, names: &[&str]) -> String {
    format!("{address} {}  {MARK}\n", names.join(" "))
}

/// Our lines in the file, as they are.
#[must_use]
pub fn ours(present: &[u8]) -> Vec<String> {
    let lines = present.split(|byte| *byte == b'\n');
    let ours = lines.filter(|line| is_ours(line));
    ours.map(|line| String::from_utf8_lossy(line).into_owned())
        .collect()
}

/// Whether a line is ours: an entry with our mark at its end. One that somebody commented out is not.
fn is_ours(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    !line.starts_with(b"#") && line.ends_with(MARK.as_bytes())
}

/// The address and the names of an entry.
fn parse(line: &[u8]) -> Option<(IpAddr, impl Iterator<Item = &str>)> {
    let entry = line.split(|byte| *byte == b'#').next()?;
    let mut words = std::str::from_utf8(entry).ok()?.split_ascii_whitespace();
    let address = words.next()?.parse().ok()?;
    Some((address, words))
}

/// The lines of others that come before ours and give the machine's name an address that is none of its own: they win.
#[must_use]
pub fn rivals(present: &[u8], entries: &Entries) -> Vec<Rival> {
    let lines = present.split(|byte| *byte == b'\n').enumerate();
    let before_ours = lines.take_while(|(_, line)| !is_ours(line));
    let mut rivals = Vec::new();
    for (number, line) in before_ours {
        let Some((address, mut names)) = parse(line) else {
            continue;
        };
        let own = [entries.name.full(), entries.name.short()];
        let taken = names.find(|name| own.iter().any(|own| own.eq_ignore_ascii_case(name)));
        if let Some(name) = taken
            && !entries.addresses.contains(&address)
        {
            rivals.push(Rival {
                line: number + 1,
                name: name.to_owned(),
                address,
            });
        }
    }
    rivals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostname::names;

    use proptest::prelude::*;

    fn entries(addresses: &[&str], name: &str, aliases: &[&str]) -> Entries {
        let name_of = |text: &str| names::parse(text).unwrap().0;
        Entries {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            name: name_of(name),
            aliases: aliases.iter().map(|text| name_of(text)).collect(),
        }
    }

    fn text(present: &str, entries: &Entries) -> String {
        String::from_utf8(rewritten(present.as_bytes(), entries)).unwrap()
    }

    const BLOCK: &str = "169.254.169.254 metadata.google.internal  # Added by Google\n\
                         10.128.0.2 web.c.example.internal web  # Added by Google\n";

    #[test]
    fn the_block_has_the_form_that_image_tests_look_for() {
        let web = entries(&["10.128.0.2"], "web.c.example.internal", &[]);
        assert_eq!(text("", &web), BLOCK);
        assert_eq!(
            text("127.0.0.1 localhost\n", &web),
            format!("127.0.0.1 localhost\n{BLOCK}")
        );
        let more = entries(&["10.0.0.2", "fd00::2"], "web", &["www.example.com", "web"]);
        assert_eq!(
            text("", &more),
            "169.254.169.254 metadata.google.internal  # Added by Google\n\
             10.0.0.2 web www.example.com  # Added by Google\n\
             fd00::2 web www.example.com  # Added by Google\n"
        );
    }

    #[test]
    fn without_ipv4_the_metadata_server_has_its_ipv6_address() {
        let six = entries(&["fd00::2"], "web", &[]);
        assert_eq!(
            text("", &six),
            "fd20:ce::254 metadata.google.internal  # Added by Google\nfd00::2 web  # Added by Google\n"
        );
    }

    #[test]
    fn lines_of_others_keep_their_bytes_and_ours_their_place() {
        let web = entries(&["10.128.0.2"], "web.c.example.internal", &[]);
        let before = "127.0.0.1\tlocalhost  \r\n\n# Added by Google? No, by me.\n#10.9.9.9 old  # Added by Google\n";
        let after = "::1 localhost ip6-localhost\n\n10.1.1.1 db";
        let old = "169.254.169.254 metadata.google.internal  # Added by Google\n\
                   10.7.7.7 old.example.com old # Added by Google\n";
        let expected = format!("{before}{BLOCK}{after}");
        assert_eq!(text(&format!("{before}{old}{after}"), &web), expected);
        // What a predecessor wrote twice, and apart, becomes one block.
        assert_eq!(
            text(&format!("{before}{old}{after}\n{old}"), &web),
            format!("{expected}\n")
        );
        // A last line without an end is not glued to ours.
        assert_eq!(text(after, &web), format!("{after}\n{BLOCK}"));
    }

    #[test]
    fn an_entry_of_somebody_else_for_the_metadata_server_is_enough() {
        let web = entries(&["10.128.0.2"], "web", &[]);
        for (own, counts) in [
            ("169.254.169.254 metadata metadata.google.internal\n", true),
            ("169.254.169.254 metadata\n", false),
            ("#169.254.169.254 metadata.google.internal\n", false),
            ("10.6.6.6 metadata.google.internal\n", false),
        ] {
            let written = text(own, &web);
            assert_eq!(
                written.contains("internal  # Added by Google"),
                !counts,
                "{written}"
            );
            assert!(written.starts_with(own));
        }
    }

    #[test]
    fn a_line_that_takes_the_name_away_is_told() {
        let web = entries(&["10.128.0.2"], "web.example.com", &[]);
        let rivals = |present: &str| rivals(present.as_bytes(), &web);
        assert_eq!(
            rivals("127.0.0.1 localhost\n127.0.1.1 x WEB\n"),
            [Rival {
                line: 2,
                name: "WEB".into(),
                address: "127.0.1.1".parse().unwrap()
            }]
        );
        for silent in [
            "10.128.0.2 web\n",
            "# 127.0.1.1 web\n",
            "127.0.1.1 web-2\n",
            "nonsense web\n",
        ] {
            assert_eq!(rivals(silent), [], "{silent}");
        }
        // After ours it changes nothing.
        assert_eq!(rivals(&format!("{BLOCK}127.0.1.1 web\n")), []);
    }

    proptest! {
        #[test]
        fn foreign_lines_survive_and_a_second_pass_changes_nothing(
            lines in proptest::collection::vec(
                prop_oneof![
                    "[ -~\t\r]{0,40}",
                    Just("10.7.7.7 old  # Added by Google".to_owned()),
                    Just("#10.7.7.7 old  # Added by Google".to_owned()),
                ],
                0..12
            ),
            ended: bool,
        ) {
            let mut present = lines.join("\n");
            if ended {
                present.push('\n');
            }
            let web = entries(&["10.128.0.2"], "web.example.com", &["www"]);
            let once = rewritten(present.as_bytes(), &web);
            prop_assert_eq!(&rewritten(&once, &web), &once);
            let foreign = |file: &[u8]| -> Vec<Vec<u8>> {
                file.split(|byte| *byte == b'\n')
                    .filter(|line| !is_ours(line) && !line.is_empty())
                    .map(<[u8]>::to_vec)
                    .collect()
            };
            prop_assert_eq!(foreign(&once), foreign(present.as_bytes()));
        }
    }
}
