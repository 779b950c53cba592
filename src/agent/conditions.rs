//! Edge-triggered logging: a condition is logged when it appears, again after an hour with a count, and when it ends. One
//! that comes and goes is logged a few times and then hourly. Pure: the time is an argument.

use std::time::{Duration, Instant};

use crate::system::order::Map;

/// How often a condition that lasts is logged again.
const REMINDER: Duration = Duration::from_secs(60 * 60);

/// How often one condition may begin within that time before its coming and going is no news.
const BEGINS: u32 = 3;

/// Conditions that hold, or held within the hour, per source of them.
#[derive(Debug, Default)]
pub struct Conditions {
    known: Map<(&'static str, String), State>,
}

#[derive(Debug)]
struct State {
    text: String,
    holds: bool,
    logged: Instant,
    /// How often it was found since it was last logged.
    found: u64,
    /// When it was first logged within this hour, and how often it has begun since.
    hour: Instant,
    begins: u32,
}

/// What is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edge {
    /// It has appeared, or says something else than before.
    Began(String),
    /// It comes and goes, or always says something else; the next line follows in an hour.
    Flutters(String),
    /// It still holds; it was found so many times since the last line.
    Lasts(String, u64),
    /// It has ended.
    Ended(String),
}

impl Conditions {
    /// Takes what `source` found in a whole pass, as (what it is about, text), and returns what to log.
    pub fn update(
        &mut self,
        source: &'static str,
        found: Map<String, String>,
        now: Instant,
    ) -> Vec<Edge> {
        let mut edges = Vec::new();
        self.known.retain(|(from, about), state| {
            let ends = *from == source && !found.contains_key(about);
            if ends {
                edges.extend(state.end(now));
            }
            !ends || !state.is_forgotten(now)
        });
        for (about, text) in found {
            let about = (source, about);
            let state = self.known.get_or_insert_with(about, || State::new(now));
            edges.extend(state.find(text, now));
        }
        edges
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            text: String::new(),
            holds: false,
            logged: now,
            found: 0,
            hour: now,
            begins: 0,
        }
    }

    fn flutters(&self) -> bool {
        self.begins > BEGINS
    }

    /// It was found: what is there to say?
    fn find(&mut self, text: String, now: Instant) -> Option<Edge> {
        let begins = !self.holds || self.text != text;
        (self.text, self.holds) = (text, true);
        if now.duration_since(self.hour) >= REMINDER && !self.flutters() {
            (self.hour, self.begins) = (now, 0);
        }
        let fluttered = self.flutters();
        self.begins += u32::from(begins && !fluttered);
        let text = self.text.clone();
        let edge = if begins && !self.flutters() {
            Edge::Began(text)
        } else if self.flutters() && !fluttered {
            Edge::Flutters(text)
        } else if now.duration_since(self.logged) >= REMINDER {
            Edge::Lasts(text, self.found + 1)
        } else {
            self.found += 1;
            return None;
        };
        (self.logged, self.found) = (now, 0);
        Some(edge)
    }

    /// It was not found.
    fn end(&mut self, now: Instant) -> Option<Edge> {
        let ends = std::mem::replace(&mut self.holds, false);
        // While it flutters, the end is what stays away for an hour.
        let told = if self.flutters() {
            self.hour = if ends { now } else { self.hour };
            self.is_forgotten(now)
        } else {
            ends
        };
        told.then(|| Edge::Ended(self.text.clone()))
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        !self.holds && now.duration_since(self.hour) >= REMINDER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(items: &[(&str, &str)]) -> Map<String, String> {
        items
            .iter()
            .map(|(about, text)| ((*about).into(), (*text).into()))
            .collect()
    }

    #[test]
    fn a_condition_is_logged_at_its_edges_and_hourly() {
        let (mut conditions, start) = (Conditions::default(), Instant::now());
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let bad = || found(&[("alice", "bad key")]);
        assert_eq!(
            conditions.update("accounts", bad(), at(0)),
            [Edge::Began("bad key".into())]
        );
        for minute in 1..60 {
            assert_eq!(conditions.update("accounts", bad(), at(minute)), []);
        }
        assert_eq!(
            conditions.update("accounts", bad(), at(60)),
            [Edge::Lasts("bad key".into(), 60)]
        );
        assert_eq!(
            conditions.update("network", found(&[]), at(61)),
            [],
            "another source ends nothing"
        );
        let worse = found(&[("alice", "worse")]);
        assert_eq!(
            conditions.update("accounts", worse, at(62)),
            [Edge::Began("worse".into())]
        );
        assert_eq!(
            conditions.update("accounts", found(&[]), at(63)),
            [Edge::Ended("worse".into())]
        );
    }

    #[test]
    fn a_day_of_the_same_trouble_is_at_most_twenty_five_lines() {
        let (mut conditions, start) = (Conditions::default(), Instant::now());
        let minutes = 0..24 * 60;
        let lines = minutes.map(|minute| {
            let at = start + Duration::from_secs(60 * minute);
            conditions
                .update("accounts", found(&[("alice", "bad key")]), at)
                .len()
        });
        assert!(lines.sum::<usize>() <= 25);
    }

    #[test]
    fn what_comes_and_goes_is_said_a_few_times_and_then_hourly() {
        let (mut conditions, start) = (Conditions::default(), Instant::now());
        let mut lines = Vec::new();
        for minute in 0..180 {
            let now = start + Duration::from_secs(60 * minute);
            let trouble = if minute % 2 == 0 { "down" } else { "" };
            let found = found(&[("link", trouble)][..usize::from(minute % 2 == 0)]);
            for edge in conditions.update("network", found, now) {
                lines.push((minute, edge));
            }
        }
        let down = || String::from("down");
        assert_eq!(
            lines,
            [
                (0, Edge::Began(down())),
                (1, Edge::Ended(down())),
                (2, Edge::Began(down())),
                (3, Edge::Ended(down())),
                (4, Edge::Began(down())),
                (5, Edge::Ended(down())),
                (6, Edge::Flutters(down())),
                (66, Edge::Lasts(down(), 30)),
                (126, Edge::Lasts(down(), 30)),
            ]
        );
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        assert_eq!(conditions.update("network", found(&[]), at(200)), []);
        let ended = conditions.update("network", found(&[]), at(239));
        assert_eq!(ended, [Edge::Ended(down())], "an hour later");
        assert_eq!(conditions.update("network", found(&[]), at(300)), []);
        let again = conditions.update("network", found(&[("link", "down")]), at(301));
        assert_eq!(again, [Edge::Began(down())]);
    }

    #[test]
    fn a_text_that_is_never_the_same_is_no_flood() {
        let (mut conditions, start) = (Conditions::default(), Instant::now());
        let lines = (0..24 * 60).map(|minute| {
            let at = start + Duration::from_secs(60 * minute);
            let text = format!("failed after {minute} minutes");
            conditions
                .update("accounts", found(&[("alice", &text)]), at)
                .len()
        });
        assert!(lines.sum::<usize>() <= 28);
    }
}
