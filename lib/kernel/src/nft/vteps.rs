//! Whose VXLAN frames this node takes: those of the other nodes' VTEPs, by the outer source address.
//!
//! The VXLAN device itself takes any frame of its VNI, whoever sent it (RFC 7348 section 7 leaves that to the operator), and
//! what comes out of it is in the pods' network. One table of family inet, named [`Owner::NFT_VTEP_TABLE`]:
//!
//! ```text
//! table inet biplane.vteps {
//!     comment "written by biplaned"
//!     set vtep4 { type ipv4_addr; elements = { 192.0.2.2, 192.0.2.3 } }
//!     set vtep6 { type ipv6_addr; }
//!     chain input {
//!         type filter hook input priority filter; policy accept;
//!         udp dport 4789 @th,96,24 178 iifname "biplane*" counter drop          # from a pod of this node
//!         udp dport 4789 @th,96,24 178 ip saddr @vtep4 return                   # from another node
//!         udp dport 4789 @th,96,24 178 ip6 saddr @vtep6 return
//!         udp dport 4789 @th,96,24 178 counter drop
//!     }
//!     chain forward {
//!         type filter hook forward priority filter; policy accept;
//!         udp dport 4789 @th,96,24 178 iifname "biplane*" ip daddr @vtep4 counter drop
//!         udp dport 4789 @th,96,24 178 ip daddr @vtep4 ip saddr != @vtep4 counter drop      # and both for IPv6
//!     }
//! }
//! ```
//!
//! The second chain is what keeps a pod from sending frames to another node: masquerade would give them this node's own
//! address, which the other node trusts. `@th,96,24` is the VNI, so that other tunnels on the same port are nobody's business.
//!
//! The table with its sets, each element and the two chains are objects of their own: a node that comes or goes costs one
//! element, and the chains come last, when all elements are there, so that no moment drops what is wanted.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use model::kernel::{Refusal, Value, VtepFilter};
use model::{Family, Owner, Vni};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, Expressions, InetHookNumber, ListAttribute, Lookup, MetaKey,
    NfTablesMessage, Register, SetAttribute, SetElementAttribute, SetElementList, SetElementMessage, SetMessage,
    TableAttribute, Verdict,
};

use super::rule::{self, COUNTER};
use super::socket::{Socket, Subject};
use super::{appended, base_chain, foreign_table, is_base_chain, is_marked, is_plain, marked_table, no_table, refusal};

const NAME: &str = Owner::NFT_VTEP_TABLE;
const VTEPS: Subject = Subject { words: "the table of VTEPs", modules: "nf_tables and nf_tables_inet" };
/// Set by family, with the nft program's number of the type of its elements.
const SETS: [(Family, &str, u32); 2] = [(Family::V4, "vtep4", 7), (Family::V6, "vtep6", 8)];
const INPUT: &str = "input";
const FORWARD: &str = "forward";
const CHAINS: [(&str, InetHookNumber); 2] = [(INPUT, InetHookNumber::LocalIn), (FORWARD, InetHookNumber::Forward)];
/// `NF_IP_PRI_FILTER`, "filter".
const FILTER: u32 = 0;
/// `NFTA_SET_ELEM_LIST_ELEMENTS`, `NFTA_LIST_ELEM`, `NFTA_SET_ELEM_KEY` and `NFTA_DATA_VALUE`, one inside the other.
const LIST_ELEMENTS: u16 = 3;
const ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const DATA_VALUE: u16 = 1;
/// `NFT_PAYLOAD_TRANSPORT_HEADER`.
const TRANSPORT_HEADER: u32 = 2;
/// `NF_DROP`.
const DROP: Verdict = Verdict::Other(0);
/// `NFT_LOOKUP_F_INV`.
const NOT_IN: u32 = 1;

/// What there is under our table's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VtepTable {
    /// No table.
    Absent,
    /// Our table.
    Ours {
        /// [`Value::There`], or [`Value::OtherTable`] if its sets are not as we make them.
        table: Value,
        /// Addresses in its sets.
        vteps: BTreeSet<IpAddr>,
        /// [`Value::VtepFilter`], or [`Value::OtherTable`] if the chains are not as we write them; `None` without chains.
        filter: Option<Value>,
    },
    /// Somebody else's table, in words. It is never written or deleted.
    Foreign(String),
}

/// The side that writes the elements: what it wrote itself is passed over by who listens.
#[derive(Default)]
pub struct Vteps {
    socket: Option<Socket>,
    /// Elements in the kernel, as far as is known.
    pub(crate) known: BTreeSet<IpAddr>,
}

impl fmt::Debug for Vteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vteps").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Vteps {
    /// Number of the socket whose notices are passed over.
    pub(crate) fn port(&self) -> Option<u32> {
        self.socket.as_ref().map(Socket::port)
    }

    /// Puts addresses into the sets, or takes them out; there (gone) already counts as done. One transaction if nothing is
    /// in the way, else one each. The table must be there.
    ///
    /// # Errors
    /// Per address, what the kernel said.
    pub fn write(&mut self, add: bool, vteps: &[IpAddr]) -> Vec<Result<(), Refusal>> {
        let mut together = self.commit(add, vteps);
        if vteps.len() == 1 && !add && matches!(&together, Err(refusal) if refusal.errno == libc::ENOENT) {
            together = Ok(());
        }
        if together.is_err() && vteps.len() > 1 {
            return vteps.iter().flat_map(|vtep| self.write(add, std::slice::from_ref(vtep))).collect();
        }
        if together.is_ok() {
            for vtep in vteps {
                if add {
                    self.known.insert(*vtep)
                } else {
                    self.known.remove(vtep)
                };
            }
        }
        vec![together; vteps.len()]
    }

    fn commit(&mut self, add: bool, vteps: &[IpAddr]) -> Result<(), Refusal> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            None => self.socket.insert(Socket::open(VTEPS)?),
        };
        let messages = elements(add, vteps);
        if messages.is_empty() { Ok(()) } else { socket.commit(None, messages) }
    }
}

/// Looks at the table of our name.
///
/// # Errors
/// What the kernel said.
pub fn read_vteps() -> Result<VtepTable, Refusal> {
    Socket::open(VTEPS)?.look(look_once).map(|(found, _)| found.judge())
}

/// Makes the table with its sets, empty; `EEXIST` if there is one, whoever's.
///
/// # Errors
/// What the kernel said.
pub fn create_vtep_table() -> Result<(), Refusal> {
    Socket::open(VTEPS)?.transact(look_once, |found| match found.judge() {
        VtepTable::Absent => Ok(new_table(&BTreeSet::new())),
        VtepTable::Ours { .. } => Err(refusal(libc::EEXIST, format!("table inet {NAME} is there already"))),
        VtepTable::Foreign(what) => Err(foreign_table(NAME, libc::EEXIST, &what)),
    })
}

/// Makes our table anew with its sets and without its chains, keeping the addresses that it can be seen to have; `ENOENT`
/// if it has gone.
///
/// # Errors
/// What the kernel said.
pub fn replace_vtep_table() -> Result<(), Refusal> {
    rewrite(None)
}

/// Takes our table away with all that is in it; gone already counts as done. `EPERM` if it is a foreign one.
///
/// # Errors
/// What the kernel said.
pub fn delete_vtep_table() -> Result<(), Refusal> {
    Socket::open(VTEPS)?.transact(look_once, |found| match found.judge() {
        VtepTable::Absent => Ok(Vec::new()),
        VtepTable::Ours { .. } => Ok(vec![no_table(NAME)]),
        VtepTable::Foreign(what) => Err(foreign_table(NAME, libc::EPERM, &what)),
    })
}

/// Writes the chains into our table, which has none (`EEXIST` if it has).
///
/// # Errors
/// What the kernel said.
pub fn create_vtep_filter(wanted: &VtepFilter) -> Result<(), Refusal> {
    Socket::open(VTEPS)?.transact(look_once, |found| match found.judge() {
        VtepTable::Ours { table: Value::There, filter: None, .. } => Ok(new_chains(wanted)),
        VtepTable::Ours { table: Value::There, .. } => {
            Err(refusal(libc::EEXIST, format!("table inet {NAME} has chains already")))
        }
        VtepTable::Ours { .. } | VtepTable::Absent => Err(gone()),
        VtepTable::Foreign(what) => Err(foreign_table(NAME, libc::EEXIST, &what)),
    })
}

/// Writes our table anew with its addresses and these chains, in one transaction: a packet meets either the old or the new
/// ones. `ENOENT` if it has gone.
///
/// # Errors
/// What the kernel said.
pub fn replace_vtep_filter(wanted: &VtepFilter) -> Result<(), Refusal> {
    rewrite(Some(wanted))
}

/// Takes the chains away: frames of anybody are taken from then on. Gone already counts as done.
///
/// # Errors
/// What the kernel said.
pub fn delete_vtep_filter() -> Result<(), Refusal> {
    Socket::open(VTEPS)?.transact(look_once, |found| match found.judge() {
        VtepTable::Absent | VtepTable::Ours { filter: None, .. } => Ok(Vec::new()),
        VtepTable::Ours { .. } => Ok(found.chains.iter().map(|name| (no_chain(name), 0)).collect()),
        VtepTable::Foreign(what) => Err(foreign_table(NAME, libc::EPERM, &what)),
    })
}

fn rewrite(filter: Option<&VtepFilter>) -> Result<(), Refusal> {
    Socket::open(VTEPS)?.transact(look_once, |found| match found.judge() {
        VtepTable::Absent => Err(gone()),
        VtepTable::Ours { vteps, .. } => {
            let mut messages = vec![no_table(NAME)];
            messages.extend(new_table(&vteps));
            messages.extend(filter.into_iter().flat_map(new_chains));
            Ok(messages)
        }
        VtepTable::Foreign(what) => Err(foreign_table(NAME, libc::EEXIST, &what)),
    })
}

fn gone() -> Refusal {
    refusal(libc::ENOENT, format!("table inet {NAME} has gone"))
}

/// The table as one look shows it.
#[derive(Debug, Default)]
struct Found {
    there: bool,
    marked: bool,
    /// What is wrong with the table or its sets.
    trouble: Option<String>,
    vteps: BTreeSet<IpAddr>,
    /// Chains of ours by name.
    chains: Vec<&'static str>,
    /// What the chains do, or why they are not as we write them.
    filter: Option<Result<VtepFilter, String>>,
}

impl Found {
    fn judge(&self) -> VtepTable {
        if !self.there {
            return VtepTable::Absent;
        }
        // A kernel before 5.10 keeps no comment: then ours is what is just as we would write it.
        let as_ours = self.trouble.is_none() && !matches!(self.filter, Some(Err(_)));
        if !self.marked && !as_ours {
            let words = self.trouble.clone().unwrap_or_else(|| "a table without our comment".to_owned());
            return VtepTable::Foreign(words);
        }
        VtepTable::Ours {
            table: self.trouble.as_deref().map_or(Value::There, |words| Value::OtherTable(words.into())),
            vteps: self.vteps.clone(),
            filter: self.filter.as_ref().map(|filter| match filter {
                Ok(filter) => Value::VtepFilter(filter.clone()),
                Err(words) => Value::OtherTable(words.as_str().into()),
            }),
        }
    }
}

fn look_once(socket: &mut Socket) -> Result<Found, Refusal> {
    let Some(table) = socket.table(NAME)? else { return Ok(Found::default()) };
    let mut found = Found { there: true, marked: is_marked(&table), ..Found::default() };
    if !is_plain(&table) {
        found.trouble = Some("the table is dormant, or owned by another program".to_owned());
    }
    for (family, name, _) in SETS {
        match has_set(socket, family, name)? {
            true => found.vteps.extend(read_set(socket, family, name)?),
            false => found.trouble = Some(format!("set `{name}` is not as ours")),
        }
    }
    let mut filters = Vec::new();
    for (name, hook) in CHAINS {
        let Some(chain) = socket.chain(NAME, name)? else { continue };
        found.chains.push(name);
        let filter = match is_base_chain(&chain, "filter", hook, FILTER) {
            true => read_filter(&socket.rules(NAME, name)?, name),
            false => Err(format!("chain `{name}` is not type filter, hook {name}, priority filter, policy accept")),
        };
        filters.push(filter);
    }
    // Chains, sets, objects and flowtables together.
    let used = (SETS.len() + found.chains.len()) as u32;
    let alone = table.contains(&TableAttribute::Use(used));
    found.filter = match &filters[..] {
        [] if alone || found.trouble.is_some() => None,
        [Ok(input), Ok(forward)] if input == forward && alone => Some(Ok(input.clone())),
        filters => {
            let words = filters.iter().find_map(|filter| filter.as_ref().err().cloned());
            Some(Err(
                words.unwrap_or_else(|| "something that is not ours is in the table, or a chain has gone".to_owned())
            ))
        }
    };
    Ok(found)
}

fn has_set(socket: &mut Socket, family: Family, name: &str) -> Result<bool, Refusal> {
    let key = vec![SetAttribute::Table(NAME.to_owned()), SetAttribute::Name(name.to_owned())];
    let answers = match socket.ask(NfTablesMessage::GetSet(SetMessage { attributes: key })) {
        Err(refusal) if refusal.errno == libc::ENOENT => return Ok(false),
        other => other?,
    };
    Ok(answers.iter().flatten().any(|answer| match answer {
        NfTablesMessage::NewSet(set) => {
            let plain = |attribute: &SetAttribute| match attribute {
                SetAttribute::Flags(flags) => flags.bits() == 0,
                _ => true,
            };
            set.attributes.contains(&SetAttribute::KeyLen(octets(family))) && set.attributes.iter().all(plain)
        }
        _ => false,
    }))
}

fn read_set(socket: &mut Socket, family: Family, name: &str) -> Result<Vec<IpAddr>, Refusal> {
    let key = vec![SetElementList::Table(NAME.to_owned()), SetElementList::Set(name.to_owned())];
    let answers = socket.dump_octets(NfTablesMessage::GetSetElement(SetElementMessage { attributes: key }))?;
    let elements =
        answers.iter().flat_map(|answer| inside(answer, LIST_ELEMENTS)).flat_map(|list| inside(list, ELEMENT));
    let keys = elements.flat_map(|element| inside(element, ELEMENT_KEY)).flat_map(|key| inside(key, DATA_VALUE));
    Ok(keys.filter_map(crate::message::address).filter(|address| Family::of(address) == family).collect())
}

/// Values of the attributes of one type.
fn inside(octets: &[u8], kind: u16) -> impl Iterator<Item = &[u8]> {
    crate::message::attributes(octets).filter(move |(other, _)| *other == kind).map(|(_, value)| value)
}

const fn octets(family: Family) -> u32 {
    family.bits() as u32 / 8
}

fn new_table(vteps: &BTreeSet<IpAddr>) -> Vec<(NfTablesMessage, u16)> {
    let sets = SETS.into_iter().zip(1..).map(|((family, name, kind), id)| {
        let attributes = vec![
            SetAttribute::Table(NAME.to_owned()),
            SetAttribute::Name(name.to_owned()),
            SetAttribute::KeyType(kind),
            SetAttribute::KeyLen(octets(family)),
            SetAttribute::Id(id),
        ];
        (NfTablesMessage::NewSet(SetMessage { attributes }), NLM_F_CREATE | NLM_F_EXCL)
    });
    let head = std::iter::once((marked_table(NAME), NLM_F_CREATE | NLM_F_EXCL)).chain(sets);
    let vteps: Vec<IpAddr> = vteps.iter().copied().collect();
    head.chain(elements(true, &vteps)).collect()
}

/// An attribute holds 64 KiB; an element takes at most 28 octets.
const AT_ONCE: usize = 2048;

fn elements(add: bool, vteps: &[IpAddr]) -> Vec<(NfTablesMessage, u16)> {
    let mut messages = Vec::new();
    for (family, set, _) in SETS {
        let of_family: Vec<&IpAddr> = vteps.iter().filter(|vtep| Family::of(vtep) == family).collect();
        for some in of_family.chunks(AT_ONCE) {
            let elements = some.iter().map(|vtep| {
                let key = match vtep {
                    IpAddr::V4(v4) => v4.octets().to_vec(),
                    IpAddr::V6(v6) => v6.octets().to_vec(),
                };
                ListAttribute::Element(vec![SetElementAttribute::Key(DataAttribute::Value(key))])
            });
            let attributes = vec![
                SetElementList::Table(NAME.to_owned()),
                SetElementList::Set(set.to_owned()),
                SetElementList::Elements(elements.collect()),
            ];
            let message = SetElementMessage { attributes };
            messages.push(match add {
                true => (NfTablesMessage::NewSetElement(message), NLM_F_CREATE),
                false => (NfTablesMessage::DeleteSetElement(message), 0),
            });
        }
    }
    messages
}

fn no_chain(name: &str) -> NfTablesMessage {
    let attributes = vec![ChainAttribute::Table(NAME.to_owned()), ChainAttribute::Name(name.to_owned())];
    NfTablesMessage::DeleteChain(ChainMessage { attributes })
}

fn new_chains(filter: &VtepFilter) -> Vec<(NfTablesMessage, u16)> {
    let mut messages = Vec::new();
    for (name, hook) in CHAINS {
        messages.push((base_chain(NAME, name, "filter", hook, FILTER), NLM_F_CREATE));
        messages.extend(rules(filter, name).into_iter().map(|rule| appended(NAME, name, rule)));
    }
    messages
}

fn read_filter(found: &[Option<NfTablesMessage>], chain: &str) -> Result<VtepFilter, String> {
    let strange = |at: usize| format!("rule {} of chain `{chain}` is not one of ours in its place", at + 1);
    let found: Vec<_> = found.iter().map(|rule| rule.as_ref().and_then(rule::expressions_of)).collect();
    let guess = found.first().and_then(Option::as_ref).and_then(|rule| guess(rule)).ok_or_else(|| strange(0))?;
    let ours = rules(&guess, chain);
    let same = |at: usize| matches!((ours.get(at), found.get(at)), (Some(a), Some(Some(b))) if rule::same(a, b));
    match (0..ours.len().max(found.len())).find(|at| !same(*at)) {
        None => Ok(guess),
        Some(at) => Err(strange(at)),
    }
}

/// Port and VNI from where they would be in a rule of ours.
fn guess(found: &[&Expressions]) -> Option<VtepFilter> {
    let [_, _, _, Expressions::Cmp(port), _, Expressions::Cmp(vni), ..] = found else { return None };
    let port = u16::from_be_bytes(rule::compared(port)?.try_into().ok()?);
    let [a, b, c] = <[u8; 3]>::try_from(rule::compared(vni)?).ok()?;
    Some(VtepFilter { vni: Vni::new(u32::from_be_bytes([0, a, b, c]))?, port })
}

/// The rules of a chain as the kernel runs them.
fn rules(filter: &VtepFilter, chain: &str) -> Vec<Vec<Expressions>> {
    let frame = || {
        let [_, a, b, c] = filter.vni.number().to_be_bytes();
        vec![
            rule::meta(MetaKey::L4Proto),
            rule::equal(vec![libc::IPPROTO_UDP as u8]),
            rule::load(TRANSPORT_HEADER, 2, 2),
            rule::equal(filter.port.to_be_bytes().to_vec()),
            // The VNI, behind eight octets of UDP and four of flags.
            rule::load(TRANSPORT_HEADER, 12, 3),
            rule::equal(vec![a, b, c]),
        ]
    };
    // Without the NUL at its end the name is the beginning of one.
    let from_pods = || [rule::meta(MetaKey::Iifname), rule::equal(Owner::DEVICE_PREFIX.as_bytes().to_vec())];
    let dropped =
        || [Expressions::Other { expression_type: COUNTER.to_owned(), attributes: vec![] }, rule::verdict(DROP)];
    let all = |parts: Vec<Vec<Expressions>>| parts.into_iter().flatten().collect::<Vec<_>>();
    let mut rules = Vec::new();
    if chain == INPUT {
        rules.push(all(vec![frame(), from_pods().into(), dropped().into()]));
        for (family, set, _) in SETS {
            let from = of(family, rule::source(family), set, 0);
            rules.push(all(vec![frame(), rule::of_family(family).into(), from, vec![rule::verdict(Verdict::Return)]]));
        }
        rules.push(all(vec![frame(), dropped().into()]));
    } else {
        for (family, set, _) in SETS {
            let to = of(family, rule::destination(family), set, 0);
            let head = || [frame(), rule::of_family(family).into()];
            let [frame, of_family] = head();
            rules.push(all(vec![frame, from_pods().into(), of_family, to.clone(), dropped().into()]));
            let stranger = of(family, rule::source(family), set, NOT_IN);
            let [frame, of_family] = head();
            rules.push(all(vec![frame, of_family, to, stranger, dropped().into()]));
        }
    }
    rules
}

/// Is the address at this place of the network header one of the set?
fn of(family: Family, offset: u32, set: &str, flags: u32) -> Vec<Expressions> {
    let lookup = vec![Lookup::Set(set.to_owned()), Lookup::SourceRegister(Register::Reg1), Lookup::Flags(flags)];
    vec![rule::load(rule::NETWORK_HEADER, offset, octets(family)), Expressions::Lookup(lookup)]
}
