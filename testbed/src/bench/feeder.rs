//! A BGP peer that announces a large table, as a router would: groups of prefixes that share attributes, many to an
//! UPDATE, in no order of addresses.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use model::{Asn, Family, Prefix};
use wire::{AsPath, Attributes, Capability, Message, Negotiated, Open, frame_length};

/// AS number of the feeder.
pub(crate) const ASN: Asn = Asn(65001);
const HOLD: u16 = 90;
const OPENS_WITHIN: Duration = Duration::from_secs(30);

/// The messages of one table.
pub(crate) struct Table {
    /// In the order of announcing.
    pub(crate) prefixes: Vec<Prefix>,
    announce: Vec<u8>,
    withdraw: Vec<u8>,
    /// UPDATEs that announce.
    pub(crate) updates: usize,
    /// Sets of attributes.
    pub(crate) groups: usize,
}

impl Table {
    /// `count` /24 slices of 16.0.0.0/4 through `next_hop`. Always the same for the same count.
    pub(crate) fn new(count: u32, next_hop: Ipv4Addr) -> Result<Table> {
        const SLOTS: u32 = 1 << 20;
        if count == 0 || count > SLOTS {
            bail!("{count} routes: expected 1 to {SLOTS}");
        }
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        // An odd factor permutes the slots: neighbours in the table are far apart in address.
        let slot = |n: u32| n.wrapping_mul(0x9e37_79b1) & (SLOTS - 1);
        let prefix = |n: u32| Prefix::new(IpAddr::V4(Ipv4Addr::from(0x1000_0000 | slot(n) << 8)), 24);
        let prefixes: Vec<Prefix> = (0..count).filter_map(prefix).collect();
        let negotiated = negotiated();
        let (mut announce, mut updates, mut groups) = (Vec::new(), 0, 0);
        let mut rest = &prefixes[..];
        while !rest.is_empty() {
            let (group, behind) = rest.split_at(rest.len().min(1 + chance.below(99) as usize));
            rest = behind;
            groups += 1;
            let path = chance.path();
            let attributes = Attributes {
                as_path: AsPath::sequence(path),
                med: (chance.below(4) == 0).then(|| chance.below(200)),
                communities: (0..chance.below(4)).map(|n| ASN.0 << 16 | (100 * n + chance.below(20))).collect(),
                ..Attributes::default()
            };
            let group: Vec<(Prefix, u32)> = group.iter().map(|p| (*p, 0)).collect();
            for message in wire::encode_announce(&group, next_hop.into(), None, &attributes, &negotiated)? {
                announce.extend_from_slice(&message);
                updates += 1;
            }
        }
        announce.extend_from_slice(&wire::encode_end_of_rib(Family::V4, &negotiated)?);
        let all: Vec<(Prefix, u32)> = prefixes.iter().map(|p| (*p, 0)).collect();
        let withdraw = wire::encode_withdraw(&all, &negotiated)?.concat();
        Ok(Table { prefixes, announce, withdraw, updates, groups })
    }
}

/// Numbers that only look random.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        // xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32 % bound
    }

    /// The feeder's AS and two to five more of four octets.
    fn path(&mut self) -> Vec<Asn> {
        let more = 2 + self.below(4);
        std::iter::once(ASN).chain((0..more).map(|_| Asn(200_000 + self.below(30_000)))).collect()
    }
}

fn negotiated() -> Negotiated {
    Negotiated { four_octet_as: true, families: [Family::V4].into(), ..Negotiated::default() }
}

/// An established session.
pub(crate) struct Feeder {
    orders: Sender<Order>,
    told: Arc<Mutex<Option<String>>>,
}

enum Order {
    Announce(Arc<Table>),
    Withdraw(Arc<Table>),
    Send(Arc<Vec<u8>>),
}

impl Feeder {
    /// Opens the session; `connect` is tried until the other side listens.
    pub(crate) fn open(router_id: Ipv4Addr, connect: impl Fn() -> Result<TcpStream>) -> Result<Feeder> {
        let deadline = Instant::now() + OPENS_WITHIN;
        loop {
            match connect().and_then(|stream| Session::open(stream, router_id)) {
                Ok(session) => return session.serve(),
                Err(error) if Instant::now() > deadline => return Err(error.context("no BGP session came up")),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Sends all UPDATEs and End-of-RIB.
    pub(crate) fn announce(&self, table: &Arc<Table>) -> Result<()> {
        self.order(Order::Announce(Arc::clone(table)))
    }

    /// Takes all prefixes back.
    pub(crate) fn withdraw(&self, table: &Arc<Table>) -> Result<()> {
        self.order(Order::Withdraw(Arc::clone(table)))
    }

    /// Sends these octets, whole messages.
    pub(crate) fn send(&self, messages: &Arc<Vec<u8>>) -> Result<()> {
        self.order(Order::Send(Arc::clone(messages)))
    }

    /// An error if the session has ended.
    pub(crate) fn check(&self) -> Result<()> {
        match &*self.told.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(words) => Err(anyhow!("the BGP session ended: {words}")),
        }
    }

    fn order(&self, order: Order) -> Result<()> {
        let ended = |_| self.check().err().unwrap_or_else(|| anyhow!("the BGP session ended"));
        self.orders.send(order).map_err(ended)
    }
}

struct Session {
    stream: TcpStream,
    inbox: Vec<u8>,
}

impl Session {
    fn open(stream: TcpStream, router_id: Ipv4Addr) -> Result<Session> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut session = Session { stream, inbox: Vec::new() };
        let capabilities = vec![
            Capability::MultiProtocol(Family::V4),
            Capability::MultiProtocol(Family::V6),
            Capability::RouteRefresh,
            Capability::FourOctetAs(ASN.0),
        ];
        let open = Message::Open(Open { asn: ASN, hold_time: HOLD, router_id, capabilities });
        session.send(&open)?;
        let mut opened = false;
        loop {
            match session.next()? {
                Message::Open(_) => {
                    opened = true;
                    session.send(&Message::Keepalive)?;
                }
                Message::Keepalive if opened => return Ok(session),
                Message::Notification(told) => bail!("NOTIFICATION: {}", told.words()),
                other => bail!("{} before the session is open", other.kind()),
            }
        }
    }

    /// Reads on one thread, so that the other side never waits for us, and writes on another.
    fn serve(mut self) -> Result<Feeder> {
        let told = Arc::new(Mutex::new(None));
        let (orders, todo) = channel();
        let mut writing = self.stream.try_clone()?;
        self.stream.set_read_timeout(None)?;
        let words = Arc::clone(&told);
        let say = move |what: String| {
            words.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
        };
        let also = say.clone();
        std::thread::spawn(move || {
            loop {
                match self.next() {
                    Ok(Message::Notification(told)) => return say(format!("NOTIFICATION: {}", told.words())),
                    Ok(_) => {}
                    Err(error) => return say(error.to_string()),
                }
            }
        });
        std::thread::spawn(move || {
            let keepalive = wire::encode(&Message::Keepalive, &negotiated()).unwrap_or_default();
            loop {
                let written = match todo.recv_timeout(Duration::from_secs(u64::from(HOLD) / 3)) {
                    Ok(Order::Announce(table)) => writing.write_all(&table.announce),
                    Ok(Order::Withdraw(table)) => writing.write_all(&table.withdraw),
                    Ok(Order::Send(messages)) => writing.write_all(&messages),
                    Err(RecvTimeoutError::Timeout) => writing.write_all(&keepalive),
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                if let Err(error) = written {
                    return also(error.to_string());
                }
            }
        });
        Ok(Feeder { orders, told })
    }

    fn send(&mut self, message: &Message) -> Result<()> {
        Ok(self.stream.write_all(&wire::encode(message, &negotiated())?)?)
    }

    fn next(&mut self) -> Result<Message> {
        let mut buffer = [0; 4096];
        loop {
            let length = frame_length(&self.inbox, wire::MAX_MESSAGE).map_err(|error| anyhow!(error.what))?;
            if let Some(length) = length.filter(|length| *length <= self.inbox.len()) {
                let bytes: Vec<u8> = self.inbox.drain(..length).collect();
                return wire::decode(&bytes, &negotiated()).map_err(|error| anyhow!(error.what));
            }
            match self.stream.read(&mut buffer)? {
                0 => bail!("the other side closed the connection"),
                length => self.inbox.extend_from_slice(&buffer[..length]),
            }
        }
    }
}

/// Where the router under measurement listens.
pub(crate) fn bgp_port(address: Ipv4Addr) -> SocketAddr {
    SocketAddr::new(address.into(), 179)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_messages_say_what_the_table_says() {
        let next_hop = Ipv4Addr::new(10, 255, 0, 2);
        let table = Table::new(5000, next_hop).unwrap();
        let all: BTreeSet<Prefix> = table.prefixes.iter().copied().collect();
        assert_eq!(all.len(), 5000);
        let (mut announced, mut withdrawn) = (BTreeSet::new(), BTreeSet::new());
        for mut bytes in [&table.announce[..], &table.withdraw[..]] {
            while let Some(length) = frame_length(bytes, wire::MAX_MESSAGE).unwrap() {
                let (message, rest) = bytes.split_at(length);
                bytes = rest;
                let Message::Update(update) = wire::decode(message, &negotiated()).unwrap() else {
                    panic!("no UPDATE")
                };
                assert!(update.errors.is_empty());
                assert!(update.announced.iter().all(|a| a.next_hop == IpAddr::from(next_hop)));
                announced.extend(update.announced.iter().map(|a| a.prefix));
                withdrawn.extend(update.withdrawn.iter().map(|w| w.prefix));
            }
        }
        assert_eq!((&announced, &withdrawn), (&all, &all));
        assert!(Table::new(2_000_000, next_hop).is_err());
    }
}
