//! Rows: what is beneath BGP. Slots 10 to 19.

use super::super::bed::{Part, Slot};
use super::{Feature, Theme, both_know, row};

pub const THEME: Theme = Theme {
    slots: &[
        Slot {
            name: "md5",
            number: 10,
            node: "e",
            v6: false,
            keys: "passwordFile: /etc/biplane/bgp.key",
            parts: [
                Part::Told(&["password of-this-lab-alone"], &[]),
                Part::Told(&["password \"of-this-lab-alone\";"], &[]),
                Part::Told(&["auth-password = \"of-this-lab-alone\""], &[]),
            ],
        },
        Slot {
            name: "gtsm",
            number: 11,
            node: "e",
            v6: false,
            keys: "ttlSecurity: 1",
            parts: [
                Part::Told(&["ttl-security hops 1"], &[]),
                Part::Told(&["ttl security on;"], &[]),
                Part::Told(&["[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255"], &[]),
            ],
        },
        Slot {
            name: "multihop",
            number: 12,
            node: "e",
            v6: false,
            keys: "multihop: 4",
            parts: [
                Part::Told(&["ebgp-multihop 4"], &[]),
                Part::Told(&["multihop 4;"], &[]),
                Part::Told(&["[neighbors.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = 4"], &[]),
            ],
        },
    ],
    rows: &[
        row("TCP MD5 (RFC 2385)", |bed, router| both_know(bed, router, "md5")),
        row("GTSM (RFC 5082)", |bed, router| both_know(bed, router, "gtsm")),
        row("eBGP multihop", |bed, router| both_know(bed, router, "multihop")),
        Feature {
            name: "TCP-AO (RFC 5925)",
            lacks: [Some("FRR 8 has no TCP-AO"), Some("BIRD 2.0 has no TCP-AO"), Some("GoBGP 3 has no TCP-AO")],
            check: None,
        },
    ],
};
