//! How durations are spread: quantiles in constant memory.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Sub-buckets per power of two: a quantile is at most 1/32 above the truth.
const FINE: u32 = 5;
const BUCKETS: usize = (64 - FINE as usize) << FINE;

/// Logarithmic histogram of durations, nanoseconds up to centuries.
#[derive(Clone, Debug)]
pub struct Spread {
    buckets: Vec<u32>,
    count: u64,
    max: Duration,
}

/// A [`Spread`] in four numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Samples.
    pub count: u64,
    /// Median, seconds.
    pub p50_seconds: f64,
    /// 99th percentile, seconds.
    pub p99_seconds: f64,
    /// Largest, seconds.
    pub max_seconds: f64,
}

impl Default for Spread {
    fn default() -> Spread {
        Spread { buckets: vec![0; BUCKETS], count: 0, max: Duration::ZERO }
    }
}

impl Spread {
    /// Takes in one sample.
    pub fn handle(&mut self, sample: Duration) {
        let place = place(nanoseconds(sample));
        self.buckets[place] = self.buckets[place].saturating_add(1);
        self.count += 1;
        self.max = self.max.max(sample);
    }

    /// The smallest bucket edge that at least `share` (0.0 to 1.0) of the samples lie at or below; zero without samples.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        for (place, &samples) in self.buckets.iter().enumerate() {
            below += u64::from(samples);
            if below >= rank {
                return Duration::from_nanos(edge(place)).min(self.max);
            }
        }
        Duration::ZERO
    }

    /// The four numbers that a report carries.
    pub fn summary(&self) -> Summary {
        Summary {
            count: self.count,
            p50_seconds: self.quantile(0.5).as_secs_f64(),
            p99_seconds: self.quantile(0.99).as_secs_f64(),
            max_seconds: self.max.as_secs_f64(),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn place(value: u64) -> usize {
    let value = value.min(u64::MAX >> 1);
    let octave = (64 - value.leading_zeros()).saturating_sub(FINE + 1);
    ((octave as usize) << FINE) + (value >> octave) as usize
}

/// Largest value of a bucket.
fn edge(place: usize) -> u64 {
    let octave = (place >> FINE).saturating_sub(1);
    let base = (place - (octave << FINE)) as u64;
    (base << octave) + ((1 << octave) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_measured_is_zero() {
        assert_eq!(Spread::default().summary(), Summary::default());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn an_edge_is_at_most_a_thirty_second_above_its_members(value in 0u64..u64::MAX / 2) {
            let edge = edge(place(value));
            prop_assert!(edge >= value);
            prop_assert!(edge - value <= value / 32);
        }

        #[test]
        fn quantiles_bracket_the_sorted_samples(mut samples in prop::collection::vec(0u64..10_000_000_000, 1..300), share in 0.01f64..1.0) {
            let mut spread = Spread::default();
            for &sample in &samples {
                spread.handle(Duration::from_nanos(sample));
            }
            samples.sort_unstable();
            let exact = samples[((samples.len() as f64 * share).ceil() as usize).max(1) - 1];
            let found = nanoseconds(spread.quantile(share));
            prop_assert!(found >= exact && found - exact <= exact / 32, "{} for {}", found, exact);
        }
    }
}
