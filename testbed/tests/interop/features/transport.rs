//! Rows: what is beneath BGP. Slots 10 to 19.

use super::super::bed::{Part, Slot};
use super::{Feature, Theme, both_know, missing, row};

pub const THEME: Theme = Theme {
    slots: &[Slot {
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
    }],
    rows: &[
        row("TCP MD5 (RFC 2385)", |bed, router| both_know(bed, router, "md5")),
        missing("GTSM (RFC 5082)"),
        Feature {
            name: "TCP-AO (RFC 5925)",
            lacks: [Some("FRR 8 has no TCP-AO"), Some("BIRD 2.0 has no TCP-AO"), Some("GoBGP 3 has no TCP-AO")],
            check: None,
        },
    ],
};
