//! Another configuration, and what an operator asks for: hitless for whom it does not concern.

use std::collections::BTreeMap;

use model::{Moment, PeerId};
use wire::{Notification, cease};

use super::Speaker;
use crate::graceful;
use crate::output::Output;
use crate::peer::Peer;
use crate::policy::Import;
use crate::session::State;
use crate::settings::{PeerConfig, SpeakerConfig};

impl Speaker {
    /// Takes another configuration. Unchanged peers keep their sessions. A peer that is left out gets Cease 6/3; one
    /// whose AS number or source address is another, and all of them when our AS number or router ID is, get Cease 6/6
    /// and are dialed again. Hold times count from the next session on. Ends a shutdown.
    pub fn handle_config(&mut self, now: Moment, config: SpeakerConfig) {
        self.now = now;
        let mut wanted: BTreeMap<PeerId, PeerConfig> =
            config.peers.iter().map(|peer| (peer.id.clone(), peer.clone())).collect();
        self.want_ranged(&mut wanted, &config.ranges);
        self.range_budgets.retain(|prefix, _| config.ranges.iter().any(|range| range.prefix == *prefix));
        let settings = SpeakerConfig { peers: Vec::new(), ..config };
        let before = std::mem::replace(&mut self.shared.settings, settings.clone());
        let was_shut = std::mem::take(&mut self.shared.shut);
        self.shared.watched_changed = true;
        self.remove_peers(now, &wanted);
        let identity = (before.local_asn, before.router_id) != (settings.local_asn, settings.router_id);
        if identity {
            self.shared.view.local_asn = settings.local_asn;
            self.shared.view.router_id = settings.router_id;
        }
        self.shared.view.reflector = settings.reflector;
        self.shared.view.reflects_last = settings.reflects_last;
        self.shared.look_again |= before.reflects_last != settings.reflects_last;
        let other_asns = wanted.values().filter_map(|peer| peer.local_asn).collect();
        let other_asns = std::mem::replace(&mut self.shared.view.other_asns, other_asns) != self.shared.view.other_asns;
        let pools = before.pools != settings.pools;
        if pools {
            self.shared.view.set_pools(settings.pools.clone());
        }
        if before.hold_time != settings.hold_time && self.sessions().0 > 0 {
            let text = format!(
                "hold time {} s counts from each session's next OPEN on; what is up keeps what was agreed",
                settings.hold_time.as_secs()
            );
            self.shared.out.notice(now, &mut self.budget, false, text);
        }
        let services = before.service_cidrs != settings.service_cidrs;
        if services {
            self.shared.view.set_services(settings.service_cidrs.clone());
        }
        self.shared.rib.set_max_paths(settings.max_paths);
        for (id, peer) in wanted {
            self.configure(now, id, peer, identity || was_shut);
        }
        let mut touched = self.shared.view.own.configure(&settings.originate);
        if pools {
            // What of our own is a slice, and so for nodes, may be different.
            touched = self.shared.view.own.announced().keys().copied().collect();
        }
        self.touch_all(&touched);
        self.renew_interest();
        if before.reflector != settings.reflector || other_asns {
            // Another CLUSTER_ID or AS number: other loops.
            self.each(|peer, shared| {
                peer.walk_all(0);
                peer.renew_target(now, shared);
            });
        }
        if before.accept_as_sets != settings.accept_as_sets {
            let taken = settings.accept_as_sets;
            self.each(|peer, shared| peer.accept_as_sets(now, taken, shared));
        }
        let max_paths = before.max_paths != settings.max_paths;
        self.each(|peer, shared| {
            let policy = std::mem::take(&mut peer.import_changed) || (services && peer.import.policy().is_some());
            if !pools && !max_paths && !policy {
                return;
            }
            peer.walk_all(0);
            // What was refused was not kept, and may be good now.
            let refused = peer.rib_in.all_refused().next().is_some();
            if (pools || policy) && refused && peer.is_live() && !peer.ask_again(now, shared) {
                let what = if pools { "the pools have changed" } else { "its import policy has changed" };
                let text = format!(
                    "peer {}: {what}, and it does not answer to route refresh: `biplane bgp reset {}` makes it announce \
                     again what was refused",
                    peer.config.id, peer.config.id
                );
                shared.out.push(Output::Notice { warn: true, text });
            }
        });
        self.handle_work(now, Self::SLICE);
    }

    /// Resets a peer, or all of them for `None`: with Cease 6/4, or softly by route refresh both ways. Between two that
    /// agreed on it (RFC 8538), paths outlive a 6/4; [`Speaker::handle_hard_reset`] takes them too. Says in words what
    /// was done; the error names the peers that there are.
    pub fn handle_reset(&mut self, now: Moment, peer: Option<PeerId>, soft: bool) -> Result<String, String> {
        self.now = now;
        let known = self.peers.iter().filter(|(_, peer)| !peer.gone).map(|(id, _)| id.clone());
        let chosen: Vec<PeerId> = known.filter(|id| peer.as_ref().is_none_or(|peer| peer == id)).collect();
        if chosen.is_empty() {
            return Err(self.no_such_peer(peer));
        }
        let mut done = Vec::new();
        let mut undone = Vec::new();
        for id in chosen {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let shared = &mut self.shared;
            if soft && peer.is_live() {
                peer.tell_again();
                match peer.ask_again(now, shared) {
                    true => done.push(format!("{id}: asked to announce again, and told again")),
                    false => done.push(format!("{id}: told again; it does not answer to route refresh itself")),
                }
            } else if soft {
                undone.push(format!("{id}: no session to refresh, it is {}", peer.state().0));
            } else if peer.state().0 >= State::OpenSent {
                peer.stop(now, &Notification::cease(cease::RESET, ""), shared);
                done.push(format!("{id}: session reset"));
            } else if peer.down {
                undone.push(format!("{id}: taken down; `biplane bgp peer up {id}` takes it up again"));
            } else if shared.shut {
                undone.push(format!("{id}: the speaker is shut down"));
            } else {
                peer.dial_now(now, shared);
                done.push(match peer.config.passive {
                    true => format!("{id}: no session; it is passive: the peer has to connect"),
                    false => format!("{id}: no session; dialing now"),
                });
            }
            self.settle(&id);
        }
        self.handle_work(now, Self::SLICE);
        if done.is_empty() {
            return Err(undone.join("\n"));
        }
        done.append(&mut undone);
        Ok(done.join("\n"))
    }

    pub(super) fn no_such_peer(&self, peer: Option<PeerId>) -> String {
        let known: Vec<String> = self.peers.keys().take(20).map(PeerId::to_string).collect();
        let more = self.peers.len().saturating_sub(known.len());
        let known = match (known.is_empty(), more) {
            (true, _) => "there are no peers".to_owned(),
            (false, 0) => format!("the peers are {}", known.join(", ")),
            (false, more) => format!("the peers are {} and {more} more", known.join(", ")),
        };
        match peer {
            Some(peer) => format!("no peer {peer}: {known}"),
            None => known,
        }
    }

    fn remove_peers(&mut self, now: Moment, wanted: &BTreeMap<PeerId, PeerConfig>) {
        let cease = Notification::cease(cease::DECONFIGURED, "");
        self.each(|peer, shared| {
            if !peer.gone && !wanted.contains_key(&peer.config.id) {
                peer.gone = true;
                peer.stop(now, &cease, shared);
            }
        });
    }

    /// A peer that was not there.
    pub(super) fn enter(&mut self, now: Moment, config: PeerConfig) {
        let id = config.id.clone();
        let index = self.shared.rib.enter(id.clone());
        let import = Import::new(config.import.clone(), &mut self.shared.rules);
        let mut peer = Peer::new(now, config, index);
        peer.import = import;
        peer.note_asn(&self.shared);
        self.peers.insert(id, peer);
    }

    pub(super) fn configure(&mut self, now: Moment, id: PeerId, config: PeerConfig, reset: bool) {
        let Some(peer) = self.peers.get_mut(&id) else {
            self.enter(now, config);
            return self.settle(&id);
        };
        let returned = std::mem::take(&mut peer.gone);
        let before = std::mem::replace(&mut peer.config, config);
        peer.note_asn(&self.shared);
        if before.import != peer.config.import {
            peer.import = Import::new(peer.config.import.clone(), &mut self.shared.rules);
            peer.import_changed = true;
        }
        // More or fewer paths change nothing that was agreed; some or none do.
        let add_path = |c: &PeerConfig| (c.add_path.send > 0, c.add_path.receive);
        let key = |c: &PeerConfig| (c.asn, c.local_address, c.local_asn, add_path(c), c.role);
        if reset || returned || key(&before) != key(&peer.config) {
            let cease = Notification::cease(cease::OTHER_CHANGE, "");
            // Paths of another AS are not to outlive it; a new source address changes nothing about them.
            let other = reset || returned || before.asn != peer.config.asn;
            let cease = if other { graceful::hard_reset(&cease) } else { cease };
            peer.stop(now, &cease, &mut self.shared);
        } else {
            peer.check_bound(now, &mut self.shared);
            if before.client != peer.config.client {
                peer.introduce(&mut self.shared);
            }
            peer.renew_target(now, &mut self.shared);
            if before.min_advertisement_interval != peer.config.min_advertisement_interval {
                peer.release();
            }
            peer.note_hold_time(now, before.hold_time, &mut self.shared);
            let dialed = |c: &PeerConfig| (c.port, c.passive, c.key_generation, c.multihop, c.ttl_security);
            if !peer.is_live() && dialed(&before) != dialed(&peer.config) {
                peer.dial_now(now, &mut self.shared);
            }
            if before.is_far() != peer.config.is_far() {
                // Other next hops can be used.
                peer.walk_all(0);
            }
        }
        self.settle(&id);
    }
}
