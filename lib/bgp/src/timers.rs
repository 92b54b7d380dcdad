//! Timers as a plain table: a deadline per name, nothing that ticks.

use model::Moment;

/// Names of the timers (RFC 4271 section 8.1.3, RFC 9687 for send hold).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Timer {
    /// Of a peer: when to dial (again); of a session: when a dial has taken too long.
    ConnectRetry,
    /// Of a peer: no connection either way before this.
    IdleHold,
    /// Of a session: the peer has been silent too long.
    Hold,
    /// Of a session: our next KEEPALIVE.
    Keepalive,
    /// Of a session: the peer has taken no bytes for too long.
    SendHold,
    /// Of a peer: its stale paths go.
    Stale,
    /// Of a peer: End-of-RIB is waited for no longer.
    EndOfRib,
    /// Of a peer: the end of its route refresh is waited for no longer.
    RefreshEnd,
    /// Of a peer: what it asked for too soon is told again.
    RefreshAgain,
    /// Of a peer: announcements that were held back go (MinRouteAdvertisementInterval).
    Advertise,
}

const ALL: [Timer; 10] = [
    Timer::ConnectRetry,
    Timer::IdleHold,
    Timer::Hold,
    Timer::Keepalive,
    Timer::SendHold,
    Timer::Stale,
    Timer::EndOfRib,
    Timer::RefreshEnd,
    Timer::RefreshAgain,
    Timer::Advertise,
];

/// Deadlines by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers([Option<Moment>; ALL.len()]);

impl Timers {
    /// (Re)starts a timer.
    pub(crate) fn set(&mut self, timer: Timer, at: Moment) {
        self.0[timer as usize] = Some(at);
    }

    /// Stops a timer.
    pub(crate) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Stops them all.
    pub(crate) fn clear(&mut self) {
        self.0 = Default::default();
    }

    /// When this one runs out, if it runs.
    pub(crate) fn at(&self, timer: Timer) -> Option<Moment> {
        self.0[timer as usize]
    }

    /// When the next one runs out.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.0.iter().flatten().min().copied()
    }

    /// Takes the earliest timer that has run out by `now`, and stops it.
    pub(crate) fn take_expired(&mut self, now: Moment) -> Option<Timer> {
        let due = |timer: &Timer| self.at(*timer).filter(|at| *at <= now);
        let timer = ALL.into_iter().filter(|t| due(t).is_some()).min_by_key(|t| self.at(*t))?;
        self.stop(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn expire_in_order_of_time() {
        let at = |seconds| Moment::new(Duration::from_secs(seconds));
        let mut timers = Timers::default();
        timers.set(Timer::Hold, at(9));
        timers.set(Timer::Keepalive, at(3));
        timers.set(Timer::Stale, at(20));
        assert_eq!(timers.next(), Some(at(3)));
        assert_eq!(timers.take_expired(at(2)), None);
        assert_eq!(timers.take_expired(at(10)), Some(Timer::Keepalive));
        assert_eq!(timers.take_expired(at(10)), Some(Timer::Hold));
        assert_eq!(timers.take_expired(at(10)), None);
        timers.stop(Timer::Stale);
        assert_eq!(timers.next(), None);
    }
}
