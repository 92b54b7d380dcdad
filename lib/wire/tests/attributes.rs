//! RFC 7606, attribute by attribute: each on internal and external sessions, with two-octet and four-octet AS numbers, sound
//! and with every defect, in front of and behind the others.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, dead_code)]

mod raw;

use model::Asn;
use raw::Want::{Discard, Fine, Reset, Withdraw};
use raw::{
    BODY, CANARY, MP_REACH, MP_UNREACH, NEXT_HOP, ORIGIN, OTHER_CANARY, Want, attribute, judge, sessions, update,
};
use wire::{Attributes, Negotiated, Update};

/// What becomes of an attribute on an internal and on an external session.
type Both = (Want, Want);

/// An attribute type: what its sound and its broken values do.
struct Kind {
    code: u8,
    flags: u8,
    /// Sound values.
    sound: &'static [&'static [u8]],
    /// What becomes of those; fine but where it may not be at all.
    wanted: Both,
    /// Broken values, and why.
    broken: &'static [(&'static str, &'static [u8])],
    /// What becomes of those.
    treatment: Both,
    /// What becomes of it with the wrong flags.
    flagged: Both,
}

const WITHDRAW: Both = (Withdraw, Withdraw);
const DISCARD: Both = (Discard, Discard);
const FINE: Both = (Fine, Fine);

fn pick(both: Both, negotiated: &Negotiated) -> Want {
    if negotiated.ibgp { both.0 } else { both.1 }
}

/// The list with `one` in front of the others or behind them. It takes the place of the one of its type.
fn lists(one: &[u8], code: u8, negotiated: &Negotiated) -> [Vec<u8>; 2] {
    let mut others: Vec<u8> = Vec::new();
    for (of, octets) in [(1, ORIGIN), (2, raw::as_path(negotiated)), (3, NEXT_HOP)] {
        if of != code {
            others.extend_from_slice(octets);
        }
    }
    let canary = if code == 8 { OTHER_CANARY } else { CANARY };
    [[one, &others, canary].concat(), [&others, one, canary].concat()]
}

fn each_place(name: &str, one: &[u8], code: u8, negotiated: &Negotiated, want: Want) -> Option<Update> {
    let mut last = None;
    for list in lists(one, code, negotiated) {
        last = judge(name, &update(&[], &[&list], BODY), negotiated, want);
    }
    last
}

/// All that can be done to an attribute.
fn prove(kind: &Kind) {
    prove_on(kind, &sessions());
}

fn prove_on(kind: &Kind, sessions: &[Negotiated]) {
    let Kind { code, flags, .. } = *kind;
    for negotiated in sessions {
        for value in kind.sound {
            let want = pick(kind.wanted, negotiated);
            let sound = attribute(flags, code, value);
            each_place(&format!("{code} sound"), &sound, code, negotiated, want);
            // RFC 4271 section 4.3: the lower four bits mean nothing, and the length may have two octets.
            each_place("lower bits", &attribute(flags | 0x0f, code, value), code, negotiated, want);
            each_place("extended length", &attribute(flags | 0x10, code, value), code, negotiated, want);
            // RFC 7606 section 3 c speaks of Optional and Transitive only.
            each_place("Partial bit", &attribute(flags | 0x20, code, value), code, negotiated, want);
            for class in [0, 0x40, 0x80, 0xc0_u8].into_iter().filter(|class| *class != flags) {
                let name = format!("{code} with flags {class:#04x}");
                each_place(&name, &attribute(class, code, value), code, negotiated, pick(kind.flagged, negotiated));
            }
            if code != 14 && code != 15 {
                let twice = [&sound[..], &sound].concat();
                each_place(&format!("{code} twice"), &twice, code, negotiated, stronger(want, Discard));
            }
        }
        for (why, value) in kind.broken {
            let name = format!("{code} {why}");
            let one = attribute(flags, code, value);
            each_place(&name, &one, code, negotiated, pick(kind.treatment, negotiated));
        }
    }
}

fn stronger(a: Want, b: Want) -> Want {
    if a == Withdraw { a } else { b }
}

/// Checklist: 41, 57, 59
#[test]
fn origin() {
    prove(&Kind {
        code: 1,
        flags: 0x40,
        sound: &[&[0], &[1], &[2]],
        wanted: FINE,
        broken: &[("of no octet", &[]), ("of two octets", &[0, 0]), ("of 3", &[3]), ("of 255", &[255])],
        treatment: WITHDRAW,
        flagged: WITHDRAW,
    });
}

/// Checklist: 40, 42, 57, 59, 91, 105
#[test]
fn as_path() {
    prove_on(
        &Kind {
            code: 2,
            flags: 0x40,
            sound: &[&[], &[2, 1, 0, 0, 0xfd, 0xe9], &[2, 2, 0, 1, 0, 2, 0, 3, 0, 4, 2, 1, 0, 5, 0, 6]],
            wanted: FINE,
            broken: &[
                ("segment of no AS", &[2, 0]),
                ("segment of no AS behind another", &[2, 1, 0, 0, 0xfd, 0xe9, 2, 0]),
                ("segment overrun", &[2, 2, 0, 0, 0xfd, 0xe9]),
                ("trailing octet", &[2, 1, 0, 0, 0xfd, 0xe9, 2]),
                ("cut AS", &[2, 1, 0, 0, 0xfd]),
                ("segment type 0", &[0, 1, 0, 0, 0xfd, 0xe9]),
                ("segment type 5", &[5, 1, 0, 0, 0xfd, 0xe9]),
                ("confederation sequence", &[3, 1, 0, 0, 0xfd, 0xe9]),
                ("confederation set", &[4, 1, 0, 0, 0xfd, 0xe9]),
                ("confederation in front", &[3, 1, 0, 0, 0xfd, 0xe8, 2, 1, 0, 0, 0xfd, 0xe9]),
                ("set", &[1, 1, 0, 0, 0xfd, 0xe9]),
                ("set behind a sequence", &[2, 1, 0, 0, 0xfd, 0xe9, 1, 2, 0, 0, 0, 1, 0, 0, 0, 2]),
                ("AS 0", &[2, 1, 0, 0, 0, 0]),
                ("AS 0 in the middle", &[2, 3, 0, 0, 0xfd, 0xe9, 0, 0, 0, 0, 0, 0, 0xfd, 0xe8]),
            ],
            treatment: WITHDRAW,
            flagged: WITHDRAW,
        },
        &[raw::session(true, true), raw::session(true, false)],
    );
    prove_on(
        &Kind {
            code: 2,
            flags: 0x40,
            sound: &[&[], &[2, 1, 0xfd, 0xe9], &[2, 2, 0xfd, 0xe9, 0x5b, 0xa0, 2, 1, 0, 5]],
            wanted: FINE,
            broken: &[
                ("segment of no AS", &[2, 0]),
                ("segment overrun", &[2, 2, 0xfd, 0xe9]),
                ("trailing octet", &[2, 1, 0xfd, 0xe9, 2]),
                ("segment type 9", &[9, 1, 0xfd, 0xe9]),
                ("confederation sequence", &[3, 1, 0xfd, 0xe9]),
                ("set", &[1, 1, 0xfd, 0xe9]),
                ("AS 0", &[2, 2, 0xfd, 0xe9, 0, 0]),
            ],
            treatment: WITHDRAW,
            flagged: WITHDRAW,
        },
        &[raw::session(false, true), raw::session(false, false)],
    );
}

/// Checklist: 20, 43, 57, 59
#[test]
fn next_hop() {
    prove(&Kind {
        code: 3,
        flags: 0x40,
        sound: &[&[192, 0, 2, 1]],
        wanted: FINE,
        broken: &[
            ("of no octet", &[]),
            ("of 3", &[192, 0, 2]),
            ("of 5", &[192, 0, 2, 1, 1]),
            ("of 16", &[0x20; 16]),
            ("0.0.0.0", &[0, 0, 0, 0]),
            ("0.1.2.3", &[0, 1, 2, 3]),
            ("127.0.0.1", &[127, 0, 0, 1]),
            ("multicast", &[224, 0, 0, 1]),
            ("class E", &[240, 0, 0, 1]),
            ("broadcast", &[255, 255, 255, 255]),
        ],
        treatment: WITHDRAW,
        flagged: WITHDRAW,
    });
}

/// Checklist: 44, 57, 59
#[test]
fn multi_exit_disc() {
    prove(&Kind {
        code: 4,
        flags: 0x80,
        sound: &[&[0, 0, 0, 9]],
        wanted: FINE,
        broken: &[("of no octet", &[]), ("of 3", &[0, 0, 0]), ("of 5", &[0, 0, 0, 0, 0])],
        treatment: WITHDRAW,
        flagged: WITHDRAW,
    });
}

/// Checklist: 45
#[test]
fn local_pref() {
    prove(&Kind {
        code: 5,
        flags: 0x40,
        sound: &[&[0, 0, 0, 100]],
        wanted: (Fine, Discard),
        broken: &[("of no octet", &[]), ("of 3", &[0, 0, 0]), ("of 5", &[0, 0, 0, 0, 0])],
        treatment: (Withdraw, Discard),
        flagged: (Withdraw, Discard),
    });
}

/// Checklist: 46, 57
#[test]
fn atomic_aggregate() {
    prove(&Kind {
        code: 6,
        flags: 0x40,
        sound: &[&[]],
        wanted: FINE,
        broken: &[("of 1", &[0]), ("of 4", &[0; 4])],
        treatment: DISCARD,
        flagged: WITHDRAW,
    });
}

/// Checklist: 40, 47, 57
#[test]
fn aggregator() {
    prove_on(
        &Kind {
            code: 7,
            flags: 0xc0,
            sound: &[&[0, 0, 0xfd, 0xe9, 192, 0, 2, 1]],
            wanted: FINE,
            broken: &[
                ("of no octet", &[]),
                ("of 6", &[0xfd, 0xe9, 192, 0, 2, 1]),
                ("of 7", &[0; 7]),
                ("of 9", &[1; 9]),
                ("of AS 0", &[0, 0, 0, 0, 192, 0, 2, 1]),
            ],
            treatment: DISCARD,
            flagged: WITHDRAW,
        },
        &[raw::session(true, true), raw::session(true, false)],
    );
    prove_on(
        &Kind {
            code: 7,
            flags: 0xc0,
            sound: &[&[0xfd, 0xe9, 192, 0, 2, 1]],
            wanted: FINE,
            broken: &[
                ("of 8", &[0, 0, 0xfd, 0xe9, 192, 0, 2, 1]),
                ("of 5", &[1; 5]),
                ("of 1", &[1]),
                ("of AS 0", &[0, 0, 1, 1, 1, 1]),
            ],
            treatment: DISCARD,
            flagged: WITHDRAW,
        },
        &[raw::session(false, true), raw::session(false, false)],
    );
}

/// Checklist: 48, 53, 54, 57
#[test]
fn communities_of_all_kinds() {
    prove(&Kind {
        code: 8,
        flags: 0xc0,
        sound: &[&[0, 1, 0, 2], &[0xff; 8]],
        wanted: FINE,
        broken: &[("of no octet", &[]), ("of 3", &[0; 3]), ("of 5", &[0; 5])],
        treatment: WITHDRAW,
        flagged: WITHDRAW,
    });
    prove(&Kind {
        code: 16,
        flags: 0xc0,
        sound: &[&[0, 2, 0xfd, 0xe9, 0, 0, 0, 1]],
        wanted: FINE,
        broken: &[("of no octet", &[]), ("of 7", &[0; 7]), ("of 12", &[0; 12])],
        treatment: WITHDRAW,
        flagged: WITHDRAW,
    });
    prove(&Kind {
        code: 25,
        flags: 0xc0,
        sound: &[&[0; 20], &[7; 40]],
        wanted: FINE,
        broken: &[("of no octet", &[]), ("of 19", &[0; 19]), ("of 8", &[0; 8])],
        treatment: WITHDRAW,
        flagged: WITHDRAW,
    });
    prove(&Kind {
        code: 32,
        flags: 0xc0,
        sound: &[&[0; 12], &[7; 24]],
        wanted: FINE,
        broken: &[("of no octet", &[]), ("of 11", &[0; 11]), ("of 20", &[0; 20])],
        treatment: WITHDRAW,
        flagged: WITHDRAW,
    });
}

/// Checklist: 49, 50
#[test]
fn reflection() {
    prove(&Kind {
        code: 9,
        flags: 0x80,
        sound: &[&[192, 0, 2, 9]],
        wanted: (Fine, Discard),
        broken: &[("of no octet", &[]), ("of 3", &[0; 3]), ("of 5", &[0; 5])],
        treatment: (Withdraw, Discard),
        flagged: (Withdraw, Discard),
    });
    prove(&Kind {
        code: 10,
        flags: 0x80,
        sound: &[&[192, 0, 2, 9], &[1; 8]],
        wanted: (Fine, Discard),
        broken: &[("of no octet", &[]), ("of 3", &[0; 3]), ("of 6", &[0; 6])],
        treatment: (Withdraw, Discard),
        flagged: (Withdraw, Discard),
    });
}

/// Checklist: 56, 85
#[test]
fn only_to_customer() {
    prove(&Kind {
        code: 35,
        flags: 0xc0,
        sound: &[&[0, 0, 0xfd, 0xe9]],
        wanted: FINE,
        broken: &[("of no octet", &[]), ("of 3", &[0; 3]), ("of 8", &[0; 8])],
        treatment: WITHDRAW,
        flagged: WITHDRAW,
    });
    for negotiated in sessions() {
        let one = attribute(0xe0, 35, &[0, 1, 0x11, 0x70]);
        let update = each_place("OTC", &one, 35, &negotiated, Fine).unwrap();
        assert_eq!(update.attributes.unwrap().only_to_customer, Some(Asn(70000)));
    }
}

/// Checklist: 39, 55
#[test]
fn compatibility_with_two_octet_peers() {
    let broken: &[(&str, &[u8])] = &[
        ("of no octet", &[]),
        ("of one segment header", &[2, 1]),
        ("segment of no AS", &[2, 0]),
        ("segment overrun", &[2, 2, 0, 0, 0xfd, 0xe9]),
        ("segment type 7", &[7, 1, 0, 0, 0xfd, 0xe9]),
        ("of a confederation", &[3, 1, 0, 0, 0xfd, 0xe9]),
        ("AS 0", &[2, 1, 0, 0, 0, 0]),
    ];
    let broken_aggregator: &[(&str, &[u8])] =
        &[("of 6", &[0; 6]), ("of 7", &[1; 7]), ("of 9", &[1; 9]), ("of AS 0", &[0, 0, 0, 0, 1, 1, 1, 1])];
    let kinds: [(u8, &'static [&'static [u8]], _); 2] =
        [(17, &[&[2, 1, 0, 0, 0xfd, 0xe8]], broken), (18, &[&[0, 0, 0xfd, 0xe8, 192, 0, 2, 1]], broken_aggregator)];
    for (code, sound, broken) in kinds {
        let kind = |wanted, flagged| Kind { code, flags: 0xc0, sound, wanted, broken, treatment: DISCARD, flagged };
        // A four-octet peer has no business with them, whatever they are.
        prove_on(&kind(DISCARD, DISCARD), &[raw::session(true, true), raw::session(true, false)]);
        prove_on(&kind(FINE, WITHDRAW), &[raw::session(false, true), raw::session(false, false)]);
    }
}

/// Checklist: 55
#[test]
fn attributes_of_other_worlds() {
    let passed_on = |code, sound, broken, treatment| Kind {
        code,
        flags: 0xc0,
        sound,
        wanted: FINE,
        broken,
        treatment,
        flagged: WITHDRAW,
    };
    prove(&passed_on(
        128,
        &[&[0, 0, 0xfd, 0xe9], &[0, 0, 0xfd, 0xe9, 0x40, 1, 1, 0]],
        &[("of 3", &[0; 3]), ("with half an attribute", &[0, 0, 0xfd, 0xe9, 0x40, 1, 2, 0])],
        WITHDRAW,
    ));
    prove(&passed_on(
        40,
        &[&[], &[1, 0, 7, 0, 0, 0, 0, 0, 0, 9]],
        &[("with a TLV overrun", &[1, 0, 200, 0]), ("with half a TLV", &[1, 0])],
        DISCARD,
    ));
    let dropped = |code, sound, broken| Kind {
        code,
        flags: 0x80,
        sound,
        wanted: FINE,
        broken,
        treatment: DISCARD,
        flagged: DISCARD,
    };
    prove(&dropped(
        26,
        &[&[1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 5]],
        &[("with a TLV overrun", &[1, 0, 200]), ("with a TLV shorter than its head", &[1, 0, 2]), ("half", &[1])],
    ));
    prove(&dropped(29, &[&[4, 0, 0, 1, 9]], &[("with a TLV overrun", &[4, 0, 0, 9, 9]), ("half", &[4, 0, 0])]));
    // PMSI_TUNNEL and TUNNEL_ENCAPSULATION are unknown to us, and pass whatever is in them.
    for (code, value) in [(22, &[9, 9][..]), (23, &[0, 1, 0, 200]), (22, &[]), (23, &[])] {
        for negotiated in sessions() {
            let update = each_place("unknown", &attribute(0xc0, code, value), code, &negotiated, Fine).unwrap();
            let unknown = &update.attributes.unwrap().unknown;
            assert_eq!((unknown[0].code, unknown[0].flags, &unknown[0].value[..]), (code, 0xe0, value));
        }
    }
}

/// Every type code that we do not know, 0 and 0xfe too.
///
/// Checklist: 25, 26
#[test]
fn unknown_attributes_go_by_their_flags() {
    let known = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 25, 26, 29, 32, 35, 40, 128];
    let negotiated = raw::session(true, false);
    for code in (0..=255).filter(|code| !known.contains(code)) {
        for (flags, value) in [(0xc0, &[][..]), (0xe0, &[1, 2, 3]), (0xd0, &[7]), (0xc0, &[9; 300])] {
            let update = each_place("transitive", &attribute(flags, code, value), code, &negotiated, Fine).unwrap();
            let unknown = &update.attributes.unwrap().unknown;
            let kept = if value.len() > 255 { 0xf0 } else { 0xe0 };
            assert_eq!(unknown.len(), 1, "{code}");
            assert_eq!((unknown[0].code, unknown[0].flags, &unknown[0].value[..]), (code, kept, value));
        }
        for flags in [0x80, 0xa0, 0x90] {
            let update = each_place("optional", &attribute(flags, code, &[1]), code, &negotiated, Fine).unwrap();
            assert_eq!(update.attributes.unwrap().unknown, [], "{code}");
        }
        for flags in [0x40, 0x00, 0x60] {
            each_place("well-known", &attribute(flags, code, &[1]), code, &negotiated, Withdraw);
        }
    }
}

/// Checklist: 29, 51, 52
#[test]
fn reachability() {
    let global = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let reach = |next_hop: &[u8], nlri: &[u8]| {
        attribute(0x80, 14, &[&[0, 2, 1, next_hop.len() as u8], next_hop, &[0], nlri].concat())
    };
    let mut rows: Vec<(String, Vec<u8>, u8)> = Vec::new();
    for length in (0..=64).filter(|length| ![16, 32].contains(length)) {
        let next_hop: Vec<u8> = global.into_iter().cycle().take(length).collect();
        rows.push((format!("next hop of {length}"), reach(&next_hop, &[48, 0x20, 1, 0x0d, 0xb8, 0, 1]), 9));
    }
    for (name, nlri) in
        [("129", &[129][..]), ("255", &[255; 32]), ("cut", &[48, 0x20, 1]), ("one octet too many", &[8, 0x20, 9])]
    {
        rows.push((format!("MP_REACH prefix {name}"), reach(&global, nlri), 10));
        rows.push((format!("MP_UNREACH prefix {name}"), attribute(0x80, 15, &[&[0, 2, 1], nlri].concat()), 10));
    }
    for length in 0..5 {
        let value = &[0, 2, 1, 16, 0x20][..length];
        rows.push((format!("MP_REACH of {length}"), attribute(0x80, 14, value), 9));
    }
    rows.push((
        "no octet behind the next hop".to_owned(),
        attribute(0x80, 14, &[&[0, 2, 1, 16], &global[..]].concat()),
        9,
    ));
    for length in 0..3 {
        rows.push((format!("MP_UNREACH of {length}"), attribute(0x80, 15, &[0, 2, 1][..length]), 9));
    }
    rows.push(("MP_REACH twice".to_owned(), [MP_REACH, MP_REACH].concat(), 1));
    rows.push(("MP_UNREACH twice".to_owned(), [MP_UNREACH, MP_UNREACH].concat(), 1));
    let evpn = [0x80, 14, 3, 0, 25, 70];
    rows.push(("MP_REACH of two families".to_owned(), [MP_REACH, &evpn].concat(), 1));
    for negotiated in sessions() {
        for (name, octets, subcode) in &rows {
            each_place(name, octets, octets[1], &negotiated, Reset(*subcode));
        }
        // Flags say nothing about where the NLRI is.
        for octets in [MP_REACH, MP_UNREACH] {
            for flags in [0x00, 0x40, 0xc0] {
                let flagged = [&[flags], &octets[1..]].concat();
                each_place("flags", &flagged, octets[1], &negotiated, Withdraw);
            }
            each_place("Partial bit", &[&[0xa0], &octets[1..]].concat(), octets[1], &negotiated, Fine);
        }
    }
}

/// Checklist: 51, 60
#[test]
fn the_list_ends_too_early() {
    for negotiated in sessions() {
        for (name, tail) in [
            ("one octet", &[0x40][..]),
            ("two octets", &[0xc0, 8]),
            ("value past the end", &[0xc0, 40, 12, 0, 0]),
            ("extended length cut", &[0xd0, 40, 0]),
            ("extended length past the end", &[0xd0, 40, 0xff, 0xff, 1]),
            ("length past the end by one", &[0x80, 4, 4, 0, 0, 0]),
        ] {
            let list = [ORIGIN, raw::as_path(&negotiated), NEXT_HOP, CANARY, tail];
            judge(name, &update(&[], &list, BODY), &negotiated, Withdraw);
        }
        for code in [14, 15] {
            let list = [ORIGIN, raw::as_path(&negotiated), NEXT_HOP, CANARY, &[0x80, code, 200, 0, 2]];
            judge("MP attribute past the end", &update(&[], &list, BODY), &negotiated, Reset(9));
        }
    }
}

/// Pairs of defects: the stronger treatment, whichever comes first.
///
/// Checklist: 63, 64
#[test]
fn the_strongest_treatment_wins() {
    let discard = attribute(0x40, 6, &[1]);
    let withdraw = attribute(0x80, 4, &[1]);
    let reset = attribute(0x80, 15, &[0, 2, 1, 200]);
    for negotiated in sessions() {
        for (name, pair, want) in [
            ("discard, withdraw", [&discard, &withdraw], Withdraw),
            ("discard, reset", [&discard, &reset], Reset(10)),
            ("withdraw, reset", [&withdraw, &reset], Reset(10)),
        ] {
            for order in [pair, [pair[1], pair[0]]] {
                let both = order.map(|octets| octets.as_slice()).concat();
                each_place(name, &both, 0, &negotiated, want);
            }
        }
        let list = lists(&[discard.clone(), withdraw.clone()].concat(), 0, &negotiated);
        let update = judge("all of them", &update(&[], &[&list[0]], BODY), &negotiated, Withdraw).unwrap();
        assert_eq!(update.errors.len(), 2, "both are named");
    }
}

/// Line noise costs one error for each type, not one for each octet.
///
/// Checklist: 59, 62
#[test]
fn a_thousand_times_the_same_is_one_error() {
    let negotiated = raw::session(true, true);
    let noise = [0x40, 6, 0].repeat(1200);
    let list = [ORIGIN, raw::as_path(&negotiated), NEXT_HOP, &noise, CANARY];
    let update = judge("noise", &update(&[], &list, BODY), &negotiated, Discard).unwrap();
    assert_eq!(update.errors.len(), 1);
    assert!(update.errors[0].what.contains("40 06 00"), "with its octets: {}", update.errors[0]);
}

/// Checklist: 105
#[test]
fn sets_are_taken_where_the_session_says_so() {
    let negotiated = Negotiated { accept_as_sets: true, ..raw::session(true, false) };
    let path = attribute(0x40, 2, &[2, 1, 0, 0, 0xfd, 0xe9, 1, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    let update = each_place("set", &path, 2, &negotiated, Fine).unwrap();
    let attributes: &Attributes = update.attributes.as_ref().unwrap();
    assert_eq!((attributes.as_path.to_string().as_str(), attributes.as_path.length()), ("65001 {1 2}", 2));
    let sent = wire::encode_announce(
        &[("203.0.113.0/24".parse().unwrap(), 0)],
        "192.0.2.1".parse().unwrap(),
        None,
        attributes,
        &negotiated,
    );
    assert_eq!(raw::read(&sent.unwrap()[0], &negotiated).attributes, update.attributes);
    // A decoder that has seen it taken does not take it when the session has changed its mind.
    let mut decoder = wire::Decoder::default();
    let octets = raw::update(&[], &[ORIGIN, &path, NEXT_HOP], BODY);
    for (session, wanted) in [(&negotiated, true), (&raw::session(true, false), false), (&negotiated, true)] {
        let Ok(wire::Message::Update(update)) = decoder.decode(&octets, session) else { panic!("no UPDATE") };
        assert_eq!(update.attributes.is_some(), wanted);
    }
    for confederation in [&[4, 1, 0, 0, 0xfd, 0xe9][..], &[3, 1, 0, 0, 0xfd, 0xe9], &[1, 0], &[1, 1, 0, 0, 0, 0]] {
        each_place("still refused", &attribute(0x40, 2, confederation), 2, &negotiated, Withdraw);
    }
}
