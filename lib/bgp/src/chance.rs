//! Jitter from a seed: the same run has the same jitter.

use std::time::Duration;

/// Draws, and what is made of them.
#[derive(Clone, Debug)]
pub(crate) struct Chance(model::Chance);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(model::Chance::new(seed))
    }

    /// 75 to 100 % of `wait` (RFC 4271 section 10).
    pub(crate) fn jitter(&mut self, wait: Duration) -> Duration {
        let parts = u32::try_from(self.0.draw() % 1025).unwrap_or(0);
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
