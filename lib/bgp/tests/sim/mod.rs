//! Speakers on an in-memory network with a simulated clock: hours of hold timers in milliseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bgp::{ConnId, Output, PeerConfig, Speaker, SpeakerConfig, State};
use bytes::Bytes;
use model::kernel::Device;
use model::{Asn, ClusterPool, Moment, Prefix, RouterId};

pub fn at(seconds: u64) -> Moment {
    Moment::new(Duration::from_secs(seconds))
}

pub fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub fn pools() -> Vec<ClusterPool> {
    vec![
        ClusterPool::new(prefix("10.244.0.0/16"), 24).unwrap(),
        ClusterPool::new(prefix("fd00:10:244::/48"), 64).unwrap(),
    ]
}

/// Node `n` has 192.0.2.n/24 and 2001:db8::n/64 on eth0.
pub fn address(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

pub fn address6(n: u8) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)])
}

pub fn config(n: u8, asn: u32, peers: &[(u8, u32)]) -> SpeakerConfig {
    let mut config = SpeakerConfig::new(Asn(asn), RouterId(Ipv4Addr::new(192, 0, 2, n)));
    config.pools = pools();
    config.seed = n.into();
    config.peers = peers.iter().map(|(peer, asn)| PeerConfig::new(address(*peer), Asn(*asn))).collect();
    config
}

/// Without graceful restart.
pub fn plain(mut config: SpeakerConfig) -> SpeakerConfig {
    config.graceful_restart.enabled = false;
    config
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Accepted(ConnId, SocketAddr, SocketAddr),
    Dialed(ConnId, SocketAddr),
    DialFailed(ConnId, String),
    Bytes(ConnId, Bytes),
    Drained(ConnId),
    Closed(ConnId, Option<String>),
}

pub struct Node {
    pub speaker: Speaker,
    pub notices: Vec<String>,
    /// Bytes are sent into nothing, and nothing comes.
    pub silent: bool,
    /// Nobody listens.
    pub refuses: bool,
    address: IpAddr,
}

/// The network. Connections are pairs of (node, connection).
pub struct Net {
    pub now: Moment,
    pub nodes: Vec<Node>,
    pub latency: Duration,
    /// Dials made so far, by node.
    pub dials: BTreeMap<usize, usize>,
    queue: BTreeMap<(Moment, u64), (usize, Event)>,
    sequence: u64,
    ends: BTreeMap<(usize, ConnId), (usize, ConnId)>,
    /// Ends whose bytes were lost: a stream never goes on behind a hole.
    stalled: BTreeSet<(usize, ConnId)>,
    ports: u16,
}

impl Net {
    pub fn new() -> Net {
        Net {
            now: at(1000),
            nodes: Vec::new(),
            latency: Duration::from_micros(500),
            dials: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            ends: BTreeMap::new(),
            stalled: BTreeSet::new(),
            ports: 40000,
        }
    }

    /// Nodes 1, 2, ... in one AS each, all peers of each other.
    pub fn mesh(asns: &[u32]) -> Net {
        Net::mesh_of(asns, |config| config)
    }

    /// The same, with each configuration changed.
    pub fn mesh_of(asns: &[u32], change: impl Fn(SpeakerConfig) -> SpeakerConfig) -> Net {
        let mut net = Net::new();
        for (at, asn) in asns.iter().enumerate() {
            let peers: Vec<(u8, u32)> =
                asns.iter().enumerate().filter(|(other, _)| *other != at).map(|(o, asn)| (o as u8 + 1, *asn)).collect();
            net.add(change(config(at as u8 + 1, *asn, &peers)));
        }
        net
    }

    /// Adds the node whose router ID ends in `n`; it originates 10.244.n.0/24 and fd00:10:244:n::/64.
    pub fn add(&mut self, config: SpeakerConfig) -> usize {
        let n = config.router_id.0.octets()[3];
        let mut speaker = Speaker::new(self.now, config);
        let eth0 = Device::new("eth0").unwrap();
        speaker.handle_local_addresses(vec![(address(n), 24, eth0.clone()), (address6(n), 64, eth0)]);
        for own in [format!("10.244.{n}.0/24"), format!("fd00:10:244:{n}::/64")] {
            speaker.handle_originate(self.now, prefix(&own), true);
        }
        assert_eq!(speaker.poll_output(), None, "nothing before the first timeout");
        let node = Node { speaker, notices: Vec::new(), silent: false, refuses: false, address: address(n) };
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    pub fn speaker(&mut self, node: usize) -> &mut Speaker {
        &mut self.nodes[node].speaker
    }

    /// Runs for so long.
    pub fn run(&mut self, wait: Duration) {
        let end = self.now + wait;
        loop {
            self.collect();
            let busy = (0..self.nodes.len()).find(|n| self.nodes[*n].speaker.has_work());
            if let Some(node) = busy {
                let now = self.now;
                self.nodes[node].speaker.handle_work(now, 2000);
                continue;
            }
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timeout = self.nodes.iter().filter_map(|node| node.speaker.poll_timeout()).min();
            let Some(next) = event.into_iter().chain(timeout).min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if event.is_some_and(|at| timeout.is_none_or(|timeout| at <= timeout)) {
                let (_, (node, event)) = self.queue.pop_first().unwrap();
                self.deliver(node, event);
            } else {
                let now = self.now;
                for node in &mut self.nodes {
                    if node.speaker.poll_timeout().is_some_and(|at| at <= now) {
                        node.speaker.handle_timeout(now);
                    }
                }
            }
        }
        self.now = end;
    }

    /// Runs until it holds; fails after `limit`.
    pub fn until(&mut self, what: &str, limit: Duration, mut holds: impl FnMut(&mut Net) -> bool) {
        let end = self.now + limit;
        while !holds(self) {
            assert!(self.now < end, "not within {limit:?}: {what}\n{}", self.describe());
            self.run(Duration::from_millis(50));
        }
    }

    pub fn until_up(&mut self) {
        self.until("all sessions up", Duration::from_secs(30), |net| {
            net.nodes.iter().all(|node| {
                let (up, total) = node.speaker.sessions();
                up == total
            })
        });
        self.run(Duration::from_secs(1));
    }

    /// All connections of a node break without a word.
    pub fn break_tcp(&mut self, node: usize) {
        let mine: Vec<(usize, ConnId)> = self.ends.keys().filter(|(n, _)| *n == node).copied().collect();
        for end in mine {
            let Some(other) = self.ends.remove(&end) else { continue };
            self.ends.remove(&other);
            for (node, conn) in [end, other] {
                self.push(node, Event::Closed(conn, Some("connection reset by peer".to_owned())));
            }
        }
    }

    /// The process of a node dies and another begins: all its connections close, it remembers nothing.
    pub fn restart(&mut self, node: usize, config: SpeakerConfig) {
        self.break_tcp(node);
        let survivors: Vec<_> = self.queue.iter().filter(|(_, (to, _))| *to == node).map(|(key, _)| *key).collect();
        for key in survivors {
            self.queue.remove(&key);
        }
        let at = self.add(config);
        let fresh = self.nodes.swap_remove(at);
        self.nodes[node] = fresh;
    }

    pub fn state(&self, node: usize, peer: u8) -> State {
        let peers = self.nodes[node].speaker.peers();
        peers.iter().find(|p| p.id == address(peer).into()).expect("a peer").state
    }

    pub fn last_error(&self, node: usize, peer: u8) -> Option<String> {
        let peers = self.nodes[node].speaker.peers();
        peers.iter().find(|p| p.id == address(peer).into()).expect("a peer").last_error.clone().map(|(_, words)| words)
    }

    /// Next hops of the multipath set.
    pub fn hops(&self, node: usize, text: &str) -> Vec<IpAddr> {
        self.nodes[node].speaker.best(&prefix(text)).iter().map(|path| path.next_hop).collect()
    }

    pub fn notices(&self, node: usize, part: &str) -> usize {
        self.nodes[node].notices.iter().filter(|line| line.contains(part)).count()
    }

    pub fn describe(&self) -> String {
        let lines = self.nodes.iter().flat_map(|node| {
            node.speaker
                .peers()
                .into_iter()
                .map(move |peer| format!("{} -> {}: {} {:?}", node.address, peer.id, peer.state, peer.last_error))
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Open connections, each counted once.
    pub fn connections(&self) -> usize {
        self.ends.len() / 2
    }

    fn push(&mut self, node: usize, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + self.latency, self.sequence), (node, event));
    }

    /// Takes all outputs.
    pub fn collect(&mut self) {
        for at in 0..self.nodes.len() {
            while let Some(output) = self.nodes[at].speaker.poll_output() {
                self.perform(at, output);
            }
        }
    }

    fn perform(&mut self, at: usize, output: Output) {
        match output {
            Output::Dial { conn, remote, .. } => {
                *self.dials.entry(at).or_default() += 1;
                self.ports += 1;
                let local = SocketAddr::new(self.nodes[at].address, self.ports);
                match self.nodes.iter().position(|node| node.address == remote.ip()) {
                    Some(other) if self.nodes[other].silent || self.nodes[at].silent => {}
                    Some(other) if !self.nodes[other].refuses => {
                        let theirs = 1 << 63 | u64::from(self.ports);
                        self.ends.insert((at, conn), (other, theirs));
                        self.ends.insert((other, theirs), (at, conn));
                        self.push(other, Event::Accepted(theirs, remote, local));
                        self.push(at, Event::Dialed(conn, local));
                    }
                    _ => self.push(at, Event::DialFailed(conn, "connection refused".to_owned())),
                }
            }
            Output::Send { conn, bytes } => {
                let Some((other, theirs)) = self.ends.get(&(at, conn)).copied() else { return };
                if self.nodes[other].silent || self.nodes[at].silent {
                    self.stalled.insert((at, conn));
                }
                if !self.stalled.contains(&(at, conn)) {
                    self.push(other, Event::Bytes(theirs, bytes));
                    self.push(at, Event::Drained(conn));
                }
            }
            Output::Close { conn, .. } => {
                let Some((other, theirs)) = self.ends.remove(&(at, conn)) else { return };
                self.ends.remove(&(other, theirs));
                if !self.nodes[other].silent && !self.nodes[at].silent {
                    self.push(other, Event::Closed(theirs, None));
                }
            }
            Output::Notice { text, .. } => self.nodes[at].notices.push(text),
        }
    }

    fn deliver(&mut self, node: usize, event: Event) {
        let now = self.now;
        let speaker = &mut self.nodes[node].speaker;
        match event {
            Event::Accepted(conn, local, remote) => speaker.handle_accepted(now, conn, local, remote.ip()),
            Event::Dialed(conn, local) => speaker.handle_dialed(now, conn, local),
            Event::DialFailed(conn, error) => speaker.handle_dial_failed(now, conn, error),
            Event::Bytes(conn, bytes) => speaker.handle_bytes(now, conn, &bytes),
            Event::Drained(conn) => speaker.handle_drained(now, conn),
            Event::Closed(conn, error) => speaker.handle_closed(now, conn, error),
        }
    }
}

/// A peer made by hand: bytes in and out of one speaker.
pub struct Hand {
    pub now: Moment,
    pub speaker: Speaker,
    pub notices: Vec<String>,
    pub closed: BTreeSet<ConnId>,
    pub sent: BTreeMap<ConnId, Vec<u8>>,
    pub dials: Vec<ConnId>,
    pub negotiated: wire::Negotiated,
    next: ConnId,
}

impl Hand {
    pub fn new(config: SpeakerConfig) -> Hand {
        let mut net = Net::new();
        net.add(config);
        let node = net.nodes.remove(0);
        let negotiated = wire::Negotiated {
            four_octet_as: true,
            extended_next_hop_send: true,
            extended_next_hop_receive: true,
            families: model::Family::BOTH.into_iter().collect(),
            ..wire::Negotiated::default()
        };
        Hand {
            now: net.now,
            speaker: node.speaker,
            notices: Vec::new(),
            closed: BTreeSet::new(),
            sent: BTreeMap::new(),
            dials: Vec::new(),
            negotiated,
            next: 1 << 63,
        }
    }

    pub fn open(asn: u32, n: u8) -> wire::Open {
        wire::Open {
            asn: Asn(asn),
            hold_time: 90,
            router_id: Ipv4Addr::new(192, 0, 2, n),
            capabilities: vec![
                wire::Capability::MultiProtocol(model::Family::V4),
                wire::Capability::MultiProtocol(model::Family::V6),
                wire::Capability::RouteRefresh,
                wire::Capability::FourOctetAs(asn),
            ],
        }
    }

    /// The peer `n` connects.
    pub fn connect(&mut self, n: u8) -> ConnId {
        let conn = self.next;
        self.next += 1;
        let local = SocketAddr::new(address(1), 179);
        self.speaker.handle_accepted(self.now, conn, local, address(n));
        self.collect();
        conn
    }

    /// Peer `n` of AS `asn` connects and goes all the way.
    pub fn establish(&mut self, n: u8, asn: u32) -> ConnId {
        let conn = self.connect(n);
        self.say(conn, &wire::Message::Open(Hand::open(asn, n)));
        self.say(conn, &wire::Message::Keepalive);
        conn
    }

    pub fn say(&mut self, conn: ConnId, message: &wire::Message) {
        let bytes = wire::encode(message, &self.negotiated).unwrap();
        self.bytes(conn, &bytes);
    }

    pub fn bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        self.speaker.handle_bytes(self.now, conn, bytes);
        self.work();
    }

    /// Prefixes with one next hop and AS_PATH.
    pub fn announce(&mut self, conn: ConnId, prefixes: &[&str], next_hop: IpAddr, ases: &[u32]) {
        let attributes = wire::Attributes {
            as_path: wire::AsPath::sequence(ases.iter().copied().map(Asn)),
            ..wire::Attributes::default()
        };
        let prefixes: Vec<(Prefix, u32)> = prefixes.iter().map(|p| (prefix(p), 0)).collect();
        for bytes in wire::encode_announce(&prefixes, next_hop, None, &attributes, &self.negotiated).unwrap() {
            self.bytes(conn, &bytes);
        }
    }

    pub fn wait(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(next) = self.speaker.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.speaker.handle_timeout(self.now);
            self.work();
        }
        self.now = end;
    }

    pub fn work(&mut self) {
        while self.speaker.has_work() {
            self.speaker.handle_work(self.now, 2000);
        }
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(output) = self.speaker.poll_output() {
            match output {
                Output::Send { conn, bytes } => self.sent.entry(conn).or_default().extend_from_slice(&bytes),
                Output::Close { conn, .. } => {
                    self.closed.insert(conn);
                }
                Output::Dial { conn, .. } => self.dials.push(conn),
                Output::Notice { text, .. } => self.notices.push(text),
            }
        }
    }

    /// What was said on a connection since this was last asked.
    pub fn heard(&mut self, conn: ConnId) -> Vec<wire::Message> {
        let bytes = self.sent.remove(&conn).unwrap_or_default();
        let mut rest = &bytes[..];
        let mut messages = Vec::new();
        while let Some(length) = wire::frame_length(rest, 4096).unwrap() {
            messages.push(wire::decode(&rest[..length], &self.negotiated).unwrap());
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "half a message was sent");
        messages
    }

    /// The NOTIFICATION among what was said, as (code, subcode).
    pub fn told(&mut self, conn: ConnId) -> Option<(u8, u8)> {
        self.heard(conn).into_iter().find_map(|message| match message {
            wire::Message::Notification(told) => Some((told.code, told.subcode)),
            _ => None,
        })
    }

    pub fn last_error(&self) -> String {
        self.speaker.peers()[0].last_error.clone().map(|(_, words)| words).unwrap_or_default()
    }
}
