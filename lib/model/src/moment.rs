//! Monotonic time as an argument.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on the daemon's monotonic clock: time since some unspecified start, never wall-clock time.
///
/// The pure floors take it as an argument; only the loop around the core reads a clock. Nanosecond
/// resolution, serialisable so that a recorded run replays with its own times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moment(Duration);

impl Moment {
    /// The start of the clock.
    pub const ZERO: Moment = Moment(Duration::ZERO);

    /// The moment `since_start` after the start of the clock.
    pub const fn new(since_start: Duration) -> Moment {
        Moment(since_start)
    }

    /// Time since the start of the clock.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    /// Saturates at the end of time, so that "never" can be a very large duration.
    fn add(self, wait: Duration) -> Moment {
        Moment(self.0.saturating_add(wait))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    fn sub(self, back: Duration) -> Moment {
        Moment(self.0.saturating_sub(back))
    }
}
