//! What is done by nftables, over netlink: no `nft` program is needed. Whose VXLAN frames are taken is in `vteps.rs`.
//!
//! Masquerade is one table of family inet, named [`Owner::NFT_TABLE`], with one chain, as `nft list ruleset` shows it:
//!
//! ```text
//! table inet biplane {
//!     comment "written by biplaned"
//!     chain postrouting {
//!         type nat hook postrouting priority srcnat; policy accept;
//!         ip daddr 10.244.0.0/16 return            # each exclusion, in the order given
//!         ip6 daddr fd00:10:244::/48 return
//!         ip saddr 10.244.1.0/24 masquerade fully-random      # then each source
//!     }
//! }
//! ```
//!
//! A packet whose source is no pod meets no `masquerade`, whatever else. No rule names a device: the ways out change with
//! the plane, the pods do not. `fully-random`: two CPUs that pick the same port at the same time would lose a packet.
//!
//! The comment is the mark by which a restarted daemon knows a table that was altered by hand for its own; a table of our
//! name without it is somebody else's, unless it is just as we would write it (a kernel before 5.10 keeps no comment).
//! Every write is one transaction that names the generation of the ruleset it was decided on, so that the kernel refuses
//! it if anybody changed anything in between.

mod rule;
mod socket;
mod vteps;
mod watch;

use std::sync::Arc;

use model::Owner;
use model::kernel::{Masquerade, Refusal, Value};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Expressions, Hook, HookNumber, InetHookNumber, NfTablesMessage, RuleAttribute,
    RuleMessage, TableAttribute, TableFlags, TableMessage,
};

use self::rule::Rule;
use self::socket::{Socket, Subject};
pub use self::vteps::{
    VtepTable, Vteps, create_vtep_filter, create_vtep_table, delete_vtep_filter, delete_vtep_table, read_vteps,
    replace_vtep_filter, replace_vtep_table,
};
pub use self::watch::{NftWatch, Touched};

/// Name of the one chain.
const CHAIN: &str = "postrouting";
/// `NF_IP_PRI_NAT_SRC`, "srcnat".
const SRCNAT: u32 = 100;
/// `NF_ACCEPT`.
const ACCEPT: u32 = 1;
/// The table's comment as the nft program stores one: type 0, length, text with its NUL.
const MARK: &[u8] = b"\x00\x14written by biplaned\x00";
const MASQUERADE: Subject = Subject { words: "the masquerade table", modules: "nft_chain_nat and nft_masq" };
/// The ruleset of the whole host has one generation number, so that somebody else's change costs us another look.
const TRIES: u32 = 20;

/// What there is under our table's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// No table.
    Absent,
    /// Our table: [`Value::Masquerade`], or [`Value::OtherMasquerade`] after somebody altered it.
    Ours(Value),
    /// Somebody else's table, in words. It is never written or deleted.
    Foreign(String),
}

/// Looks at the table of our name.
pub fn read_table() -> Result<Table, Refusal> {
    Socket::open(MASQUERADE)?.look(look_once).map(|(table, _)| table)
}

/// What of the table is in the kernel; `None` if there is no table. A foreign table is a [`Value::OtherMasquerade`]; whoever
/// must tell it from an altered one of ours uses [`read_table`].
pub fn read_masquerade() -> Result<Option<Value>, Refusal> {
    Ok(match read_table()? {
        Table::Absent => None,
        Table::Ours(value) => Some(value),
        Table::Foreign(what) => Some(Value::OtherMasquerade(format!("not ours: {what}").into())),
    })
}

/// Makes the table; `EEXIST` if there is one, whoever's.
pub fn create_masquerade(wanted: &Masquerade) -> Result<(), Refusal> {
    write(wanted, |table| match table {
        Table::Absent => Ok(()),
        Table::Ours(_) => Err(refusal(libc::EEXIST, format!("table inet {} is there already", Owner::NFT_TABLE))),
        Table::Foreign(what) => Err(foreign(libc::EEXIST, what)),
    })
}

/// Rewrites our table in one transaction: a packet meets either the old or the new one. `ENOENT` if it has gone, `EEXIST`
/// if there is a foreign one.
pub fn replace_masquerade(wanted: &Masquerade) -> Result<(), Refusal> {
    write(wanted, |table| match table {
        Table::Absent => Err(refusal(libc::ENOENT, format!("table inet {} has gone", Owner::NFT_TABLE))),
        Table::Ours(_) => Ok(()),
        Table::Foreign(what) => Err(foreign(libc::EEXIST, what)),
    })
}

/// Makes or rewrites the table in one transaction; `EEXIST` if there is a foreign one.
pub fn write_masquerade(wanted: &Masquerade) -> Result<(), Refusal> {
    write(wanted, |table| match table {
        Table::Absent | Table::Ours(_) => Ok(()),
        Table::Foreign(what) => Err(foreign(libc::EEXIST, what)),
    })
}

/// Takes our table away; gone already counts as done. `EPERM` if the table there is a foreign one.
pub fn delete_masquerade() -> Result<(), Refusal> {
    let mut socket = Socket::open(MASQUERADE)?;
    socket.transact(look_once, |table| match table {
        Table::Absent => Ok(Vec::new()),
        Table::Ours(_) => Ok(vec![no_table(Owner::NFT_TABLE)]),
        Table::Foreign(what) => Err(foreign(libc::EPERM, what)),
    })
}

fn write(wanted: &Masquerade, may: impl Fn(&Table) -> Result<(), Refusal>) -> Result<(), Refusal> {
    let mut socket = Socket::open(MASQUERADE)?;
    socket.transact(look_once, |table| {
        may(table)?;
        let mut messages = Vec::new();
        if *table != Table::Absent {
            messages.push(no_table(Owner::NFT_TABLE));
        }
        messages.extend(new_table(wanted));
        Ok(messages)
    })
}

fn new_table(wanted: &Masquerade) -> Vec<(NfTablesMessage, u16)> {
    let rules = wanted.exclude.iter().copied().map(Rule::Return);
    let rules = rules.chain(wanted.sources.iter().copied().map(Rule::Masquerade));
    let head = [
        (marked_table(Owner::NFT_TABLE), NLM_F_CREATE | NLM_F_EXCL),
        (base_chain(Owner::NFT_TABLE, CHAIN, "nat", InetHookNumber::PostRouting, SRCNAT), NLM_F_CREATE),
    ];
    head.into_iter().chain(rules.map(|rule| appended(Owner::NFT_TABLE, CHAIN, rule.expressions()))).collect()
}

fn no_table(name: &str) -> (NfTablesMessage, u16) {
    (NfTablesMessage::DeleteTable(TableMessage { attributes: vec![TableAttribute::Name(name.to_owned())] }), 0)
}

impl Socket {
    /// Looks, lets `decide` choose what to write, writes it; anew when the ruleset changed in between. Nothing is written
    /// if nothing is chosen.
    fn transact<T>(
        &mut self,
        look_once: impl Fn(&mut Socket) -> Result<T, Refusal>,
        decide: impl Fn(&T) -> Result<Vec<(NfTablesMessage, u16)>, Refusal>,
    ) -> Result<(), Refusal> {
        for _ in 0..TRIES {
            let (found, generation) = self.look(&look_once)?;
            let messages = decide(&found)?;
            if messages.is_empty() {
                return Ok(());
            }
            match self.commit(Some(generation), messages) {
                // Not the generation that we looked at.
                Err(refusal) if refusal.errno == libc::ERESTART => {}
                result => return result,
            }
        }
        Err(busy())
    }

    /// What there is, and the generation of the ruleset it was seen in.
    fn look<T>(&mut self, look_once: impl Fn(&mut Socket) -> Result<T, Refusal>) -> Result<(T, u32), Refusal> {
        let mut generation = self.generation()?;
        for _ in 0..TRIES {
            let found = look_once(self);
            let now = self.generation()?;
            if generation == now {
                return Ok((found?, now));
            }
            generation = now;
        }
        Err(busy())
    }

    /// A table of family inet, if there is one of that name.
    fn table(&mut self, name: &str) -> Result<Option<Vec<TableAttribute>>, Refusal> {
        let name = TableAttribute::Name(name.to_owned());
        match self.ask(NfTablesMessage::GetTable(TableMessage { attributes: vec![name] })) {
            Ok(answers) => Ok(answers.into_iter().find_map(|answer| match answer {
                Some(NfTablesMessage::NewTable(table)) => Some(table.attributes),
                _ => None,
            })),
            Err(refusal) if refusal.errno == libc::ENOENT => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// A chain of a table, if there is one of that name.
    fn chain(&mut self, table: &str, name: &str) -> Result<Option<Vec<ChainAttribute>>, Refusal> {
        let key = vec![ChainAttribute::Table(table.to_owned()), ChainAttribute::Name(name.to_owned())];
        match self.ask(NfTablesMessage::GetChain(ChainMessage { attributes: key })) {
            Ok(answers) => Ok(answers.into_iter().find_map(|answer| match answer {
                Some(NfTablesMessage::NewChain(chain)) => Some(chain.attributes),
                _ => None,
            })),
            Err(refusal) if refusal.errno == libc::ENOENT => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// The rules of a chain in their order; `None` for one that this library cannot read.
    fn rules(&mut self, table: &str, chain: &str) -> Result<Vec<Option<NfTablesMessage>>, Refusal> {
        let key = vec![RuleAttribute::Table(table.to_owned()), RuleAttribute::Chain(chain.to_owned())];
        self.dump(NfTablesMessage::GetRule(RuleMessage { attributes: key }))
    }
}

fn is_marked(table: &[TableAttribute]) -> bool {
    table.contains(&TableAttribute::UserData(MARK.to_vec()))
}

/// Are the chains of the table hooked in?
fn is_plain(table: &[TableAttribute]) -> bool {
    table.iter().all(|attribute| match attribute {
        TableAttribute::Flags(flags) => *flags == TableFlags::empty(),
        _ => true,
    })
}

fn look_once(socket: &mut Socket) -> Result<Table, Refusal> {
    let Some(table) = socket.table(Owner::NFT_TABLE)? else { return Ok(Table::Absent) };
    let marked = is_marked(&table);
    Ok(match content(socket, &table)? {
        Ok(found) if marked || !found.sources.is_empty() => Table::Ours(Value::Masquerade(Arc::new(found))),
        Ok(_) => Table::Foreign("an empty table without our comment".to_owned()),
        Err(what) if marked => Table::Ours(Value::OtherMasquerade(what.into())),
        Err(what) => Table::Foreign(what),
    })
}

/// What the table does, or in words why it is not one that we would write.
fn content(socket: &mut Socket, table: &[TableAttribute]) -> Result<Result<Masquerade, String>, Refusal> {
    if !is_plain(table) {
        return Ok(Err("the table is dormant, or owned by another program".to_owned()));
    }
    // Chains, sets, objects and flowtables together.
    if !table.contains(&TableAttribute::Use(1)) {
        return Ok(Err(format!("something else than one chain `{CHAIN}` is in the table")));
    }
    let Some(chain) = socket.chain(Owner::NFT_TABLE, CHAIN)? else {
        return Ok(Err(format!("it has no chain `{CHAIN}`")));
    };
    if !is_base_chain(&chain, "nat", InetHookNumber::PostRouting, SRCNAT) {
        return Ok(Err(format!("chain `{CHAIN}` is not type nat, hook postrouting, priority srcnat, policy accept")));
    }
    let rules = socket.rules(Owner::NFT_TABLE, CHAIN)?;
    let mut found = Masquerade { sources: Vec::new(), exclude: Vec::new() };
    for (at, rule) in rules.iter().enumerate() {
        match rule.as_ref().and_then(Rule::read) {
            // An exclusion behind a source excludes nothing.
            Some(Rule::Return(prefix)) if found.sources.is_empty() => found.exclude.push(prefix),
            Some(Rule::Masquerade(prefix)) => found.sources.push(prefix),
            _ => return Ok(Err(format!("rule {} of {} is not one of ours in its place", at + 1, rules.len()))),
        }
    }
    Ok(Ok(found))
}

fn is_base_chain(chain: &[ChainAttribute], kind: &str, number: InetHookNumber, priority: u32) -> bool {
    let hooked = chain.iter().any(|attribute| match attribute {
        ChainAttribute::Hook(hook) => {
            hook.contains(&Hook::Number(HookNumber::Inet(number))) && hook.contains(&Hook::Priority(priority))
        }
        _ => false,
    });
    chain.contains(&ChainAttribute::Type(kind.to_owned())) && chain.contains(&ChainAttribute::Policy(ACCEPT)) && hooked
}

/// A table with our comment.
fn marked_table(name: &str) -> NfTablesMessage {
    let attributes = vec![TableAttribute::Name(name.to_owned()), TableAttribute::UserData(MARK.to_vec())];
    NfTablesMessage::NewTable(TableMessage { attributes })
}

/// A chain that is hooked in, with policy accept.
fn base_chain(table: &str, name: &str, kind: &str, number: InetHookNumber, priority: u32) -> NfTablesMessage {
    let hook = vec![Hook::Number(HookNumber::Inet(number)), Hook::Priority(priority)];
    let attributes = vec![
        ChainAttribute::Table(table.to_owned()),
        ChainAttribute::Name(name.to_owned()),
        ChainAttribute::Type(kind.to_owned()),
        ChainAttribute::Hook(hook),
        ChainAttribute::Policy(ACCEPT),
    ];
    NfTablesMessage::NewChain(ChainMessage { attributes })
}

/// A rule at the end of a chain.
fn appended(table: &str, chain: &str, expressions: Vec<Expressions>) -> (NfTablesMessage, u16) {
    let attributes = vec![
        RuleAttribute::Table(table.to_owned()),
        RuleAttribute::Chain(chain.to_owned()),
        RuleAttribute::Expressions(expressions.into_iter().map(Into::into).collect()),
    ];
    (NfTablesMessage::NewRule(RuleMessage { attributes }), NLM_F_CREATE | NLM_F_APPEND)
}

fn refusal(errno: i32, message: String) -> Refusal {
    Refusal { errno, message }
}

fn foreign(errno: i32, what: &str) -> Refusal {
    foreign_table(Owner::NFT_TABLE, errno, what)
}

fn foreign_table(name: &str, errno: i32, what: &str) -> Refusal {
    let message = format!("table inet {name} is not ours ({what}): rename it, or `nft delete table inet {name}`");
    refusal(errno, message)
}

fn busy() -> Refusal {
    refusal(libc::EAGAIN, format!("nftables: the ruleset changed during each of {TRIES} looks"))
}
