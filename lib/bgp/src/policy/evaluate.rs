//! Policies, compiled once for each configuration and evaluated for each path. Pure: the same route gives the same
//! outcome, whoever asks.
//!
//! Rules are looked at in order. A rule matches if everything that it asks holds; then it changes the route, and accepts,
//! rejects, or passes on to the next rule, which sees what was changed. If no rule decides, the policy's default does.
//! What a rejecting rule or the default `reject` changed does not matter. The cost of an evaluation is bounded by the
//! policy and the length of the route's attributes; nothing in it recurses or backtracks.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::config::BgpConfig;
use model::policy::{
    AsPathMatch, CommunityChange, CommunityMatch, CommunityPattern, LargeCommunityPattern, NextHopChange, PolicyConfig,
    PrefixRange, Prefixes, RouteOrigin, RuleMatch, RuleSet, Then, Verdict,
};
use model::{Asn, ClusterPool, Prefix};
use wire::{Attributes, Segment};

use super::prefix_set::{Named, PrefixSet};

/// What a policy looks at.
#[derive(Clone, Copy, Debug)]
pub struct RouteView<'a> {
    /// The prefix.
    pub prefix: Prefix,
    /// Attributes as they came in, or as they would go out without a policy.
    pub attributes: &'a Attributes,
    /// Next hop; `None` for a route of our own.
    pub next_hop: Option<IpAddr>,
    /// The other end of the session.
    pub neighbour: IpAddr,
    /// AS number of the other end.
    pub neighbour_asn: Asn,
    /// Where the route comes from.
    pub origin: RouteOrigin,
    /// What is prepended where a rule names no AS: our own on export, the peer's on import.
    pub prepend: Asn,
}

/// What a policy says of a route.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    /// Accepted or rejected?
    pub verdict: Verdict,
    /// Place of the rule that decided; `None` for the policy's default.
    pub rule: Option<usize>,
    /// Attributes afterwards; borrowed if nothing has changed.
    pub attributes: Cow<'a, Attributes>,
    /// What becomes of the next hop; `None` if nothing was said of it.
    pub next_hop: Option<NextHopChange>,
    /// MED that a rule has set; it goes to another AS, where one that came with the route does not.
    pub med: Option<u32>,
    /// The narrowest words by which the deciding rule named the prefix; `None` if it asked for no prefix.
    pub named: Option<Named>,
}

impl Outcome<'_> {
    /// Was the route accepted?
    pub fn is_accepted(&self) -> bool {
        self.verdict == Verdict::Accept
    }
}

/// A compiled policy.
#[derive(Clone, Debug)]
pub struct Policy {
    name: Arc<str>,
    rules: Vec<Rule>,
    default: Verdict,
    /// What it was compiled of: policies are the same if this is.
    source: Arc<Source>,
}

/// What a policy is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    config: PolicyConfig,
    sets: BTreeMap<String, Vec<PrefixRange>>,
    pools: Vec<ClusterPool>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// `policy from-tor, rule services`: whole, so that it can be told of a refused prefix.
    label: Arc<str>,
    matches: RuleMatch,
    prefixes: Option<Arc<PrefixSet>>,
    next_hops: Option<PrefixSet>,
    set: Option<Box<RuleSet>>,
    then: Then,
}

impl PartialEq for Policy {
    fn eq(&self, other: &Policy) -> bool {
        self.name == other.name && (Arc::ptr_eq(&self.source, &other.source) || self.source == other.source)
    }
}

impl Eq for Policy {}

/// All policies of a configuration, compiled, by name.
pub fn policies(bgp: &BgpConfig, pools: &[ClusterPool]) -> BTreeMap<String, Arc<Policy>> {
    let mut shared: BTreeMap<&str, Arc<PrefixSet>> = BTreeMap::new();
    let compiled = bgp.policies.iter().map(|(name, policy)| {
        let compiled = Policy::compile(name, policy, &bgp.prefix_sets, pools, &mut shared);
        (name.clone(), Arc::new(compiled))
    });
    compiled.collect()
}

impl Policy {
    /// A policy by itself. A prefix set that is not there holds nothing; `lib/config` refuses such a name.
    pub fn new(
        name: &str,
        config: &PolicyConfig,
        sets: &BTreeMap<String, Vec<PrefixRange>>,
        pools: &[ClusterPool],
    ) -> Policy {
        Policy::compile(name, config, sets, pools, &mut BTreeMap::new())
    }

    fn compile<'a>(
        name: &str,
        config: &'a PolicyConfig,
        sets: &'a BTreeMap<String, Vec<PrefixRange>>,
        pools: &[ClusterPool],
        shared: &mut BTreeMap<&'a str, Arc<PrefixSet>>,
    ) -> Policy {
        let mut used = BTreeMap::new();
        let mut of_pools = Vec::new();
        let rules = config.rules.iter().enumerate().map(|(at, rule)| {
            let prefixes = rule.matches.prefixes.as_ref().map(|prefixes| match prefixes {
                Prefixes::List(list) => Arc::new(PrefixSet::new(list.iter().copied())),
                Prefixes::Set(set) => {
                    let ranges = sets.get(set);
                    if let Some(ranges) = ranges {
                        used.insert(set.clone(), ranges.clone());
                    } else {
                        of_pools = pools.to_vec();
                    }
                    let compiled = shared.entry(set).or_insert_with(|| {
                        Arc::new(match ranges {
                            Some(ranges) => PrefixSet::new(ranges.iter().copied()),
                            None if set == Prefixes::POD_CIDRS => PrefixSet::slices(pools),
                            None => PrefixSet::default(),
                        })
                    });
                    compiled.clone()
                }
            });
            let hops = &rule.matches.next_hop;
            let words = rule.name.clone().unwrap_or_else(|| (at + 1).to_string());
            Rule {
                label: format!("policy {name}, rule {words}").into(),
                prefixes,
                next_hops: (!hops.is_empty()).then(|| PrefixSet::new(hops.iter().copied().map(PrefixRange::exact))),
                matches: RuleMatch { prefixes: None, next_hop: Vec::new(), ..rule.matches.clone() },
                set: (rule.set != RuleSet::default()).then(|| Box::new(rule.set.clone())),
                then: rule.then,
            }
        });
        let rules = rules.collect();
        let source = Arc::new(Source { config: config.clone(), sets: used, pools: of_pools });
        Policy { name: name.into(), rules, default: config.default, source }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rule that decided, in words: `policy from-tor, rule services`, `policy from-tor, default`.
    pub fn label(&self, rule: Option<usize>) -> String {
        match rule.and_then(|rule| self.rules.get(rule)) {
            Some(rule) => rule.label.to_string(),
            None => format!("policy {}, default", self.name),
        }
    }

    /// Labels of all rules, then of the default.
    pub(crate) fn labels(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        let default: Arc<str> = self.label(None).into();
        self.rules.iter().map(|rule| rule.label.clone()).chain([default])
    }

    /// Asks the policy.
    pub fn evaluate<'a>(&self, route: &RouteView<'a>) -> Outcome<'a> {
        let mut attributes = Cow::Borrowed(route.attributes);
        let (mut next_hop, mut med) = (None, None);
        for (at, rule) in self.rules.iter().enumerate() {
            let hop = match next_hop {
                Some(NextHopChange::Address(address)) => Some(address),
                _ => route.next_hop,
            };
            let Some(named) = rule.takes(route, &attributes, hop) else { continue };
            if let Some(set) = &rule.set {
                // What is refused need not be changed.
                if rule.then != Then::Reject {
                    change(&mut attributes, set, route.prepend);
                    next_hop = set.next_hop.or(next_hop);
                    med = set.med.or(med);
                }
            }
            let verdict = match rule.then {
                Then::Accept => Verdict::Accept,
                Then::Reject => Verdict::Reject,
                Then::Next => continue,
            };
            return Outcome { verdict, rule: Some(at), attributes, next_hop, med, named };
        }
        Outcome { verdict: self.default, rule: None, attributes, next_hop, med, named: None }
    }
}

impl Rule {
    /// Does all that the rule asks hold? Then also the narrowest words by which it names the prefix.
    fn takes(&self, route: &RouteView<'_>, attributes: &Attributes, hop: Option<IpAddr>) -> Option<Option<Named>> {
        let asked = &self.matches;
        let family = asked.family.is_none_or(|family| family == route.prefix.family());
        let origin = asked.origin.is_empty() || asked.origin.iter().any(|word| word.takes(route.origin));
        if !family || !origin {
            return None;
        }
        if let Some(neighbour) = &asked.neighbour {
            let address = neighbour.address.is_empty() || neighbour.address.contains(&route.neighbour);
            let asn = neighbour.asn.is_empty() || neighbour.asn.contains(&route.neighbour_asn);
            if !address || !asn {
                return None;
            }
        }
        let named = match &self.prefixes {
            Some(prefixes) => Some(prefixes.find(&route.prefix)?),
            None => None,
        };
        if let Some(hops) = &self.next_hops
            && !hop.is_some_and(|hop| hops.holds(hop))
        {
            return None;
        }
        let plain = asked.communities.as_ref();
        let large = asked.large_communities.as_ref();
        let holds = plain.is_none_or(|asked| asked_of(asked, &attributes.communities, |p, c| p.matches(*c)))
            && large.is_none_or(|asked| asked_of(asked, &attributes.large_communities, LargeCommunityPattern::matches))
            && asked.as_path.as_ref().is_none_or(|asked| path_holds(asked, attributes));
        holds.then_some(named)
    }
}

fn asked_of<P, C>(asked: &CommunityMatch<P>, there: &[C], matches: impl Fn(&P, &C) -> bool) -> bool {
    let is_there = |pattern: &P| there.iter().any(|community| matches(pattern, community));
    (asked.any.is_empty() || asked.any.iter().any(is_there))
        && asked.all.iter().all(is_there)
        && !asked.none.iter().any(is_there)
}

fn path_holds(asked: &AsPathMatch, attributes: &Attributes) -> bool {
    let path = &attributes.as_path;
    let one_of = |wanted: &[Asn], asn: Option<Asn>| wanted.is_empty() || asn.is_some_and(|asn| wanted.contains(&asn));
    // A path that ends with a set has no one origin.
    let last = path.0.last().and_then(|segment| match segment {
        Segment::Sequence(ases) => ases.last().copied(),
        Segment::Set(_) => None,
    });
    one_of(&asked.neighbour, path.first())
        && one_of(&asked.origin, last)
        && (asked.contains.is_empty() || path.ases().any(|asn| asked.contains.contains(&asn)))
        && asked.length.is_none_or(|range| {
            let length = u32::try_from(path.length()).unwrap_or(u32::MAX);
            range.ge.is_none_or(|ge| length >= ge) && range.le.is_none_or(|le| length <= le)
        })
}

fn change(attributes: &mut Cow<'_, Attributes>, set: &RuleSet, prepend: Asn) {
    let RuleSet { local_pref, med, communities, large_communities, prepend: path, next_hop: _ } = set;
    if local_pref.is_some() && attributes.local_pref != *local_pref {
        attributes.to_mut().local_pref = *local_pref;
    }
    if med.is_some() && attributes.med != *med {
        attributes.to_mut().med = *med;
    }
    if let Some(change) = communities {
        let new = changed(&attributes.communities, change, CommunityPattern::exact, |p, c| p.matches(*c));
        if new != attributes.communities {
            attributes.to_mut().communities = new;
        }
    }
    if let Some(change) = large_communities {
        let (exact, matches) = (LargeCommunityPattern::exact, LargeCommunityPattern::matches);
        let new = changed(&attributes.large_communities, change, exact, matches);
        if new != attributes.large_communities {
            attributes.to_mut().large_communities = new;
        }
    }
    if let Some(path) = path {
        let path_of = &mut attributes.to_mut().as_path;
        for _ in 0..path.times {
            path_of.prepend(path.asn.unwrap_or(prepend));
        }
    }
}

/// Communities after a change. What stays keeps its order; what comes is put behind it, once.
fn changed<P, C: Copy + PartialEq>(
    there: &[C],
    change: &CommunityChange<P>,
    exact: impl Fn(&P) -> Option<C>,
    matches: impl Fn(&P, &C) -> bool,
) -> Vec<C> {
    let mut new: Vec<C> = match &change.replace {
        Some(replace) => replace.iter().filter_map(&exact).collect(),
        None => there.to_vec(),
    };
    new.retain(|community| !change.remove.iter().any(|pattern| matches(pattern, community)));
    for community in change.add.iter().filter_map(&exact) {
        if !new.contains(&community) {
            new.push(community);
        }
    }
    new
}

#[cfg(test)]
mod tests;
