use alloc::Claim;
use model::node::BgpReach;
use model::{Asn, MacAddr, PlaneSet, Reach, Uid, Vtep};

pub(crate) fn claim(cidr: &str, node: &str) -> Claim {
    let underlay = "192.0.2.1".parse().unwrap();
    Claim {
        pod_cidr: cidr.parse().unwrap(),
        node: node.parse().unwrap(),
        uid: Uid(format!("uid-{node}").into()),
        reach: Reach {
            underlay: vec![underlay],
            vtep: Vtep { underlay, mac: MacAddr([2, 0, 0, 0, 0, 1]), gateway: "fe80::1".parse().unwrap() },
            bgp: BgpReach { asn: Asn(64512), port: 179, mesh: true },
            planes: PlaneSet::BOTH,
        },
    }
}
