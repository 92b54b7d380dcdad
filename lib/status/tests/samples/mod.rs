//! One document of each kind, with every field filled somewhere.
#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::config::{BgpPeerConfig, BgpSessionConfig, Config};
use model::kernel::Device;
use model::node::NodeSet;
use model::policy::{PolicyConfig, Verdict};
use model::{Asn, ClusterPool, Family, NodeName, Plane, PlaneSet, PodCidr, Prefix, RouterId, StateName, Uid, Vni};
use status::doc::*;
use status::{EventKind, Level, MonitorEvent};

pub fn all() -> Vec<Doc> {
    vec![
        Doc::Status(Box::new(status())),
        Doc::NodeList(nodes()),
        Doc::Mode(Box::new(mode())),
        Doc::Ipam(ipam()),
        Doc::BgpPeerList(peers()),
        Doc::BgpRouteList(bgp_routes()),
        Doc::BfdSessionList(bfd_sessions()),
        Doc::Vxlan(Box::new(vxlan())),
        Doc::RouteList(routes()),
        Doc::RouteExplain(Box::new(explain())),
        Doc::Config(Box::new(config())),
        Doc::Metrics(Box::new(metrics())),
        Doc::Ready(Ready { ready: false, reasons: vec!["no claim in pool 10.244.0.0/16 yet".into()] }),
    ]
}

pub fn event(kind: EventKind, text: &str) -> MonitorEvent {
    MonitorEvent { time: time(0), kind, level: Level::Info, text: text.into() }
}

fn time(second: u8) -> Time {
    format!("2026-05-04T12:00:{second:02}.250Z")
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn cidr(text: &str) -> PodCidr {
    text.parse().unwrap()
}

fn asn(number: u32) -> Asn {
    Asn::new(number).unwrap()
}

fn device(name: &str) -> Device {
    Device::new(name).unwrap()
}

fn router_id() -> RouterId {
    RouterId("192.0.2.1".parse().unwrap())
}

fn reload() -> ReloadState {
    ReloadState {
        successful: false,
        loaded_at: time(1),
        error: Some("/etc/biplane/config.yaml:3:7: unknown key `vnii`; expected vni, port or mtu".into()),
    }
}

pub fn status() -> Status {
    Status {
        node: node("n1"),
        uid: Uid("4f1c".into()),
        version: "0.1.0".into(),
        started_at: time(0),
        ready: false,
        mode: Plane::Native,
        wish_from: WishFrom::Cluster,
        fallback: true,
        state: StateName::Raising,
        since: time(2),
        state_seconds: 1.5,
        stands: PlaneSet::BOTH,
        carry: Plane::Overlay,
        pod_cidrs: vec![cidr("10.244.1.0/24"), cidr("fd00:10:244:1::/64")],
        underlay: vec![ip("192.0.2.1"), ip("2001:db8::1")],
        local_asn: asn(64512),
        router_id: router_id(),
        peers_up: 1,
        peers_total: 2,
        destinations: Destinations { overlay: 2, native: 1, unreachable: 1, total: 4 },
        waiting: vec![Waiting { what: "session with 192.0.2.2".into(), for_seconds: 1.5 }],
        drain: None,
        conditions: vec![Condition {
            name: "Ready".into(),
            status: false,
            reason: "PodCidrMissing".into(),
            message: "no claim yet".into(),
            last_transition_time: Some(time(1)),
        }],
        store: StoreState {
            name: "files".into(),
            place: "/var/lib/biplane/store".into(),
            up: false,
            error: Some("cannot read /var/lib/biplane/store/claims: permission denied".into()),
            since: Some(time(3)),
            coordinator: true,
        },
        drift: Drift {
            desired: 12,
            actual: 11,
            pending_replaces: 1,
            pending_deletes: 0,
            repairs: 3,
            last_repair: Some(Repair { key: "route 10.244.2.0/24".into(), cause: "missing".into(), time: time(4) }),
            last_read_back: Some(time(5)),
        },
        foreign: vec![ForeignDoc { key: "route 10.244.2.0/24".into(), what: "protocol static, via 10.0.0.1".into() }],
        failures: vec![FailureDoc {
            key: "route 10.244.2.0/24".into(),
            error: "File exists".into(),
            errno: 17,
            for_seconds: 3.25,
            attempts: 4,
        }],
        config: reload(),
        last_event: Some(event(EventKind::Mode, "steady on vxlan → raising bgp: wished on n1")),
    }
}

fn nodes() -> Nodes {
    let full = NodeDoc {
        name: node("n2"),
        own: false,
        uid: Some(Uid("77aa".into())),
        pod_cidrs: vec![CarriedCidr {
            pod_cidr: cidr("10.244.2.0/24"),
            plane: Some(Plane::Overlay),
            via: Some("via fe80::42:acff:fe11:2 dev biplane.vxlan".into()),
        }],
        underlay: vec![ip("192.0.2.2")],
        planes: PlaneSet::BOTH,
        stands: Some(PlaneSet::only(Plane::Overlay)),
        sends: Some(PlaneSet::NONE),
        vtep_mac: Some("02:42:ac:11:00:02".parse().unwrap()),
        vtep_gateway: Some(ip("fe80::42:acff:fe11:2")),
        bgp: Some(NodeBgp { asn: asn(64512), port: 179, mesh: true, session: Some(BgpState::OpenSent) }),
        state: Some(StateName::Steady),
        wish: Some(Plane::Overlay),
        version: Some("0.1.0".into()),
        live: Some(true),
        why: Some("no BGP path".into()),
    };
    let bare = NodeDoc {
        name: node("n3"),
        uid: None,
        pod_cidrs: Vec::new(),
        stands: None,
        sends: None,
        vtep_mac: None,
        vtep_gateway: None,
        bgp: None,
        state: None,
        wish: None,
        version: None,
        live: None,
        why: None,
        ..full.clone()
    };
    Nodes { items: vec![full, bare] }
}

fn mode() -> ModeDoc {
    let plane = |names: &[&str]| PlaneDigest {
        stands: NodeSet::AllBut(BTreeSet::from([node("n3")])),
        sends: NodeSet::Only(names.iter().map(|name| node(name)).collect()),
    };
    ModeDoc {
        node: node("n1"),
        wish: Plane::Native,
        wish_from: WishFrom::Cluster,
        config_mode: Plane::Overlay,
        cluster_wish: Some(ClusterWish { mode: Plane::Native, generation: 4, by: node("n2") }),
        fallback: false,
        state: StateName::Flipping,
        from: Some(Plane::Overlay),
        since: time(2),
        state_seconds: 0.25,
        carry: Plane::Native,
        stands: PlaneSet::BOTH,
        sends: PlaneSet::BOTH,
        destinations: Destinations { overlay: 2, native: 1, unreachable: 0, total: 3 },
        waiting: vec![Waiting { what: "node n3 does not stand on bgp".into(), for_seconds: 0.25 }],
        gates: vec![
            Gate { name: "ground".into(), open: true, reason: None },
            Gate { name: "digest".into(), open: false, reason: Some("node n3 does not stand on bgp".into()) },
        ],
        coordinator: Some(node("n2")),
        digest: Some(DigestDoc {
            sequence: 17,
            nodes: 3,
            vxlan: plane(&["n1", "n2"]),
            bgp: plane(&[]),
            gone: vec![node("n9")],
        }),
        nodes: vec![ModeNode {
            node: node("n1"),
            state: Some(StateName::Flipping),
            wish: Some(Plane::Native),
            stands: PlaneSet::BOTH,
            sends: PlaneSet::BOTH,
            waiting: Some("node n3 does not stand on bgp".into()),
            live: Some(true),
        }],
        history: vec![TransitionDoc {
            time: time(2),
            from: StateName::Raising,
            to: StateName::Flipping,
            target: Plane::Native,
            reason: "bgp is ready".into(),
            after_seconds: 2.5,
        }],
    }
}

fn ipam() -> IpamDoc {
    IpamDoc {
        pools: vec![PoolDoc {
            cidr: prefix("10.244.0.0/16"),
            node_prefix: 24,
            total: 256,
            claimed: 3,
            quarantined: 1,
            free: 252,
        }],
        blocks: vec![
            BlockDoc {
                pod_cidr: cidr("10.244.1.0/24"),
                pool: Some(prefix("10.244.0.0/16")),
                state: BlockState::Claimed,
                node: Some(node("n1")),
                uid: Some(Uid("4f1c".into())),
                own: true,
                free_at: None,
            },
            BlockDoc {
                pod_cidr: cidr("10.245.1.0/24"),
                pool: None,
                state: BlockState::Quarantined,
                node: None,
                uid: None,
                own: false,
                free_at: Some(time(59)),
            },
        ],
        problems: vec![IpamProblem {
            reason: "OutsidePools".into(),
            subject: "10.245.1.0/24".into(),
            what: "no pool has this slice".into(),
            cure: Some("add its pool, or release it".into()),
        }],
    }
}

fn peers() -> BgpPeers {
    let mesh = BgpPeer {
        address: ip("192.0.2.2").into(),
        interface: None,
        port: 179,
        asn: asn(64512),
        local_asn: asn(64512),
        peer_type: PeerType::Ibgp,
        mesh: true,
        range: None,
        node: Some(node("n2")),
        description: None,
        passive: false,
        admin_down: false,
        role: None,
        host_name: Some("n2".into()),
        state: BgpState::Established,
        since: time(6),
        uptime_seconds: Some(12.75),
        local_address: Some(ip("192.0.2.1")),
        router_id: Some(router_id()),
        hold_time_seconds: 90.0,
        families: vec![Family::V4, Family::V6],
        received: 3,
        accepted: 2,
        rejected: 1,
        advertised: 2,
        by_family: vec![FamilyCounts { family: Family::V4, received: 3, accepted: 2, rejected: 1, advertised: 2 }],
        max_prefixes: 20_000,
        messages_in: 20,
        messages_out: 21,
        end_of_rib: true,
        stale: 0,
        warnings: vec!["9000 prefixes of the 10000 that maxPrefixes allows: more closes the session".into()],
        last_error: None,
        last_error_seconds_ago: None,
    };
    let tor = BgpPeer {
        address: ip("2001:db8::ff").into(),
        interface: None,
        port: 1179,
        asn: asn(65003),
        peer_type: PeerType::Ebgp,
        mesh: false,
        range: Some(prefix("2001:db8::/64")),
        node: None,
        description: Some("ToR of rack 7".into()),
        passive: true,
        admin_down: false,
        role: Some("customer".into()),
        host_name: None,
        state: BgpState::Active,
        uptime_seconds: None,
        local_address: None,
        router_id: None,
        families: Vec::new(),
        by_family: Vec::new(),
        end_of_rib: false,
        warnings: Vec::new(),
        last_error: Some("bad peer AS: want 65000, got 65003".into()),
        last_error_seconds_ago: Some(12.0),
        ..mesh.clone()
    };
    BgpPeers {
        local_asn: asn(64512),
        router_id: router_id(),
        port: 179,
        listening: false,
        listen_error: Some("port 179 is taken by bird".into()),
        originated: vec![prefix("10.244.1.0/24")],
        items: vec![mesh, tor],
        undiscovered: vec![Undiscovered {
            interface: model::kernel::Device::new("eth1").unwrap(),
            asn: model::PeerAs::External,
            peer_type: PeerType::Ebgp,
            description: Some("ToR".into()),
            why: "interface eth1 is down".into(),
        }],
        strangers: vec![Stranger { address: ip("192.0.2.99").into(), count: 7, last: time(7) }],
    }
}

fn bgp_routes() -> BgpRoutes {
    let best = BgpRoute {
        prefix: prefix("10.244.2.0/24"),
        peer: Some(ip("192.0.2.2").into()),
        next_hop: Some(ip("192.0.2.2")),
        as_path: "65001 {65002,65003}".into(),
        origin: Origin::Igp,
        med: Some(10),
        local_pref: Some(100),
        communities: vec!["65000:100".into()],
        best: true,
        multipath: true,
        stale: false,
        why: "best".into(),
        verdict: Some(RouteVerdict::Best),
        step: Some("best".into()),
        rule: Some("policy from-tor, rule 1".into()),
        path_id: Some(7),
    };
    let own = BgpRoute {
        prefix: prefix("fd00:10:244:1::/64"),
        peer: None,
        next_hop: None,
        as_path: String::new(),
        origin: Origin::Incomplete,
        med: None,
        local_pref: None,
        communities: Vec::new(),
        best: false,
        multipath: false,
        stale: true,
        why: "refused: our own pod CIDR".into(),
        verdict: Some(RouteVerdict::Refused),
        step: Some("ownPodCidr".into()),
        rule: None,
        path_id: None,
    };
    BgpRoutes { direction: RouteDirection::In, items: vec![best, own], truncated: true, around: None }
}

fn vxlan() -> VxlanDoc {
    let mac = "02:42:ac:11:00:02".parse().unwrap();
    VxlanDoc {
        stands: true,
        link: Some(LinkDoc {
            device: device("biplane.vxlan"),
            vni: Vni::new(178).unwrap(),
            port: 4789,
            local: ip("192.0.2.1"),
            underlay: device("eth0"),
            mac,
            mtu: 1450,
            state: LinkState::Differs,
            error: Some("MTU is 1400".into()),
        }),
        fdb: vec![FdbDoc { mac, dst: ip("192.0.2.2"), node: Some(node("n2")), state: ObjectState::Ok, error: None }],
        neighbours: vec![NeighbourDoc {
            ip: ip("fe80::42:acff:fe11:2"),
            mac,
            node: None,
            state: ObjectState::Stray,
            error: Some("No such device".into()),
        }],
    }
}

fn routes() -> Routes {
    Routes {
        items: vec![RouteDoc {
            prefix: prefix("10.244.2.0/24"),
            kind: RouteKind::Remote,
            node: Some(node("n2")),
            plane: Some(Plane::Overlay),
            desired: Some("via 192.0.2.2 dev eth0 src 10.244.1.2".into()),
            actual: Some("via fe80::42:acff:fe11:2 dev biplane.vxlan src 10.244.1.2".into()),
            state: RouteState::Differs,
            error: None,
            why: Some("192.0.2.2 is not on-link".into()),
        }],
        ok: 3,
        total: 4,
    }
}

fn explain() -> ExplainDoc {
    let VxlanDoc { fdb, neighbours, .. } = vxlan();
    let way = "via fe80::42:acff:fe11:2 dev biplane.vxlan src 10.244.1.2".to_owned();
    ExplainDoc {
        address: ip("10.244.2.7"),
        node: node("n1"),
        verdict: ExplainVerdict::Carried,
        summary: "10.244.2.7 goes to node n2 by vxlan, as the fallback: no BGP path".into(),
        pool: Some(prefix("10.244.0.0/16")),
        claim: Some(ExplainClaim {
            pod_cidr: cidr("10.244.2.0/24"),
            node: node("n2"),
            own: false,
            underlay: vec![ip("192.0.2.2"), ip("2001:db8::2")],
            stands: Some(PlaneSet::only(Plane::Overlay)),
            gone: false,
        }),
        carry: Some(ExplainCarry {
            prefix: prefix("10.244.2.0/24"),
            plane: Some(Plane::Overlay),
            preferred: Plane::Native,
            state: StateName::Steady,
            fallback: true,
            why: Some("no BGP path".into()),
            planes: vec![
                ExplainPlane { plane: Plane::Overlay, stands: true, sends: true, usable: true, why: None },
                ExplainPlane {
                    plane: Plane::Native,
                    stands: true,
                    sends: true,
                    usable: false,
                    why: Some("no BGP path".into()),
                },
            ],
        }),
        routes: vec![
            ExplainRoute {
                prefix: prefix("10.244.2.0/24"),
                ours: true,
                desired: Some(way.clone()),
                actual: Some(way),
                state: ObjectState::Ok,
                error: None,
            },
            ExplainRoute {
                prefix: prefix("10.244.0.0/16"),
                ours: false,
                desired: None,
                actual: Some("protocol static, metric 0, via 10.0.0.1 dev eth0".into()),
                state: ObjectState::Foreign,
                error: Some("File exists".into()),
            },
        ],
        hops: vec![ExplainHop {
            gateway: Some(ip("fe80::42:acff:fe11:2")),
            device: device("biplane.vxlan"),
            state: ObjectState::Ok,
            answers: Some(true),
        }],
        overlay: Some(ExplainOverlay {
            device: device("biplane.vxlan"),
            link: LinkState::Up,
            mac: "02:42:ac:11:00:02".parse().unwrap(),
            neighbour: neighbours.into_iter().next(),
            fdb: fdb.into_iter().next(),
        }),
        bgp_prefix: Some(prefix("10.244.2.0/24")),
        paths: bgp_routes().items.into_iter().take(1).collect(),
        problems: vec!["the neighbour entry on biplane.vxlan is stray".into()],
    }
}

fn config() -> ConfigDoc {
    let pool = ClusterPool::new(prefix("10.244.0.0/16"), 24).unwrap();
    let mut config = Config::minimal(Plane::Overlay, vec![pool]);
    config.bgp.peers.push(BgpPeerConfig {
        address: Some(ip("192.0.2.254")),
        interface: None,
        port: 179,
        asn: asn(65001).into(),
        local_address: None,
        passive: false,
        session: BgpSessionConfig {
            password_file: Some("/etc/biplane/tor.key".into()),
            description: Some("ToR".into()),
            import: Some("fromTor".into()),
            ..BgpSessionConfig::default()
        },
    });
    let policy = PolicyConfig { rules: Vec::new(), default: Verdict::Reject };
    config.bgp.policies.insert("fromTor".into(), policy);
    ConfigDoc {
        config,
        origins: BTreeMap::from([("mode".into(), "/etc/biplane/config.yaml:1".into())]),
        warnings: vec!["`conf.d` holds no file".into()],
        sources: vec!["/etc/biplane/config.yaml".into(), "environment".into()],
        reload: reload(),
        effective: Effective {
            node: node("n1"),
            underlay: vec![ip("192.0.2.1")],
            router_id: router_id(),
            vxlan_mtu: Some(1450),
            pod_mtu: Some(1450),
            metrics: Some("127.0.0.1:9178".parse().unwrap()),
        },
    }
}

pub fn bfd_sessions() -> BfdSessions {
    let up = BfdSession {
        address: ip("192.0.2.2").into(),
        node: Some(node("n2")),
        profile: "default".into(),
        multihop: true,
        local_address: Some(ip("192.0.2.1")),
        state: BfdState::Up,
        since: time(3),
        diagnostic: None,
        remote_state: Some(BfdState::Up),
        remote_diagnostic: None,
        remote_independent: Some(false),
        transmit_interval_seconds: Some(0.3),
        detection_time_seconds: Some(0.9),
        multiplier: 3,
        local_discriminator: 17,
        remote_discriminator: Some(4_000_000_000),
        ups: 2,
        failures: 1,
        last_failure: Some("control detection time expired: nothing heard for 900 ms".into()),
        last_failure_seconds_ago: Some(75.5),
    };
    let down = BfdSession {
        address: "fe80::1%eth1".parse().unwrap(),
        node: None,
        profile: "fast".into(),
        multihop: false,
        local_address: None,
        state: BfdState::Down,
        since: time(1),
        diagnostic: Some("control detection time expired".into()),
        remote_state: None,
        remote_diagnostic: None,
        remote_independent: None,
        transmit_interval_seconds: Some(1.0),
        detection_time_seconds: None,
        multiplier: 5,
        local_discriminator: 18,
        remote_discriminator: None,
        ups: 0,
        failures: 0,
        last_failure: None,
        last_failure_seconds_ago: None,
    };
    let trouble = "BFD cannot hear: UDP port 4784 (ipv4) is taken, most likely by the BFD of another routing daemon: \
                   stop that one, or turn BFD off here";
    BfdSessions { items: vec![up, down], trouble: Some(trouble.into()) }
}

pub fn metrics() -> MetricsDoc {
    let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(key, n)| ((*key).to_owned(), *n)).collect();
    let mut convergence = Histogram::new(Histogram::CONVERGENCE);
    [0.0002, 0.003, 0.003, 99.0].into_iter().for_each(|seconds| convergence.observe(seconds));
    let mut rtt = Histogram::new(Histogram::RTT);
    rtt.observe(0.0004);
    MetricsDoc {
        version: "0.1.0".into(),
        mode: Plane::Native,
        carry: Plane::Overlay,
        state: StateName::Flipping,
        switch_duration: Histogram::new(Histogram::SWITCH),
        switch_reversals: 1,
        waiting: vec![
            WaitingMetric { on: "digest".into(), since: 1_777_896_000.25 },
            WaitingMetric { on: "digest".into(), since: 1_777_896_009.0 },
        ],
        ready: true,
        store_up: true,
        coordinator: false,
        destinations: Destinations { overlay: 2, native: 1, unreachable: 0, total: 3 },
        peers: vec![PeerMetrics {
            peer: ip("192.0.2.2").into(),
            asn: asn(4_200_000_000),
            peer_type: PeerType::Ebgp,
            state: BgpState::Established,
            established_time: Some(1_777_896_000.0),
            routes: vec![RouteCount { family: Family::V6, kind: "accepted".into(), count: 2 }],
            messages: vec![MessageCount { direction: "in".into(), message: "update".into(), count: 5 }],
            notifications: vec![NotificationCount { direction: "out".into(), code: 2, subcode: 2, count: 1 }],
            update_errors: counts(&[("withdraw", 1)]),
        }],
        bfd: bfd_sessions().items,
        strangers: 7,
        pools: vec![PoolMetrics { pool: prefix("10.244.0.0/16"), claimed: 3, quarantined: 1, free: 252 }],
        ipam_conflicts: 0,
        wanted: counts(&[("fdb", 2), ("route", 3)]),
        installed: counts(&[("fdb", 2), ("route", 2)]),
        failing: counts(&[("route", 1)]),
        foreign: counts(&[("route", 1)]),
        drift_repairs: counts(&[("missing", 3)]),
        convergence,
        event_longest: 0.004,
        netlink_errors: vec![
            ErrnoCount { op: "create".into(), errno: 17, count: 2 },
            ErrnoCount { op: "create".into(), errno: 17, count: 3 },
            ErrnoCount { op: "dump".into(), errno: 4242, count: 1 },
        ],
        netlink_resyncs: counts(&[("start", 1)]),
        probes: vec![ProbeMetrics { peer_node: node("n2"), plane: Plane::Overlay, loss_ratio: 0.0, rtt }],
        config_last_reload_successful: true,
        config_last_reload_success_time: 1_777_896_000.0,
        doctor: vec![DoctorMetrics { check: "RpFilter".into(), severity: "error".into(), ok: true }],
    }
}
