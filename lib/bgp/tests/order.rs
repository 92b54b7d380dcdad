//! The result does not depend on the order in which paths arrive.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod sim;

use model::Asn;
use proptest::prelude::*;
use sim::{Hand, address, config, prefix};

const SLICE: &str = "10.244.40.0/24";

#[derive(Clone, Debug)]
struct Said {
    peer: u8,
    ases: Vec<u32>,
    med: Option<u32>,
    origin: wire::Origin,
}

fn said() -> impl Strategy<Value = Vec<Said>> {
    let one = |peer: u8| {
        let ases = proptest::collection::vec(65_100u32..65_103, 0..2);
        let med = proptest::option::of(0u32..3);
        let origin = prop_oneof![3 => Just(wire::Origin::Igp), 1 => Just(wire::Origin::Incomplete)];
        // Peers 2 and 3 are of one AS, 4 and 5 of another.
        let own = if peer < 4 { 65_002 } else { 65_004 };
        (ases, med, origin).prop_map(move |(rest, med, origin)| Said {
            peer,
            ases: std::iter::once(own).chain(rest).collect(),
            med,
            origin,
        })
    };
    (one(2), one(3), one(4), one(5)).prop_map(|(a, b, c, d)| vec![a, b, c, d])
}

fn result(order: &[Said], noise: &[Said]) -> Vec<bgp::BestPath> {
    let mut config = config(1, 64512, &[(2, 65002), (3, 65002), (4, 65004), (5, 65004)]);
    config.max_paths = 2;
    let mut hand = Hand::new(config);
    let conns: Vec<u64> = [2, 3, 4, 5].map(|n| hand.establish(n, if n < 4 { 65002 } else { 65004 })).to_vec();
    for path in noise.iter().chain(order) {
        let attributes = wire::Attributes {
            as_path: wire::AsPath::sequence(path.ases.iter().copied().map(Asn)),
            med: path.med,
            origin: path.origin,
            ..wire::Attributes::default()
        };
        let updates =
            wire::encode_announce(&[(prefix(SLICE), 0)], address(path.peer), None, &attributes, &hand.negotiated)
                .unwrap();
        for bytes in updates {
            hand.bytes(conns[usize::from(path.peer) - 2], &bytes);
        }
    }
    hand.speaker.best(&prefix(SLICE))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Checklist: 21
    #[test]
    fn of_arrival(paths in said(), earlier in said(), order in Just(vec![0usize, 1, 2, 3]).prop_shuffle()) {
        let shuffled: Vec<Said> = order.iter().map(|at| paths[*at].clone()).collect();
        let plain = result(&paths, &[]);
        prop_assert!(!plain.is_empty() && plain.len() <= 2);
        prop_assert_eq!(&result(&shuffled, &[]), &plain);
        prop_assert_eq!(&result(&shuffled, &earlier), &plain, "what was said before does not count");
    }
}
