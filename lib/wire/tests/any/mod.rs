//! Any message that we may compose, for property tests.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;
use model::{Asn, Family, Prefix};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use wire::{
    AddPathMode, Announced, AsPath, Attributes, Capability, Negotiated, Notification, Open, Origin, RawAttribute, Role,
    Segment, Update, Withdrawn,
};

/// A prefix that is no martian.
pub fn prefix(family: Family) -> BoxedStrategy<Prefix> {
    match family {
        Family::V4 => (1_u8..=126, any::<[u8; 3]>(), 8_u8..=32)
            .prop_map(|(a, [b, c, d], len)| Prefix::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), len).unwrap())
            .boxed(),
        Family::V6 => (any::<u128>(), 3_u8..=128)
            .prop_map(|(bits, len)| {
                let global = bits >> 3 | 1 << 125;
                Prefix::new(IpAddr::V6(Ipv6Addr::from(global)), len).unwrap()
            })
            .boxed(),
    }
}

pub fn next_hop4() -> impl Strategy<Value = IpAddr> {
    (1_u8..=126, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
}

/// Global, and perhaps link-local beside it.
pub fn next_hop6() -> impl Strategy<Value = (IpAddr, Option<Ipv6Addr>)> {
    (any::<u128>(), proptest::option::of(any::<u64>())).prop_map(|(bits, local)| {
        let global = Ipv6Addr::from(bits >> 3 | 1 << 125);
        let local = local.map(|low| Ipv6Addr::from(0xfe80_u128 << 112 | u128::from(low)));
        (IpAddr::V6(global), local)
    })
}

fn asn(four_octet_as: bool) -> BoxedStrategy<Asn> {
    // AS_TRANS itself on the path of a two-octet peer would be taken for a stand-in.
    let two = (1_u32..=65535).prop_filter("AS_TRANS", |n| *n != 23456);
    if four_octet_as {
        (1..=u32::MAX).prop_map(Asn).boxed()
    } else {
        prop_oneof![two, 65536..=u32::MAX].prop_map(Asn).boxed()
    }
}

pub fn attributes(negotiated: &Negotiated) -> impl Strategy<Value = Attributes> + use<> {
    let ibgp = negotiated.ibgp;
    let path = vec(asn(negotiated.four_octet_as), 0..12);
    let raw = (100_u8..=120, vec(any::<u8>(), 0..300));
    (
        (
            (0_u8..3, path, any::<Option<u32>>(), any::<Option<u32>>(), any::<bool>()),
            any::<Option<u32>>().prop_map(|n| n.map(Asn)),
        ),
        proptest::option::of((asn(negotiated.four_octet_as), any::<Ipv4Addr>())),
        btree_set(any::<u32>(), 0..20),
        btree_set(any::<[u32; 3]>(), 0..6),
        btree_set(any::<u64>(), 0..6),
        (any::<Option<Ipv4Addr>>(), vec(any::<Ipv4Addr>(), 0..4)),
        vec(raw, 0..3),
    )
        .prop_map(move |(first, aggregator, communities, large, ext_communities, reflected, raw)| {
            let ((origin, path, med, local_pref, atomic_aggregate), only_to_customer) = first;
            let (originator_id, cluster_list) = if ibgp { reflected } else { (None, Vec::new()) };
            let mut codes = BTreeSet::new();
            let mut unknown: Vec<RawAttribute> = raw
                .into_iter()
                .filter(|(code, _)| codes.insert(*code))
                .map(|(code, value)| RawAttribute {
                    code,
                    flags: if value.len() > 255 { 0xf0 } else { 0xe0 },
                    value: Bytes::from(value),
                })
                .collect();
            unknown.sort();
            Attributes {
                origin: [Origin::Igp, Origin::Egp, Origin::Incomplete][usize::from(origin)],
                as_path: AsPath::sequence(path),
                med,
                local_pref: local_pref.filter(|_| ibgp),
                atomic_aggregate,
                aggregator,
                communities: communities.into_iter().collect(),
                large_communities: large.into_iter().collect(),
                ext_communities: ext_communities.into_iter().collect(),
                originator_id,
                cluster_list,
                only_to_customer,
                unknown,
            }
        })
}

pub fn session() -> impl Strategy<Value = Negotiated> {
    let families = || proptest::sample::subsequence(Family::BOTH.to_vec(), 0..=2);
    (any::<bool>(), any::<bool>(), prop_oneof![Just(4096_usize), Just(65535)], families()).prop_map(
        |(four_octet_as, ibgp, max_message, add_path)| Negotiated {
            four_octet_as,
            ibgp,
            families: BTreeSet::from(Family::BOTH),
            max_message,
            // What we send is what we receive here.
            add_path_send: add_path.iter().copied().collect(),
            add_path_receive: add_path.into_iter().collect(),
            extended_next_hop_send: true,
            extended_next_hop_receive: true,
            accept_as_sets: false,
        },
    )
}

/// Prefixes, each with a path identifier that passes in this session.
pub fn paths(
    family: Family,
    count: std::ops::Range<usize>,
    negotiated: &Negotiated,
) -> BoxedStrategy<Vec<(Prefix, u32)>> {
    if negotiated.add_path_send.contains(&family) {
        btree_set((prefix(family), any::<u32>()), count).prop_map(|set| set.into_iter().collect()).boxed()
    } else {
        btree_set(prefix(family), count).prop_map(|set| set.into_iter().map(|p| (p, 0)).collect()).boxed()
    }
}

/// An UPDATE that fits one message, with both families on both sides.
pub fn update(negotiated: &Negotiated) -> impl Strategy<Value = Update> + use<> {
    let side = || (paths(Family::V4, 0..20, negotiated), paths(Family::V6, 0..20, negotiated));
    (side(), side(), next_hop4(), next_hop6(), attributes(negotiated)).prop_map(
        |(withdrawn, announced, next_hop4, (next_hop6, link_local), attributes)| {
            let mut update = Update::default();
            let all: BTreeSet<(Prefix, u32)> = announced.0.iter().chain(&announced.1).copied().collect();
            update.withdrawn.extend(
                withdrawn
                    .0
                    .into_iter()
                    .chain(withdrawn.1)
                    .filter(|path| !all.contains(path))
                    .map(|(prefix, path_id)| Withdrawn { prefix, path_id }),
            );
            update.announced.extend(announced.0.into_iter().map(|(prefix, path_id)| Announced {
                prefix,
                path_id,
                next_hop: next_hop4,
                link_local: None,
            }));
            update.announced.extend(announced.1.into_iter().map(|(prefix, path_id)| Announced {
                prefix,
                path_id,
                next_hop: next_hop6,
                link_local,
            }));
            if !update.announced.is_empty() {
                update.attributes = Some(Arc::new(attributes));
            } else if update.withdrawn.is_empty() {
                update.end_of_rib = Some(Family::V4);
            }
            update
        },
    )
}

pub fn open() -> impl Strategy<Value = Open> {
    let family = || prop_oneof![Just(Family::V4), Just(Family::V6)];
    let capability = prop_oneof![
        family().prop_map(Capability::MultiProtocol),
        Just(Capability::RouteRefresh),
        Just(Capability::ExtendedMessage),
        Just(Capability::EnhancedRouteRefresh),
        (any::<bool>(), any::<bool>(), 0_u16..4096, vec((family(), any::<bool>()), 0..3)).prop_map(
            |(restarting, notification, restart_time, families)| Capability::GracefulRestart {
                restarting,
                notification,
                restart_time,
                families
            }
        ),
        vec((family(), family()), 0..4).prop_map(Capability::ExtendedNextHop),
        prop_oneof![
            Just(Role::Provider),
            Just(Role::RouteServer),
            Just(Role::RouteServerClient),
            Just(Role::Customer),
            Just(Role::Peer)
        ]
        .prop_map(Capability::Role),
        vec(
            (family(), prop_oneof![Just(AddPathMode::Receive), Just(AddPathMode::Send), Just(AddPathMode::Both)]),
            0..4
        )
        .prop_map(Capability::AddPath),
        vec((family(), any::<bool>(), 0_u32..1 << 24), 0..4).prop_map(Capability::LongLivedGracefulRestart),
        ("[a-z0-9-]{0,60}", "[a-z.]{0,30}").prop_map(|(hostname, domain)| Capability::Fqdn { hostname, domain }),
        (186_u8..=238, vec(any::<u8>(), 0..255))
            .prop_map(|(code, value)| Capability::Other { code, value: value.into() }),
    ];
    // A hold time and capability codes that the other implementation finds legal, too; an identifier that looks like a router's.
    let router_id = next_hop4().prop_map(|address| match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::LOCALHOST,
    });
    (1..=u32::MAX, 3_u16.., router_id, vec(capability, 0..10)).prop_map(
        |(asn, hold_time, router_id, mut capabilities)| {
            capabilities.insert(0, Capability::FourOctetAs(asn));
            Open { asn: Asn(asn), hold_time, router_id, capabilities }
        },
    )
}

pub fn notification() -> impl Strategy<Value = Notification> {
    (any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..300))
        .prop_map(|(code, subcode, data)| Notification::new(code, subcode, data.into()))
}

/// All ASes of a path.
pub fn ases(path: &AsPath) -> Vec<u32> {
    path.0
        .iter()
        .flat_map(|segment| match segment {
            Segment::Sequence(ases) | Segment::Set(ases) => ases.iter().map(|asn| asn.0),
        })
        .collect()
}
