//! From own prefixes to UPDATEs. A node is no transit: nothing else is announced.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Family, Moment, Prefix};
use wire::{AsPath, Attributes, EncodeError, Origin};

use super::{Link, Peer};
use crate::adj_rib_out::{AdjRibOut, Export};
use crate::decide::LOCAL_PREF;
use crate::output::ConnId;
use crate::session::State;
use crate::speaker::Shared;

impl Peer {
    /// A session has begun: everything is to be told, then End-of-RIB.
    pub(super) fn open_rib_out(&mut self, now: Moment, conn: ConnId, shared: &mut Shared) {
        if let Some(link) = self.link_mut(conn) {
            link.rib_out = AdjRibOut::open(&link.codec.families, &shared.view.originated);
            link.established_at = now;
        }
        self.renew_exports(now, shared);
    }

    /// What own prefixes are announced with: also after a change of addresses.
    pub(crate) fn renew_exports(&mut self, now: Moment, shared: &mut Shared) {
        let Some(link) = self.links.iter_mut().find(|l| l.session.state() == State::Established) else { return };
        let mut exports = BTreeMap::new();
        for family in link.codec.families.iter().copied() {
            let local = link.session.local.map(|local| local.ip().to_canonical());
            let hop = local.and_then(|local| shared.view.addresses.next_hop_self(local, family));
            match hop {
                Some((next_hop, link_local)) => {
                    let attributes = own_attributes(link.codec.ibgp, shared);
                    exports.insert(family, Arc::new(Export { attributes, next_hop, link_local }));
                }
                None if shared.view.originated.iter().any(|own| own.family() == family) => {
                    let at = local.map(|local| format!(" ({local})")).unwrap_or_default();
                    let text = format!(
                        "peer {}: no {family} prefix is announced to it: the device that holds our end of the session{at} \
                         has no {family} address; give it one",
                        self.config.id
                    );
                    shared.out.notice(now, &mut self.budget, true, text);
                }
                None => {}
            }
        }
        if exports != link.exports {
            link.exports = exports;
            for prefix in &shared.view.originated {
                link.rib_out.touch(*prefix);
            }
        }
    }

    /// A prefix is originated, or no longer.
    pub(crate) fn touch(&mut self, prefix: Prefix) {
        for link in self.links.iter_mut().filter(|link| link.session.state() == State::Established) {
            if link.codec.families.contains(&prefix.family()) {
                link.rib_out.touch(prefix);
            }
        }
    }

    /// Tells everything again.
    pub(crate) fn tell_again(&mut self, shared: &Shared) {
        for link in self.links.iter_mut().filter(|link| link.session.state() == State::Established) {
            for family in Family::BOTH.into_iter().filter(|family| link.codec.families.contains(family)) {
                link.rib_out.refresh(family, &shared.view.originated);
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
        while *budget > 0 && link.rib_out.has_pending() && link.has_room() {
            let slice = (*budget).min(1000);
            let before = link.rib_out.pending();
            let Link { rib_out, exports, .. } = &mut *link;
            let originated = &shared.view.originated;
            let batch = rib_out.next_batch(slice, |prefix| {
                let export = exports.get(&prefix.family()).filter(|_| originated.contains(prefix));
                export.cloned()
            });
            *budget = budget.saturating_sub(before - link.rib_out.pending() + 1);
            let codec = &link.codec;
            let mut updates = Vec::new();
            let mut failed = None;
            // Withdrawals go first, and never wait.
            for prefixes in batch.withdraw.values() {
                collect(wire::encode_withdraw(&without_ids(prefixes), codec), &mut updates, &mut failed);
            }
            for ((_, export), prefixes) in &batch.announce {
                let hop = (export.next_hop, export.link_local);
                let packed = wire::encode_announce(&without_ids(prefixes), hop.0, hop.1, &export.attributes, codec);
                collect(packed, &mut updates, &mut failed);
            }
            for family in batch.end_of_rib {
                collect(wire::encode_end_of_rib(family, codec).map(|m| vec![m]), &mut updates, &mut failed);
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

/// Attributes of a prefix of our own (RFC 4271 section 5.1): to another AS with ours on the path and no LOCAL_PREF.
fn own_attributes(ibgp: bool, shared: &Shared) -> Arc<Attributes> {
    Arc::new(Attributes {
        origin: Origin::Igp,
        as_path: if ibgp { AsPath::default() } else { AsPath::sequence([shared.view.local_asn]) },
        local_pref: ibgp.then_some(LOCAL_PREF),
        ..Attributes::default()
    })
}

/// No many paths yet: all have path identifier 0, which is not sent.
fn without_ids(prefixes: &[Prefix]) -> Vec<(Prefix, u32)> {
    prefixes.iter().map(|prefix| (*prefix, 0)).collect()
}
