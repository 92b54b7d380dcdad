//! Reads everything back: strict, filtered dumps, one table after the other.

use std::collections::BTreeMap;

use model::kernel::{Device, Foreign, Key, Value, Via};
use model::{Family, Owner};

use crate::decode::{self, Neigh, Nexthop, Route};
use crate::encode::dump as ask;
use crate::links::Links;
use crate::message::{Batch, Message, family_number};
use crate::nft::{self, Table, VtepTable};
use crate::socket::{Socket, Step};
use crate::view::{Judged, OUTSIDE, View, on_our_key};
use crate::{Error, Interest, ReadBack, sysctl};

/// Everything of ours, what is in our way, every link. Order of reading: what is named before what names it.
pub(crate) fn read_back(socket: &mut Socket, view: &mut View, interest: &Interest) -> Result<ReadBack, Error> {
    let links = links(socket)?;
    view.interest = interest.clone();
    // `127.0.0.1` and link-local addresses carry a number of the kernel's own where numbers are kept at all.
    view.marks_addresses = links.addresses().next().is_none() || links.addresses().any(|a| a.protocol.is_some());
    view.links = links;
    read_nexthops(socket, view)?;

    let mut found = Found::default();
    for link in view.links.iter() {
        found.take(view.judge_link(link));
    }
    for address in view.links.addresses() {
        found.take(view.judge_address(address));
    }
    if let Some(index) = view.overlay_index() {
        let families = [libc::AF_BRIDGE as u8, family_number(Family::V4), family_number(Family::V6)];
        for family in families {
            for neigh in neighbours(socket, family, index)? {
                found.take(view.judge_neigh(&neigh));
            }
        }
    }
    found.ours.extend(view.nexthops.contents().map(|content| (content.key(), Value::There)));

    let mut others = Others::default();
    for family in Family::BOTH {
        routes_of(socket, view, family, &mut found.ours, &mut others)?;
    }
    view.own.clear();
    view.sources.clear();
    for (key, value) in &found.ours {
        if let Key::Route(prefix) = key {
            view.note_route(*prefix, value);
        }
    }
    for route in &others.in_the_way {
        found.take(view.judge_route(route));
    }
    for path in &interest.sysctls {
        if let Ok(Some(text)) = sysctl::read(path) {
            found.ours.push((Key::Sysctl(path.clone()), Value::Sysctl(text)));
        }
    }
    let table = nft::read_table().map_err(|refusal| Error::Other(format!("nftables: {refusal}")))?;
    found.take(judge_masquerade(table));
    let table = nft::read_vteps().map_err(|refusal| Error::Other(format!("nftables: {refusal}")))?;
    judge_vteps(table, view).into_iter().for_each(|judged| found.take(judged));

    let mut found = found.settle();
    let ours: Vec<(Key, Value)> = std::mem::take(&mut found.ours);
    let is_ours = |key: &Key| ours.binary_search_by(|(other, _)| other.cmp(key)).is_ok();
    view.outside.clear();
    others.outside.iter().for_each(|route| view.note_outside(route, false));
    found.foreign.extend(view.outside.values().filter(|foreign| is_ours(&foreign.key)).cloned());
    found.foreign.sort();
    found.foreign.dedup();
    view.foreign = found.foreign.iter().map(|foreign| (foreign.key.clone(), foreign.what.clone())).collect();
    Ok(ReadBack { ours, foreign: found.foreign, links: view.links.infos() })
}

/// The nftables table under our name.
pub(crate) fn judge_masquerade(table: Table) -> Judged {
    match table {
        Table::Absent => Judged::Nothing,
        Table::Ours(value) => Judged::Ours(Key::Masquerade, value),
        Table::Foreign(what) => Judged::Foreign(Foreign { key: Key::Masquerade, what }),
    }
}

/// The nftables table of VTEPs; which of them there are is noted.
pub(crate) fn judge_vteps(table: VtepTable, view: &mut View) -> Vec<Judged> {
    let mut judged = Vec::new();
    view.vteps.known.clear();
    match table {
        VtepTable::Absent => {}
        VtepTable::Ours { table, vteps, filter } => {
            judged.push(Judged::Ours(Key::VtepTable, table));
            judged.extend(vteps.iter().map(|vtep| Judged::Ours(Key::Vtep(*vtep), Value::There)));
            judged.extend(filter.map(|filter| Judged::Ours(Key::VtepFilter, filter)));
            view.vteps.known = vteps;
        }
        VtepTable::Foreign(what) => judged.push(Judged::Foreign(Foreign { key: Key::VtepTable, what })),
    }
    judged
}

#[derive(Default)]
struct Found {
    ours: Vec<(Key, Value)>,
    foreign: Vec<Foreign>,
}

impl Found {
    fn take(&mut self, judged: Judged) {
        match judged {
            Judged::Ours(key, value) => self.ours.push((key, value)),
            Judged::Foreign(foreign) => self.foreign.push(foreign),
            Judged::Nothing => {}
        }
    }

    /// One entry a key. Two routes of ours on one key, which IPv4 allows, are told as a route of another shape.
    fn settle(mut self) -> Found {
        self.ours.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.ours.dedup_by(|(key, value), (kept, kept_value)| {
            let twin = key == kept;
            if let (true, Value::Route { .. }, Value::Route { via, .. }) = (twin, &*value, kept_value) {
                *via = Via::Other("two routes".into());
            }
            twin
        });
        self.foreign.sort();
        self.foreign.dedup();
        self
    }
}

/// Every link and every address.
pub(crate) fn links(socket: &mut Socket) -> Result<Links, Error> {
    let mut links = Links::default();
    for link in collect(socket, "links", ask::links, decode::link)? {
        links.insert(link);
    }
    for family in Family::BOTH {
        for address in collect(socket, "addresses", ask::addresses(family), |message| {
            decode::interface_address(message).filter(|address| Family::of(&address.ip) == family)
        })? {
            links.insert_address(address);
        }
    }
    Ok(links)
}

/// Every nexthop object, into the view.
pub(crate) fn read_nexthops(socket: &mut Socket, view: &mut View) -> Result<(), Error> {
    let found: Vec<Nexthop> = collect(socket, "nexthop objects", ask::nexthops, decode::nexthop)?;
    // Links that came since the last look, by name only: what they are is learned by their notice.
    let mut late: BTreeMap<u32, Device> = BTreeMap::new();
    if found.iter().any(|nexthop| nexthop.oif.is_some_and(|index| view.links.by_index(index).is_none())) {
        let now = links(socket)?;
        late.extend(now.iter().map(|link| (link.index, link.device.clone())));
    }
    let last = std::mem::take(&mut view.nexthops);
    view.nexthops = view.nexthops_from(&found, &late);
    view.nexthops.go_on_from(&last);
    view.nexthops_known = true;
    Ok(())
}

fn neighbours(socket: &mut Socket, family: u8, index: u32) -> Result<Vec<Neigh>, Error> {
    let what = if family == libc::AF_BRIDGE as u8 { "FDB entries" } else { "neighbours" };
    collect(socket, what, ask::neighbours(family, index), |message| {
        decode::neigh(message).filter(|neigh| neigh.index == index && message.payload.first() == Some(&family))
    })
}

/// Routes of others.
#[derive(Default)]
struct Others {
    /// Inside the pools, or on a key that may be ours.
    in_the_way: Vec<Route>,
    /// Elsewhere, at most [`OUTSIDE`].
    outside: Vec<Route>,
}

/// Routes of ours, and those of others that may be in our way; the rest is not kept, it may be a full table. Of ours
/// there may be a million as well: they are judged as they come, and neighbours that lead to the same place share it.
fn routes_of(
    socket: &mut Socket,
    view: &View,
    family: Family,
    ours: &mut Vec<(Key, Value)>,
    others: &mut Others,
) -> Result<(), Error> {
    let before = (ours.len(), others.in_the_way.len(), others.outside.len());
    socket.dump("routes", ask::routes(family), |step| match step {
        Step::Restart => {
            ours.truncate(before.0);
            others.in_the_way.truncate(before.1);
            others.outside.truncate(before.2);
        }
        Step::Item(message) => {
            let Some(route) = decode::route(message, Owner::TABLE) else { return };
            if route.prefix.family() != family {
                // A kernel without IPv6 answers with the routes of IPv4.
            } else if View::is_our_route(&route) {
                if let Judged::Ours(key, value) = view.judge_route(&route) {
                    let same = ours.last().map(|(_, last)| last).filter(|last| **last == value).cloned();
                    ours.push((key, same.unwrap_or(value)));
                }
            } else if on_our_key(&route) || view.interest.pools.iter().any(|pool| pool.covers(&route.prefix)) {
                others.in_the_way.push(route);
            } else if View::is_made_by_somebody(&route) && others.outside.len() < OUTSIDE {
                others.outside.push(route);
            }
        }
    })
}

fn collect<T>(
    socket: &mut Socket,
    what: &'static str,
    request: impl Fn(&mut Batch, u16, u32),
    decode: impl Fn(&Message<'_>) -> Option<T>,
) -> Result<Vec<T>, Error> {
    let mut found = Vec::new();
    socket.dump(what, request, |step| match step {
        Step::Restart => found.clear(),
        Step::Item(message) => found.extend(decode(message)),
    })?;
    Ok(found)
}
