//! Which nodes meet in BGP sessions: all of them, or each its reflectors (RFC 4456). Pure: from what claims say.
//!
//! Every node says in its claims whether it reflects. From those words each finds the same topology, and its fingerprint.
//! A change of it is made before it is broken: a node opens the sessions of the new topology beside the old ones, and
//! says in its phase that it is at home there once all of them have told everything and every path of an old session has
//! another one beside it. An old session goes when the digest says so of both its ends. A node that is to reflect no
//! more goes on until the digest says it of everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use model::NodeName;
use model::reflection::{Labels, Reflection, ReflectorsConfig, selects};

/// Another node that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// What its claims say.
    pub(super) reflection: Option<Reflection>,
    /// The digest does not count it as gone.
    pub(super) live: bool,
}

/// All other nodes that take part.
pub(super) type Members = BTreeMap<NodeName, Member>;

/// Sessions of a node with others, now and to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Topology {
    /// Name of the set of reflectors; 0 for none: the full mesh.
    pub(super) fingerprint: u64,
    /// Who is to be met.
    pub(super) wanted: BTreeSet<NodeName>,
}

impl Member {
    fn reflects(&self) -> bool {
        self.live && self.reflection.is_some_and(|reflection| reflection.reflects)
    }

    /// Is it a client of whoever reflects for it?
    pub(super) fn is_client(&self) -> bool {
        self.reflection.is_some() && !self.reflects()
    }
}

/// What this node's claims should say. `reflects` is what they say now: nobody begins or ends to reflect without need.
pub(super) fn part(
    me: &NodeName,
    labels: &Labels,
    config: &ReflectorsConfig,
    reflects: bool,
    members: &Members,
) -> Reflection {
    let standing = reflects || members.values().any(Member::reflects);
    let size = 1 + members.values().filter(|member| member.live).count();
    let large = config.above.is_none_or(|above| {
        // Once there are reflectors it takes a tenth fewer nodes to do without.
        let above = usize::try_from(above).unwrap_or(usize::MAX);
        size > if standing { above - (above / 10).max(1).min(above) } else { above }
    });
    let named = config.nodes.contains(me);
    let labelled = !config.selector.is_empty() && selects(&config.selector, labels);
    let automatic = config.nodes.is_empty() && config.selector.is_empty();
    let chosen =
        || automatic && choose(me, config.cluster_id, usize::from(config.count), reflects, members).contains(me);
    Reflection { cluster: config.cluster_id, reflects: large && (named || labelled || chosen()) }
}

/// Reflectors of a cluster: live ones that reflect already, and as many more as are missing, by a hash of their names. So
/// one that comes or goes changes no other one's part.
fn choose(
    me: &NodeName,
    cluster: Option<Ipv4Addr>,
    count: usize,
    reflects: bool,
    members: &Members,
) -> BTreeSet<NodeName> {
    let others = members.iter().filter(|(_, member)| member.live);
    let others = others.filter_map(|(name, member)| member.reflection.map(|said| (name, said)));
    let ours =
        others.filter(|(_, said)| said.cluster == cluster).map(|(name, said)| (!said.reflects, score(name), name));
    let mut all: Vec<(bool, u64, &NodeName)> = ours.chain([(!reflects, score(me), me)]).collect();
    all.sort_unstable();
    all.into_iter().take(count).map(|(.., name)| name.clone()).collect()
}

/// The topology that follows from what everybody says.
pub(super) fn topology(me: &NodeName, own: Option<Reflection>, members: &Members) -> Topology {
    let here = own.filter(|own| own.reflects).map(|own| (me, own));
    let others = members.iter().filter(|(_, member)| member.reflects());
    let others = others.filter_map(|(name, member)| member.reflection.map(|said| (name, said)));
    let reflectors: BTreeMap<&NodeName, Reflection> = others.chain(here).collect();
    // Those of its cluster; all of them where it has none.
    let of = |said: &Reflection, reflector: &NodeName| {
        let same = |other: &Reflection| said.cluster.is_none() || other.cluster == said.cluster;
        let any = reflectors.values().any(same);
        reflectors.get(reflector).is_some_and(|it| !any || same(it))
    };
    let meets = |name: &NodeName, member: &Member| match (own, member.reflection) {
        _ if reflectors.is_empty() => true,
        (None, _) | (_, None) => true,
        (Some(own), Some(_)) if member.reflects() => own.reflects || of(&own, name),
        (Some(own), Some(said)) => own.reflects && of(&said, me),
    };
    Topology {
        fingerprint: fingerprint(&reflectors),
        wanted: members.iter().filter(|(name, member)| meets(name, member)).map(|(name, _)| name.clone()).collect(),
    }
}

fn fingerprint(reflectors: &BTreeMap<&NodeName, Reflection>) -> u64 {
    if reflectors.is_empty() {
        return 0;
    }
    let parts = reflectors.iter().flat_map(|(name, said)| {
        let cluster = said.cluster.map_or(0, u32::from).to_be_bytes();
        name.as_str().bytes().chain([0]).chain(cluster).collect::<Vec<u8>>()
    });
    fnv(parts).max(1)
}

/// A node's place in the order of choice; the same everywhere.
fn score(name: &NodeName) -> u64 {
    // FNV alone leaves names that differ in the last letter beside each other.
    let mut hash = fnv(name.as_str().bytes());
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ hash >> 33
}

/// FNV-1a.
fn fnv(octets: impl IntoIterator<Item = u8>) -> u64 {
    octets
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests;
