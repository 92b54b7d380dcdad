//! Jitter from a seed: the same run has the same jitter.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 75 to 100 % of `wait` (RFC 4271 section 10).
    pub(crate) fn jitter(&mut self, wait: Duration) -> Duration {
        let parts = u32::try_from(self.next() % 1025).unwrap_or(0);
        wait * 3 / 4 + wait / 4 / 1024 * parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_in_bounds_and_repeats() {
        let wait = Duration::from_secs(40);
        let mut chance = Chance::new(7);
        let drawn: Vec<Duration> = (0..1000).map(|_| chance.jitter(wait)).collect();
        assert!(drawn.iter().all(|d| *d >= Duration::from_secs(30) && *d <= wait));
        assert!(
            drawn.iter().any(|d| *d < Duration::from_secs(32)) && drawn.iter().any(|d| *d > Duration::from_secs(38))
        );
        let mut again = Chance::new(7);
        assert!(drawn.iter().all(|d| *d == again.jitter(wait)));
    }
}
