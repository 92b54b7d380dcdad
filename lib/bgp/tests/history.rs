//! What a speaker holds and tells follows from what its peers announce and from its configuration, and from nothing else:
//! after any history it is what a new speaker comes to that hears the same at once, in another order.
//!
//! That is two promises in one: the Loc-RIB is the decision over the Adj-RIB-Ins, and each Adj-RIB-Out is the export of
//! the Loc-RIB. A third is looked at on the wire: what a peer was told, message by message, adds up to its Adj-RIB-Out.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod sim;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp::{AddPath, ConnId, Direction, Origination, PathStatus, PeerConfig, Policy, RoutesQuery, SpeakerConfig, State};
use model::policy::{
    CommunityChange, PolicyConfig, PrefixRange, Prefixes, RuleConfig, RuleMatch, RuleSet, Then, Verdict,
};
use model::{Asn, Family, Prefix};
use proptest::prelude::*;
use sim::{Hand, address, address6, config, pools, prefix};
use wire::{AddPathMode, AsPath, Attributes, Capability, Message, Origin, RouteRefresh};

const AS: u32 = 64512;
const PEERS: usize = 6;
const PREFIXES: [&str; 6] =
    ["10.244.7.0/24", "10.244.8.0/24", "10.244.100.0/24", "198.51.100.0/24", "fd00:10:244:7::/64", "2001:db8:77::/48"];

/// The peers are as different as they can be: their numbers are 2 to 7.
const FAR: [Far; PEERS] = [
    Far { asn: AS, many_in: true, many_out: false, enhanced: true, graceful: true },
    Far { asn: AS, many_in: false, many_out: true, enhanced: false, graceful: true },
    Far { asn: AS, many_in: false, many_out: false, enhanced: true, graceful: false },
    Far { asn: 65005, many_in: true, many_out: true, enhanced: true, graceful: true },
    Far { asn: 65006, many_in: false, many_out: false, enhanced: false, graceful: false },
    Far { asn: 65006, many_in: false, many_out: true, enhanced: true, graceful: false },
];

#[derive(Clone, Copy)]
struct Far {
    asn: u32,
    many_in: bool,
    many_out: bool,
    enhanced: bool,
    graceful: bool,
}

/// What can be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Settings {
    import: [u8; PEERS],
    export: [u8; PEERS],
    clients: u8,
    reflects: bool,
    one_path: bool,
    sum: bool,
    service: bool,
    send: u8,
}

#[derive(Clone, Debug)]
enum Step {
    Announce(usize, usize, u32, u8),
    Withdraw(usize, usize, u32),
    Break(usize),
    Open(usize),
    Ask(usize, bool),
    Import(usize, u8),
    Export(usize, u8),
    Part(bool, u8),
    Paths(bool, u8),
    Own(bool, bool),
    Originate(bool),
    HoldBack(bool),
    Drain(bool),
    Reset(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let peer = 0..PEERS;
    prop_oneof![
        12 => (peer.clone(), 0..PREFIXES.len(), 0u32..3, any::<u8>()).prop_map(|(p, at, id, v)| Step::Announce(p, at, id, v)),
        4 => (peer.clone(), 0..PREFIXES.len(), 0u32..3).prop_map(|(p, at, id)| Step::Withdraw(p, at, id)),
        2 => peer.clone().prop_map(Step::Break),
        4 => peer.clone().prop_map(Step::Open),
        1 => (peer.clone(), any::<bool>()).prop_map(|(p, v6)| Step::Ask(p, v6)),
        3 => (peer.clone(), 0u8..4).prop_map(|(p, which)| Step::Import(p, which)),
        3 => (peer.clone(), 0u8..4).prop_map(|(p, which)| Step::Export(p, which)),
        2 => (any::<bool>(), any::<u8>()).prop_map(|(reflects, clients)| Step::Part(reflects, clients)),
        1 => (any::<bool>(), 1u8..3).prop_map(|(one, send)| Step::Paths(one, send)),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(sum, service)| Step::Own(sum, service)),
        1 => any::<bool>().prop_map(Step::Originate),
        1 => any::<bool>().prop_map(Step::HoldBack),
        1 => any::<bool>().prop_map(Step::Drain),
        1 => peer.prop_map(Step::Reset),
        2 => (0u64..20).prop_map(Step::Wait),
    ]
}

fn rule(text: &str, le: Option<u8>, set: RuleSet, then: Then) -> RuleConfig {
    let prefixes = Some(Prefixes::List(vec![PrefixRange { prefix: prefix(text), ge: None, le }]));
    RuleConfig { name: None, matches: RuleMatch { prefixes, ..RuleMatch::default() }, set, then }
}

/// 0: none. 1: everything. 2: everything, and some of it changed. 3: nothing of the slices.
fn policy(which: u8) -> Option<Arc<Policy>> {
    let everything = |set: RuleSet| {
        [rule("0.0.0.0/0", Some(32), set.clone(), Then::Accept), rule("::/0", Some(128), set, Then::Accept)]
    };
    let rules = match which {
        0 => return None,
        1 => everything(RuleSet::default()).to_vec(),
        2 => {
            let communities = CommunityChange { add: vec!["1:2".parse().unwrap()], ..CommunityChange::default() };
            let changed = RuleSet { local_pref: Some(150), communities: Some(communities), ..RuleSet::default() };
            let mut rules = vec![rule("10.244.7.0/24", None, changed, Then::Next)];
            rules.extend(everything(RuleSet { med: Some(9), ..RuleSet::default() }));
            rules
        }
        _ => vec![rule("198.51.100.0/24", None, RuleSet::default(), Then::Accept)],
    };
    let config = PolicyConfig { rules, default: Verdict::Reject };
    Some(Arc::new(Policy::new("p", &config, &BTreeMap::new(), &pools())))
}

impl Settings {
    fn speaker(&self) -> SpeakerConfig {
        let mut all = config(1, AS, &[]);
        all.max_paths = if self.one_path { 1 } else { 3 };
        all.reflector = self.reflects.then_some(Ipv4Addr::new(9, 9, 9, 9));
        all.graceful_restart.restart_time = std::time::Duration::from_secs(60);
        all.stale_time = Some(std::time::Duration::from_secs(60));
        let sum = Origination { aggregate: true, summary_only: true, ..Origination::new(prefix("10.244.0.0/20")) };
        all.originate.extend(self.sum.then_some(sum));
        let service = Origination { communities: vec![77], ..Origination::new(prefix("203.0.113.7/32")) };
        all.originate.extend(self.service.then_some(service));
        for (at, far) in FAR.iter().enumerate() {
            let mut peer = PeerConfig::new(address(at as u8 + 2), Asn(far.asn));
            peer.passive = true;
            peer.import = policy(self.import[at]);
            peer.export = policy(self.export[at]);
            peer.client = self.clients & 1 << at != 0;
            peer.add_path = AddPath { send: if far.many_out { self.send.max(1) } else { 0 }, receive: far.many_in };
            all.peers.push(peer);
        }
        all
    }
}

/// What a peer announces: what the variant says.
fn attributes(far: &Far, variant: u8) -> Attributes {
    let inside = far.asn == AS;
    let mut ases: Vec<Asn> = Vec::new();
    ases.extend((!inside).then_some(Asn(far.asn)));
    ases.extend((0..variant & 1).map(|_| Asn(65100)));
    // Some are loops, some must not be passed on.
    ases.extend((variant & 0x70 == 0x70).then_some(Asn(AS)));
    Attributes {
        as_path: AsPath::sequence(ases),
        origin: if variant & 2 == 0 { Origin::Igp } else { Origin::Incomplete },
        med: (variant & 4 != 0).then_some(u32::from(variant >> 5)),
        local_pref: inside.then_some(100 + u32::from(variant & 8)),
        communities: match variant >> 4 & 3 {
            0 => vec![0xffff_ff01],
            1 => vec![0xffff_0000],
            _ => Vec::new(),
        },
        ..Attributes::default()
    }
}

type Table = BTreeMap<(Prefix, u32), u8>;
type Held = BTreeMap<(Prefix, u32), (IpAddr, Attributes)>;

struct Bed {
    hand: Hand,
    settings: Settings,
    tables: Vec<Table>,
    conns: [Option<ConnId>; PEERS],
    held: Vec<Held>,
    draining: bool,
    held_back: bool,
    more_own: bool,
}

impl Bed {
    fn new(settings: Settings) -> Bed {
        let hand = Hand::new(settings.speaker());
        let (tables, held) = (vec![Table::new(); PEERS], vec![Held::new(); PEERS]);
        let conns = [None; PEERS];
        Bed { hand, settings, tables, conns, held, draining: false, held_back: false, more_own: false }
    }

    /// As the peer speaks to us, and as it reads us.
    fn codec(&self, at: usize) -> wire::Negotiated {
        let far = &FAR[at];
        let both = |on: bool| if on { Family::BOTH.into_iter().collect() } else { BTreeSet::new() };
        wire::Negotiated {
            ibgp: far.asn == AS,
            add_path_send: both(far.many_in),
            add_path_receive: both(far.many_out),
            ..self.hand.negotiated.clone()
        }
    }

    fn open(&mut self, at: usize) {
        if self.conns[at].is_some() {
            return;
        }
        let far = FAR[at];
        let conn = self.hand.connect(at as u8 + 2);
        let mut open = Hand::open(far.asn, at as u8 + 2);
        open.hold_time = 0;
        let mode = match (far.many_in, far.many_out) {
            (true, true) => Some(AddPathMode::Both),
            (true, false) => Some(AddPathMode::Send),
            (false, true) => Some(AddPathMode::Receive),
            (false, false) => None,
        };
        open.capabilities.extend(mode.map(|mode| Capability::AddPath(Family::BOTH.map(|f| (f, mode)).to_vec())));
        open.capabilities.extend(far.enhanced.then_some(Capability::EnhancedRouteRefresh));
        open.capabilities.extend(far.graceful.then(|| Capability::GracefulRestart {
            restarting: false,
            notification: true,
            restart_time: 60,
            families: Family::BOTH.map(|family| (family, true)).to_vec(),
        }));
        self.conns[at] = Some(conn);
        self.held[at].clear();
        self.hand.say(conn, &Message::Open(open));
        self.hand.say(conn, &Message::Keepalive);
        self.read();
        if self.conns[at].is_some() {
            Family::BOTH.into_iter().for_each(|family| self.tell(at, family));
            self.read();
        }
    }

    /// The whole table of a family, then End-of-RIB.
    fn tell(&mut self, at: usize, family: Family) {
        let paths: Vec<_> = self.tables[at].iter().map(|(path, variant)| (*path, *variant)).collect();
        for (path, variant) in paths.into_iter().filter(|((prefix, _), _)| prefix.family() == family) {
            self.announce(at, path, variant);
        }
        let end = wire::encode_end_of_rib(family, &self.codec(at)).unwrap();
        self.send(at, &end);
    }

    fn announce(&mut self, at: usize, (prefix, id): (Prefix, u32), variant: u8) {
        let n = at as u8 + 2;
        let hop = if prefix.family() == Family::V4 { address(n) } else { address6(n) };
        let attributes = attributes(&FAR[at], variant);
        for bytes in wire::encode_announce(&[(prefix, id)], hop, None, &attributes, &self.codec(at)).unwrap() {
            self.send(at, &bytes);
        }
    }

    fn send(&mut self, at: usize, bytes: &[u8]) {
        let Some(conn) = self.conns[at] else { return };
        self.hand.bytes(conn, bytes);
    }

    /// Reads what was sent to the peers, and answers what they are asked.
    fn read(&mut self) {
        loop {
            self.hand.work();
            let mut asked = Vec::new();
            for at in 0..PEERS {
                let Some(conn) = self.conns[at] else { continue };
                let codec = self.codec(at);
                let bytes = self.hand.sent.remove(&conn).unwrap_or_default();
                let mut rest = &bytes[..];
                while let Some(length) = wire::frame_length(rest, 4096).unwrap() {
                    match wire::decode(&rest[..length], &codec).unwrap() {
                        Message::Update(update) => {
                            for gone in &update.withdrawn {
                                assert!(
                                    self.held[at].remove(&(gone.prefix, gone.path_id)).is_some(),
                                    "{at} is told that {} goes, of which it was told nothing",
                                    gone.prefix
                                );
                            }
                            for said in &update.announced {
                                let attributes = Attributes::clone(update.attributes.as_ref().unwrap());
                                self.held[at].insert((said.prefix, said.path_id), (said.next_hop, attributes));
                            }
                        }
                        Message::RouteRefresh(RouteRefresh { family: Some(family), subtype: 0 }) => {
                            asked.push((at, family));
                        }
                        _ => {}
                    }
                    rest = &rest[length..];
                }
                self.hand.speaker.handle_drained(self.hand.now, conn);
                if self.hand.closed.contains(&conn) {
                    self.conns[at] = None;
                    self.held[at].clear();
                }
            }
            let there: BTreeSet<ConnId> = self.conns.into_iter().flatten().collect();
            self.hand.sent.retain(|conn, _| there.contains(conn));
            if asked.is_empty() && !self.hand.speaker.has_work() && self.hand.sent.is_empty() {
                return;
            }
            for (at, family) in asked {
                let mark = |subtype| Message::RouteRefresh(RouteRefresh { family: Some(family), subtype });
                let Some(conn) = self.conns[at] else { continue };
                if FAR[at].enhanced {
                    self.hand.say(conn, &mark(RouteRefresh::BEGIN));
                }
                let paths: Vec<_> = self.tables[at].iter().map(|(path, variant)| (*path, *variant)).collect();
                for (path, variant) in paths.into_iter().filter(|((prefix, _), _)| prefix.family() == family) {
                    self.announce(at, path, variant);
                }
                if FAR[at].enhanced && self.conns[at] == Some(conn) {
                    self.hand.say(conn, &mark(RouteRefresh::END));
                }
            }
        }
    }

    fn configure(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        let config = self.settings.speaker();
        self.hand.speaker.handle_config(self.hand.now, config);
    }

    fn act(&mut self, step: &Step) {
        let now = self.hand.now;
        match step {
            Step::Announce(at, which, id, variant) => {
                let path = (prefix(PREFIXES[*which]), if FAR[*at].many_in { id + 1 } else { 0 });
                self.tables[*at].insert(path, *variant);
                self.announce(*at, path, *variant);
            }
            Step::Withdraw(at, which, id) => {
                let path = (prefix(PREFIXES[*which]), if FAR[*at].many_in { id + 1 } else { 0 });
                self.tables[*at].remove(&path);
                for bytes in wire::encode_withdraw(&[path], &self.codec(*at)).unwrap() {
                    self.send(*at, &bytes);
                }
            }
            Step::Break(at) => {
                if let Some(conn) = self.conns[*at].take() {
                    self.held[*at].clear();
                    self.hand.sent.remove(&conn);
                    self.hand.speaker.handle_closed(now, conn, Some("connection reset by peer".to_owned()));
                }
            }
            Step::Open(at) => self.open(*at),
            Step::Ask(at, v6) => {
                let family = if *v6 { Family::V6 } else { Family::V4 };
                if let Some(conn) = self.conns[*at] {
                    self.hand.say(conn, &Message::RouteRefresh(RouteRefresh { family: Some(family), subtype: 0 }));
                }
            }
            Step::Import(at, which) => self.configure(|it| it.import[*at] = *which),
            Step::Export(at, which) => self.configure(|it| it.export[*at] = *which),
            Step::Part(reflects, clients) => self.configure(|it| (it.reflects, it.clients) = (*reflects, *clients)),
            Step::Paths(one, send) => self.configure(|it| (it.one_path, it.send) = (*one, *send)),
            Step::Own(sum, service) => self.configure(|it| (it.sum, it.service) = (*sum, *service)),
            Step::Originate(on) => {
                self.more_own = *on;
                self.hand.speaker.handle_originate(now, prefix("10.244.100.0/24"), *on);
            }
            Step::HoldBack(on) => {
                self.held_back = *on;
                self.hand.speaker.handle_advertise(now, prefix("203.0.113.7/32"), !*on);
            }
            Step::Drain(on) => {
                self.draining = *on;
                self.hand.speaker.handle_drain(now, *on);
            }
            Step::Reset(at) => {
                let _ = self.hand.speaker.handle_reset(now, Some(address(*at as u8 + 2).into()), false);
            }
            Step::Wait(seconds) => self.hand.wait(*seconds),
        }
        self.read();
    }

    /// Everybody is there and has told everything, and nothing waits.
    fn settle(&mut self) {
        for round in 0..8 {
            (0..PEERS).for_each(|at| self.open(at));
            // Idle hold times, answers that wait for each other, End-of-RIB.
            self.hand.wait(if round < 2 { 200 } else { 700 });
            self.read();
        }
        let down: Vec<String> = self
            .hand
            .speaker
            .peers()
            .into_iter()
            .filter(|peer| peer.state != State::Established || peer.stale > 0)
            .map(|peer| format!("{}: {} {} stale, {:?}", peer.id, peer.state, peer.stale, peer.last_error))
            .collect();
        assert!(down.is_empty(), "{down:?}");
    }

    fn rows(&self, direction: Direction) -> Vec<PathStatus> {
        let query = RoutesQuery { direction, peer: None, prefix: None, limit: 10_000 };
        let mut rows = self.hand.speaker.routes(query);
        // The number of a rule depends on which policies there ever were; its name is what is told.
        rows.iter_mut().filter(|row| row.rule.is_some()).for_each(|row| row.step = None);
        if direction == Direction::Out {
            // Our identifiers depend on who came first; that each is unlike the others is looked at on the wire.
            rows.iter_mut().for_each(|row| row.path_id = 0);
            rows.sort_by_key(|row| format!("{row:?}"));
        }
        rows
    }

    /// What the peers have been told, message by message, is what the speaker believes that it has told.
    fn check_wire(&self) {
        for at in 0..PEERS {
            let peer = Some(address(at as u8 + 2).into());
            let query = RoutesQuery { direction: Direction::Out, peer, prefix: None, limit: 10_000 };
            let told: BTreeSet<_> =
                self.hand.speaker.routes(query).iter().map(|row| (row.prefix, row.path_id, row.next_hop)).collect();
            let held: BTreeSet<_> =
                self.held[at].iter().map(|((prefix, id), (hop, _))| (*prefix, *id, Some(*hop))).collect();
            assert_eq!(told, held, "peer {at}");
        }
    }
}

fn check(steps: &[Step], order: &[usize]) {
    let mut bed = Bed::new(Settings::default());
    steps.iter().for_each(|step| bed.act(step));
    bed.settle();
    bed.check_wire();

    let mut fresh = Bed::new(bed.settings.clone());
    fresh.tables.clone_from(&bed.tables);
    for step in [Step::Originate(bed.more_own), Step::HoldBack(bed.held_back), Step::Drain(bed.draining)] {
        fresh.act(&step);
    }
    order.iter().for_each(|at| fresh.open(*at));
    fresh.settle();
    fresh.check_wire();
    for direction in [Direction::In, Direction::Loc, Direction::Out] {
        assert_eq!(bed.rows(direction), fresh.rows(direction), "{direction:?}");
    }
    // What is asked for why says the same as the tables, for every prefix and every peer.
    for text in PREFIXES {
        let prefix = prefix(text);
        let told = bed.rows(Direction::Out);
        for at in 0..PEERS {
            let id = address(at as u8 + 2).into();
            let rows = bed.hand.speaker.explain_out(&prefix, &id).unwrap();
            let announced = rows.iter().filter(|row| row.verdict == bgp::Verdict::Announced).count();
            let held = told.iter().filter(|row| row.prefix == prefix && row.peer.as_ref() == Some(&id)).count();
            assert_eq!(announced, held, "{text} to {at}: {rows:#?}");
            assert!(rows.iter().all(|row| row.verdict != bgp::Verdict::Pending), "{rows:#?}");
        }
    }
}

/// A path that is kept for a peer which is away becomes our own prefix, and the peer does not say it again.
#[test]
fn a_kept_path_of_what_became_our_own_is_not_kept_as_refused() {
    let steps =
        [Step::Open(1), Step::Announce(1, 2, 0, 0x20), Step::Break(1), Step::Withdraw(1, 2, 0), Step::Originate(true)];
    check(&steps, &[0, 1, 2, 3, 4, 5]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Checklist: 21
    #[test]
    fn does_not_matter(
        steps in proptest::collection::vec(step(), 1..60),
        order in Just((0..PEERS).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        check(&steps, &order);
    }
}
