//! All figures of a run.

use std::collections::BTreeSet;

use super::sample::{Sample, Summary, Who};

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    samples: Vec<Sample>,
}

impl Figures {
    /// These.
    #[cfg(test)]
    pub(crate) fn new(samples: Vec<Sample>) -> Self {
        Self { samples }
    }

    /// Adds more.
    pub(crate) fn extend(&mut self, samples: impl IntoIterator<Item = Sample>) {
        self.samples.extend(samples);
    }

    /// The middle and the ends of what somebody needed.
    pub(crate) fn summary(&self, line: &str, who: Who, size: u32) -> Option<Summary> {
        let fits =
            |sample: &&Sample| sample.line == line && sample.who == who && sample.size == size;
        Summary::of(self.samples.iter().filter(fits).map(|sample| sample.value))
    }

    /// The sizes that a line was measured at.
    pub(crate) fn sizes(&self, line: &str) -> Vec<u32> {
        let sizes: BTreeSet<u32> = self
            .samples
            .iter()
            .filter(|sample| sample.line == line)
            .map(|sample| sample.size)
            .collect();
        sizes.into_iter().collect()
    }

    /// The medians of a line along its sizes.
    pub(crate) fn curve(&self, line: &str, who: Who) -> Vec<(f64, f64)> {
        self.sizes(line)
            .into_iter()
            .filter_map(|size| Some((f64::from(size), self.summary(line, who, size)?.median)))
            .filter(|(_, value)| value.is_finite())
            .collect()
    }
}
