//! Masquerade by nftables, over netlink: no `nft` program is needed.
//!
//! One table of family inet, named [`Owner::NFT_TABLE`], with one chain, as `nft list ruleset` shows it:
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
mod watch;

use std::sync::Arc;

use model::Owner;
use model::kernel::{Masquerade, Refusal, Value};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook, HookNumber, InetHookNumber, NfTablesMessage, RuleAttribute, RuleMessage,
    TableAttribute, TableFlags, TableMessage,
};

use self::rule::Rule;
use self::socket::Socket;
pub use self::watch::NftWatch;

/// Name of the one chain.
const CHAIN: &str = "postrouting";
/// `NF_IP_PRI_NAT_SRC`, "srcnat".
const SRCNAT: u32 = 100;
/// `NF_ACCEPT`.
const ACCEPT: u32 = 1;
/// The table's comment as the nft program stores one: type 0, length, text with its NUL.
const MARK: &[u8] = b"\x00\x14written by biplaned\x00";
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
    Socket::open()?.look().map(|(table, _)| table)
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
    let mut socket = Socket::open()?;
    socket.transact(|table| match table {
        Table::Absent => Ok(Vec::new()),
        Table::Ours(_) => Ok(vec![(delete_table(), 0)]),
        Table::Foreign(what) => Err(foreign(libc::EPERM, what)),
    })
}

fn write(wanted: &Masquerade, may: impl Fn(&Table) -> Result<(), Refusal>) -> Result<(), Refusal> {
    let mut socket = Socket::open()?;
    socket.transact(|table| {
        may(table)?;
        let mut messages = Vec::new();
        if *table != Table::Absent {
            messages.push((delete_table(), 0));
        }
        messages.extend(new_table(wanted));
        Ok(messages)
    })
}

fn new_table(wanted: &Masquerade) -> Vec<(NfTablesMessage, u16)> {
    let table = TableMessage {
        attributes: vec![TableAttribute::Name(Owner::NFT_TABLE.to_owned()), TableAttribute::UserData(MARK.to_vec())],
    };
    let hook = vec![Hook::Number(HookNumber::Inet(InetHookNumber::PostRouting)), Hook::Priority(SRCNAT)];
    let chain = ChainMessage {
        attributes: vec![
            ChainAttribute::Table(Owner::NFT_TABLE.to_owned()),
            ChainAttribute::Name(CHAIN.to_owned()),
            ChainAttribute::Type("nat".to_owned()),
            ChainAttribute::Hook(hook),
            ChainAttribute::Policy(ACCEPT),
        ],
    };
    let rules = wanted.exclude.iter().copied().map(Rule::Return);
    let rules = rules.chain(wanted.sources.iter().copied().map(Rule::Masquerade)).map(|rule| {
        let attributes = vec![
            RuleAttribute::Table(Owner::NFT_TABLE.to_owned()),
            RuleAttribute::Chain(CHAIN.to_owned()),
            RuleAttribute::Expressions(rule.expressions().into_iter().map(Into::into).collect()),
        ];
        (NfTablesMessage::NewRule(RuleMessage { attributes }), NLM_F_CREATE | NLM_F_APPEND)
    });
    let head = [
        (NfTablesMessage::NewTable(table), NLM_F_CREATE | NLM_F_EXCL),
        (NfTablesMessage::NewChain(chain), NLM_F_CREATE),
    ];
    head.into_iter().chain(rules).collect()
}

fn delete_table() -> NfTablesMessage {
    NfTablesMessage::DeleteTable(TableMessage { attributes: vec![TableAttribute::Name(Owner::NFT_TABLE.to_owned())] })
}

impl Socket {
    /// Looks, lets `decide` choose what to write, writes it; anew when the ruleset changed in between. Nothing is written
    /// if nothing is chosen.
    fn transact(
        &mut self,
        decide: impl Fn(&Table) -> Result<Vec<(NfTablesMessage, u16)>, Refusal>,
    ) -> Result<(), Refusal> {
        for _ in 0..TRIES {
            let (table, generation) = self.look()?;
            let messages = decide(&table)?;
            if messages.is_empty() {
                return Ok(());
            }
            match self.commit(generation, messages) {
                // Not the generation that we looked at.
                Err(refusal) if refusal.errno == libc::ERESTART => {}
                result => return result,
            }
        }
        Err(busy())
    }

    /// The table, and the generation of the ruleset it was seen in.
    fn look(&mut self) -> Result<(Table, u32), Refusal> {
        let mut generation = self.generation()?;
        for _ in 0..TRIES {
            let table = self.look_once();
            let now = self.generation()?;
            if generation == now {
                return Ok((table?, now));
            }
            generation = now;
        }
        Err(busy())
    }

    fn look_once(&mut self) -> Result<Table, Refusal> {
        let name = TableAttribute::Name(Owner::NFT_TABLE.to_owned());
        let table = match self.ask(NfTablesMessage::GetTable(TableMessage { attributes: vec![name] })) {
            Ok(answers) => answers.into_iter().find_map(|answer| match answer {
                Some(NfTablesMessage::NewTable(table)) => Some(table.attributes),
                _ => None,
            }),
            Err(refusal) if refusal.errno == libc::ENOENT => None,
            Err(refusal) => return Err(refusal),
        };
        let Some(table) = table else { return Ok(Table::Absent) };
        let marked = table.contains(&TableAttribute::UserData(MARK.to_vec()));
        Ok(match self.content(&table)? {
            Ok(found) if marked || !found.sources.is_empty() => Table::Ours(Value::Masquerade(Arc::new(found))),
            Ok(_) => Table::Foreign("an empty table without our comment".to_owned()),
            Err(what) if marked => Table::Ours(Value::OtherMasquerade(what.into())),
            Err(what) => Table::Foreign(what),
        })
    }

    /// What the table does, or in words why it is not one that we would write.
    fn content(&mut self, table: &[TableAttribute]) -> Result<Result<Masquerade, String>, Refusal> {
        let flags = table.iter().find_map(|attribute| match attribute {
            TableAttribute::Flags(flags) => Some(*flags),
            _ => None,
        });
        if flags.is_some_and(|flags| flags != TableFlags::empty()) {
            return Ok(Err("the table is dormant, or owned by another program".to_owned()));
        }
        // Chains, sets, objects and flowtables together.
        if !table.contains(&TableAttribute::Use(1)) {
            return Ok(Err(format!("something else than one chain `{CHAIN}` is in the table")));
        }
        let key = vec![ChainAttribute::Table(Owner::NFT_TABLE.to_owned()), ChainAttribute::Name(CHAIN.to_owned())];
        let chain = match self.ask(NfTablesMessage::GetChain(ChainMessage { attributes: key })) {
            Ok(answers) => answers,
            Err(refusal) if refusal.errno == libc::ENOENT => return Ok(Err(format!("it has no chain `{CHAIN}`"))),
            Err(refusal) => return Err(refusal),
        };
        if !chain.iter().any(is_our_chain) {
            return Ok(Err(format!(
                "chain `{CHAIN}` is not type nat, hook postrouting, priority srcnat, policy accept"
            )));
        }
        let key = vec![RuleAttribute::Table(Owner::NFT_TABLE.to_owned()), RuleAttribute::Chain(CHAIN.to_owned())];
        let rules = self.dump(NfTablesMessage::GetRule(RuleMessage { attributes: key }))?;
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
}

fn is_our_chain(answer: &Option<NfTablesMessage>) -> bool {
    let Some(NfTablesMessage::NewChain(chain)) = answer else { return false };
    let has = |wanted: &ChainAttribute| chain.attributes.contains(wanted);
    let hooked = chain.attributes.iter().any(|attribute| match attribute {
        ChainAttribute::Hook(hook) => {
            hook.contains(&Hook::Number(HookNumber::Inet(InetHookNumber::PostRouting)))
                && hook.contains(&Hook::Priority(SRCNAT))
        }
        _ => false,
    });
    has(&ChainAttribute::Type("nat".to_owned())) && has(&ChainAttribute::Policy(ACCEPT)) && hooked
}

fn refusal(errno: i32, message: String) -> Refusal {
    Refusal { errno, message }
}

fn foreign(errno: i32, what: &str) -> Refusal {
    let name = Owner::NFT_TABLE;
    let message = format!("table inet {name} is not ours ({what}): rename it, or `nft delete table inet {name}`");
    refusal(errno, message)
}

fn busy() -> Refusal {
    refusal(libc::EAGAIN, format!("nftables: the ruleset changed during each of {TRIES} looks"))
}
