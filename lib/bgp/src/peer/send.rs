//! From own prefixes and the Loc-RIB to UPDATEs.

use std::sync::Arc;

use model::{Family, Moment, Prefix};
use wire::EncodeError;

use super::{Link, Peer};
use crate::adj_rib_out::{AdjRibOut, Tables};
use crate::export::{Export, Offered, Shelf, Target, Teller, Withheld, export};
use crate::loc_rib::{Candidate, LocRib};
use crate::output::ConnId;
use crate::policy::View;
use crate::session::State;
use crate::speaker::Shared;
use crate::timers::Timer;

impl Peer {
    /// A session has begun: everything is to be told, then End-of-RIB.
    pub(super) fn open_rib_out(&mut self, now: Moment, conn: ConnId, shared: &mut Shared) {
        if let Some(link) = self.link_mut(conn) {
            link.rib_out = AdjRibOut::open(&link.codec.families);
            link.established_at = now;
        }
        self.renew_target(now, shared);
    }

    /// What exports to the peer depend on may be new: after a change of addresses or configuration.
    pub(crate) fn renew_target(&mut self, now: Moment, shared: &mut Shared) {
        let (index, asn, config) = (self.index, self.asn, &self.config);
        let Some(link) = self.links.iter_mut().find(|l| l.session.state() == State::Established) else { return };
        let Some(agreed) = link.session.agreed() else { return };
        let local = link.session.local.map(|local| local.ip().to_canonical());
        let extended = link.codec.extended_next_hop_send;
        let hop = |family| local.and_then(|local| shared.view.addresses.next_hop_self(local, family, extended));
        let target = Target {
            index,
            address: config.id.address,
            router_id: agreed.router_id,
            external: !agreed.wire.ibgp,
            client: config.client,
            mesh: config.mesh,
            local_asn: config.local_asn.unwrap_or(shared.view.local_asn),
            asn,
            policy: config.export.clone(),
            next_hop: config.next_hop,
            role: config.role.filter(|_| !agreed.wire.ibgp),
            long_lived: agreed.pledge.as_ref().is_some_and(|pledge| !pledge.long_lived.is_empty()),
            own_hops: Family::BOTH.map(hop),
            extended_next_hop: extended,
            add_path: Family::BOTH.map(|family| {
                link.codec.add_path_send.contains(&family).then_some(usize::from(config.add_path.send.max(1)))
            }),
        };
        if link.target.as_ref() == Some(&target) && link.reflector == shared.view.reflector {
            return;
        }
        link.target = Some(target);
        link.reflector = shared.view.reflector;
        link.rib_out.look_at_all();
        self.tell_missing_hops(now, shared);
    }

    /// Says so when own prefixes of a family cannot be announced because we have no address of it there.
    pub(crate) fn tell_missing_hops(&mut self, now: Moment, shared: &mut Shared) {
        let Some(link) = self.links.iter().find(|l| l.session.state() == State::Established) else { return };
        let Some(target) = &link.target else { return };
        let local = link.session.local.map(|local| local.ip().to_canonical());
        for family in Family::BOTH.into_iter().filter(|family| link.codec.families.contains(family)) {
            let own = || shared.view.own.announced().keys().any(|own| own.family() == family);
            if target.own_hops[family as usize].is_none() && own() {
                let at = local.map(|local| format!(" ({local})")).unwrap_or_default();
                let text = format!(
                    "peer {}: no {family} prefix is announced to it: the device that holds our end of the session{at} \
                     has no {family} address; give it one",
                    self.config.id
                );
                shared.out.notice(now, &mut self.budget, true, text);
            }
        }
    }

    /// Something about the prefix may be new.
    pub(crate) fn touch(&mut self, prefix: Prefix) {
        for link in self.links.iter_mut().filter(|link| link.session.state() == State::Established) {
            link.rib_out.touch(prefix);
        }
    }

    /// Anything that the peer is told may be new.
    pub(crate) fn look_at_all(&mut self) {
        for link in self.links.iter_mut().filter(|link| link.session.state() == State::Established) {
            link.rib_out.look_at_all();
        }
    }

    /// Is the peer to hear of learnt paths?
    pub(crate) fn takes_transit(&self, view: &View) -> bool {
        let mut links = self.links.iter().filter(|link| link.session.state() == State::Established);
        links.any(|link| link.target.as_ref().is_some_and(|target| target.takes_transit(view)))
    }

    /// Tells everything again.
    pub(crate) fn tell_again(&mut self) {
        for link in self.links.iter_mut().filter(|link| link.session.state() == State::Established) {
            for family in link.codec.families.clone() {
                link.rib_out.refresh(family);
            }
        }
    }

    /// The kernel has taken all bytes of a connection.
    pub(crate) fn handle_drained(&mut self, conn: ConnId) {
        if let Some(link) = self.link_mut(conn) {
            link.drained();
        }
    }

    /// Sends what is pending while there is `budget` (one a prefix) and room.
    pub(super) fn write(&mut self, now: Moment, budget: &mut usize, shared: &mut Shared) {
        let Some(link) = self.links.iter_mut().find(|l| l.session.state() == State::Established) else { return };
        let interval = self.config.min_advertisement_interval;
        link.rib_out.set_quiet(!interval.is_zero() && now < link.quiet_until);
        let marks = link.session.agreed().is_some_and(|agreed| agreed.enhanced_refresh);
        let mut announced = false;
        while *budget > 0 && link.rib_out.has_pending() && link.has_room() {
            let Link { rib_out, target: Some(target), codec, .. } = &mut *link else { return };
            let Shared { view, rib, shelf, .. } = &mut *shared;
            let mut tables = Told { target, view, rib, shelf };
            let batch = rib_out.next_batch((*budget).min(1000), &mut tables);
            *budget = budget.saturating_sub(batch.looked_at.max(1));
            let mut updates = Vec::new();
            let mut failed = None;
            // Withdrawals go first, and never wait.
            for paths in batch.withdraw.values() {
                collect(wire::encode_withdraw(paths, codec), &mut updates, &mut failed);
            }
            let mark = |family: Family, subtype: u8| {
                let mark = wire::RouteRefresh { family: Some(family), subtype };
                wire::encode(&wire::Message::RouteRefresh(mark), codec).map(|message| vec![message])
            };
            for family in batch.begins.into_iter().filter(|_| marks) {
                collect(mark(family, wire::RouteRefresh::BEGIN), &mut updates, &mut failed);
            }
            announced |= !batch.announce.is_empty();
            for ((_, export), paths) in batch.announce {
                collect(shared.packed.announce(&export, paths, codec), &mut updates, &mut failed);
            }
            for family in batch.end_of_rib {
                collect(wire::encode_end_of_rib(family, codec).map(|m| vec![m]), &mut updates, &mut failed);
            }
            for family in batch.refreshed.into_iter().filter(|_| marks) {
                collect(mark(family, wire::RouteRefresh::END), &mut updates, &mut failed);
            }
            if !updates.is_empty() {
                link.send_updates(now, updates, &mut self.counters, shared);
            }
            if let Some(error) = failed {
                let text = format!("peer {}: cannot announce: {error}", self.config.id);
                self.last_error = Some((now, format!("cannot announce: {error}")));
                shared.out.notice(now, &mut self.budget, true, text);
            }
        }
        self.hold_back(now, announced, shared);
    }

    /// After a burst of announcements the next one has to wait.
    fn hold_back(&mut self, now: Moment, announced: bool, shared: &mut Shared) {
        let interval = self.config.min_advertisement_interval;
        let Some(link) = self.links.iter_mut().find(|l| l.session.state() == State::Established) else { return };
        if announced && !interval.is_zero() && !link.rib_out.has_pending() && now >= link.quiet_until {
            link.quiet_until = now + shared.chance.jitter(interval);
        }
        if link.rib_out.has_held() && self.timers.at(Timer::Advertise).is_none() {
            self.timers.set(Timer::Advertise, link.quiet_until);
        }
    }

    /// Is something to be sent that could be sent now?
    pub(super) fn can_write(&self) -> bool {
        let mut links = self.links.iter().filter(|link| link.session.state() == State::Established);
        links.any(|link| link.rib_out.has_pending() && link.has_room())
    }
}

fn collect(
    packed: Result<Vec<bytes::Bytes>, EncodeError>,
    updates: &mut Vec<bytes::Bytes>,
    failed: &mut Option<EncodeError>,
) {
    match packed {
        Ok(more) => updates.extend(more),
        Err(error) => *failed = Some(error),
    }
}

/// Own prefixes and the Loc-RIB, as one peer is told of them.
struct Told<'a> {
    target: &'a Target,
    view: &'a View,
    rib: &'a LocRib,
    shelf: &'a mut Shelf,
}

impl Told<'_> {
    /// Is the peer to hear of learnt paths, now?
    fn takes_transit(&self) -> bool {
        self.target.takes_transit(self.view) && !self.view.learnt_waits
    }

    fn export(&mut self, prefix: &Prefix, path: Offered<'_>) -> Result<Arc<Export>, Withheld> {
        export(prefix, path, self.target, self.view).map(|export| self.shelf.share(export))
    }
}

impl Tables for Told<'_> {
    fn own_after(&self, after: Option<Prefix>, at_most: usize) -> Vec<Prefix> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let behind = self.view.own.announced().range((from, std::ops::Bound::Unbounded));
        behind.take(at_most).map(|(prefix, _)| *prefix).collect()
    }

    fn learnt_after(&self, after: Option<Prefix>, at_most: usize) -> Vec<Prefix> {
        match self.takes_transit() {
            true => self.rib.prefixes_after(after, at_most),
            false => Vec::new(),
        }
    }

    fn are_complete(&self) -> bool {
        !(self.view.end_of_rib_waits && self.target.takes_transit(self.view))
    }

    fn wanted(&mut self, prefix: &Prefix, paths: &mut Vec<(u32, Arc<Export>)>) {
        let view = self.view;
        let add_path = self.target.add_path[prefix.family() as usize];
        let most = add_path.unwrap_or(1);
        let id = |local: u32| if add_path.is_some() { local } else { 0 };
        if let Some(attributes) = view.own.of(prefix) {
            // Whatever else there is for it, this node is where it is.
            let own = self.export(prefix, Offered::Own { attributes });
            paths.extend(own.map(|export| (id(Candidate::OWN_ID), export)));
            return;
        }
        if !self.takes_transit() {
            return;
        }
        let rib = self.rib;
        for candidate in rib.usable(prefix) {
            let origins = rib.origins(candidate.peer);
            let teller = Teller {
                peer: candidate.peer,
                router_id: origins.router_id,
                external: origins.external,
                client: origins.client,
            };
            let exported = self.export(prefix, Offered::Learnt { route: &candidate.route, teller });
            paths.extend(exported.map(|export| (id(candidate.local_id), export)));
            // Without path identifiers it is the best path or none: another one is not what we forward by.
            if add_path.is_none() || paths.len() >= most {
                return;
            }
        }
    }
}
