//! BFD (RFC 5880): which paths are watched, and what its word does to BGP sessions (RFC 5882).
//!
//! A session is asked of the BFD thread for every peer that the speaker names, whether or not its BGP session is up, and
//! BGP waits for none: the other end may have no BFD. Only a session that was up can fail. AdminDown, ours or the peer's,
//! is no failure, and is what the thread tells a peer whose session is not wanted any more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bfd::{Diagnostic, Hops, SessionConfig, SessionKey, Snapshot, State};
use model::bfd::BfdProfile;
use model::{Moment, PeerId};
use peering::{BfdCommand, BfdEvent};
use status::doc;

use super::Core;
use super::view::Wall;
use crate::event::{Effect, Level, Topic};

/// Sessions as they are asked for and as they were last told.
#[derive(Default)]
pub(super) struct Bfd {
    sessions: BTreeMap<SessionKey, Session>,
    /// Why packets cannot be heard.
    trouble: Option<String>,
}

/// One session.
struct Session {
    peer: PeerId,
    profile: String,
    config: SessionConfig,
    /// As it was last told; absent before the thread has said anything.
    seen: Option<Snapshot>,
    /// When its state last changed.
    since: Moment,
    /// The last failure, in words.
    last_failure: Option<(Moment, String)>,
    lines: Lines,
}

/// How many lines a session may still write: ten at once, one more every ten seconds.
struct Lines {
    left: u64,
    refilled: Moment,
}

impl Lines {
    const BURST: u64 = 10;
    const EVERY: Duration = Duration::from_secs(10);

    fn take(&mut self, now: Moment) -> bool {
        let gained = now.since(self.refilled).as_secs() / Self::EVERY.as_secs();
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(Self::BURST);
            self.refilled = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

/// What a report says that the one before did not.
enum News {
    Down { why: String, surely: bool },
    Up,
}

impl Session {
    fn new(now: Moment, watched: bgp::Watched, config: SessionConfig) -> Session {
        Session {
            peer: watched.id,
            profile: watched.profile,
            config,
            seen: None,
            since: now,
            last_failure: None,
            lines: Lines { left: Lines::BURST, refilled: now },
        }
    }

    /// Takes a report in. Counts tell of what came and went between two of them.
    fn see(&mut self, now: Moment, snapshot: Snapshot) -> Vec<News> {
        let before = self.seen.replace(snapshot.clone()).unwrap_or_default();
        if before.state != snapshot.state {
            self.since = now;
        }
        let mut news = Vec::new();
        if snapshot.failures > before.failures {
            let why = match snapshot.diagnostic {
                Diagnostic::DETECTION_TIME_EXPIRED => {
                    format!(
                        "control detection time expired: nothing heard for {} ms",
                        before.detection_time.as_millis()
                    )
                }
                Diagnostic::PEER_SIGNALED_DOWN if snapshot.remote_diagnostic != Diagnostic::NONE => {
                    format!("the peer signaled session down: {}", snapshot.remote_diagnostic.words())
                }
                // It is up again already.
                Diagnostic::NONE => "it went down and came up again".to_owned(),
                diagnostic => diagnostic.words().to_owned(),
            };
            self.last_failure = Some((now, why.clone()));
            let surely = before.remote_independent || snapshot.remote_independent;
            news.push(News::Down { why, surely });
        }
        if snapshot.state == State::Up && (before.state != State::Up || snapshot.ups > before.ups) {
            news.push(News::Up);
        }
        news
    }
}

impl Core {
    /// Asks the BFD thread for what the speaker wants watched. To be called before what the speaker wants sent is handed
    /// out: a peer whose session is closed on purpose hears AdminDown first.
    pub(super) fn renew_bfd(&mut self, now: Moment) {
        if !self.native.speaker.take_watched_changed() {
            return;
        }
        let mut wanted: BTreeMap<SessionKey, (bgp::Watched, SessionConfig)> = BTreeMap::new();
        for watched in self.native.speaker.watched() {
            // A name that nothing stands for was refused with its file.
            let Some(profile) = self.config.bgp.bfd_profile(&watched.profile) else { continue };
            let (key, config) = session(&watched, &profile);
            wanted.insert(key, (watched, config));
        }
        let gone: Vec<SessionKey> = self.bfd.sessions.keys().filter(|key| !wanted.contains_key(key)).cloned().collect();
        for key in gone {
            self.bfd.sessions.remove(&key);
            self.out.push(Effect::Bfd(BfdCommand::Remove(key)));
        }
        for (key, (watched, config)) in wanted {
            let known = self.bfd.sessions.get_mut(&key);
            if known.as_ref().is_none_or(|known| known.config != config) {
                self.out.push(Effect::Bfd(BfdCommand::Set { session: key.clone(), config: config.clone() }));
            }
            match known {
                Some(known) => {
                    known.profile = watched.profile;
                    known.config = config;
                }
                None => drop(self.bfd.sessions.insert(key, Session::new(now, watched, config))),
            }
        }
        if self.bfd.sessions.is_empty() {
            self.bfd.trouble = None;
        }
    }

    pub(super) fn handle_bfd(&mut self, now: Moment, event: BfdEvent) {
        match event {
            BfdEvent::Changed { session, snapshot } => self.handle_bfd_report(now, &session, snapshot),
            // It was forgotten when its end was asked for.
            BfdEvent::Gone(_) => {}
            BfdEvent::Trouble(trouble) if trouble == self.bfd.trouble => {}
            BfdEvent::Trouble(trouble) => {
                match &trouble {
                    Some(why) => self.say(now, Level::Warn, Topic::Bgp, why.clone()),
                    None => self.say(now, Level::Info, Topic::Bgp, "BFD hears again on all its ports".to_owned()),
                }
                self.bfd.trouble = trouble;
            }
            BfdEvent::Notice(line) => self.say(now, Level::Warn, Topic::Bgp, line),
        }
    }

    fn handle_bfd_report(&mut self, now: Moment, key: &SessionKey, snapshot: Snapshot) {
        // One that is not wanted any more says AdminDown for a while yet.
        let Some(session) = self.bfd.sessions.get_mut(key) else { return };
        let detection = snapshot.detection_time;
        let news = session.see(now, snapshot);
        let peer = session.peer.clone();
        for news in news {
            let told = self.bfd.sessions.get_mut(key).is_some_and(|session| session.lines.take(now));
            let (level, line) = match &news {
                News::Down { why, .. } => (Level::Warn, format!("BFD to {peer} is down: {why}")),
                News::Up => (
                    Level::Info,
                    format!("BFD to {peer} is up: it notices an outage within {} ms", detection.as_millis()),
                ),
            };
            if told {
                self.say(now, level, Topic::Bgp, line);
            }
            match news {
                News::Down { why, surely } => self.native.speaker.handle_path_down(now, &peer, &why, surely),
                News::Up => self.native.speaker.handle_path_up(now, &peer),
            }
        }
    }

    /// For `biplane bgp bfd`.
    pub(super) fn bfd_doc(&self, wall: Wall) -> doc::BfdSessions {
        let items = self.bfd.sessions.iter().map(|(key, session)| {
            let seen = session.seen.clone().unwrap_or_default();
            let seconds = |d: Duration| (!d.is_zero()).then_some(d.as_secs_f64());
            let words =
                |diagnostic: Diagnostic| (diagnostic != Diagnostic::NONE).then(|| diagnostic.words().to_owned());
            let node = self.claims.all.values().find(|claim| claim.reach.underlay.contains(&session.peer.address));
            doc::BfdSession {
                address: session.peer.clone(),
                node: node.map(|claim| claim.node.clone()),
                profile: session.profile.clone(),
                multihop: key.hops == Hops::Multi,
                local_address: key.local,
                state: state(seen.state),
                since: wall.at(session.since),
                diagnostic: words(seen.diagnostic),
                remote_state: seen.remote_state.map(state),
                remote_diagnostic: words(seen.remote_diagnostic),
                remote_independent: seen.remote_state.map(|_| seen.remote_independent),
                transmit_interval_seconds: seconds(seen.transmit_interval),
                detection_time_seconds: seconds(seen.detection_time),
                multiplier: session.config.multiplier,
                local_discriminator: seen.local_discriminator,
                remote_discriminator: (seen.remote_discriminator != 0).then_some(seen.remote_discriminator),
                ups: seen.ups,
                failures: seen.failures,
                last_failure: session.last_failure.as_ref().map(|(_, why)| why.clone()),
                last_failure_seconds_ago: session.last_failure.as_ref().map(|(at, _)| wall.seconds(*at)),
            }
        });
        doc::BfdSessions { items: items.collect(), trouble: self.bfd.trouble.clone() }
    }
}

/// The session for a peer; both ends have to agree on its kind. Inside an AS BIRD takes multihop unless it is told
/// `direct`, FRR only where no network is shared.
fn session(watched: &bgp::Watched, profile: &BfdProfile) -> (SessionKey, SessionConfig) {
    let link_local = matches!(watched.id.address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let multihop = profile.multihop.unwrap_or(watched.far) && !link_local;
    let key = SessionKey {
        peer: watched.id.address,
        device: watched.id.device.clone(),
        local: watched.local,
        hops: if multihop { Hops::Multi } else { Hops::Single },
    };
    let config = SessionConfig {
        transmit: profile.min_tx,
        receive: profile.min_rx,
        multiplier: profile.multiplier,
        passive: profile.passive,
        min_ttl: watched.least_ttl,
    };
    (key, config)
}

fn state(state: State) -> doc::BfdState {
    match state {
        State::AdminDown => doc::BfdState::AdminDown,
        State::Down => doc::BfdState::Down,
        State::Init => doc::BfdState::Init,
        State::Up => doc::BfdState::Up,
    }
}
