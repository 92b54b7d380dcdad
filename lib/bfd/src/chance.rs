//! Jitter and discriminators from a seed: the same run has the same ones.

use std::time::Duration;

/// Draws, and what is made of them.
#[derive(Clone, Debug)]
pub(crate) struct Chance(model::Chance);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(model::Chance::new(seed))
    }

    /// Any 32 bits but 0.
    pub(crate) fn discriminator(&mut self) -> u32 {
        loop {
            // The upper half, which is as good as the lower.
            let drawn = u32::try_from(self.0.draw() >> 32).unwrap_or(0);
            if drawn != 0 {
                return drawn;
            }
        }
    }

    /// The wait between two packets (RFC 5880 6.8.7): 75 to 100 % of `interval`; with a multiplier of 1 not more than 90 %,
    /// or the peer's detection time would run out on a packet that is not even late.
    pub(crate) fn jitter(&mut self, interval: Duration, multiplier: u8) -> Duration {
        let most = if multiplier == 1 { 15 } else { 25 };
        let parts = u32::try_from(self.0.draw() % 1025).unwrap_or(0);
        interval / 4 * 3 + interval * most / 100 / 1024 * parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checklist: 97
    #[test]
    fn jitter_is_75_to_100_percent_and_90_with_a_multiplier_of_one() {
        let interval = Duration::from_millis(300);
        for (multiplier, most) in [(3, 300), (1, 270)] {
            let mut chance = Chance::new(7);
            let drawn: Vec<Duration> = (0..2000).map(|_| chance.jitter(interval, multiplier)).collect();
            let (least, most) = (Duration::from_millis(225), Duration::from_millis(most));
            assert!(drawn.iter().all(|d| *d >= least && *d <= most));
            let near = Duration::from_millis(3);
            assert!(drawn.iter().any(|d| *d < least + near) && drawn.iter().any(|d| *d > most - near));
        }
    }
}
