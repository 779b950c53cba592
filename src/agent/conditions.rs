//! Edge-triggered logging: a condition is logged when it appears, again after an hour with a count, and when it ends.
//! Pure: the time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often a condition that lasts is logged again.
const REMINDER: Duration = Duration::from_secs(60 * 60);

/// Conditions that hold, per source of them.
#[derive(Debug, Default)]
pub struct Conditions {
    active: BTreeMap<(&'static str, String), State>,
}

#[derive(Debug)]
struct State {
    text: String,
    logged: Instant,
    /// How often it was found since it was last logged.
    found: u64,
}

/// What is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edge {
    /// It has appeared, or says something else than before.
    Began(String),
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
        found: BTreeMap<String, String>,
        now: Instant,
    ) -> Vec<Edge> {
        let mut edges = Vec::new();
        self.active.retain(|(from, about), state| {
            let holds = *from != source || found.contains_key(about);
            if !holds {
                edges.push(Edge::Ended(state.text.clone()));
            }
            holds
        });
        for (about, text) in found {
            let key = (source, about);
            match self.active.get_mut(&key) {
                Some(state) if state.text == text => {
                    state.found += 1;
                    if now.duration_since(state.logged) >= REMINDER {
                        edges.push(Edge::Lasts(text, state.found));
                        (state.logged, state.found) = (now, 0);
                    }
                }
                _ => {
                    edges.push(Edge::Began(text.clone()));
                    self.active.insert(
                        key,
                        State {
                            text,
                            logged: now,
                            found: 0,
                        },
                    );
                }
            }
        }
        edges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(items: &[(&str, &str)]) -> BTreeMap<String, String> {
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
}
