//! The coordinator's part: many phases in, one small digest out.

use std::collections::{BTreeMap, BTreeSet};

use model::{Digest, NodeName, NodePhase, NodeSet, Plane};

/// The digest of `phases`, without the nodes in `gone`; `None` if it says just what `previous` said.
///
/// A new coordinator recomputes it from the phases alone; it goes on counting from `previous`, so that digests stay
/// totally ordered over changes of coordinator.
pub fn digest(
    phases: &BTreeMap<NodeName, NodePhase>,
    gone: &BTreeSet<NodeName>,
    previous: Option<&Digest>,
    coordinator: &NodeName,
) -> Option<Digest> {
    let live: Vec<&NodePhase> = phases.values().filter(|phase| !gone.contains(&phase.node)).collect();
    let everyone: BTreeSet<NodeName> = live.iter().map(|phase| phase.node.clone()).collect();
    let among = |take: &dyn Fn(&NodePhase) -> bool| {
        let members = live.iter().filter(|phase| take(phase)).map(|phase| phase.node.clone()).collect();
        exact(NodeSet::among(members, &everyone), gone, phases)
    };
    let next = Digest {
        sequence: previous.map_or(1, |digest| digest.sequence + 1),
        coordinator: coordinator.clone(),
        nodes: live.len(),
        overlay_stands: among(&|phase| phase.stands.has(Plane::Overlay)),
        native_stands: among(&|phase| phase.stands.has(Plane::Native)),
        overlay_senders: among(&|phase| phase.sends.has(Plane::Overlay)),
        native_senders: among(&|phase| phase.sends.has(Plane::Native)),
        reflects: live.iter().filter(|phase| !phase.settled).map(|phase| (phase.node.clone(), phase.serial)).collect(),
        gone: gone.iter().filter(|node| phases.contains_key(*node)).cloned().collect(),
    };
    match previous {
        Some(last) if (Digest { sequence: last.sequence, ..next.clone() }) == *last => None,
        _ => Some(next),
    }
}

/// "All but these" must stay exact for nodes that the digest leaves out: a node that has no phase record, or is gone,
/// would otherwise count itself in. With such nodes about, the members are spelled out.
fn exact(set: NodeSet, gone: &BTreeSet<NodeName>, phases: &BTreeMap<NodeName, NodePhase>) -> NodeSet {
    match set {
        NodeSet::AllBut(mut but) => {
            but.extend(gone.iter().filter(|node| phases.contains_key(*node)).cloned());
            NodeSet::AllBut(but)
        }
        only => only,
    }
}
