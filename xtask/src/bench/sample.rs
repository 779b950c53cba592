//! One measured figure, and the lines by which figures come out of a sandbox.

use super::subject::Subject;

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// One of those that are compared.
    Subject(Subject),
    /// What the same work costs without any of them: one `useradd`, one `ip -batch`.
    Baseline,
}

/// A figure of one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Which line of the table it belongs to.
    pub(crate) line: String,
    pub(crate) who: Who,
    /// How much work it was, where a line has several sizes.
    pub(crate) size: u32,
    /// In the unit of the line. Infinite when what was waited for did not come.
    pub(crate) value: f64,
}

const PREFIX: &str = "=sample";

impl Sample {
    /// The line that says it.
    pub(crate) fn shown(&self) -> String {
        let who = match self.who {
            Who::Subject(subject) => subject.name(),
            Who::Baseline => "baseline",
        };
        format!("{PREFIX} {} {who} {} {}", self.line, self.size, self.value)
    }

    /// The sample in a line; `None` in any other line.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(PREFIX)?.split_whitespace();
        let line = words.next()?.to_owned();
        let who = match words.next()? {
            "baseline" => Who::Baseline,
            name => Who::Subject(Subject::by_name(name)?),
        };
        Some(Self {
            line,
            who,
            size: words.next()?.parse().ok()?,
            value: words.next()?.parse().ok()?,
        })
    }
}

/// Asks the process outside for the memory of processes, by their ids inside. Our own agent may not be looked at from the
/// inside: it changes its credentials, and the sandbox has no right to trace.
pub(crate) const LOOK: &str = "=memory";

/// The middle and the ends of a few figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) count: usize,
}

impl Summary {
    /// `None` of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let middle = *values.get(count / 2)?;
        let median = if count % 2 == 1 {
            middle
        } else {
            f64::midpoint(values[count / 2 - 1], middle)
        };
        Some(Self {
            median,
            least: values[0],
            most: values[count - 1],
            count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_comes_back_from_its_line() {
        for (who, value) in [
            (Who::Baseline, 0.000_125),
            (Who::Subject(Subject::Go), 3.0),
            (Who::Subject(Subject::GceGuest), f64::INFINITY),
        ] {
            let sample = Sample {
                line: "users".into(),
                who,
                size: 300,
                value,
            };
            assert_eq!(Sample::read(&sample.shown()), Some(sample));
        }
        assert_eq!(Sample::read("what a program says"), None);
        assert_eq!(Sample::read("=sample users nobody 1 2"), None);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |values: &[f64]| Summary::of(values.iter().copied()).expect("values");
        let odd = of(&[3.0, 1.0, 2.0]);
        assert_eq!(
            (odd.median, odd.least, odd.most, odd.count),
            (2.0, 1.0, 3.0, 3)
        );
        assert_eq!(of(&[4.0, 1.0]).median, 2.5);
        assert_eq!(of(&[1.0, f64::INFINITY, 2.0]).median, 2.0);
        assert_eq!(Summary::of([]), None);
    }
}
