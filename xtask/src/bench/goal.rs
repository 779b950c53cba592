//! What a figure should be, and whether it is.

use super::figures::Figures;
use super::sample::Who;
use super::subject::Subject;

/// What is aimed at. Aims are for the design; no test asserts them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At most this, in the unit of the line.
    AtMost(f64),
    /// So many times less than the better predecessor.
    Faster(f64),
    /// So many times less than the Python daemons.
    FasterThanPython(f64),
    /// At most one part in so many of what this subject has.
    PartOf(Subject, f64),
    /// At most so many times what the same work costs without anybody.
    TimesBaseline(f64),
    /// So many times less than the baseline.
    FasterThanBaseline(f64),
    /// For each unit of work at most so many times what it is at this size.
    GrowthFrom(u32, f64),
    /// At most so many times what it is at this size.
    LevelFrom(u32, f64),
}

/// How an aim was met. `met` is `None` where something to compare with is missing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) text: String,
    pub(crate) met: Option<bool>,
}

impl Goal {
    /// Judges the figures of a line at a size. `shown` writes a value of the line.
    pub(crate) fn judge(
        self,
        figures: &Figures,
        line: &str,
        size: u32,
        shown: fn(f64) -> String,
    ) -> Verdict {
        let of = |who, size| {
            figures
                .summary(line, who, size)
                .map(|summary| summary.median)
        };
        let ours = of(Who::Subject(Subject::GceGuest), size);
        let python = of(Who::Subject(Subject::Python), size);
        let go = of(Who::Subject(Subject::Go), size);
        let baseline = of(Who::Baseline, size);
        let at = |from| of(Who::Subject(Subject::GceGuest), from);
        match self {
            Self::AtMost(most) => verdict(
                format!("at most {}", shown(most)),
                ours.map(|ours| ours <= most),
            ),
            Self::Faster(times) => {
                let better = [python, go].into_iter().flatten().min_by(f64::total_cmp);
                fold("better predecessor", times, ratio(better, ours))
            }
            Self::FasterThanPython(times) => fold("Python", times, ratio(python, ours)),
            Self::FasterThanBaseline(times) => fold("comparison", times, ratio(baseline, ours)),
            Self::PartOf(subject, parts) => {
                let theirs = of(Who::Subject(subject), size);
                fold(subject.title(), parts, ratio(theirs, ours))
            }
            Self::TimesBaseline(times) => most("comparison", times, ratio(ours, baseline)),
            Self::GrowthFrom(from, times) => {
                let growth =
                    ratio(ours, at(from)).map(|ratio| ratio * f64::from(from) / f64::from(size));
                most(&format!("each at {from}"), times, growth)
            }
            Self::LevelFrom(from, times) => {
                let what = format!("after {from}");
                most(&what, times, ratio(ours, at(from)))
            }
        }
    }
}

fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        // One part in none is as good as it gets.
        (Some(one), Some(0.0)) => Some(if one > 0.0 { f64::INFINITY } else { 1.0 }),
        (Some(one), Some(other)) => Some(one / other),
        _ => None,
    }
}

fn fold(what: &str, times: f64, is: Option<f64>) -> Verdict {
    let now = is.map_or("?".to_owned(), times_shown);
    verdict(format!("{what} ÷ {times}: {now}"), is.map(|is| is >= times))
}

fn most(what: &str, times: f64, is: Option<f64>) -> Verdict {
    let now = is.map_or("?".to_owned(), times_shown);
    verdict(format!("{what} × {times}: {now}"), is.map(|is| is <= times))
}

fn times_shown(value: f64) -> String {
    match value {
        value if value.is_infinite() => "∞".to_owned(),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn verdict(text: String, met: Option<bool>) -> Verdict {
    Verdict { text, met }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::sample::Sample;

    fn figures(values: &[(Who, u32, f64)]) -> Figures {
        let samples = values.iter().map(|(who, size, value)| Sample {
            line: "a".into(),
            who: *who,
            size: *size,
            value: *value,
        });
        Figures::new(samples.collect())
    }

    #[test]
    fn aims_are_met_or_missed_or_cannot_be_judged() {
        let ours = Who::Subject(Subject::GceGuest);
        let python = Who::Subject(Subject::Python);
        let go = Who::Subject(Subject::Go);
        let all = figures(&[
            (ours, 100, 1.0),
            (ours, 1000, 15.0),
            (python, 100, 10.0),
            (go, 100, 5.0),
            (Who::Baseline, 100, 0.8),
        ]);
        for (goal, size, met) in [
            (Goal::AtMost(1.0), 100, Some(true)),
            (Goal::AtMost(0.9), 100, Some(false)),
            (Goal::Faster(5.0), 100, Some(true)),
            (Goal::Faster(6.0), 100, Some(false)),
            (Goal::FasterThanPython(10.0), 100, Some(true)),
            (Goal::PartOf(Subject::Go, 5.0), 100, Some(true)),
            (Goal::PartOf(Subject::Go, 5.0), 1000, None),
            (Goal::TimesBaseline(1.3), 100, Some(true)),
            (Goal::TimesBaseline(1.2), 100, Some(false)),
            (Goal::FasterThanBaseline(1.0), 100, Some(false)),
            (Goal::GrowthFrom(100, 1.5), 1000, Some(true)),
            (Goal::GrowthFrom(100, 1.4), 1000, Some(false)),
            (Goal::LevelFrom(100, 2.0), 1000, Some(false)),
        ] {
            let verdict = goal.judge(&all, "a", size, |value| format!("{value}"));
            assert_eq!(verdict.met, met, "{goal:?} {size} {verdict:?}");
        }
    }

    #[test]
    fn nothing_against_something_is_met() {
        let ours = Who::Subject(Subject::GceGuest);
        let never = figures(&[
            (ours, 0, 0.01),
            (Who::Subject(Subject::Go), 0, f64::INFINITY),
        ]);
        let verdict = Goal::Faster(2.0).judge(&never, "a", 0, |value| format!("{value}"));
        assert_eq!(
            (verdict.met, verdict.text.as_str()),
            (Some(true), "better predecessor ÷ 2: ∞")
        );
    }
}
