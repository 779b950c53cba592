//! The text of the files with and without OS Login. Pure: bytes to bytes, and what is not ours stays as it is, to the byte.
//!
//! What we add stands between two marks, which are those of every predecessor, so that each of them finds and removes what
//! another wrote.

/// The line before what we add.
const BEGIN: &[u8] = b"#### Google OS Login control. Do not edit this section. ####";
/// The line after it.
const END: &[u8] = b"#### End Google OS Login control section. ####";
/// The line that the control program and older agents put before a line of theirs, or one that they made a comment.
const LEGACY: &[u8] = b"# Added by Google Compute Engine OS Login.";
/// What the sources of the name service get.
const SOURCES: &[u8] = b" cache_oslogin oslogin";

/// What stands before and after the rest of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Blocks {
    /// The lines at the beginning.
    pub(super) top: Vec<String>,
    /// The lines at the end.
    pub(super) bottom: Vec<String>,
}

/// The file with these blocks and no other.
pub(super) fn with_blocks(bytes: &[u8], blocks: &Blocks) -> Vec<u8> {
    let rest = without_blocks(bytes);
    let mut text = Vec::new();
    if !blocks.top.is_empty() {
        text.extend(block(&blocks.top));
        text.push(b'\n');
    }
    let ends = rest.last().is_none_or(|last| *last == b'\n');
    text.extend(rest);
    match (blocks.bottom.is_empty(), ends) {
        (true, _) => {}
        (false, true) => {
            text.extend(block(&blocks.bottom));
            text.push(b'\n');
        }
        // The line end that was missing comes before the block instead of after it, by which it is known again.
        (false, false) => {
            text.push(b'\n');
            text.extend(block(&blocks.bottom));
        }
    }
    text
}

/// A block without its last line end.
fn block(lines: &[String]) -> Vec<u8> {
    let lines = lines.iter().map(String::as_bytes);
    let all: Vec<&[u8]> = [BEGIN].into_iter().chain(lines).chain([END]).collect();
    all.join(&b'\n')
}

/// The file without any block of ours or of a predecessor. A mark without its counterpart is left alone.
pub(super) fn without_blocks(bytes: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let mut kept = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(line) = lines.get(index) {
        match block_end(&lines[index..]) {
            None => kept.extend_from_slice(line),
            Some(length) => {
                index += length;
                if !lines[index].ends_with(b"\n") && kept.ends_with(b"\n") {
                    kept.pop();
                }
            }
        }
        index += 1;
    }
    kept
}

/// Where the block ends that the first of these lines begins: at the next mark, if that is an end. Behind a mark that has
/// lost its counterpart, what comes before the next block is the owner's.
fn block_end(lines: &[&[u8]]) -> Option<usize> {
    let mut marks = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| [BEGIN, END].contains(&plain(line)));
    let (_, first) = marks.next().filter(|(index, _)| *index == 0)?;
    let (index, next) = marks.next()?;
    (plain(first) == BEGIN && plain(next) == END).then_some(index)
}

/// A line without its end.
fn plain(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// The configuration of sshd without what older programs did to it: lines that they added go, lines that they made comments
/// count again (the control program's `restore_sshd_conf`).
pub(super) fn sshd_without_legacy(bytes: &[u8]) -> Vec<u8> {
    without_legacy(bytes, |line| line.strip_prefix(b"#"))
}

/// A file of PAM, or of pam_group, without what older programs added.
pub(super) fn pam_without_legacy(bytes: &[u8]) -> Vec<u8> {
    without_legacy(bytes, |_| None)
}

/// Removes the older programs' remarks with the lines that belong to them; `kept` is what remains of such a line.
fn without_legacy(bytes: &[u8], kept: impl Fn(&[u8]) -> Option<&[u8]>) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len());
    let mut is_theirs = false;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if plain(line) == LEGACY {
            is_theirs = true;
        } else if is_theirs && is_added(line) {
            // The control program puts one remark before several lines.
        } else if std::mem::take(&mut is_theirs) {
            text.extend_from_slice(kept(line).unwrap_or(line));
        } else {
            text.extend_from_slice(line);
        }
    }
    text
}

/// Whether a line is one that a predecessor adds after its remark.
fn is_added(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_start();
    let names = [
        "pam_oslogin_login.so",
        "pam_oslogin_admin.so",
        "pam_group.so",
        "pam_mkhomedir.so",
        "/google_authorized_keys",
    ];
    !text.starts_with('#')
        && (names.iter().any(|name| text.contains(name))
            || text.starts_with("sshd;*;*;Al0000-2400;")
            || text.starts_with("AuthorizedKeysCommandUser root"))
}

/// `nsswitch.conf` with the sources of OS Login behind the others.
pub(super) fn nsswitch_with(bytes: &[u8]) -> Vec<u8> {
    each_database(bytes, |line| {
        if contains(line, b"oslogin") {
            return line.to_vec();
        }
        let end = line.iter().position(|byte| *byte == b'#');
        let sources = line[..end.unwrap_or(line.len())].trim_ascii_end().len();
        [&line[..sources], SOURCES, &line[sources..]].concat()
    })
}

/// `nsswitch.conf` without them.
pub(super) fn nsswitch_without(bytes: &[u8]) -> Vec<u8> {
    each_database(bytes, |line| {
        let found = line
            .windows(SOURCES.len())
            .position(|window| window == SOURCES);
        match found {
            None => line.to_vec(),
            Some(start) => [&line[..start], &line[start + SOURCES.len()..]].concat(),
        }
    })
}

/// Whether users come from OS Login, whoever arranged it.
pub(super) fn nsswitch_has_users(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    lines.any(|line| line.trim_ascii_start().starts_with(b"passwd:") && contains(line, b"oslogin"))
}

/// Whether the configuration of sshd asks OS Login for keys, whoever arranged it.
pub(super) fn sshd_asks(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    lines.any(|line| {
        !line.trim_ascii_start().starts_with(b"#")
            && (contains(line, b"google_authorized_keys") || contains(line, b"oslogin_trustedca"))
    })
}

fn contains(line: &[u8], word: &[u8]) -> bool {
    line.windows(word.len()).any(|window| window == word)
}

/// Edits the lines for users and groups, which come without their ends.
fn each_database(bytes: &[u8], edit: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| {
        let name = line.trim_ascii_start();
        if name.starts_with(b"passwd:") || name.starts_with(b"group:") {
            edit(line)
        } else {
            line.to_vec()
        }
    });
    lines.collect::<Vec<_>>().join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn what_the_control_program_did_is_undone() {
        let before = "Port 22\n# Added by Google Compute Engine OS Login.\n#AuthorizedKeysCommand /usr/bin/own\nUsePAM yes\n\n\n\
            #### Google OS Login control. Do not edit this section. ####\nAuthorizedKeysCommand /usr/bin/google_authorized_keys\n\
            #### End Google OS Login control section. ####";
        assert_eq!(
            text(&sshd_without_legacy(&without_blocks(before.as_bytes()))),
            "Port 22\nAuthorizedKeysCommand /usr/bin/own\nUsePAM yes\n\n"
        );
        let pam = "# Added by Google Compute Engine OS Login.\nauth       [default=ignore] pam_group.so\n@include common-auth\n\n\
            # Added by Google Compute Engine OS Login.\naccount    [success=ok ignore=ignore default=die] pam_oslogin_login.so\n\
            account    [success=ok default=ignore] pam_oslogin_admin.so\nsession optional pam_keyinit.so\n";
        assert_eq!(
            text(&pam_without_legacy(pam.as_bytes())),
            "@include common-auth\n\nsession optional pam_keyinit.so\n"
        );
        let group =
            "# own\n# Added by Google Compute Engine OS Login.\nsshd;*;*;Al0000-2400;video\n";
        assert_eq!(text(&pam_without_legacy(group.as_bytes())), "# own\n");
    }

    #[test]
    fn what_stands_between_a_mark_without_its_counterpart_and_our_block_stays() {
        let own = format!("{}\nAllowUsers own\nPort 22\n", text(BEGIN));
        let lines = |line: &str| vec![line.to_owned()];
        let blocks = Blocks {
            top: lines("top"),
            bottom: lines("bottom"),
        };
        let with = with_blocks(own.as_bytes(), &blocks);
        assert_eq!(text(&with_blocks(&with, &blocks)), text(&with));
        assert_eq!(text(&without_blocks(&with)), own);
    }

    #[test]
    fn sources_come_before_a_remark_and_once() {
        for (before, after) in [
            (
                "passwd: files systemd\ngroup:\tfiles  # x\nhosts: files dns",
                "passwd: files systemd cache_oslogin oslogin\ngroup:\tfiles cache_oslogin oslogin  # x\nhosts: files dns",
            ),
            (
                "passwd: files [NOTFOUND=return] sss\n",
                "passwd: files [NOTFOUND=return] sss cache_oslogin oslogin\n",
            ),
            ("#passwd: files\n", "#passwd: files\n"),
            ("passwd: oslogin files\n", "passwd: oslogin files\n"),
        ] {
            let with = nsswitch_with(before.as_bytes());
            assert_eq!(text(&with), after);
            assert_eq!(nsswitch_with(&with), with);
            assert_eq!(text(&nsswitch_without(&with)), before);
            assert_eq!(
                nsswitch_has_users(&with),
                after.contains("\npasswd") || after.starts_with("passwd")
            );
        }
    }

    /// Arbitrary files in which our marks may stand alone, in pairs, or not at all.
    fn file() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 0..12),
            1 => Just(BEGIN.to_vec()), 1 => Just(END.to_vec()), 1 => Just(LEGACY.to_vec()),
            2 => Just(b"passwd: files".to_vec()), 1 => Just(b"group: files \r".to_vec()), 1 => Just(Vec::new()),
        ];
        prop::collection::vec(line, 0..8).prop_map(|lines| lines.join(&b'\n'))
    }

    fn lines() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[a-z ]{1,8}", 0..3)
    }

    proptest! {
        /// On and off again leaves every file as it was, to the byte; and on twice is on once.
        #[test]
        fn blocks_go_without_a_trace(file in file(), top in lines(), bottom in lines(), other in lines()) {
            let clean = without_blocks(&file);
            let blocks = Blocks { top, bottom };
            let with = with_blocks(&clean, &blocks);
            // One block inside another leaves marks that are a pair; only then is there nothing to promise.
            if without_blocks(&clean) == clean {
                prop_assert_eq!(without_blocks(&with), clean.clone());
                prop_assert_eq!(with_blocks(&with, &blocks), with.clone());
                let others = Blocks { top: other, bottom: Vec::new() };
                prop_assert_eq!(with_blocks(&with, &others), with_blocks(&clean, &others));
            }
        }

        #[test]
        fn sources_go_without_a_trace(file in file()) {
            let with = nsswitch_with(&file);
            prop_assert_eq!(nsswitch_without(&with), file);
        }
    }
}
