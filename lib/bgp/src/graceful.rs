//! Graceful restart (RFC 4724), with NOTIFICATIONs that do not end it (RFC 8538) and stale paths that live long (RFC
//! 9494): what both OPENs say of it, and what that means for the paths of a session that ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use model::{Family, Moment};
use serde::{Deserialize, Serialize};
use wire::community::{GRACEFUL_SHUTDOWN, LLGR_STALE, NO_LLGR};
use wire::{Attributes, Capability, Notification, cease, code};

use crate::route::Route;
use crate::session::Cause;

/// Graceful restart as the operator wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GracefulRestart {
    /// Take part, on both sides: tell peers that we keep forwarding over a restart, and keep theirs.
    pub enabled: bool,
    /// We are back within this, whole seconds up to 4095. Also the longest that we wait for a peer, unless
    /// [`crate::SpeakerConfig::stale_time`] says otherwise.
    pub restart_time: Duration,
    /// How long stale paths live on after that as a last resort (RFC 9494), whole seconds below 2^24; zero: not at all.
    pub long_lived: Duration,
}

impl Default for GracefulRestart {
    fn default() -> GracefulRestart {
        GracefulRestart { enabled: true, restart_time: Duration::from_secs(120), long_lived: Duration::ZERO }
    }
}

/// The speaker is a new process where there was one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restarted {
    /// Families of which the kernel kept our routes.
    pub(crate) kept: [bool; 2],
    /// Peers have given us up by then.
    pub(crate) until: Moment,
}

/// What our OPEN promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    /// R bit: we have just restarted.
    pub(crate) restarting: bool,
    /// Seconds, 12 bits.
    pub(crate) restart_time: u16,
    /// F bit by family: forwarding went on while we were away.
    pub(crate) kept: [bool; 2],
    /// Seconds, 24 bits; zero: no word of long-lived stale paths.
    pub(crate) long_lived: u32,
}

impl Promise {
    /// Most that twelve bits hold.
    const MOST_RESTART: u16 = 4095;
    /// Most that 24 bits hold.
    const MOST_LONG_LIVED: u32 = (1 << 24) - 1;

    pub(crate) fn new(settings: &GracefulRestart, restarting: bool, kept: [bool; 2]) -> Promise {
        let restart_time = u16::try_from(settings.restart_time.as_secs()).unwrap_or(u16::MAX);
        let long_lived = u32::try_from(settings.long_lived.as_secs()).unwrap_or(u32::MAX);
        Promise {
            restarting,
            restart_time: restart_time.min(Self::MOST_RESTART),
            kept,
            long_lived: long_lived.min(Self::MOST_LONG_LIVED),
        }
    }

    fn kept(&self) -> Vec<(Family, bool)> {
        Family::BOTH.map(|family| (family, self.kept[family as usize])).to_vec()
    }
}

/// Capability 64, and 71 when paths may live long. Without a promise 64 stands there with no family: it promises nothing
/// and asks for End-of-RIB, which many routers send only to a peer that has said this (RFC 4724 section 3).
pub(crate) fn capabilities(promise: Option<&Promise>) -> Vec<Capability> {
    let Some(promise) = promise else {
        let families = Vec::new();
        return vec![Capability::GracefulRestart { restarting: false, notification: false, restart_time: 0, families }];
    };
    let mut said = vec![Capability::GracefulRestart {
        restarting: promise.restarting,
        notification: true,
        restart_time: promise.restart_time,
        families: promise.kept(),
    }];
    if promise.long_lived > 0 {
        let families = promise.kept().into_iter().map(|(family, kept)| (family, kept, promise.long_lived));
        said.push(Capability::LongLivedGracefulRestart(families.collect()));
    }
    said
}

/// What the peer's OPEN promises, as far as we take part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pledge {
    /// N bit on both sides: a NOTIFICATION does not end it, but for a hard reset.
    pub(crate) notification: bool,
    /// R bit: it has just restarted, and may tell what it learnt only when its other peers have told it everything.
    pub(crate) restarting: bool,
    /// The peer is back within this.
    pub(crate) restart_time: Duration,
    /// Families whose forwarding it keeps over a restart; the F bit: it has kept it.
    pub(crate) families: BTreeMap<Family, bool>,
    /// Families whose stale paths may live long, and how long; the F bit of RFC 9494.
    pub(crate) long_lived: BTreeMap<Family, (bool, Duration)>,
}

impl Pledge {
    /// Reads the peer's capabilities; `ours` is what our own OPEN said.
    pub(crate) fn read(ours: Option<&Promise>, theirs: &[Capability]) -> Option<Pledge> {
        let ours = ours?;
        // The last of several counts (RFC 5492 leaves it open; RFC 4724 section 3 says so).
        let mut pledge = theirs.iter().rev().find_map(|capability| match capability {
            Capability::GracefulRestart { restarting, notification, restart_time, families } => Some(Pledge {
                restarting: *restarting,
                notification: *notification,
                restart_time: Duration::from_secs((*restart_time).into()),
                families: families.iter().copied().collect(),
                long_lived: BTreeMap::new(),
            }),
            _ => None,
        })?;
        if ours.long_lived > 0
            && let Some(families) = theirs.iter().rev().find_map(|capability| match capability {
                Capability::LongLivedGracefulRestart(families) => Some(families),
                _ => None,
            })
        {
            let most = Duration::from_secs(ours.long_lived.into());
            let lives = |(family, kept, seconds): &(Family, bool, u32)| {
                (*family, (*kept, Duration::from_secs((*seconds).into()).min(most)))
            };
            pledge.long_lived = families.iter().map(lives).collect();
        }
        Some(pledge)
    }
}

/// Why paths are kept from a session that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The peer has promised to keep forwarding (RFC 4724).
    Restart,
    /// It has promised nothing, but TCP broke without a word, and forwarding may well go on: fail static.
    Broken,
    /// The restart time is over, and no better path may be there (RFC 9494).
    LongLived,
}

/// By which rule, and for how long the paths of a family outlive their session; `None`: they go now. `bound` is the most
/// that we wait for a peer which has promised, `broken` for one which has not.
pub(crate) fn retention(
    cause: &Cause,
    family: Family,
    pledge: Option<&Pledge>,
    bound: Duration,
    broken: Duration,
) -> Option<(Rule, Duration)> {
    let promised = pledge.filter(|pledge| pledge.families.contains_key(&family));
    let restart = promised.map(|pledge| (Rule::Restart, pledge.restart_time.min(bound)));
    let told = promised.is_some_and(|pledge| pledge.notification);
    match cause {
        Cause::TcpLost(_) => restart.or((!broken.is_zero()).then_some((Rule::Broken, broken))),
        // Silence is how a restart looks from far away; with the N bit RFC 8538 section 4 asks for it in so many words.
        Cause::HoldExpired(_) | Cause::SendHoldExpired => restart,
        // The same seen from there: it has not heard us. Its forwarding is none the worse for it.
        Cause::Received(said) if matches!(said.code, code::HOLD_TIMER | code::SEND_HOLD_TIMER) => restart,
        Cause::Received(said) if is_hard(said) => None,
        // Nothing comes through between the two: no restart, whatever both have promised. With the C bit of BFD clear it
        // might be one, but cannot be told from a failure (RFC 5882 section 4.3.2.2).
        Cause::PathDown(_) => None,
        Cause::Received(said) if is_bfd_down(said) => None,
        Cause::Stopped(said) if is_permanent(said) => None,
        Cause::Error(error) if is_permanent(&error.notification) => None,
        Cause::Received(_) | Cause::Stopped(_) | Cause::Error(_) => restart.filter(|_| told),
        Cause::Collision | Cause::DialTimeout => None,
    }
}

/// Hard Reset (RFC 8538 section 3): graceful restart does not apply.
fn is_hard(told: &Notification) -> bool {
    told.code == code::CEASE && told.subcode == cease::HARD_RESET
}

/// Has BFD of the sender found the path dead (RFC 9384)?
fn is_bfd_down(told: &Notification) -> bool {
    told.code == code::CEASE && told.subcode == cease::BFD_DOWN
}

/// Does it end the session for good, or until somebody does something about it? Then paths are not to wait for a
/// restart that does not come (RFC 8538 section 5.1). A dead path counts, too.
pub(crate) fn is_permanent(told: &Notification) -> bool {
    let lasting = [cease::MAX_PREFIXES, cease::SHUTDOWN, cease::DECONFIGURED, cease::HARD_RESET, cease::BFD_DOWN];
    told.code == code::CEASE && lasting.contains(&told.subcode)
}

/// What to send for this: with the N bit on both sides what ends a session for good goes inside a Hard Reset, without it
/// nobody knows of Hard Resets.
pub(crate) fn as_sent(told: &Notification, pledge: Option<&Pledge>) -> Notification {
    match pledge.is_some_and(|pledge| pledge.notification) {
        true if is_permanent(told) => hard_reset(told),
        true => told.clone(),
        false => inside(told),
    }
}

/// Wraps a NOTIFICATION in a Hard Reset, which has its code, subcode and data as data (RFC 8538 section 3).
pub(crate) fn hard_reset(told: &Notification) -> Notification {
    if is_hard(told) {
        return told.clone();
    }
    let mut data = BytesMut::with_capacity(2 + told.data.len());
    data.put_u8(told.code);
    data.put_u8(told.subcode);
    data.put_slice(&told.data);
    Notification::new(code::CEASE, cease::HARD_RESET, data.freeze())
}

/// The NOTIFICATION inside a Hard Reset; any other is itself.
fn inside(told: &Notification) -> Notification {
    match (is_hard(told), told.data.get(..2)) {
        (true, Some(&[code, subcode])) => Notification::new(code, subcode, told.data.slice(2..)),
        _ => told.clone(),
    }
}

/// In words; those inside a Hard Reset too.
pub(crate) fn words(told: &Notification) -> String {
    let inner = inside(told);
    match inner == *told {
        true => told.words(),
        false => {
            let shell = Notification::new(told.code, told.subcode, Bytes::new());
            format!("{}, inside: {}", shell.words(), inner.words())
        }
    }
}

/// Marks routes as long-lived stale (RFC 9494 section 4.2); the same are marked once.
#[derive(Debug, Default)]
pub(crate) struct LastLongLived(Option<(Arc<Route>, Option<Arc<Route>>)>);

impl LastLongLived {
    /// The route with LLGR_STALE; `None` if it must not live long: it carries NO_LLGR.
    pub(crate) fn mark(&mut self, route: &Arc<Route>) -> Option<Arc<Route>> {
        if let Some((of, marked)) = &self.0
            && Arc::ptr_eq(of, route)
        {
            return marked.clone();
        }
        let marked = match route.attributes.communities.contains(&NO_LLGR) {
            true => None,
            false => {
                let attributes = with_community(&route.attributes, LLGR_STALE);
                Some(Arc::new(Route { attributes, ..Route::clone(route) }))
            }
        };
        self.0 = Some((route.clone(), marked.clone()));
        marked
    }
}

/// Is it one of the paths that nothing is to be preferred to less (RFC 9494 section 4.3)?
pub(crate) fn is_long_lived(attributes: &Attributes) -> bool {
    attributes.communities.contains(&LLGR_STALE)
}

/// Gives paths of a session that is about to go the last place (RFC 8326 section 4.2); the same are changed once.
#[derive(Debug, Default)]
pub(crate) struct LastLeaving(Option<(Arc<Route>, Arc<Route>)>);

impl LastLeaving {
    /// The route, with LOCAL_PREF 0 if it carries GRACEFUL_SHUTDOWN.
    pub(crate) fn lower(&mut self, route: Arc<Route>) -> Arc<Route> {
        if !is_leaving(&route.attributes) || route.attributes.local_pref == Some(0) {
            return route;
        }
        if let Some((of, lowered)) = &self.0
            && Arc::ptr_eq(of, &route)
        {
            return lowered.clone();
        }
        let attributes = Arc::new(Attributes { local_pref: Some(0), ..Attributes::clone(&route.attributes) });
        let lowered = Arc::new(Route { attributes, ..Route::clone(&route) });
        self.0 = Some((route, lowered.clone()));
        lowered
    }
}

/// Is its session, or one on its way, about to go (RFC 8326)?
pub(crate) fn is_leaving(attributes: &Attributes) -> bool {
    attributes.communities.contains(&GRACEFUL_SHUTDOWN)
}

/// With a community, in its place by order; as it is if it has it.
pub(crate) fn with_community(attributes: &Arc<Attributes>, community: u32) -> Arc<Attributes> {
    if attributes.communities.contains(&community) {
        return attributes.clone();
    }
    let mut more = Attributes::clone(attributes);
    more.communities.push(community);
    more.communities.sort_unstable();
    Arc::new(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pledge(notification: bool) -> Pledge {
        Pledge {
            notification,
            restarting: false,
            restart_time: Duration::from_secs(60),
            families: BTreeMap::from([(Family::V4, false)]),
            long_lived: BTreeMap::new(),
        }
    }

    #[test]
    fn what_outlives_which_end() {
        let seconds = Duration::from_secs;
        let lost = Cause::TcpLost(None);
        let hold = Cause::HoldExpired(seconds(90));
        let fsm = Notification::fsm_error(3);
        let error =
            |told: &Notification| Cause::Error(wire::DecodeError { notification: told.clone(), what: String::new() });
        let cease = |subcode| Notification::cease(subcode, "");
        let kept = Some((Rule::Restart, seconds(60)));
        let broken = Some((Rule::Broken, seconds(90)));
        // How it ended; kept from a peer with the N bit, one without, one that promised nothing.
        let rows = [
            (lost, kept, kept, broken),
            (hold, kept, kept, None),
            (Cause::SendHoldExpired, kept, kept, None),
            (Cause::Received(cease(cease::SHUTDOWN)), kept, None, None),
            (Cause::Received(cease(cease::DECONFIGURED)), kept, None, None),
            (Cause::Received(cease(cease::RESET)), kept, None, None),
            (Cause::Received(Notification::hold_timer_expired()), kept, kept, None),
            (Cause::Received(hard_reset(&cease(cease::RESET))), None, None, None),
            (Cause::Stopped(cease(cease::RESET)), kept, None, None),
            (Cause::Stopped(cease(cease::OTHER_CHANGE)), kept, None, None),
            (Cause::Stopped(cease(cease::SHUTDOWN)), None, None, None),
            (Cause::Stopped(cease(cease::DECONFIGURED)), None, None, None),
            (Cause::Stopped(hard_reset(&cease(cease::RESET))), None, None, None),
            (error(&fsm), kept, None, None),
            (error(&Notification::max_prefixes(Family::V4, 1)), None, None, None),
            (Cause::Collision, None, None, None),
            (Cause::PathDown("silence".to_owned()), None, None, None),
            (Cause::Received(cease(cease::BFD_DOWN)), None, None, None),
        ];
        for (cause, with, without, nothing) in rows {
            let of = |pledge: Option<&Pledge>, family| retention(&cause, family, pledge, seconds(120), seconds(90));
            assert_eq!(of(Some(&pledge(true)), Family::V4), with, "N bit: {cause:?}");
            assert_eq!(of(Some(&pledge(false)), Family::V4), without, "no N bit: {cause:?}");
            assert_eq!(of(None, Family::V4), nothing, "no promise: {cause:?}");
            assert_eq!(of(Some(&pledge(true)), Family::V6), nothing, "a family that was not promised: {cause:?}");
        }
        let bound = retention(&Cause::TcpLost(None), Family::V4, Some(&pledge(true)), seconds(7), seconds(90));
        assert_eq!(bound, Some((Rule::Restart, seconds(7))), "the smaller of both times");
        assert_eq!(retention(&Cause::TcpLost(None), Family::V4, None, seconds(7), Duration::ZERO), None);
    }

    #[test]
    fn a_hard_reset_holds_what_it_is_about() {
        let told = Notification::cease(cease::SHUTDOWN, "rack 7");
        let hard = hard_reset(&told);
        assert_eq!((hard.code, hard.subcode, &hard.data[..3]), (6, 9, &[6, 2, 6][..]));
        assert_eq!(inside(&hard), told);
        let words = words(&hard);
        assert_eq!(words, "Cease: hard reset (6/9), inside: Cease: administrative shutdown (6/2): \"rack 7\"");
        assert_eq!(as_sent(&told, Some(&pledge(true))), hard);
        assert_eq!(as_sent(&told, Some(&pledge(false))), told);
        assert_eq!(as_sent(&hard, None), told, "nobody there knows of Hard Resets");
        let short = Notification::new(code::CEASE, cease::HARD_RESET, Bytes::from_static(&[6]));
        assert_eq!(inside(&short), short);
    }
}
