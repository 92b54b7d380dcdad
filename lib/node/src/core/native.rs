//! The native plane's sessions: who is a peer, when they open, and when they have told everything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp::{Origination, Output, PeerConfig, Policy, Speaker, SpeakerConfig};
use model::config::{BgpConfig, Config};
use model::kernel::Device;
use model::reflection::OriginateConfig;
use model::{Family, Moment, PeerId, Plane, Prefix, RouterId};
use peering::{Command, Remote};
use switch::Readiness;

use super::Core;
use super::meeting::Meeting;
use super::unnumbered::Unnumbered;
use crate::event::{Effect, Identity, Level, Topic};

/// First wait before a connection is tried again.
const CONNECT_RETRY: Duration = Duration::from_secs(2);
/// A restarted daemon waits at least this long for peers that do not come up before it sweeps what they announced.
const READ_IN: Duration = Duration::from_secs(30);
/// Prefixes taken over from the speaker at a time.
const CHANGED: usize = 8192;

/// Speaker and listening socket.
pub(super) struct Native {
    pub(super) speaker: Speaker,
    /// Sessions may open.
    pub(super) on: bool,
    on_since: Moment,
    /// Peers, addresses or settings changed.
    pub(super) dirty: bool,
    pub(super) links_changed: bool,
    listening: Option<Result<(), String>>,
    port: Option<u16>,
    /// How packets of peers travel, as was last said.
    remotes: Vec<Remote>,
    pub(super) originated: BTreeSet<Prefix>,
    /// What was said of prefixes of our own: can they be forwarded?
    pub(super) forwardable: BTreeMap<Prefix, bool>,
    /// Prefixes that the speaker was told to hold back.
    pub(super) held_back: BTreeSet<Prefix>,
    /// Families of which routes were found at the start, until the first session is to open.
    pub(super) kept: BTreeSet<Family>,
    /// Compiled once for each configuration.
    pub(super) policies: BTreeMap<String, Arc<Policy>>,
    /// Which nodes are peers.
    pub(super) meeting: Meeting,
    /// Who is behind interfaces.
    pub(super) unnumbered: Unnumbered,
}

impl Native {
    pub(super) fn new(now: Moment, identity: &Identity, config: &Config) -> Native {
        let settings = settings(identity, config, &[], Vec::new());
        Native {
            speaker: Speaker::new(now, settings),
            on: false,
            on_since: now,
            dirty: false,
            links_changed: false,
            listening: None,
            port: None,
            remotes: Vec::new(),
            originated: BTreeSet::new(),
            forwardable: BTreeMap::new(),
            held_back: BTreeSet::new(),
            kept: BTreeSet::new(),
            policies: bgp::policies(&config.bgp, &config.pools),
            meeting: Meeting::default(),
            unnumbered: Unnumbered::default(),
        }
    }

    /// Compiles the policies of another configuration; those that are as they were stay the same object.
    pub(super) fn set_policies(&mut self, config: &Config) {
        let before = std::mem::replace(&mut self.policies, bgp::policies(&config.bgp, &config.pools));
        for (name, policy) in &mut self.policies {
            if let Some(same) = before.get(name).filter(|same| *same == policy) {
                *policy = same.clone();
            }
        }
    }

    pub(super) fn policy(&self, name: Option<&String>) -> Option<Arc<Policy>> {
        self.policies.get(name?).cloned()
    }

    /// Why the listening socket is not there, if it should be.
    pub(super) fn listen_error(&self) -> Option<&str> {
        self.listening.as_ref().and_then(|result| result.as_ref().err()).map(String::as_str)
    }

    pub(super) fn is_listening(&self) -> bool {
        matches!(self.listening, Some(Ok(())))
    }

    /// Until when a restarted daemon waits for its peers to tell everything (Selection_Deferral_Timer, RFC 4724 section
    /// 4.1): as long as they would wait for it, and for those that are gone as long as silence is borne. Only what is
    /// learnt waits for this; own prefixes are announced at once.
    pub(super) fn ready_deadline(&self, complete: bool, bgp: &BgpConfig) -> Option<Moment> {
        let restart = if bgp.graceful_restart.enabled { bgp.graceful_restart.restart_time } else { Duration::ZERO };
        (self.on && !complete).then(|| self.on_since + READ_IN.max(bgp.hold_time).max(restart))
    }
}

fn settings(identity: &Identity, config: &Config, underlay: &[IpAddr], peers: Vec<PeerConfig>) -> SpeakerConfig {
    let bgp = &config.bgp;
    let id = bgp.router_id.unwrap_or_else(|| router_id(identity, underlay));
    SpeakerConfig {
        hold_time: bgp.hold_time,
        connect_retry: CONNECT_RETRY,
        stale_time: bgp.stale_time,
        honour_shutdown: bgp.graceful_shutdown.honour,
        graceful_restart: bgp::GracefulRestart {
            enabled: bgp.graceful_restart.enabled,
            restart_time: bgp.graceful_restart.restart_time,
            long_lived: bgp.graceful_restart.long_lived,
        },
        max_paths: bgp.max_paths,
        accept_as_sets: bgp.accept_as_sets,
        pools: config.pools.clone(),
        service_cidrs: config.service_cidrs.clone(),
        originate: bgp.originate.iter().map(origination).collect(),
        peers,
        seed: identity.seed,
        host_name: Some(identity.node.to_string()),
        ..SpeakerConfig::new(bgp.local_asn, id)
    }
}

fn origination(configured: &OriginateConfig) -> Origination {
    Origination {
        communities: configured.communities.iter().filter_map(|pattern| pattern.exact()).collect(),
        large_communities: configured.large_communities.iter().filter_map(|pattern| pattern.exact()).collect(),
        local_pref: configured.local_pref,
        med: configured.med,
        aggregate: configured.aggregate,
        summary_only: configured.summary_only,
        ..Origination::new(configured.prefix)
    }
}

/// The primary IPv4 underlay address, or a hash of the node's name where there is none. RFC 6286 asks only that it is
/// unique in the AS and not 0; FRR refuses one that is no unicast address, so the first octet stays below 127.
pub(super) fn router_id(identity: &Identity, underlay: &[IpAddr]) -> RouterId {
    let v4 = underlay.iter().find_map(|a| if let IpAddr::V4(v4) = a { Some(*v4) } else { None });
    RouterId(v4.unwrap_or_else(|| {
        let mac = plan::vtep_mac(&identity.node).0;
        std::net::Ipv4Addr::new(1 + mac[2] % 126, mac[3], mac[4], mac[5])
    }))
}

impl Core {
    /// Opens, changes or closes sessions as the stance and the configuration say; hands out what the speaker wants done.
    pub(super) fn run_native(&mut self, now: Moment) {
        if std::mem::take(&mut self.native.links_changed) {
            self.tell_addresses();
            self.native.dirty = true;
        }
        let drained = self.drain.as_ref().is_some_and(super::drain::Drain::is_closed);
        let wanted = self.stance().stand.has(Plane::Native) && !drained;
        if !wanted {
            if self.native.on {
                self.native.speaker.handle_shutdown(now);
                self.drain_speaker(now);
                self.native.on = false;
                self.native.meeting.dirty = true;
                self.native.port = None;
                self.native.listening = None;
                self.out.push(Effect::Peering(Command::StopListening));
                self.renew_discovery(now, false);
                self.say(
                    now,
                    Level::Info,
                    Topic::Bgp,
                    (if drained {
                        "drained: sessions are closed"
                    } else {
                        "the native plane goes: sessions are closed"
                    })
                    .to_owned(),
                );
            }
        } else if self.native.on {
            if std::mem::take(&mut self.native.dirty) {
                self.renew_discovery(now, true);
                self.configure_speaker(now);
            }
        } else if self.ground.trouble.is_none()
            && self.claims.missing(&self.config).is_none()
            && self.ground_missing(Plane::Native).is_none()
        {
            // Nothing is announced before it can be forwarded: forwarding, filters and own routes have been read back.
            self.native.on = true;
            self.native.on_since = now;
            self.native.dirty = false;
            self.tell_restart(now);
            self.native.meeting.dirty = true;
            self.renew_discovery(now, true);
            self.configure_speaker(now);
        }
        self.drain_speaker(now);
    }

    /// Tells the speaker the addresses of this host, but for what the ground has put on unnumbered uplinks: no router there
    /// has an address beside it.
    fn tell_addresses(&mut self) {
        let ground = &self.ground.spec;
        let is_ground = |device: &Device, address: &IpAddr| {
            ground.unnumbered.contains(device) && ground.own.iter().any(|cidr| cidr.node_address() == Some(*address))
        };
        let all =
            self.links.iter().flat_map(|link| link.addresses.iter().map(move |(address, len)| (link, address, len)));
        let told = all.filter(|(link, address, _)| !is_ground(&link.device, address));
        let addresses = told.map(|(link, address, len)| (*address, *len, link.device.clone())).collect();
        self.native.speaker.handle_local_addresses(addresses);
    }

    /// Own prefixes first, peers after: the first End-of-RIB of a session must be complete.
    fn configure_speaker(&mut self, now: Moment) {
        let own: BTreeSet<Prefix> = self.claims.own().iter().map(|cidr| cidr.0).collect();
        for prefix in own.difference(&self.native.originated) {
            self.native.speaker.handle_originate(now, *prefix, true);
        }
        for prefix in self.native.originated.difference(&own) {
            self.native.speaker.handle_originate(now, *prefix, false);
        }
        self.native.originated = own;
        let (peers, ranges) = (self.peers(), self.ranges());
        // Before anybody is let in.
        let remotes = Core::remotes(&peers, &ranges, self.config.bgp.local_asn);
        if self.native.remotes != remotes {
            self.native.remotes.clone_from(&remotes);
            self.out.push(Effect::Peering(Command::Travel(remotes)));
        }
        let port = self.config.bgp.port;
        if self.native.port != Some(port) {
            if self.native.port.is_some() {
                self.out.push(Effect::Peering(Command::StopListening));
            }
            self.native.port = Some(port);
            self.native.listening = None;
            self.out.push(Effect::Peering(Command::Listen(port)));
        }
        let mut settings = settings(&self.identity, &self.config, &self.underlay(), peers);
        settings.ranges = ranges;
        settings.reflector = self.cluster_id(settings.router_id.0);
        settings.reflects_last = self.native.meeting.reflects_last();
        self.hold_back(now);
        self.native.speaker.handle_config(now, settings);
        self.let_go(now);
    }

    pub(super) fn handle_peering(&mut self, now: Moment, event: peering::Event) {
        let speaker = &mut self.native.speaker;
        match event {
            peering::Event::Listening => {
                self.native.listening = Some(Ok(()));
                let port = self.config.bgp.port;
                self.say(now, Level::Info, Topic::Bgp, format!("listening for BGP on port {port}"));
            }
            peering::Event::ListenFailed(why) => {
                if self.native.listen_error() != Some(why.as_str()) {
                    self.say(now, Level::Warn, Topic::Bgp, why.clone());
                }
                self.native.listening = Some(Err(why));
            }
            peering::Event::Dialed { conn, local } => speaker.handle_dialed(now, conn, local),
            peering::Event::DialFailed { conn, error } => speaker.handle_dial_failed(now, conn, error),
            peering::Event::Accepted { conn, local, remote, device } => {
                speaker.handle_accepted(now, conn, local, PeerId::new(remote.ip(), device));
            }
            peering::Event::Bytes { conn, bytes } => speaker.handle_bytes(now, conn, &bytes),
            peering::Event::Closed { conn, error } => speaker.handle_closed(now, conn, error),
            peering::Event::Drained(conn) => speaker.handle_drained(now, conn),
            peering::Event::Neighbour { device, address } => self.handle_neighbour(now, device, address),
            peering::Event::DiscoveryFailed { device, error } => self.handle_discovery_failed(now, device, error),
        }
    }

    pub(super) fn drain_speaker(&mut self, now: Moment) {
        self.renew_bfd(now);
        while let Some(output) = self.native.speaker.poll_output() {
            let effect = match output {
                Output::Dial { conn, remote, local, transport } => Command::Dial { conn, remote, local, transport },
                Output::Send { conn, bytes } => Command::Send { conn, bytes },
                Output::Close { conn, flush } => Command::Close { conn, flush },
                Output::Notice { warn, text } => {
                    self.say(now, if warn { Level::Warn } else { Level::Info }, Topic::Bgp, text);
                    continue;
                }
            };
            self.out.push(Effect::Peering(effect));
        }
        for prefix in self.native.speaker.poll_changed(CHANGED) {
            self.destinations.dirty(prefix);
        }
    }

    /// Is there a session to learn from and be learned from?
    pub(super) fn sessions_ready(&self) -> Readiness {
        if self.drain.as_ref().is_some_and(super::drain::Drain::is_closed) {
            let words = "this node is drained: `biplane node undrain` opens its sessions again";
            return Readiness::Waiting(words.to_owned());
        }
        if !self.native.on {
            return Readiness::Waiting("BGP is not started yet".to_owned());
        }
        match &self.native.listening {
            None => return Readiness::Waiting("the BGP port".to_owned()),
            Some(Err(why)) => return Readiness::Waiting(why.clone()),
            Some(Ok(())) => {}
        }
        let (up, total) = self.native.speaker.sessions();
        if total == 0
            && let Some((.., why)) = self.undiscovered().into_iter().next()
        {
            return Readiness::Waiting(format!("no BGP session is up: {why}"));
        }
        if total > 0 && up == 0 {
            let words = self.native.speaker.first_error().map(|(id, error)| format!(": {id}: {error}"));
            return Readiness::Waiting(format!("no BGP session of {total} is up{}", words.unwrap_or_default()));
        }
        match self.native.speaker.end_of_rib_complete() {
            Ok(()) => Readiness::Ready,
            Err(who) => Readiness::Waiting(format!("End-of-RIB of {who}")),
        }
    }

    /// After a start on the native plane: have all peers told what they know, or had their time?
    pub(super) fn native_read_in(&self, now: Moment) -> bool {
        if !self.native.on {
            return false;
        }
        if self.native.ready_deadline(false, &self.config.bgp).is_some_and(|deadline| now >= deadline) {
            return true;
        }
        if self.native.speaker.end_of_rib_complete().is_err() || !self.undiscovered().is_empty() {
            return false;
        }
        self.native.speaker.absent().all(|(peer, mesh)| mesh && !self.peer_stands(peer.address))
    }

    /// Does the digest say that the mesh peer at `address` receives natively? One that does not has no sessions.
    pub(super) fn peer_stands(&self, address: IpAddr) -> bool {
        let Some(digest) = &self.coordination.digest else { return true };
        let node = self.claims.nodes.iter().find(|(_, cidrs)| {
            let claim = cidrs.first().and_then(|cidr| self.claims.all.get(cidr));
            claim.is_some_and(|claim| claim.reach.vtep.underlay == address)
        });
        node.is_some_and(|(node, _)| digest.native_stands.has(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_id_made_of_a_name_is_a_unicast_address() {
        for n in 0..2_000 {
            let node = format!("node-{n}").parse().unwrap();
            let identity = Identity { node, uid: model::Uid("u".into()), version: String::new(), seed: 1 };
            let RouterId(id) = router_id(&identity, &["fd00::1".parse().unwrap()]);
            assert!((1..127).contains(&id.octets()[0]), "{id}");
            assert_eq!(router_id(&identity, &["10.0.0.9".parse().unwrap()]).0.to_string(), "10.0.0.9");
        }
    }
}
