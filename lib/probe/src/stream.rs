//! The bytes of a checked TCP stream and the watch over its silences; sockets are in [`crate::prober`].

use std::time::Duration;

use model::Moment;

/// A silence that counts as a stall: five times the pause between two writes and more than one retransmission.
pub const STALL: Duration = Duration::from_millis(1000);

/// The octets of one direction of a stream: a function of seed and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern(u64);

impl Pattern {
    /// The direction from one place to another in one run.
    pub fn new(run: u32, from: u16, to: u16) -> Pattern {
        Pattern(u64::from(run) << 32 | u64::from(from) << 16 | u64::from(to))
    }

    /// The octet at `offset`.
    pub fn octet(&self, offset: u64) -> u8 {
        // SplitMix64 over words of eight octets: an octet lost, doubled or swapped shifts everything after it.
        let mut word = (self.0 ^ (offset / 8)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).to_be_bytes()[(offset % 8) as usize]
    }

    /// Fills `buffer` with the octets from `offset`.
    pub fn fill(&self, offset: u64, buffer: &mut [u8]) {
        for (place, octet) in buffer.iter_mut().enumerate() {
            *octet = self.octet(offset + place as u64);
        }
    }
}

/// The reading end of one direction.
#[derive(Clone, Debug)]
pub struct Reader {
    pattern: Pattern,
    offset: u64,
    altered: u64,
    last: Option<Moment>,
    longest: Duration,
    stalls: u64,
}

impl Reader {
    /// A reader of `pattern` from its start.
    pub fn new(pattern: Pattern) -> Reader {
        Reader { pattern, offset: 0, altered: 0, last: None, longest: Duration::ZERO, stalls: 0 }
    }

    /// Takes in what was read at `now`.
    pub fn handle(&mut self, octets: &[u8], now: Moment) {
        self.close_gap(now);
        let wrong =
            octets.iter().enumerate().filter(|(place, o)| **o != self.pattern.octet(self.offset + *place as u64));
        self.altered += wrong.count() as u64;
        self.offset += octets.len() as u64;
        self.last = Some(now);
    }

    /// Forgets silences so far; the watch starts at `now`.
    pub fn watch_from(&mut self, now: Moment) {
        self.last = Some(now);
        self.longest = Duration::ZERO;
        self.stalls = 0;
    }

    /// Ends the watch: a silence that is still open counts as far as `now`.
    pub fn close_gap(&mut self, now: Moment) {
        let Some(last) = self.last else { return };
        let gap = now.since(last);
        self.longest = self.longest.max(gap);
        self.stalls += u64::from(gap > STALL);
        self.last = Some(now);
    }

    /// [`Reader::close_gap`], and silences from here on do not count.
    pub fn end_watch(&mut self, now: Moment) {
        self.close_gap(now);
        self.last = None;
    }

    /// Octets read that were right, and wrong ones.
    pub fn octets(&self) -> (u64, u64) {
        (self.offset - self.altered, self.altered)
    }

    /// Silences longer than [`STALL`], and the longest silence.
    pub fn silences(&self) -> (u64, Duration) {
        (self.stalls, self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::new(Duration::from_millis(ms))
    }

    #[test]
    fn right_octets_in_any_cut_are_right() {
        let pattern = Pattern::new(7, 1, 2);
        let mut whole = vec![0; 1000];
        pattern.fill(0, &mut whole);
        let mut reader = Reader::new(pattern);
        for part in whole.chunks(13) {
            reader.handle(part, at(0));
        }
        assert_eq!(reader.octets(), (1000, 0));
    }

    #[test]
    fn a_missing_octet_shows_in_what_follows() {
        let pattern = Pattern::new(7, 1, 2);
        let mut whole = vec![0; 1000];
        pattern.fill(0, &mut whole);
        whole.remove(500);
        let mut reader = Reader::new(pattern);
        reader.handle(&whole, at(0));
        assert!(reader.octets().1 > 400, "{:?}", reader.octets());
    }

    #[test]
    fn directions_differ() {
        let (there, back) = (Pattern::new(7, 1, 2), Pattern::new(7, 2, 1));
        let same = (0..800).filter(|o| there.octet(*o) == back.octet(*o)).count();
        assert!(same < 40, "{same}");
    }

    #[test]
    fn a_silence_counts_once_it_ends_or_the_watch_does() {
        let mut reader = Reader::new(Pattern::new(1, 1, 2));
        reader.watch_from(at(100));
        reader.handle(&[], at(200));
        reader.handle(&[], at(1300));
        assert_eq!(reader.silences(), (1, Duration::from_millis(1100)));
        reader.close_gap(at(2000));
        assert_eq!(reader.silences(), (1, Duration::from_millis(1100)));
    }
}
