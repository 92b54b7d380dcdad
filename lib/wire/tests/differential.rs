//! Other implementations against ours. One, in its strict mode, reads what we compose as we mean it, and we read what it
//! writes. The other judges attribute lists with the treatments of RFC 7606 as we do.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, dead_code)]

mod any;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
use model::{Family, Prefix};
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::nlri::{Ipv4UnicastAddress, Ipv6UnicastAddress};
use netgauze_bgp_pkt::path_attribute::{Aggregator, AsPath, MpReach, MpUnreach, PathAttributeValue};
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_iana::address_family::AddressType;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::collection::vec;
use proptest::prelude::*;
use rustbgpd_wire::validate::{ErrorDisposition, validate_update_attributes};
use wire::{
    Attributes, Message, Negotiated, Notification, RouteRefresh, Treatment, cease, decode, encode, encode_announce,
    encode_end_of_rib, encode_withdraw,
};

fn theirs(octets: &[u8], negotiated: &Negotiated) -> BgpMessage {
    let mut context = BgpParsingContext::asn2_default();
    context.set_asn4(negotiated.four_octet_as);
    for family in &negotiated.add_path_send {
        let address_type = match family {
            Family::V4 => AddressType::Ipv4Unicast,
            Family::V6 => AddressType::Ipv6Unicast,
        };
        context.add_path_mut().insert(address_type, true);
    }
    let mut reader = SliceReader::new(octets);
    let message = BgpMessage::parse(&mut reader, &mut context).unwrap_or_else(|e| panic!("{e:?} in {octets:02x?}"));
    assert!(reader.is_empty());
    // What they write we read as what we have written.
    let mut again = Vec::new();
    message.write(&mut again).unwrap();
    assert_eq!(decode(&again, negotiated), decode(octets, negotiated));
    message
}

/// What the other side saw of an UPDATE.
#[derive(Default)]
struct Seen {
    withdrawn: Vec<(Prefix, u32)>,
    announced: Vec<(Prefix, u32)>,
    next_hop: Option<IpAddr>,
    link_local: Option<Ipv6Addr>,
    attributes: Attributes,
}

fn seen(octets: &[u8], negotiated: &Negotiated) -> Seen {
    let BgpMessage::Update(update) = theirs(octets, negotiated) else { panic!("no UPDATE") };
    let four = |a: &Ipv4UnicastAddress| (Prefix::from(IpNet::V4(a.network().address())), a.path_id().unwrap_or(0));
    let six = |a: &Ipv6UnicastAddress| (Prefix::from(IpNet::V6(a.network().address())), a.path_id().unwrap_or(0));
    let mut seen = Seen::default();
    seen.withdrawn.extend(update.withdraw_routes().iter().map(four));
    seen.announced.extend(update.nlri().iter().map(four));
    for attribute in update.path_attributes() {
        match attribute.value() {
            PathAttributeValue::Origin(origin) => {
                seen.attributes.origin =
                    [wire::Origin::Igp, wire::Origin::Egp, wire::Origin::Incomplete][usize::from(*origin as u8)];
            }
            PathAttributeValue::AsPath(AsPath::As4PathSegments(segments)) => {
                let ases = segments.iter().flat_map(|s| s.as_numbers().iter().copied().map(model::Asn));
                seen.attributes.as_path = wire::AsPath::sequence(ases);
            }
            PathAttributeValue::AsPath(AsPath::As2PathSegments(segments)) => {
                let ases = segments.iter().flat_map(|s| s.as_numbers().iter().map(|n| model::Asn(u32::from(*n))));
                seen.attributes.as_path = wire::AsPath::sequence(ases);
            }
            // Behind AS_PATH; ours has as many ASes as that, or none at all.
            PathAttributeValue::As4Path(path) => {
                let ases = path.segments().iter().flat_map(|s| s.as_numbers().iter().copied().map(model::Asn));
                seen.attributes.as_path = wire::AsPath::sequence(ases);
            }
            PathAttributeValue::Aggregator(Aggregator::As2Aggregator(a)) => {
                seen.attributes.aggregator = Some((model::Asn(u32::from(*a.asn())), a.origin()));
            }
            PathAttributeValue::UnknownAttribute(raw) if raw.code() == 18 => {
                let (asn, id) = raw.value().split_first_chunk::<4>().unwrap();
                let id: [u8; 4] = id.try_into().unwrap();
                seen.attributes.aggregator = Some((model::Asn(u32::from_be_bytes(*asn)), id.into()));
            }
            PathAttributeValue::OnlyToCustomer(asn) => {
                seen.attributes.only_to_customer = Some(model::Asn(asn.asn()));
            }
            PathAttributeValue::NextHop(hop) => seen.next_hop = Some(IpAddr::V4(hop.next_hop())),
            PathAttributeValue::MultiExitDiscriminator(med) => seen.attributes.med = Some(med.metric()),
            PathAttributeValue::LocalPreference(p) => seen.attributes.local_pref = Some(p.metric()),
            PathAttributeValue::AtomicAggregate(_) => seen.attributes.atomic_aggregate = true,
            PathAttributeValue::Aggregator(Aggregator::As4Aggregator(a)) => {
                seen.attributes.aggregator = Some((model::Asn(*a.asn()), a.origin()));
            }
            PathAttributeValue::Communities(c) => {
                seen.attributes.communities = c.communities().iter().map(|c| c.value()).collect();
            }
            PathAttributeValue::LargeCommunities(c) => {
                seen.attributes.large_communities =
                    c.communities().iter().map(|c| [c.global_admin(), c.local_data1(), c.local_data2()]).collect();
            }
            PathAttributeValue::Originator(id) => seen.attributes.originator_id = Some(id.id()),
            PathAttributeValue::ClusterList(list) => {
                seen.attributes.cluster_list = list.cluster_list().iter().map(|id| id.id()).collect();
            }
            PathAttributeValue::MpReach(MpReach::Ipv6Unicast { next_hop_global, next_hop_local, nlri }) => {
                seen.next_hop = Some(IpAddr::V6(*next_hop_global));
                seen.link_local = *next_hop_local;
                seen.announced.extend(nlri.iter().map(six));
            }
            PathAttributeValue::MpReach(MpReach::Ipv4Unicast { next_hop, next_hop_local, nlri }) => {
                seen.next_hop = Some(*next_hop);
                seen.link_local = *next_hop_local;
                seen.announced.extend(nlri.iter().map(four));
            }
            PathAttributeValue::MpUnreach(MpUnreach::Ipv6Unicast { nlri }) => {
                seen.withdrawn.extend(nlri.iter().map(six));
            }
            // Extended communities and unknown attributes have no plain form there.
            _ => {}
        }
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Checklist: 38, 75
    #[test]
    fn announcements_and_withdrawals(
        (negotiated, attributes, four, six) in any::session().prop_flat_map(|n| {
            let parts = (any::attributes(&n), any::paths(Family::V4, 1..1200, &n), any::paths(Family::V6, 1..300, &n));
            (Just(n), parts).prop_map(|(n, (attributes, four, six))| (n, attributes, four, six))
        }),
        next_hop4 in any::next_hop4(),
        (next_hop6, link_local) in any::next_hop6(),
    ) {
        // These two have no plain form there.
        let comparable = Attributes { ext_communities: vec![], unknown: vec![], ..attributes.clone() };
        for (sent, next_hop, link_local) in
            [(&four, next_hop4, None), (&four, next_hop6, link_local), (&six, next_hop6, link_local)]
        {
            let mut got = Vec::new();
            for octets in encode_announce(sent, next_hop, link_local, &attributes, &negotiated).unwrap() {
                let seen = seen(&octets, &negotiated);
                prop_assert_eq!(seen.next_hop, Some(next_hop));
                prop_assert_eq!(seen.link_local, link_local);
                prop_assert_eq!(&seen.attributes, &comparable);
                got.extend(seen.announced);
            }
            prop_assert_eq!(&got, sent);
        }
        for sent in [&four, &six] {
            let messages = encode_withdraw(sent, &negotiated).unwrap();
            let got: Vec<(Prefix, u32)> =
                messages.iter().flat_map(|octets| seen(octets, &negotiated).withdrawn).collect();
            prop_assert_eq!(&got, sent);
        }
    }

    #[test]
    fn opens(open in any::open()) {
        // RFC 9072 is unknown there; and it reads nothing but names into capability 73.
        let negotiated = session();
        let octets = encode(&Message::Open(open.clone()), &negotiated).unwrap();
        if octets[28] == 255 && octets[29] == 255 {
            return Ok(());
        }
        let BgpMessage::Open(theirs) = theirs(&octets, &negotiated) else { panic!("no OPEN") };
        prop_assert_eq!(theirs.my_asn4(), open.asn.0);
        prop_assert_eq!((theirs.hold_time(), theirs.bgp_id()), (open.hold_time, open.router_id));
        prop_assert_eq!(theirs.capabilities().len(), open.capabilities.len());
    }

    /// One attribute of any value and flags among sound ones: the same treatment.
    #[test]
    fn treatments(
        code in prop_oneof![1_u8..=10, 16_u8..=18, Just(32), Just(35), Just(99)],
        class in prop_oneof![4 => Just(None), 1 => (0_u8..4).prop_map(Some)],
        value in value(),
        (four_octet_as, ibgp) in (any::<bool>(), any::<bool>()),
    ) {
        let negotiated =
            Negotiated { four_octet_as, ibgp, families: Family::BOTH.into(), ..Negotiated::default() };
        let right = match code {
            1..=3 | 5 | 6 => 0x40,
            4 | 9 | 10 => 0x80,
            _ => 0xc0,
        };
        // They judge the flags of what is to be discarded anyway.
        let anyway = (!ibgp && matches!(code, 5 | 9 | 10)) || (four_octet_as && matches!(code, 17 | 18));
        let flags = class.filter(|_| !anyway).map_or(right, |class| class << 6);
        let path: &[u8] = if four_octet_as { &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9] } else { &[0x40, 2, 4, 2, 1, 0xfd, 0xe9] };
        let mut list = Vec::new();
        for (of, octets) in [(1, &[0x40, 1, 1, 0][..]), (2, path), (3, &[0x40, 3, 4, 192, 0, 2, 1])] {
            if of != code {
                list.extend_from_slice(octets);
            }
        }
        list.extend_from_slice(&[flags, code, value.len() as u8]);
        list.extend_from_slice(&value);
        let raw = rustbgpd_wire::UpdateMessage {
            withdrawn_routes: Bytes::new(),
            path_attributes: list.into(),
            nlri: Bytes::from_static(&[24, 203, 0, 113]),
        };
        let mut octets = BytesMut::new();
        raw.encode(&mut octets).unwrap();
        let Ok(Message::Update(ours)) = decode(&octets, &negotiated) else { panic!("no reset for these") };
        let theirs = raw.parse_revised(four_octet_as, ibgp, false, &[]).unwrap();
        let mut worst: Vec<ErrorDisposition> = theirs.malformed.iter().map(|m| m.disposition).collect();
        let attributes = &theirs.update.attributes;
        worst.extend(validate_update_attributes(attributes, true, true, !ibgp).err().map(|error| error.disposition));
        let mut wanted = worst.into_iter().max().map(|disposition| match disposition {
            ErrorDisposition::AttributeDiscard => Treatment::Discard,
            ErrorDisposition::TreatAsWithdraw => Treatment::Withdraw,
            ErrorDisposition::SessionReset => Treatment::ResetSession,
        });
        if anyway {
            wanted = wanted.max(Some(Treatment::Discard));
        }
        // They take 0/8 and class E for routers.
        let odd_next_hop = code == 3 && value.len() == 4 && (value[0] == 0 || value[0] >= 224);
        // A set in an AS4_PATH that is malformed anyway, or none of ours to read, is not worth a path.
        let set = |m: &rustbgpd_wire::MalformedAttribute| {
            code == 17 && matches!(m.error, rustbgpd_wire::DecodeError::ProhibitedAsSet { .. })
        };
        let odd_path = theirs.malformed.iter().any(set);
        if !odd_next_hop && !odd_path {
            prop_assert_eq!(ours.treatment, wanted, "{:?} {:?}", ours.errors, theirs.malformed);
        }
        if let Some(attributes) = ours.attributes.filter(|_| !odd_path) {
            let path = theirs.update.attributes.iter().find_map(|attribute| match attribute {
                rustbgpd_wire::PathAttribute::AsPath(path) => Some(path.to_aspath_string()),
                _ => None,
            });
            prop_assert_eq!(Some(attributes.as_path.to_string()), path);
        }
    }
}

/// Values that are often sound for one attribute or another.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let octets = || prop_oneof![Just(0_u8), Just(1), Just(2), any::<u8>()];
    let segment = (0_u8..6, vec(any::<[u8; 4]>(), 0..4)).prop_map(|(kind, ases)| {
        let mut octets = vec![kind, ases.len() as u8];
        octets.extend(ases.concat());
        octets
    });
    prop_oneof![
        vec(octets(), 0..13),
        vec(segment, 0..4).prop_map(|segments| segments.concat()),
        prop_oneof![Just(4_usize), Just(6), Just(8), Just(12), Just(16), Just(24)]
            .prop_flat_map(move |n| vec(octets(), n)),
    ]
}

fn session() -> Negotiated {
    Negotiated { four_octet_as: true, families: BTreeSet::from(Family::BOTH), ..Negotiated::default() }
}

/// Checklist: 70
#[test]
fn ends_of_rib() {
    for family in Family::BOTH {
        let octets = encode_end_of_rib(family, &session()).unwrap();
        let BgpMessage::Update(update) = theirs(&octets, &session()) else { panic!() };
        let address_type = update.end_of_rib().unwrap();
        assert_eq!(format!("{address_type:?}").contains("Ipv6"), family == Family::V6, "{address_type:?}");
    }
}

/// Every NOTIFICATION that we ever compose, KEEPALIVE, and ROUTE-REFRESH.
///
/// Checklist: 66, 78, 80
#[test]
fn short_messages() {
    let mut messages = vec![Message::Keepalive];
    for subcode in 1..=10 {
        messages.push(Message::Notification(Notification::cease(subcode, "moving racks")));
    }
    let long = Notification::cease(cease::SHUTDOWN, &"x".repeat(300));
    messages.push(Message::Notification(Notification::hard_reset(&long)));
    messages.push(Message::Notification(long));
    messages.push(Message::Notification(Notification::max_prefixes(Family::V6, 1000)));
    messages.push(Message::Notification(Notification::hold_timer_expired()));
    for subcode in 0..=3 {
        messages.push(Message::Notification(Notification::fsm_error(subcode)));
    }
    for subcode in [1, 2, 3, 4, 6, 7] {
        messages.push(Message::Notification(Notification::open_error(subcode)));
    }
    for family in Family::BOTH {
        for subtype in [RouteRefresh::REQUEST, RouteRefresh::BEGIN, RouteRefresh::END] {
            messages.push(Message::RouteRefresh(RouteRefresh { family: Some(family), subtype }));
        }
    }
    for message in messages {
        let octets = encode(&message, &session()).unwrap();
        let theirs = theirs(&octets, &session());
        let same = match (&message, &theirs) {
            (Message::Keepalive, BgpMessage::KeepAlive) => true,
            (Message::Notification(_), BgpMessage::Notification(_)) => true,
            (Message::RouteRefresh(refresh), BgpMessage::RouteRefresh(theirs)) => {
                let v6 = theirs.address_type() == AddressType::Ipv6Unicast;
                v6 == (refresh.family == Some(Family::V6)) && theirs.operation_type() as u8 == refresh.subtype
            }
            _ => false,
        };
        assert!(same, "{message:?} {theirs:?}");
        assert_eq!(decode(&octets, &session()), Ok(message));
    }
}
