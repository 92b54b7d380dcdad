//! Writes, in the order given, in batches.
//!
//! A batch is cut where a write names a nexthop object whose making is not answered yet: had the kernel refused the
//! number because somebody else holds it, the route behind it would lead where that one's object leads.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::kernel::{Device, Hop, Key, Refusal, Value, Via, Write};
use model::{MacAddr, Prefix};

use crate::encode::{self, Mode, RouteTo};
use crate::kernel::{ask_link, ask_neighbour, refusal_of_dump};
use crate::message::Batch;
use crate::nexthops::{Content, Object};
use crate::socket::Socket;
use crate::uapi::*;
use crate::view::View;
use crate::{dump, link, nft, sysctl};

/// Largest batch, octets.
const BATCH_BYTES: usize = 64 << 10;
/// How often a number that somebody else turns out to hold is exchanged for another.
const ID_TRIES: u32 = 64;

pub(crate) type Verdict = Result<(), Refusal>;

/// One run over a list of writes.
pub(crate) struct Apply<'a> {
    socket: &'a mut Socket,
    view: &'a mut View,
    writes: &'a [Write],
    verdicts: Vec<Verdict>,
    batch: Batch,
    /// What each message of the batch is.
    flight: Vec<Flight>,
    /// Nexthop objects made in the batch.
    unanswered: HashSet<Content>,
    /// Interfaces looked up in this run.
    indexes: BTreeMap<Device, u32>,
    /// Elements to put into the sets of VTEPs, or to take out of them, with the place of their write.
    vteps: Vec<(usize, IpAddr)>,
    /// Into the sets?
    adding: bool,
}

/// A message that is not answered yet.
#[derive(Clone, Copy)]
struct Flight {
    /// Its write.
    place: usize,
    /// Number of the nexthop object that it makes, takes away or names.
    id: u32,
}

impl<'a> Apply<'a> {
    pub(crate) fn new(socket: &'a mut Socket, view: &'a mut View, writes: &'a [Write]) -> Apply<'a> {
        Apply {
            socket,
            view,
            writes,
            verdicts: vec![Ok(()); writes.len()],
            batch: Batch::default(),
            flight: Vec::new(),
            unanswered: HashSet::new(),
            indexes: BTreeMap::new(),
            vteps: Vec::new(),
            adding: false,
        }
    }

    pub(crate) fn run(mut self) -> Vec<Verdict> {
        let writes = self.writes;
        for (place, write) in writes.iter().enumerate() {
            if let Err(refusal) = self.write(place, write) {
                self.refuse(place, refusal);
            }
            if self.batch.count() >= self.socket.in_flight() || self.batch.bytes().len() >= BATCH_BYTES {
                self.flush();
            }
        }
        self.flush();
        self.flush_vteps();
        self.verdicts
    }

    /// Puts a write into the batch, or does it at once if it is of a kind that no rtnetlink message alone does.
    fn write(&mut self, place: usize, write: &Write) -> Verdict {
        let (mode, value) = match write {
            Write::Create(_, value) => (Mode::Create, Some(value)),
            Write::Replace(_, value) => (Mode::Replace, Some(value)),
            Write::Delete(_) => (Mode::Delete, None),
        };
        let adding = value.is_some();
        if !(self.vteps.is_empty() || matches!(write.key(), Key::Vtep(_)) && adding == self.adding) {
            self.flush_vteps();
        }
        match (write.key(), value) {
            (Key::Vtep(vtep), Some(Value::There) | None) => self.at_once(|apply| {
                apply.adding = adding;
                apply.vteps.push((place, *vtep));
                Ok(())
            }),
            (Key::VtepTable, Some(Value::There)) => self.at_once(|_| match mode {
                Mode::Create => nft::create_vtep_table(),
                _ => nft::replace_vtep_table(),
            }),
            (Key::VtepTable, None) => self.at_once(|_| nft::delete_vtep_table()),
            (Key::VtepFilter, Some(Value::VtepFilter(wanted))) => self.at_once(|_| match mode {
                Mode::Create => nft::create_vtep_filter(wanted),
                _ => nft::replace_vtep_filter(wanted),
            }),
            (Key::VtepFilter, None) => self.at_once(|_| nft::delete_vtep_filter()),
            (Key::Sysctl(path), Some(Value::Sysctl(text))) => self.at_once(|_| sysctl::write(path, text)),
            (Key::Sysctl(path), None) => Err(invalid(format!("sysctl {path} cannot be taken away"))),
            (Key::Masquerade, Some(Value::Masquerade(wanted))) => self.at_once(|_| match mode {
                Mode::Create => nft::create_masquerade(wanted),
                _ => nft::replace_masquerade(wanted),
            }),
            (Key::Masquerade, None) => self.at_once(|_| nft::delete_masquerade()),
            (Key::Link(device), Some(Value::Link(wanted))) => {
                self.indexes.clear();
                self.at_once(|apply| link::write(apply.socket, apply.view, mode, device, wanted))
            }
            (Key::Link(device), None) => {
                self.indexes.clear();
                self.at_once(|apply| link::delete(apply.socket, apply.view, device))
            }
            (Key::Address(device, prefix), Some(Value::There) | None) => {
                self.on_device(place, mode, device, |batch, sequence, index| {
                    encode::interface_address(batch, sequence, mode, index, prefix);
                })
            }
            (Key::Fdb(device, mac), Some(Value::Fdb(to))) => self.fdb(place, mode, device, mac, Some(to)),
            (Key::Fdb(device, mac), None) => self.fdb(place, mode, device, mac, None),
            (Key::Neighbour(device, ip), Some(Value::Neighbour(mac))) => {
                self.neighbour(place, mode, device, ip, Some(mac))
            }
            (Key::Neighbour(device, ip), None) => self.neighbour(place, mode, device, ip, None),
            (Key::Nexthop(hop), Some(Value::There)) => self.make_object(place, mode, Content::Hop(hop.clone())),
            (Key::NexthopGroup(hops), Some(Value::There)) => {
                self.make_object(place, mode, Content::Group(Arc::clone(hops)))
            }
            (Key::Nexthop(hop), None) => self.take_object(place, Content::Hop(hop.clone())),
            (Key::NexthopGroup(hops), None) => self.take_object(place, Content::Group(Arc::clone(hops))),
            (Key::Route(prefix), Some(Value::Route { via, src })) => self.route(place, mode, prefix, via, src.as_ref()),
            (Key::Route(prefix), None) => {
                let sequence = self.message(place, 0);
                encode::route(&mut self.batch, sequence, mode, prefix, None, None);
                Ok(())
            }
            (key, Some(value)) => Err(invalid(format!("{key} cannot be {value:?}"))),
        }
    }

    /// Everything before is answered first.
    fn at_once(&mut self, write: impl FnOnce(&mut Apply<'a>) -> Verdict) -> Verdict {
        self.flush();
        write(self)
    }

    fn fdb(&mut self, place: usize, mode: Mode, device: &Device, mac: &MacAddr, to: Option<&IpAddr>) -> Verdict {
        self.on_device(place, mode, device, |batch, sequence, index| {
            encode::fdb(batch, sequence, mode, index, mac, to);
        })
    }

    fn neighbour(&mut self, place: usize, mode: Mode, device: &Device, ip: &IpAddr, mac: Option<&MacAddr>) -> Verdict {
        self.on_device(place, mode, device, |batch, sequence, index| {
            encode::neighbour(batch, sequence, mode, index, ip, mac);
        })
    }

    /// One message about an object on a device; a device that is not there has none of the objects to take away.
    fn on_device(
        &mut self,
        place: usize,
        mode: Mode,
        device: &Device,
        encode: impl FnOnce(&mut Batch, u32, u32),
    ) -> Verdict {
        match self.index(device)? {
            Some(index) => {
                let sequence = self.message(place, 0);
                encode(&mut self.batch, sequence, index);
                Ok(())
            }
            None if mode == Mode::Delete => Ok(()),
            None => Err(no_device(device)),
        }
    }

    fn make_object(&mut self, place: usize, mode: Mode, content: Content) -> Verdict {
        self.trust_nexthops()?;
        self.settle_if_unanswered(std::slice::from_ref(&content));
        let id = match (mode, self.view.nexthops.ids(&content).first()) {
            (Mode::Create, None) => self.view.nexthops.next_id(),
            (Mode::Create, Some(id)) => {
                let message = format!("{} is there already, as number {id}", content.key());
                return Err(Refusal { errno: libc::EEXIST, message });
            }
            (_, Some(id)) => *id,
            (_, None) => return Err(not_there(&content.key())),
        };
        self.encode_object(place, mode, id, &content)?;
        if mode == Mode::Create {
            self.unanswered.insert(content);
        }
        Ok(())
    }

    fn encode_object(&mut self, place: usize, mode: Mode, id: u32, content: &Content) -> Verdict {
        match content {
            Content::Hop(hop) => {
                let index = self.index(&hop.device)?.ok_or_else(|| no_device(&hop.device))?;
                let sequence = self.message(place, id);
                encode::nexthop(&mut self.batch, sequence, mode, id, hop.gateway.as_ref(), index);
            }
            Content::Group(hops) => {
                let members: Vec<Content> = hops.iter().map(|hop| Content::Hop(hop.clone())).collect();
                self.settle_if_unanswered(&members);
                let mut ids = Vec::with_capacity(members.len());
                for member in &members {
                    ids.push(*self.view.nexthops.ids(member).first().ok_or_else(|| not_there(&member.key()))?);
                }
                let sequence = self.message(place, id);
                encode::nexthop_group(&mut self.batch, sequence, mode, id, &ids);
            }
        }
        Ok(())
    }

    /// Twins that somebody made go together.
    fn take_object(&mut self, place: usize, content: Content) -> Verdict {
        self.trust_nexthops()?;
        self.settle_if_unanswered(std::slice::from_ref(&content));
        for id in self.view.nexthops.ids(&content).to_vec() {
            let sequence = self.message(place, id);
            encode::nexthop_by_id(&mut self.batch, sequence, RTM_DELNEXTHOP, id);
        }
        Ok(())
    }

    fn route(&mut self, place: usize, mode: Mode, prefix: &Prefix, via: &Via, src: Option<&IpAddr>) -> Verdict {
        let to = match via {
            Via::Unreachable => None,
            Via::Hops(hops) => Some(self.route_to(prefix, hops)?),
            Via::Other(words) => return Err(invalid(format!("route {prefix} cannot be `{words}`"))),
        };
        let sequence = self.message(place, to.map_or(0, |to| to.nexthop));
        encode::route(&mut self.batch, sequence, mode, prefix, to, src);
        Ok(())
    }

    fn route_to(&mut self, prefix: &Prefix, hops: &Arc<[Hop]>) -> Result<RouteTo, Refusal> {
        self.trust_nexthops()?;
        let content = Content::of(hops);
        self.settle_if_unanswered(std::slice::from_ref(&content));
        let on_link = hops.iter().all(|hop| hop.gateway.is_none());
        match self.view.nexthops.ids(&content).first() {
            Some(id) => Ok(RouteTo { nexthop: *id, on_link }),
            None => Err(Refusal {
                errno: libc::ENOENT,
                message: format!("route {prefix} needs {}, which is not in the kernel", content.key()),
            }),
        }
    }

    /// Numbers of nexthop objects are read again where they may be wrong.
    fn trust_nexthops(&mut self) -> Verdict {
        if self.view.nexthops_known {
            return Ok(());
        }
        self.flush();
        dump::read_nexthops(self.socket, self.view).map_err(|error| refusal_of_dump(&error))
    }

    fn settle_if_unanswered(&mut self, contents: &[Content]) {
        if !self.unanswered.is_empty() && contents.iter().any(|content| self.unanswered.contains(content)) {
            self.flush();
        }
    }

    /// Index of a device as it is now; an index of an earlier run may belong to a link that was made anew.
    fn index(&mut self, device: &Device) -> Result<Option<u32>, Refusal> {
        if let Some(index) = self.indexes.get(device) {
            return Ok(Some(*index));
        }
        // Whatever is in the batch does not make or take links, so that looking past it sees the same.
        self.flush();
        let found = ask_link(self.socket, device)?.map(|link| link.index);
        if let Some(index) = found {
            self.indexes.insert(device.clone(), index);
        }
        Ok(found)
    }

    fn message(&mut self, place: usize, id: u32) -> u32 {
        self.flight.push(Flight { place, id });
        self.socket.next_sequence()
    }

    fn refuse(&mut self, place: usize, refusal: Refusal) {
        if let Some(verdict) = self.verdicts.get_mut(place) {
            *verdict = Err(refusal);
        }
    }

    /// Writes the elements that are one behind the other, in one transaction.
    fn flush_vteps(&mut self) {
        let some = std::mem::take(&mut self.vteps);
        let vteps: Vec<IpAddr> = some.iter().map(|(_, vtep)| *vtep).collect();
        for ((place, _), verdict) in some.into_iter().zip(self.view.vteps.write(self.adding, &vteps)) {
            if let Err(refusal) = verdict {
                self.refuse(place, refusal);
            }
        }
    }

    /// Sends the batch and takes in every answer.
    fn flush(&mut self) {
        if self.flight.is_empty() {
            return;
        }
        let flight = std::mem::take(&mut self.flight);
        let mut batch = std::mem::take(&mut self.batch);
        self.unanswered.clear();
        let answers = self.socket.exchange(&mut batch);
        batch.clear();
        self.batch = batch;
        for (flight, verdict) in flight.into_iter().zip(answers) {
            if let Err(refusal) = self.settle(flight, verdict) {
                self.refuse(flight.place, refusal);
            }
        }
    }

    /// What an answer means for its write.
    fn settle(&mut self, flight: Flight, verdict: Verdict) -> Verdict {
        let writes = self.writes;
        let Some(write) = writes.get(flight.place) else { return verdict };
        match (write, verdict) {
            (Write::Delete(key), verdict) => {
                let verdict = match verdict {
                    Err(Refusal { errno: libc::ENOENT | libc::ESRCH | libc::ENODEV | libc::EADDRNOTAVAIL, .. }) => {
                        Ok(())
                    }
                    other => other,
                };
                match key {
                    Key::Nexthop(_) | Key::NexthopGroup(_) if verdict.is_ok() => {
                        self.view.nexthops.remove(flight.id);
                    }
                    Key::Route(prefix) if verdict.is_ok() && !self.view.own.is_empty() => {
                        self.view.own.remove(prefix);
                    }
                    _ => {}
                }
                verdict
            }
            (Write::Create(Key::Nexthop(hop), _), verdict) => {
                self.settle_object(flight.id, Content::Hop(hop.clone()), verdict)
            }
            (Write::Create(Key::NexthopGroup(hops), _), verdict) => {
                self.settle_object(flight.id, Content::Group(Arc::clone(hops)), verdict)
            }
            (Write::Create(Key::Neighbour(device, ip), Value::Neighbour(mac)), Err(refusal))
                if refusal.errno == libc::EEXIST =>
            {
                self.take_over(device, ip, mac, refusal)
            }
            (Write::Create(Key::Route(prefix), value) | Write::Replace(Key::Route(prefix), value), verdict) => {
                self.settle_route(flight.id, prefix, value, verdict)
            }
            (_, verdict) => verdict,
        }
    }

    /// Somebody else holds the number: another one, until one is free.
    fn settle_object(&mut self, mut id: u32, content: Content, mut verdict: Verdict) -> Verdict {
        for _ in 0..ID_TRIES {
            match &verdict {
                Err(refusal) if refusal.errno == libc::EEXIST => {}
                _ => break,
            }
            self.view.nexthops.insert(id, Object { content: None, protocol: 0 });
            id = self.view.nexthops.next_id();
            let mut batch = Batch::default();
            let sequence = self.socket.next_sequence();
            match &content {
                Content::Hop(hop) => {
                    let index = self.indexes.get(&hop.device).copied().unwrap_or_default();
                    encode::nexthop(&mut batch, sequence, Mode::Create, id, hop.gateway.as_ref(), index);
                }
                Content::Group(hops) => {
                    let member = |hop: &Hop| self.view.nexthops.ids(&Content::Hop(hop.clone())).first().copied();
                    let members: Vec<u32> = hops.iter().filter_map(member).collect();
                    encode::nexthop_group(&mut batch, sequence, Mode::Create, id, &members);
                }
            }
            verdict = self.socket.exchange_one(&mut batch);
        }
        if verdict.is_ok() {
            let object = Object { content: Some(content), protocol: model::Owner::MARK };
            self.view.nexthops.insert(id, object);
        }
        verdict
    }

    /// An entry that the kernel made itself, because a packet wanted the address, is nobody's: ours takes its place.
    fn take_over(&mut self, device: &Device, ip: &IpAddr, mac: &MacAddr, refusal: Refusal) -> Verdict {
        let Some(index) = self.indexes.get(device).copied() else { return Err(refusal) };
        let dynamic = match ask_neighbour(self.socket, index, ip) {
            Some(neigh) => neigh.state & (NUD_PERMANENT | NUD_NOARP) == 0,
            // It went meanwhile.
            None => true,
        };
        if !dynamic {
            return Err(refusal);
        }
        let mut verdict = Err(refusal);
        for mode in [Mode::Replace, Mode::Create] {
            let mut batch = Batch::default();
            encode::neighbour(&mut batch, self.socket.next_sequence(), mode, index, ip, Some(mac));
            verdict = self.socket.exchange_one(&mut batch);
            if !matches!(&verdict, Err(refusal) if refusal.errno == libc::ENOENT) {
                break;
            }
        }
        verdict
    }

    /// The kernel says `EINVAL` for a nexthop number that it does not have: our picture of the objects is old.
    fn settle_route(&mut self, id: u32, prefix: &Prefix, value: &Value, verdict: Verdict) -> Verdict {
        match verdict {
            Ok(()) => {
                self.view.note_route(*prefix, value);
                Ok(())
            }
            Err(refusal) if refusal.errno == libc::EINVAL && id != 0 => {
                let mut batch = Batch::default();
                encode::nexthop_by_id(&mut batch, self.socket.next_sequence(), RTM_GETNEXTHOP, id);
                match self.socket.ask(&batch, |_| {}) {
                    Err(gone) if gone.errno == libc::ENOENT => {
                        self.view.nexthops_known = false;
                        let message = format!("route {prefix} needs nexthop object {id}, which has gone");
                        Err(Refusal { errno: libc::ENOENT, message })
                    }
                    _ => Err(refusal),
                }
            }
            refused => refused,
        }
    }
}

fn not_there(key: &Key) -> Refusal {
    Refusal { errno: libc::ENOENT, message: format!("{key} is not in the kernel") }
}

fn no_device(device: &Device) -> Refusal {
    Refusal { errno: libc::ENODEV, message: format!("there is no device {device}") }
}

fn invalid(message: String) -> Refusal {
    Refusal { errno: libc::EINVAL, message }
}
