//! A script's output as log lines: bytes in, lines out.
//!
//! Output of any size and any bytes: a line is handed on as soon as it is whole, and a very long one in parts, so that
//! nothing is held back and memory stays constant (pains 16).

use log::info;

use crate::system::processes::stream::Channel;

/// The longest part of a line that is handed on at once, in bytes.
const LONGEST: usize = 16 * 1024;

/// Bytes that are not yet a whole line.
#[derive(Debug, Default)]
pub struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Takes bytes as they come and hands on every line that is complete, without its end. Empty lines are dropped, as
    /// the predecessors do.
    pub fn take(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str)) {
        while !bytes.is_empty() {
            let room = LONGEST - self.pending.len();
            let (part, ended) = match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) if end <= room => (end, true),
                _ => (bytes.len().min(room), false),
            };
            self.pending.extend_from_slice(&bytes[..part]);
            bytes = &bytes[part + usize::from(ended)..];
            if ended || self.pending.len() == LONGEST {
                self.hand_on(&mut line);
            }
        }
    }

    /// Hands on what is left when the output has ended.
    pub fn finish(mut self, mut line: impl FnMut(&str)) {
        self.hand_on(&mut line);
    }

    fn hand_on(&mut self, line: &mut impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.pending);
        let text = text.trim_end();
        if !text.is_empty() {
            line(text);
        }
        self.pending.clear();
    }
}

/// The lines of a script's streams, each for itself: one that breaks off in the middle of a line does not spoil the other.
#[derive(Debug, Default)]
pub struct Streams {
    stdout: Lines,
    stderr: Lines,
}

impl Streams {
    /// Takes bytes of a stream as they come and hands on every line that is complete.
    pub fn take(&mut self, channel: Channel, bytes: &[u8], line: impl Fn(Channel, &str)) {
        let lines = match channel {
            Channel::Stdout | Channel::Both => &mut self.stdout,
            Channel::Stderr => &mut self.stderr,
        };
        lines.take(bytes, |text| line(channel, text));
    }

    /// Hands on what is left when the output has ended.
    pub fn finish(self, line: impl Fn(Channel, &str)) {
        self.stdout.finish(|text| line(Channel::Stdout, text));
        self.stderr.finish(|text| line(Channel::Stderr, text));
    }
}

/// What a stream is called in the journal, and on the command line of whoever is left behind.
#[must_use]
pub fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Stdout => "stdout",
        Channel::Stderr => "stderr",
        Channel::Both => "both",
    }
}

/// Logs a line of a script, in the predecessors' form (spec/core.md 10.4); the journal is told the stream as well.
pub fn said(logger: &str, key: &str, channel: Channel, line: &str) {
    match channel {
        Channel::Both => info!(target: logger, script = key; "{key}: {line}"),
        Channel::Stdout | Channel::Stderr => {
            info!(target: logger, script = key, stream = channel_name(channel); "{key}: {line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let (mut found, mut lines) = (Vec::new(), Lines::default());
        for chunk in chunks {
            lines.take(chunk, |line| found.push(line.to_owned()));
        }
        lines.finish(|line| found.push(line.to_owned()));
        found
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        assert_eq!(
            lines(&[b"one\ntw", b"o\n\n  \r\nthree"]),
            ["one", "two", "three"]
        );
        assert_eq!(lines(&[b"bad \xff byte\0\n"]), ["bad \u{fffd} byte\0"]);
        assert_eq!(lines(&[b""]), Vec::<String>::new());
    }

    #[test]
    fn a_long_line_comes_in_parts_and_loses_nothing() {
        let long = vec![b'x'; 10 * 1024 * 1024];
        let parts = lines(&[&long, b"\nend\n"]);
        assert!(parts.iter().all(|part| part.len() <= LONGEST));
        assert_eq!(parts.concat().len(), long.len() + "end".len());
    }

    proptest! {
        #[test]
        fn no_visible_byte_is_lost(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let visible = |text: &str| text.chars().filter(char::is_ascii_graphic).collect::<String>();
            let whole = String::from_utf8_lossy(&chunks.concat()).into_owned();
            prop_assert_eq!(visible(&lines(&chunks).concat()), visible(&whole));
        }
    }
}
