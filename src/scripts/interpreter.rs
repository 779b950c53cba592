//! What a script is, and which program runs it: by its first bytes. Pure.
//!
//! We read the `#!` line ourselves instead of leaving it to the kernel, so that a script runs from a file system that is
//! mounted noexec, as /run and hardened /tmp are (pains 34), and so that a carriage return in it is named (pains 35).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// How much of a script is looked at, in bytes.
pub const HEAD: usize = 64 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// What a script is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, or nothing but white space.
    Empty,
    /// A program for the kernel (ELF).
    Program,
    /// Text of two bytes a letter, which no shell reads.
    Utf16,
    /// A script with a `#!` line: the program, and at most one argument, as the kernel does it (execve(2)). A carriage
    /// return at the end of the line is still there.
    Interpreted(Vec<OsString>),
    /// A script for the configured shell.
    Shell,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What it is.
    pub kind: Kind,
    /// A byte order mark, before which no `#!` is seen.
    pub byte_order_mark: bool,
    /// The `#!` line ends in a carriage return.
    pub return_in_first_line: bool,
    /// Other lines do.
    pub return_in_others: bool,
}

/// Reads the first [`HEAD`] bytes of a script, or all of a shorter one.
#[must_use]
pub fn read(head: &[u8]) -> Reading {
    let without_mark = head.strip_prefix(BOM).unwrap_or(head);
    let mut lines = without_mark.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let first = first.strip_suffix(b"\n").unwrap_or(first);
    let interpreter = first.strip_prefix(b"#!").map(words).unwrap_or_default();
    let kind = if head.starts_with(b"\x7fELF") {
        Kind::Program
    } else if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        Kind::Utf16
    } else if without_mark.iter().all(u8::is_ascii_whitespace) {
        Kind::Empty
    } else if interpreter.is_empty() {
        Kind::Shell
    } else {
        Kind::Interpreted(interpreter)
    };
    let is_text = !matches!(kind, Kind::Program | Kind::Utf16);
    Reading {
        kind,
        byte_order_mark: is_text && without_mark.len() < head.len(),
        return_in_first_line: is_text && first.ends_with(b"\r"),
        return_in_others: is_text && lines.any(|line| line.ends_with(b"\r\n")),
    }
}

fn words(line: &[u8]) -> Vec<OsString> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let trimmed = |bytes: &[u8]| -> Vec<u8> {
        let start = bytes.iter().take_while(|byte| blank(byte)).count();
        let end = bytes.iter().rev().take_while(|byte| blank(byte)).count();
        bytes[start..bytes.len().max(end + start) - end].to_vec()
    };
    let line = trimmed(line);
    let end = line.iter().position(blank).unwrap_or(line.len());
    [line[..end].to_vec(), trimmed(&line[end..])]
        .into_iter()
        .filter(|word| !word.is_empty() && word != b"\r")
        .map(OsString::from_vec)
        .collect()
}

/// The same words without a carriage return at the end of the line.
#[must_use]
pub fn without_return(mut words: Vec<OsString>) -> Vec<OsString> {
    if let Some(last) = words.last_mut() {
        let bytes = last.as_bytes();
        let end = bytes.trim_ascii_end().len();
        *last = OsString::from_vec(bytes[..end].to_vec());
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Takes the byte order mark, or with `all` every carriage return before a newline, out of a script that comes in pieces.
#[derive(Debug)]
pub struct Normalizer {
    all: bool,
    at_start: bool,
    /// A carriage return at the end of the last piece, whose newline may follow.
    held: bool,
}

impl Normalizer {
    /// One that takes out the byte order mark, and with `all` the carriage returns.
    #[must_use]
    pub fn new(all: bool) -> Self {
        Self {
            all,
            at_start: true,
            held: false,
        }
    }

    /// The next piece. The first one must hold the byte order mark whole.
    pub fn take(&mut self, piece: &[u8]) -> Vec<u8> {
        let piece = if std::mem::take(&mut self.at_start) {
            piece.strip_prefix(BOM).unwrap_or(piece)
        } else {
            piece
        };
        if !self.all {
            return piece.to_vec();
        }
        let mut taken = Vec::with_capacity(piece.len() + 1);
        for byte in piece {
            if std::mem::take(&mut self.held) && *byte != b'\n' {
                taken.push(b'\r');
            }
            if *byte == b'\r' {
                self.held = true;
            } else {
                taken.push(*byte);
            }
        }
        taken
    }

    /// What is left at the end.
    #[must_use]
    pub fn finish(self) -> &'static [u8] {
        if self.held { b"\r" } else { b"" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interpreted(words: &[&str]) -> Kind {
        Kind::Interpreted(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn the_line_is_read_as_the_kernel_reads_it() {
        for (body, expected) in [
            ("echo x", Kind::Shell),
            ("#!/bin/bash\necho", interpreted(&["/bin/bash"])),
            (
                "#! /usr/bin/env python3\n",
                interpreted(&["/usr/bin/env", "python3"]),
            ),
            (
                "#!\t/bin/bash -e -x  \n",
                interpreted(&["/bin/bash", "-e -x"]),
            ),
            ("#!\necho", Kind::Shell),
            ("#!  \t \necho", Kind::Shell),
            ("# !/bin/bash\n", Kind::Shell),
            ("#!/bin/bash", interpreted(&["/bin/bash"])),
            ("#!/bin/bash\r\n", interpreted(&["/bin/bash\r"])),
            ("\u{feff}#!/bin/bash\n", interpreted(&["/bin/bash"])),
            ("", Kind::Empty),
            (" \r\n\t", Kind::Empty),
            ("\u{feff}", Kind::Empty),
        ] {
            assert_eq!(read(body.as_bytes()).kind, expected, "{body:?}");
        }
        assert_eq!(read(b"\x7fELF\x02\x01").kind, Kind::Program);
        assert_eq!(read(b"\xff\xfe#\0!\0").kind, Kind::Utf16);
        assert_eq!(
            read(b"#!/bin/\xff\n").kind,
            Kind::Interpreted(vec![OsString::from_vec(b"/bin/\xff".to_vec())])
        );
    }

    #[test]
    fn marks_and_carriage_returns_are_seen() {
        for (body, expected) in [
            ("#!/bin/sh\necho\n", (false, false, false)),
            ("#!/bin/sh\r\necho\r\n", (false, true, true)),
            ("#!/bin/sh\necho\r\n", (false, false, true)),
            ("\u{feff}echo\n", (true, false, false)),
            ("\u{feff}#!/bin/sh\r\n", (true, true, false)),
        ] {
            let reading = read(body.as_bytes());
            let found = (
                reading.byte_order_mark,
                reading.return_in_first_line,
                reading.return_in_others,
            );
            assert_eq!(found, expected, "{body:?}");
        }
    }

    #[test]
    fn a_carriage_return_is_taken_off_the_last_word() {
        for (words, expected) in [
            (vec!["/bin/bash\r"], vec!["/bin/bash"]),
            (vec!["/bin/bash", "-e\r"], vec!["/bin/bash", "-e"]),
            (vec!["/bin/bash", "-e  \r"], vec!["/bin/bash", "-e"]),
            (vec!["\r"], vec![]),
        ] {
            let words = words.into_iter().map(OsString::from).collect();
            assert_eq!(without_return(words), expected);
        }
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_same_text(text in "(\u{feff})?[ab\r\n]{0,40}", cut in 3_usize..20) {
            let whole = text.strip_prefix('\u{feff}').unwrap_or(&text);
            for all in [false, true] {
                let mut normalizer = Normalizer::new(all);
                let mut found: Vec<u8> = text.as_bytes().chunks(cut).flat_map(|piece| normalizer.take(piece)).collect();
                found.extend_from_slice(normalizer.finish());
                let expected = if all { whole.replace("\r\n", "\n") } else { whole.to_owned() };
                prop_assert_eq!(String::from_utf8(found).unwrap(), expected);
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
        }
    }
}
