//! Counting of one stream of sequence numbers at its receiver.

use std::time::Duration;

use model::Moment;

/// How many sequence numbers below the highest one are told apart exactly: 65 s at 1,000 packets/s.
pub const WINDOW: u64 = 1 << 16;

/// What one arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// First of its number, and the highest so far.
    InOrder,
    /// First of its number, after a higher one (RFC 4737).
    Reordered,
    /// Seen before (RFC 5560).
    Duplicate,
    /// Further behind than [`WINDOW`]: nobody can say whether it was seen; counted as a duplicate, never as received,
    /// so that a doubt shows up as an error and not as health.
    TooOld,
}

/// Counter of one stream whose first sequence number is 0.
///
/// ```
/// # use probe::{Arrival, Counter};
/// # use model::Moment;
/// let mut counter = Counter::default();
/// assert_eq!(counter.handle(0, Moment::ZERO), Arrival::InOrder);
/// assert_eq!(counter.handle(2, Moment::ZERO), Arrival::InOrder);
/// assert_eq!(counter.missing(), 1);
/// assert_eq!(counter.handle(1, Moment::ZERO), Arrival::Reordered);
/// assert_eq!((counter.received(), counter.missing()), (3, 0));
/// ```
#[derive(Clone, Debug)]
pub struct Counter {
    /// One bit per number in `next - WINDOW .. next`, at number % WINDOW.
    seen: Vec<u64>,
    /// Highest number seen, plus one.
    next: u64,
    received: u64,
    duplicated: u64,
    reordered: u64,
    last: Option<Moment>,
    gap: Gap,
}

/// The longest silence of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// How long nothing new arrived.
    pub length: Duration,
    /// When it ended.
    pub ended: Moment,
}

impl Default for Counter {
    fn default() -> Counter {
        Counter {
            seen: vec![0; (WINDOW / 64) as usize],
            next: 0,
            received: 0,
            duplicated: 0,
            reordered: 0,
            last: None,
            gap: Gap::default(),
        }
    }
}

impl Counter {
    /// Takes in the arrival of `sequence` at `now`.
    pub fn handle(&mut self, sequence: u64, now: Moment) -> Arrival {
        let arrival = self.place(sequence);
        match arrival {
            Arrival::InOrder => self.received += 1,
            Arrival::Reordered => {
                self.received += 1;
                self.reordered += 1;
            }
            Arrival::Duplicate | Arrival::TooOld => {
                self.duplicated += 1;
                return arrival;
            }
        }
        if let Some(last) = self.last
            && now.since(last) > self.gap.length
        {
            self.gap = Gap { length: now.since(last), ended: now };
        }
        self.last = Some(now);
        arrival
    }

    /// Distinct sequence numbers received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Arrivals of a number already seen.
    pub fn duplicated(&self) -> u64 {
        self.duplicated
    }

    /// First arrivals behind a higher number.
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Numbers below the highest one that have not arrived: lost, or still on their way.
    pub fn missing(&self) -> u64 {
        self.next - self.received
    }

    /// Numbers of `sent` ones that have not arrived.
    pub fn lost(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.received)
    }

    /// The longest silence between two new arrivals.
    pub fn longest_gap(&self) -> Gap {
        self.gap
    }

    /// When the last new number arrived.
    pub fn last_arrival(&self) -> Option<Moment> {
        self.last
    }

    fn place(&mut self, sequence: u64) -> Arrival {
        if sequence >= self.next {
            self.forget(sequence);
            self.next = sequence.saturating_add(1);
            self.mark(sequence);
            return Arrival::InOrder;
        }
        if self.next - sequence > WINDOW {
            return Arrival::TooOld;
        }
        if self.is_marked(sequence) {
            return Arrival::Duplicate;
        }
        self.mark(sequence);
        Arrival::Reordered
    }

    /// Clears the bits of `next ..= sequence`, which stood for numbers one window earlier.
    fn forget(&mut self, sequence: u64) {
        if sequence - self.next >= WINDOW {
            self.seen.fill(0);
            return;
        }
        for number in self.next..=sequence {
            let (word, bit) = Self::bit(number);
            self.seen[word] &= !bit;
        }
    }

    fn mark(&mut self, sequence: u64) {
        let (word, bit) = Self::bit(sequence);
        self.seen[word] |= bit;
    }

    fn is_marked(&self, sequence: u64) -> bool {
        let (word, bit) = Self::bit(sequence);
        self.seen[word] & bit != 0
    }

    fn bit(sequence: u64) -> (usize, u64) {
        let place = sequence % WINDOW;
        ((place / 64) as usize, 1 << (place % 64))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_gap_is_the_time_between_new_arrivals_only() {
        let at = |ms| Moment::new(Duration::from_millis(ms));
        let mut counter = Counter::default();
        counter.handle(0, at(0));
        counter.handle(1, at(10));
        counter.handle(1, at(25));
        counter.handle(2, at(40));
        counter.handle(3, at(41));
        assert_eq!(counter.longest_gap(), Gap { length: Duration::from_millis(30), ended: at(40) });
    }

    #[test]
    fn what_is_behind_the_window_is_never_called_received() {
        let mut counter = Counter::default();
        counter.handle(WINDOW, Moment::ZERO);
        assert_eq!(counter.handle(0, Moment::ZERO), Arrival::TooOld);
        assert_eq!(counter.handle(1, Moment::ZERO), Arrival::Reordered);
        assert_eq!(counter.missing(), WINDOW - 1);
    }

    #[test]
    fn a_jump_over_the_whole_window_forgets_the_bits_of_the_old_one() {
        let mut counter = Counter::default();
        for sequence in 0..100 {
            counter.handle(sequence, Moment::ZERO);
        }
        counter.handle(3 * WINDOW + 50, Moment::ZERO);
        assert_eq!(counter.handle(3 * WINDOW + 20, Moment::ZERO), Arrival::Reordered);
        assert_eq!(counter.handle(3 * WINDOW + 20, Moment::ZERO), Arrival::Duplicate);
    }

    #[test]
    fn sequence_numbers_cross_the_window_without_false_duplicates() {
        let mut counter = Counter::default();
        for sequence in 0..3 * WINDOW {
            assert_eq!(counter.handle(sequence, Moment::ZERO), Arrival::InOrder);
        }
        assert_eq!((counter.received(), counter.missing(), counter.duplicated()), (3 * WINDOW, 0, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Against a set and a running maximum, for any arrivals inside the window.
        #[test]
        fn equals_the_plain_model(arrivals in prop::collection::vec(0u64..2000, 0..600), offset in 0u64..3) {
            let mut counter = Counter::default();
            let mut seen = HashSet::new();
            let (mut reordered, mut duplicated, mut highest) = (0, 0, None);
            for arrival in arrivals {
                let sequence = arrival + offset * (WINDOW - 1000);
                counter.handle(sequence, Moment::ZERO);
                if !seen.insert(sequence) {
                    duplicated += 1;
                } else if highest.is_some_and(|h| sequence < h) {
                    reordered += 1;
                }
                highest = highest.max(Some(sequence));
            }
            let sent = highest.map_or(0, |h| h + 1);
            prop_assert_eq!(counter.received(), seen.len() as u64);
            prop_assert_eq!(counter.duplicated(), duplicated);
            prop_assert_eq!(counter.reordered(), reordered);
            prop_assert_eq!(counter.missing(), sent - seen.len() as u64);
            prop_assert_eq!(counter.lost(sent + 7), sent + 7 - seen.len() as u64);
        }
    }
}
