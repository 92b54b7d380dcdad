//! What the speaker wants done, in order.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use model::{Moment, Transport};

/// Name of a TCP connection. Dials are numbered by the speaker from 1; accepted ones come numbered from outside
/// with the top bit set.
pub type ConnId = u64;

/// One thing to do. Perform them in the order in which they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a TCP connection.
    Dial {
        /// Its name from now on.
        conn: ConnId,
        /// Where to.
        remote: SocketAddr,
        /// Source address; the kernel's choice if absent.
        local: Option<IpAddr>,
        /// Device and TTL.
        transport: Transport,
    },
    /// Write bytes, whole messages.
    Send {
        /// Where.
        conn: ConnId,
        /// What.
        bytes: Bytes,
    },
    /// End a connection; nothing is heard of it any more.
    Close {
        /// Which.
        conn: ConnId,
        /// Write what was sent before, then close; else drop it at once.
        flush: bool,
    },
    /// One line for the log and the monitor, already limited in rate.
    Notice {
        /// Something is wrong, and the line says what.
        warn: bool,
        /// The line.
        text: String,
    },
}

/// The queue of outputs.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    queue: VecDeque<Output>,
    dialed: ConnId,
}

impl Outputs {
    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    /// Name for the next dial.
    pub(crate) fn next_conn(&mut self) -> ConnId {
        self.dialed += 1;
        self.dialed
    }

    /// A line, unless `budget` is used up.
    pub(crate) fn notice(&mut self, now: Moment, budget: &mut NoticeBudget, warn: bool, text: String) {
        if let Some(left_out) = budget.take(now) {
            let text = if left_out > 0 { format!("{text} ({left_out} earlier lines left out)") } else { text };
            self.push(Output::Notice { warn, text });
        }
    }
}

/// How many lines one source may still write: ten at once, and one more every ten seconds.
#[derive(Clone, Debug)]
pub(crate) struct NoticeBudget {
    lines: u64,
    refilled: Moment,
    left_out: u64,
}

impl Default for NoticeBudget {
    fn default() -> NoticeBudget {
        NoticeBudget { lines: Self::BURST, refilled: Moment::ZERO, left_out: 0 }
    }
}

impl NoticeBudget {
    const BURST: u64 = 10;
    const EVERY: Duration = Duration::from_secs(10);

    /// May a line go out? Then how many before it did not.
    fn take(&mut self, now: Moment) -> Option<u64> {
        let gained = now.since(self.refilled).as_secs() / Self::EVERY.as_secs();
        if gained > 0 {
            self.lines = self.lines.saturating_add(gained).min(Self::BURST);
            self.refilled = now;
        }
        if self.lines == 0 {
            self.left_out += 1;
            return None;
        }
        self.lines -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_notices_is_cut_and_counted() {
        let mut outputs = Outputs::default();
        let mut budget = NoticeBudget::default();
        for second in 0..100 {
            let now = Moment::new(Duration::from_secs(second / 10));
            outputs.notice(now, &mut budget, true, "again".to_owned());
        }
        let now = Moment::new(Duration::from_secs(30));
        outputs.notice(now, &mut budget, true, "at last".to_owned());
        let lines: Vec<Output> = std::iter::from_fn(|| outputs.pop()).collect();
        assert_eq!(lines.len(), 11, "{lines:?}");
        let last = Output::Notice { warn: true, text: "at last (90 earlier lines left out)".to_owned() };
        assert_eq!(lines.last(), Some(&last));
    }
}
