//! From bytes to Adj-RIB-In and on to Loc-RIB.

use std::sync::Arc;

use model::{Family, Moment, Prefix};
use wire::{DecodeError, Message, Notification, Update};

use super::Peer;
use crate::adj_rib_in::PathKey;
use crate::counters::{MessageKind, Way};
use crate::output::ConnId;
use crate::policy::Refusal;
use crate::role;
use crate::route::Route;
use crate::session::{Input, State};
use crate::speaker::Shared;
use crate::timers::Timer;

impl Peer {
    /// Bytes have arrived; [`Peer::work`] looks at them.
    pub(crate) fn handle_bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some(link) = self.link_mut(conn) {
            link.inbox.push(bytes);
        }
    }

    /// TCP is gone. What had arrived before counts: a NOTIFICATION may be the last thing in it.
    pub(crate) fn handle_closed(&mut self, conn: ConnId, error: Option<String>) {
        if let Some(link) = self.link_mut(conn) {
            link.closed = Some(error);
        }
    }

    /// Octets of a connection that wait to be looked at.
    pub(crate) fn backlog(&self, conn: ConnId) -> usize {
        self.links.iter().find(|link| link.session.conn == conn).map_or(0, |link| link.inbox.len())
    }

    /// Decodes and takes in messages while there is `budget`, which shrinks by one a message and one a prefix.
    pub(super) fn read(&mut self, now: Moment, conn: ConnId, budget: &mut usize, shared: &mut Shared) {
        while *budget > 0 {
            let Some(link) = self.links.iter_mut().find(|link| link.session.conn == conn) else { return };
            let (decoded, length) = match link.inbox.message(link.codec.max_message) {
                Ok(None) => {
                    if let Some(error) = link.closed.take() {
                        self.drive(now, conn, Input::TcpConnectionFails(error), shared);
                    }
                    return;
                }
                Ok(Some(message)) => {
                    let is_notification = message.get(18) == Some(&3);
                    let decoded = link.decoder.decode(message, &link.codec);
                    let decoded = match decoded {
                        // One that does not parse must not be answered with another.
                        Err(_) if is_notification => {
                            Ok(Message::Notification(Notification::new(0, 0, bytes::Bytes::new())))
                        }
                        other => other,
                    };
                    (decoded, message.len())
                }
                Err(error) => (Err(error), 0),
            };
            link.inbox.advance(length);
            *budget -= 1;
            match decoded {
                Ok(message) => {
                    self.counters.message(Way::In, MessageKind::of(&message));
                    self.handle_message(now, conn, message, budget, shared);
                }
                Err(error) => self.drive(now, conn, Input::MessageErr(error), shared),
            }
        }
    }

    fn handle_message(&mut self, now: Moment, conn: ConnId, message: Message, budget: &mut usize, shared: &mut Shared) {
        match message {
            Message::Open(open) => self.handle_open(now, conn, &open, shared),
            Message::Keepalive => self.drive(now, conn, Input::KeepAliveMsg, shared),
            Message::Notification(told) => {
                self.counters.notification(Way::In, told.code, told.subcode);
                self.drive(now, conn, Input::NotifMsg(told), shared);
            }
            Message::Update(update) => {
                *budget = budget.saturating_sub(update.withdrawn.len() + update.announced.len());
                self.drive(now, conn, Input::UpdateMsg, shared);
                self.handle_update(now, conn, update, shared);
            }
            Message::RouteRefresh(refresh) => {
                self.drive(now, conn, Input::RouteRefreshMsg, shared);
                self.handle_refresh(now, conn, refresh, shared);
            }
        }
    }

    fn handle_update(&mut self, now: Moment, conn: ConnId, update: Update, shared: &mut Shared) {
        let Some(link) = self.links.iter_mut().find(|link| link.session.conn == conn) else { return };
        if link.session.state() != State::Established {
            return;
        }
        for error in &update.errors {
            self.counters.update_error(error);
        }
        if let Some(error) = update.errors.iter().max_by_key(|error| error.treatment) {
            let withdrawn = update.withdrawn.first().map(|w| w.prefix);
            let sample = withdrawn.or(update.announced.first().map(|a| a.prefix));
            let about = sample.map(|prefix| format!(" (with {prefix})")).unwrap_or_default();
            let text = format!("peer {}: UPDATE in error{about}: {error}", self.config.id);
            self.last_error = Some((now, format!("UPDATE in error: {error}")));
            shared.out.notice(now, &mut self.budget, true, text);
        }
        for wire::Withdrawn { prefix, path_id } in &update.withdrawn {
            if self.rib_in.withdraw(&(*prefix, *path_id)) {
                shared.rib.withdraw(*prefix, (self.index, *path_id));
            }
        }
        if let Some(attributes) = &update.attributes {
            let refusal = shared.view.refuse_attributes(attributes);
            let role = self.config.role.filter(|_| self.external);
            let leak = role::leak(role, self.asn, attributes.only_to_customer);
            let attributes = &self.marker.mark(role, self.asn, attributes);
            let neighbour = (self.config.id.address, self.asn);
            let mut last: Option<(Arc<Route>, Option<crate::Ineligible>)> = None;
            for announced in &update.announced {
                let prefix = announced.prefix;
                let path = (prefix, announced.path_id);
                let view = &shared.view;
                let route = link.last_route.share(attributes, announced.next_hop, announced.link_local);
                let used = refusal.map_or_else(|| self.import.ask(view, &prefix, &route, neighbour), Err);
                match used {
                    Err(refusal) => {
                        if self.rib_in.refuse(path, refusal) {
                            shared.rib.withdraw(prefix, (self.index, path.1));
                        }
                    }
                    Ok(used) => {
                        // Last, so that no policy prefers what is about to go (RFC 8326).
                        let used = if shared.settings.honour_shutdown { self.leaving.lower(used) } else { used };
                        let same = last.take().filter(|(route, _)| Arc::ptr_eq(route, &used));
                        let ineligible = same.map_or_else(
                            || {
                                leak.or(view.ineligible(
                                    &used,
                                    self.external && !self.config.is_far(),
                                    self.config.id.address,
                                    self.local,
                                ))
                            },
                            |(_, ineligible)| ineligible,
                        );
                        self.rib_in.accept(path, route);
                        shared.rib.offer(prefix, (self.index, path.1), used.clone(), ineligible);
                        last = Some((used, ineligible));
                    }
                }
                if self.rib_in.received() > self.config.max_prefixes as usize {
                    return self.exceed(now, conn, prefix, shared);
                }
            }
            if let Some(last) = update.announced.last() {
                self.watch_bound(now, last.prefix, shared);
            }
        }
        if let Some(family) = update.end_of_rib {
            self.end(family);
        }
        self.await_silence(now);
    }

    /// Without a promise of End-of-RIB nothing but silence says that the peer has told everything.
    pub(super) fn await_silence(&mut self, now: Moment) {
        if !self.end_of_rib_promised && self.timers.at(Timer::EndOfRib).is_some() {
            self.timers.set(Timer::EndOfRib, self.end_of_rib_limit.min(now + Self::TOLD_BY_SILENCE));
        }
    }

    /// More prefixes than the bound.
    fn exceed(&mut self, now: Moment, conn: ConnId, prefix: Prefix, shared: &mut Shared) {
        let most = self.config.max_prefixes;
        let refused = self.rib_in.counts(Family::V4).1 + self.rib_in.counts(Family::V6).1;
        let hint = match self.rib_in.all_refused().next() {
            Some(((sample, _), refusal)) => {
                format!("; {refused} of them {}, for example {sample}", shared.rules.words(*refusal))
            }
            None => String::new(),
        };
        let error = DecodeError {
            notification: Notification::max_prefixes(prefix.family(), most),
            what: format!("announced more than {most} prefixes: filter there, or raise maxPrefixes{hint}"),
        };
        self.drive(now, conn, Input::MessageErr(error), shared);
    }

    /// The bound may be another one now.
    pub(crate) fn check_bound(&mut self, now: Moment, shared: &mut Shared) {
        if self.live && self.rib_in.received() > self.config.max_prefixes as usize {
            let conn = self.furthest().map(|link| link.session.conn);
            let sample = self.rib_in.accepted_after(None).map(|((prefix, _), _)| prefix);
            let sample = sample.chain(self.rib_in.all_refused().map(|((prefix, _), _)| *prefix)).next();
            if let (Some(conn), Some(sample)) = (conn, sample) {
                self.exceed(now, conn, sample, shared);
            }
        }
    }

    /// A prefix has become our own: what was refused of it for another reason is so for this one now.
    pub(crate) fn name_refusals(&mut self, shared: &Shared) {
        let (import, view) = (&self.import, &shared.view);
        self.rib_in.name_refusals(|prefix| import.refuses(view, prefix));
    }

    /// We originate this prefix ourselves now.
    pub(crate) fn refuse_own(&mut self, prefix: Prefix, shared: &mut Shared) {
        let paths: Vec<_> = self.rib_in.accepted(&prefix).map(|(path, accepted)| (path, accepted.generation)).collect();
        for (path, generation) in paths {
            self.refuse_accepted(path, generation, Refusal::OwnPodCidr);
            shared.rib.withdraw(prefix, (self.index, path.1));
        }
    }

    /// A path that was accepted is no more. What the peer has not said in this session, or since its refresh began, it may
    /// never say again: that is forgotten, not kept as refused.
    pub(super) fn refuse_accepted(&mut self, path: PathKey, generation: u32, refusal: Refusal) {
        if !self.is_live() || generation < self.rib_in.generation_of(path.0.family()) {
            self.rib_in.remove_accepted(&path);
        } else {
            self.rib_in.refuse(path, refusal);
        }
    }

    /// End-of-RIB: what the peer has not said again of the family is gone (RFC 4724 section 4.2).
    fn end(&mut self, family: Family) {
        self.end_of_rib.insert(family);
        self.told_all_of(family);
        if self.has_told_all() {
            self.timers.stop(Timer::EndOfRib);
        }
    }

    /// Does a restarted speaker wait for what the peer has to tell (RFC 4724 section 4.1)? Not for one that has restarted
    /// itself, and waits for us.
    pub(crate) fn is_awaited(&self) -> bool {
        let agreed = self.furthest().filter(|_| self.live).and_then(|link| link.session.agreed());
        let pledge = agreed.and_then(|agreed| agreed.pledge.as_ref());
        let told = self.live && (self.has_told_all() || pledge.is_some_and(|pledge| pledge.restarting));
        !self.gone && !self.down && !told
    }

    /// Has End-of-RIB come for every negotiated family, or is it waited for no longer?
    pub(crate) fn has_told_all(&self) -> bool {
        let link = self.furthest().filter(|_| self.live);
        self.end_of_rib_waived || link.is_none_or(|link| link.codec.families.is_subset(&self.end_of_rib))
    }
}
