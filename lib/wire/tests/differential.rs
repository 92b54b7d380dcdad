//! Another implementation, in its strict mode, reads the messages that we compose as we mean them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, dead_code)]

mod any;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use model::{Family, Prefix};
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::nlri::{Ipv4UnicastAddress, Ipv6UnicastAddress};
use netgauze_bgp_pkt::path_attribute::{Aggregator, AsPath, MpReach, MpUnreach, PathAttributeValue};
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::prelude::*;
use wire::{Attributes, Message, Negotiated, encode, encode_announce, encode_end_of_rib, encode_withdraw};

fn session(ibgp: bool) -> Negotiated {
    Negotiated {
        four_octet_as: true,
        ibgp,
        families: BTreeSet::from(Family::BOTH),
        extended_next_hop: true,
        ..Negotiated::default()
    }
}

fn theirs(octets: &[u8]) -> BgpMessage {
    let mut context = BgpParsingContext::asn2_default();
    context.set_asn4(true);
    let mut reader = SliceReader::new(octets);
    let message = BgpMessage::parse(&mut reader, &mut context).unwrap_or_else(|e| panic!("{e:?} in {octets:02x?}"));
    assert!(reader.is_empty());
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

fn seen(octets: &[u8]) -> Seen {
    let BgpMessage::Update(update) = theirs(octets) else { panic!("no UPDATE") };
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

    #[test]
    fn announcements_and_withdrawals(
        (ibgp, attributes) in any::<bool>().prop_flat_map(|ibgp| (Just(ibgp), any::attributes(&session(ibgp)))),
        four in any::paths(Family::V4, 1..1200, &session(true)),
        six in any::paths(Family::V6, 1..300, &session(true)),
        next_hop4 in any::next_hop4(),
        (next_hop6, link_local) in any::next_hop6(),
    ) {
        let negotiated = session(ibgp);
        let comparable = Attributes { ext_communities: vec![], unknown: vec![], only_to_customer: None, ..attributes.clone() };


        for (sent, next_hop, link_local) in
            [(&four, next_hop4, None), (&four, next_hop6, link_local), (&six, next_hop6, link_local)]
        {
            let mut got = Vec::new();
            for octets in encode_announce(sent, next_hop, link_local, &attributes, &negotiated).unwrap() {
                let seen = seen(&octets);
                prop_assert_eq!(seen.next_hop, Some(next_hop));
                prop_assert_eq!(seen.link_local, link_local);
                prop_assert_eq!(&seen.attributes, &comparable);
                got.extend(seen.announced);
            }
            prop_assert_eq!(&got, sent);
        }
        for sent in [&four, &six] {
            let messages = encode_withdraw(sent, &negotiated).unwrap();
            let got: Vec<(Prefix, u32)> = messages.iter().flat_map(|octets| seen(octets).withdrawn).collect();
            prop_assert_eq!(&got, sent);
        }
    }

    #[test]
    fn opens(open in any::open()) {
        // RFC 9072 is unknown there; and it reads nothing but names into capability 73.
        let octets = encode(&Message::Open(open.clone()), &session(true)).unwrap();
        if octets[28] == 255 && octets[29] == 255 {
            return Ok(());
        }
        let BgpMessage::Open(theirs) = theirs(&octets) else { panic!("no OPEN") };
        prop_assert_eq!(theirs.my_asn4(), open.asn.0);
        prop_assert_eq!((theirs.hold_time(), theirs.bgp_id()), (open.hold_time, open.router_id));
        prop_assert_eq!(theirs.capabilities().len(), open.capabilities.len());
    }
}

#[test]
fn ends_of_rib() {
    for family in Family::BOTH {
        let BgpMessage::Update(update) = theirs(&encode_end_of_rib(family, &session(true)).unwrap()) else { panic!() };
        let address_type = update.end_of_rib().unwrap();
        assert_eq!(format!("{address_type:?}").contains("Ipv6"), family == Family::V6, "{address_type:?}");
    }
}
