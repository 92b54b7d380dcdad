//! Writes the seeds of the fuzz targets that take parts of messages: `cargo run -p biplane-wire --example fuzz_seeds`.
//! What a target makes of its input stands in `tests/door`. The seeds of `door` are messages of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs)]

use std::net::IpAddr;
use std::path::Path;

use bytes::{BufMut, BytesMut};
use model::{Asn, Family, Prefix};
use wire::{
    AddPathMode, AsPath, Attributes, Capability, HEADER, Message, Negotiated, Notification, Open, Role, cease, encode,
    encode_announce, encode_end_of_rib, encode_withdraw,
};

fn main() {
    opens();
    attributes();
    updates();
    notifications();
    refreshes();
}

fn write(target: &str, name: &str, data: &[u8]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(name), data).unwrap();
}

/// Code, length and value of each.
fn capabilities(list: &[Capability]) -> Vec<u8> {
    let mut capabilities = vec![Capability::FourOctetAs(70000)];
    capabilities.extend_from_slice(list);
    let open = Open { asn: Asn(70000), hold_time: 90, router_id: [192, 0, 2, 1].into(), capabilities };
    // Behind the fixed part, one parameter header and capability 65.
    encode(&Message::Open(open), &Negotiated::default()).unwrap()[HEADER + 10 + 2 + 6..].to_vec()
}

fn opens() {
    let both = Family::BOTH;
    let list = [
        ("multi_protocol", Capability::MultiProtocol(Family::V6)),
        ("route_refresh", Capability::RouteRefresh),
        ("extended_next_hop", Capability::ExtendedNextHop(vec![(Family::V4, Family::V6)])),
        ("extended_message", Capability::ExtendedMessage),
        ("role", Capability::Role(Role::Customer)),
        (
            "graceful_restart",
            Capability::GracefulRestart {
                restarting: true,
                notification: true,
                restart_time: 120,
                families: both.map(|family| (family, true)).to_vec(),
            },
        ),
        ("four_octet_as", Capability::FourOctetAs(4_200_000_000)),
        ("add_path", Capability::AddPath(both.map(|family| (family, AddPathMode::Both)).to_vec())),
        ("enhanced_route_refresh", Capability::EnhancedRouteRefresh),
        ("long_lived", Capability::LongLivedGracefulRestart(both.map(|family| (family, false, 86400)).to_vec())),
        ("fqdn", Capability::Fqdn { hostname: "node-1".to_owned(), domain: "example.net".to_owned() }),
        ("other", Capability::Other { code: 200, value: vec![1, 2, 3].into() }),
    ];
    for (name, capability) in &list {
        write("open", name, &[&[1], &capabilities(std::slice::from_ref(capability))[..]].concat());
    }
    let all: Vec<Capability> = list.iter().map(|(_, capability)| capability.clone()).collect();
    let all = capabilities(&all);
    write("open", "all", &[&[1], &all[..]].concat());
    write("open", "all_extended", &[&[2, 2, 0, all.len() as u8], &all[..]].concat());
    write("open", "whole_body", &[&[0, 4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 1, 4, 2, 2, 2, 0][..]].concat());
    write("open", "many_parameters", &[0, 4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 1, 8, 2, 2, 2, 0, 2, 2, 70, 0]);
    for (name, data) in [
        ("cut_capability", &[1, 65, 4, 0][..]),
        ("cut_length", &[1, 65]),
        ("cut_fqdn", &[1, 73, 3, 9, b'a', 0]),
        ("cut_add_path", &[1, 69, 3, 0, 1, 1]),
        ("cut_restart", &[1, 64, 1, 0]),
        ("bad_role", &[1, 9, 1, 7]),
        ("bad_add_path_mode", &[1, 69, 8, 0, 1, 1, 4, 0, 2, 1, 0]),
        ("unknown_parameter", &[2, 9, 0, 1, 0]),
        ("extended_cut", &[2, 2, 1, 0, 65]),
        ("version_3", &[0, 3, 0xfd, 0xe9, 0, 90, 192, 0, 2, 1, 0]),
    ] {
        write("open", name, data);
    }
}

fn attributes() {
    let next_hop6 =
        [&[0, 2, 1, 16, 0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1, 0, 48, 0x20, 1, 0x0d, 0xb8, 0, 1]].concat();
    let rows: &[(&str, u8, &[u8])] = &[
        ("origin", 0x40, &[0]),
        ("as_path", 0x40, &[2, 2, 0, 0, 0xfd, 0xe9, 0, 1, 0x11, 0x70]),
        ("next_hop", 0x40, &[192, 0, 2, 1]),
        ("med", 0x80, &[0, 0, 0, 9]),
        ("local_pref", 0x40, &[0, 0, 0, 100]),
        ("atomic_aggregate", 0x40, &[]),
        ("aggregator", 0xc0, &[0, 0, 0xfd, 0xe9, 192, 0, 2, 1]),
        ("communities", 0xc0, &[0xff, 0xff, 0xff, 1, 0, 1, 0, 2]),
        ("originator_id", 0x80, &[192, 0, 2, 9]),
        ("cluster_list", 0x80, &[192, 0, 2, 8, 192, 0, 2, 7]),
        ("mp_reach", 0x80, &next_hop6),
        ("mp_unreach", 0x80, &[0, 2, 1, 48, 0x20, 1, 0x0d, 0xb8, 0, 2]),
        ("ext_communities", 0xc0, &[0, 2, 0xfd, 0xe9, 0, 0, 0, 1]),
        ("as4_path", 0xc0, &[2, 2, 0, 1, 0x11, 0x70, 0, 1, 0x11, 0x71]),
        ("as4_aggregator", 0xc0, &[0, 1, 0x11, 0x70, 192, 0, 2, 1]),
        ("ipv6_ext_communities", 0xc0, &[0; 20]),
        ("aigp", 0x80, &[1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 5]),
        ("bgp_ls", 0x80, &[4, 0, 0, 1, 9]),
        ("large_community", 0xc0, &[0, 0, 0xfd, 0xe9, 0, 0, 0, 1, 0, 0, 0, 2]),
        ("only_to_customer", 0xc0, &[0, 0, 0xfd, 0xe9]),
        ("prefix_sid", 0xc0, &[1, 0, 7, 0, 0, 0, 0, 0, 0, 9]),
        ("attr_set", 0xc0, &[0, 0, 0xfd, 0xe9, 0x40, 1, 1, 0]),
    ];
    for (kind, (name, flags, value)) in rows.iter().enumerate() {
        let head = [kind as u8, *flags];
        write("attribute", name, &[&head[..], value].concat());
        let short = value.split_last().map_or(&[7, 7][..], |(_, short)| short);
        write("attribute", &format!("{name}_cut"), &[&head[..], short].concat());
    }
    write("attribute", "unknown_transitive", &[254, 0xc0, 1, 2, 3]);
    write("attribute", "unknown_well_known", &[99, 0x40, 1]);
}

/// The two octets that make the target cut there.
fn cuts(withdrawn: usize, list: usize, nlri: usize) -> Option<[u8; 2]> {
    let whole = withdrawn + list + nlri;
    let first = (0..=255).find(|first| whole * usize::from(*first) / 512 == withdrawn)?;
    let rest = list + nlri;
    let second = (0..=255).find(|second| rest * (256 - usize::from(*second)) / 256 == list)?;
    Some([first, second])
}

fn updates() {
    let attributes = Attributes {
        as_path: AsPath::sequence([65001, 70000].map(Asn)),
        med: Some(5),
        communities: vec![1, 2],
        large_communities: vec![[1, 2, 3]],
        ..Attributes::default()
    };
    let hop4: IpAddr = [192, 0, 2, 1].into();
    let hop6: IpAddr = "2001:db8::1".parse().unwrap();
    let four: Vec<(Prefix, u32)> = ["203.0.113.0/24", "198.51.100.0/25"].map(|p| (p.parse().unwrap(), 7)).to_vec();
    let six: Vec<(Prefix, u32)> = ["2001:db8:1::/48", "2001:db8:2::/64"].map(|p| (p.parse().unwrap(), 7)).to_vec();
    for (kind, four_octet_as, add_path) in
        [("four", true, false), ("two", false, false), ("four_paths", true, true), ("two_paths", false, true)]
    {
        let families = std::collections::BTreeSet::from(Family::BOTH);
        let negotiated = Negotiated {
            four_octet_as,
            add_path_send: if add_path { families.clone() } else { Default::default() },
            families,
            extended_next_hop_send: true,
            extended_next_hop_receive: true,
            ..Negotiated::default()
        };
        let messages = [
            ("announce_v4", encode_announce(&four, hop4, None, &attributes, &negotiated).unwrap()),
            ("announce_v4_over_v6", encode_announce(&four, hop6, None, &attributes, &negotiated).unwrap()),
            ("announce_v6", encode_announce(&six, hop6, "fe80::1".parse().ok(), &attributes, &negotiated).unwrap()),
            ("withdraw_v4", encode_withdraw(&four, &negotiated).unwrap()),
            ("withdraw_v6", encode_withdraw(&six, &negotiated).unwrap()),
            ("end_of_rib_v6", vec![encode_end_of_rib(Family::V6, &negotiated).unwrap()]),
        ];
        for (name, messages) in messages {
            let body = &messages[0][HEADER..];
            let withdrawn = usize::from(u16::from_be_bytes([body[0], body[1]]));
            let list = usize::from(u16::from_be_bytes([body[2 + withdrawn], body[3 + withdrawn]]));
            let nlri = body.len() - 4 - withdrawn - list;
            let mut data = BytesMut::new();
            data.put_slice(&cuts(withdrawn, list, nlri).unwrap_or([0, 0]));
            data.put_slice(&body[2..2 + withdrawn]);
            data.put_slice(&body[4 + withdrawn..]);
            write("update", &format!("{name}_{kind}"), &data);
        }
    }
}

fn notifications() {
    let long = "x".repeat(255);
    for (name, notification) in [
        ("shutdown", Notification::cease(cease::SHUTDOWN, "moving racks")),
        ("shutdown_long", Notification::cease(cease::SHUTDOWN, &long)),
        ("reset_wide", Notification::cease(cease::RESET, "größer €")),
        ("max_prefixes", Notification::max_prefixes(Family::V6, 1000)),
        ("hard_reset", Notification::hard_reset(&Notification::cease(cease::RESET, "new binary"))),
        ("hold_timer", Notification::hold_timer_expired()),
        ("control", Notification::new(6, 2, b"\x05a\x1b\n\0b"[..].into())),
        ("no_utf8", Notification::new(6, 4, b"\x03a\xffb"[..].into())),
        ("wrong_length", Notification::new(6, 2, b"\x09abc"[..].into())),
        ("zero_length", Notification::new(6, 2, b"\0"[..].into())),
        ("unknown", Notification::new(200, 100, b"data"[..].into())),
        ("hard_reset_cut", Notification::new(6, 9, b"\x06"[..].into())),
        ("hard_reset_twice", Notification::new(6, 9, b"\x06\x09\x06\x02\x01a"[..].into())),
        ("attribute", Notification::new(3, 5, b"\x40\x01\x02\0\0"[..].into())),
    ] {
        write("notification", name, &[&[notification.code, notification.subcode], &notification.data[..]].concat());
    }
}

fn refreshes() {
    for (name, data) in [
        ("request_v4", &[0, 1, 0, 1][..]),
        ("request_v6", &[0, 2, 0, 1]),
        ("begin_v4", &[0, 1, 1, 1]),
        ("end_v6", &[0, 2, 2, 1]),
        ("subtype_3", &[0, 1, 3, 1]),
        ("evpn", &[0, 25, 0, 70]),
        ("afi_0", &[0, 0, 0, 0]),
        ("short", &[0, 1, 0]),
        ("empty", &[]),
        ("with_filters", &[0, 1, 0, 1, 1, 64, 0, 1, 0x80]),
    ] {
        write("refresh", name, data);
    }
}
