//! How long to wait after a failure: longer each time, up to a cap, and never in step with other machines.

use std::time::Duration;

/// A schedule of waiting times.
///
/// After the n-th failure in a row the wait is drawn from `[f, 2f]`, where `f` doubles from `first` and stays at half of
/// `cap`. So no wait is shorter than `first` or longer than `cap`, and a fleet that lost its server at the same moment
/// does not come back at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The shortest wait, after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub cap: Duration,
}

impl Default for Backoff {
    /// 1 s to 60 s (pains 68).
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The wait after `failures` failures in a row (at least one), for a random number between 0 and 1.
    #[must_use]
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let floor = self
            .first
            .saturating_mul(1 << doublings)
            .min(self.cap / 2)
            .max(self.first.min(self.cap));
        floor.mul_f64(1.0 + random.clamp(0.0, 1.0)).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_schedule_doubles_from_one_second_to_a_minute() {
        let seconds = |failures, random| Backoff::default().delay(failures, random).as_secs_f64();
        let low: Vec<f64> = (1..=8).map(|failures| seconds(failures, 0.0)).collect();
        let high: Vec<f64> = (1..=8).map(|failures| seconds(failures, 1.0)).collect();
        assert_eq!(low, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(high, [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_shorter_than_the_first_nor_longer_than_the_cap(
            failures in any::<u32>(), random in any::<f64>(), first in 1_u64..5_000, more in 0_u64..100_000,
        ) {
            let backoff = Backoff {
                first: Duration::from_millis(first),
                cap: Duration::from_millis(first + more),
            };
            let random = if random.is_nan() { 0.5 } else { random };
            let delay = backoff.delay(failures, random);
            prop_assert!(delay >= backoff.first && delay <= backoff.cap, "{delay:?} of {backoff:?}");
        }

        #[test]
        fn more_failures_never_shorten_the_wait(failures in 1_u32..1_000, random in 0.0..1.0_f64) {
            let backoff = Backoff::default();
            prop_assert!(backoff.delay(failures + 1, random) >= backoff.delay(failures, random));
        }
    }
}
