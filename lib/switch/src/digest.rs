//! The coordinator's part: many phases in, one small digest out.

use std::collections::{BTreeMap, BTreeSet};

use model::{Digest, NodeName, NodePhase, NodeSet, Plane};

/// The digest of `phases`, the nodes in `gone` being dead; `None` if it would say just what `previous` said.
///
/// A node that is gone sends nothing that anybody waits for, but by its last word its kernel still receives: losing a
/// daemon takes no forwarding away (it stays in the `stands` sets and leaves the `senders`). `gone` is to hold every
/// node that somebody may wait for, with a phase record or with nothing but a claim: one that died between the two has
/// given no word, and receives on nothing.
///
/// A new coordinator recomputes it from the phases alone; it goes on counting from `previous`, so that digests stay
/// totally ordered over changes of coordinator. For that order to mean anything, what a later digest says of a node
/// must be no older than what an earlier one said. So a coordinator has to list phases and digest afresh after it
/// has got the lock and before its first digest; and as long as `phases` hold a record older than `previous` reflects,
/// there is none (`None`).
pub fn digest(
    phases: &BTreeMap<NodeName, NodePhase>,
    gone: &BTreeSet<NodeName>,
    previous: Option<&Digest>,
    coordinator: &NodeName,
) -> Option<Digest> {
    let behind = |last: &Digest| {
        last.reflects.iter().any(|(node, serial)| phases.get(node).is_some_and(|phase| phase.serial < *serial))
    };
    if previous.is_some_and(behind) {
        return None;
    }
    let live = |phase: &NodePhase| !gone.contains(&phase.node);
    // Counted before a name is copied: of a cluster at rest the shorter form names nobody, however large it is.
    let among = |take: &dyn Fn(&NodePhase) -> bool| {
        let members = phases.values().filter(|phase| take(phase)).count();
        let is_shorter = members * 2 <= phases.len();
        let named = phases.iter().filter(|(_, phase)| take(phase) == is_shorter).map(|(node, _)| node.clone());
        if is_shorter { NodeSet::Only(named.collect()) } else { NodeSet::AllBut(named.collect()) }
    };
    let wordless: Vec<&NodeName> = gone.iter().filter(|node| !phases.contains_key(*node)).collect();
    let topology = most_named(phases.values().filter(|phase| live(phase)).filter_map(|phase| phase.topology));
    let mut next = Digest {
        sequence: previous.map_or(0, |digest| digest.sequence),
        coordinator: coordinator.clone(),
        nodes: phases.len(),
        overlay_stands: without(among(&|phase| phase.stands.has(Plane::Overlay)), &wordless),
        native_stands: without(among(&|phase| phase.stands.has(Plane::Native)), &wordless),
        overlay_senders: among(&|phase| live(phase) && phase.sends.has(Plane::Overlay)),
        native_senders: among(&|phase| live(phase) && phase.sends.has(Plane::Native)),
        reflects: phases
            .values()
            .filter(|phase| live(phase) && !phase.settled)
            .map(|phase| (phase.node.clone(), phase.serial))
            .collect(),
        gone: gone.clone(),
        topology,
        at_home: match topology {
            Some(_) => among(&|phase| phase.topology == topology),
            None => NodeSet::NONE,
        },
    };
    if previous == Some(&next) {
        return None;
    }
    next.sequence += 1;
    Some(next)
}

/// What is named most often; of several the lowest.
fn most_named(names: impl Iterator<Item = u64>) -> Option<u64> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts.into_iter().min_by_key(|(_, count)| std::cmp::Reverse(*count)).map(|(name, _)| name)
}

/// "All but these" counts in every node that nobody has named.
fn without(set: NodeSet, nodes: &[&NodeName]) -> NodeSet {
    match set {
        NodeSet::AllBut(mut these) => {
            these.extend(nodes.iter().map(|node| (*node).clone()));
            NodeSet::AllBut(these)
        }
        only => only,
    }
}
