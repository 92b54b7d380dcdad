//! From what a peer announces to what is used of it.
//!
//! Never used, whatever a policy says: what is our own or lies inside it, and the networks that this host is connected to
//! or parts of them. A default route and what lies in a service CIDR is used only when a rule names it, and not merely
//! takes it in: `{prefix: 0.0.0.0/0}` names the default route, `{prefix: 0.0.0.0/0, le: 32}` does not; any prefix of the
//! rule that lies inside the service CIDR names it. Without a policy only slices of the pools are used (RFC 8212).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::policy::{NextHopChange, RouteOrigin};
use model::{Asn, Family, Prefix};
use serde::{Deserialize, Serialize};

use super::{Named, Policy, Refusal, RouteView, View};
use crate::route::Route;

/// Short name of a rule that refused: a word beside each refused prefix, and not its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(u16);

/// Names of the rules of all policies that there are or were. Bounded: what does not fit shares the last name.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    labels: Vec<Arc<str>>,
    ids: BTreeMap<Arc<str>, RuleId>,
}

impl Rules {
    const MOST: usize = u16::MAX as usize;

    fn id(&mut self, label: Arc<str>) -> RuleId {
        if let Some(id) = self.ids.get(&label) {
            return *id;
        }
        if self.labels.len() >= Self::MOST {
            return RuleId(u16::MAX);
        }
        let id = RuleId(self.labels.len() as u16);
        self.labels.push(label.clone());
        self.ids.insert(label, id);
        id
    }

    /// A refusal in words, with the policy and the rule where one refused.
    pub(crate) fn words(&self, refusal: Refusal) -> String {
        self.label(refusal).map_or_else(|| refusal.to_string(), |label| format!("refused by {label}"))
    }

    /// The policy and the rule that refused; `None` if none did, or its name did not fit.
    pub(crate) fn label(&self, refusal: Refusal) -> Option<&str> {
        match refusal {
            Refusal::Policy(id) => self.labels.get(usize::from(id.0)).map(|label| &**label),
            _ => None,
        }
    }
}

/// The import policy of a peer, ready to be asked.
#[derive(Debug, Default)]
pub(crate) struct Import {
    policy: Option<Arc<Policy>>,
    /// Of each rule, then of the default.
    ids: Vec<RuleId>,
    /// The route that was asked about last, and what became of it: mostly the same for all prefixes of an UPDATE.
    before: Option<Arc<Route>>,
    after: Vec<Arc<Route>>,
}

impl Import {
    /// Outcomes that are remembered for one route.
    const AFTER: usize = 8;

    pub(crate) fn new(policy: Option<Arc<Policy>>, rules: &mut Rules) -> Import {
        let ids = policy.iter().flat_map(|policy| policy.labels()).map(|label| rules.id(label)).collect();
        Import { policy, ids, before: None, after: Vec::new() }
    }

    pub(crate) fn policy(&self) -> Option<&Arc<Policy>> {
        self.policy.as_ref()
    }

    /// The route as it is used; the same one if nothing is changed on it. The caller has looked at the attributes, which
    /// many prefixes share ([`View::refuse_attributes`]).
    ///
    /// # Errors
    /// Why it is not used.
    pub(crate) fn ask(
        &mut self,
        view: &View,
        prefix: &Prefix,
        route: &Arc<Route>,
        (neighbour, neighbour_asn): (IpAddr, Asn),
    ) -> Result<Arc<Route>, Refusal> {
        let Some(policy) = &self.policy else {
            return view.refuse_prefix(prefix).map_or_else(|| Ok(route.clone()), Err);
        };
        if let Some(refusal) = view.refuse_always(prefix) {
            return Err(refusal);
        }
        let outcome = policy.evaluate(&received(prefix, route, (neighbour, neighbour_asn)));
        if !outcome.is_accepted() {
            let place = outcome.rule.unwrap_or(self.ids.len().saturating_sub(1));
            return Err(Refusal::Policy(self.ids.get(place).copied().unwrap_or(RuleId(u16::MAX))));
        }
        if let Some(refusal) = view.refuse_unnamed(prefix, outcome.named) {
            return Err(refusal);
        }
        let next_hop = match outcome.next_hop {
            // One that cannot carry the family would only be refused by the kernel.
            Some(NextHopChange::Address(hop)) if prefix.family() == Family::V4 || hop.is_ipv6() => Some(hop),
            _ => None,
        };
        if next_hop.is_none() && matches!(outcome.attributes, std::borrow::Cow::Borrowed(_)) {
            return Ok(route.clone());
        }
        let after = Route {
            attributes: match outcome.attributes {
                std::borrow::Cow::Borrowed(_) => route.attributes.clone(),
                std::borrow::Cow::Owned(attributes) => Arc::new(attributes),
            },
            next_hop: next_hop.unwrap_or(route.next_hop),
            link_local: route.link_local.filter(|_| next_hop.is_none()),
        };
        Ok(self.share(route, after))
    }

    /// Why a prefix is refused whatever the policy's rules say of it.
    pub(crate) fn refuses(&self, view: &View, prefix: &Prefix) -> Option<Refusal> {
        match &self.policy {
            None => view.refuse_prefix(prefix),
            Some(_) => view.refuse_always(prefix),
        }
    }

    /// The rule that accepts it, in words; `None` without a policy, and where it is not accepted.
    pub(crate) fn accepting(&self, prefix: &Prefix, route: &Route, neighbour: (IpAddr, Asn)) -> Option<String> {
        let policy = self.policy.as_ref()?;
        let outcome = policy.evaluate(&received(prefix, route, neighbour));
        outcome.is_accepted().then(|| policy.label(outcome.rule))
    }

    /// Routes that come to the same are kept once.
    fn share(&mut self, before: &Arc<Route>, after: Route) -> Arc<Route> {
        if !self.before.as_ref().is_some_and(|known| Arc::ptr_eq(known, before)) {
            self.before = Some(before.clone());
            self.after.clear();
        }
        if let Some(same) = self.after.iter().find(|known| ***known == after) {
            return same.clone();
        }
        let after = Arc::new(after);
        if self.after.len() < Self::AFTER {
            self.after.push(after.clone());
        }
        after
    }
}

/// A route from a peer, as its import policy looks at it.
fn received<'a>(prefix: &Prefix, route: &'a Route, (neighbour, neighbour_asn): (IpAddr, Asn)) -> RouteView<'a> {
    RouteView {
        prefix: *prefix,
        attributes: &route.attributes,
        next_hop: Some(route.next_hop),
        neighbour,
        neighbour_asn,
        origin: RouteOrigin::Learned,
        prepend: neighbour_asn,
    }
}

impl View {
    /// What no policy can allow: packets for our own pods and for our own networks never leave by a router's word.
    fn refuse_always(&self, prefix: &Prefix) -> Option<Refusal> {
        if self.own_within.find(prefix).is_some() {
            return Some(Refusal::OwnPodCidr);
        }
        if self.connected.find(prefix).is_some() {
            return Some(Refusal::ConnectedNetwork);
        }
        let holds = !self.inside.is_empty() && self.is_slice(prefix) && self.inside.iter().any(|a| prefix.holds(a));
        holds.then_some(Refusal::Connected)
    }

    /// What a rule has to name.
    fn refuse_unnamed(&self, prefix: &Prefix, named: Option<Named>) -> Option<Refusal> {
        Refusal::unnamed(prefix, named, &self.services)
    }
}

impl Refusal {
    /// Why an import policy's word is not enough: a default route and what lies in a service CIDR must be named by the
    /// rule that accepts it.
    pub fn unnamed(prefix: &Prefix, named: Option<Named>, service_cidrs: &[Prefix]) -> Option<Refusal> {
        if prefix.is_default() {
            let by_name = named.is_some_and(|named| named.exact && named.prefix == *prefix);
            return (!by_name).then_some(Refusal::UnnamedDefaultRoute);
        }
        let service = service_cidrs.iter().find(|service| service.covers(prefix))?;
        let by_name = named.is_some_and(|named| service.covers(&named.prefix));
        (!by_name).then_some(Refusal::UnnamedServiceCidr)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use model::kernel::Device;
    use model::policy::{
        CommunityChange, PolicyConfig, PrefixRange, Prefixes, RuleConfig, RuleMatch, RuleSet, Then, Verdict,
    };
    use model::{ClusterPool, RouterId};
    use wire::{AsPath, Attributes};

    use super::*;
    use crate::local::LocalAddresses;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn view() -> View {
        let pools = vec![ClusterPool::new(prefix("10.244.0.0/16"), 24).unwrap()];
        let mut view = View::new(Asn(64512), RouterId(Ipv4Addr::new(192, 0, 2, 1)), pools);
        view.originate(prefix("10.244.3.0/24"), true);
        view.set_services(vec![prefix("10.96.0.0/12")]);
        let eth0 = Device::new("eth0").unwrap();
        view.set_addresses(LocalAddresses::new(vec![
            ("192.0.2.1".parse().unwrap(), 24, eth0.clone()),
            ("10.244.77.2".parse().unwrap(), 32, eth0),
        ]));
        view
    }

    fn route() -> Arc<Route> {
        let attributes = Arc::new(Attributes { as_path: AsPath::sequence([Asn(65001)]), ..Attributes::default() });
        Arc::new(Route { attributes, next_hop: "192.0.2.254".parse().unwrap(), link_local: None })
    }

    fn import(rules: Vec<RuleConfig>, names: &mut Rules) -> Import {
        let config = PolicyConfig { rules, default: Verdict::Reject };
        Import::new(Some(Arc::new(Policy::new("from-tor", &config, &BTreeMap::new(), &[]))), names)
    }

    fn takes(list: Vec<PrefixRange>) -> RuleConfig {
        let matches = RuleMatch { prefixes: Some(Prefixes::List(list)), ..RuleMatch::default() };
        RuleConfig { name: Some("all".into()), matches, set: RuleSet::default(), then: Then::Accept }
    }

    const TOR: (IpAddr, Asn) = (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254)), Asn(65001));

    /// A rule that takes in everything opens nothing that it does not name, and never what is ours.
    /// Checklist: 82
    #[test]
    fn what_is_ours_is_never_taken_and_the_default_route_must_be_named() {
        let (view, mut names) = (view(), Rules::default());
        let everything = PrefixRange { prefix: prefix("0.0.0.0/0"), ge: None, le: Some(32) };
        let exact = |text| PrefixRange::exact(prefix(text));
        let mut broad = import(vec![takes(vec![everything])], &mut names);
        let default = exact("0.0.0.0/0");
        let services = PrefixRange { prefix: prefix("10.96.0.0/16"), ge: None, le: Some(32) };
        let mut named = import(vec![takes(vec![everything, default, services])], &mut names);
        let mut asked = |text: &str| {
            (broad.ask(&view, &prefix(text), &route(), TOR).err(), named.ask(&view, &prefix(text), &route(), TOR).err())
        };
        let both = |refusal| (Some(refusal), Some(refusal));
        assert_eq!(asked("198.51.100.0/24"), (None, None));
        assert_eq!(asked("10.244.4.0/24"), (None, None), "another node's slice");
        assert_eq!(asked("10.244.0.0/16"), (None, None), "wider than what is ours");
        assert_eq!(asked("10.244.3.0/24"), both(Refusal::OwnPodCidr));
        assert_eq!(asked("10.244.3.128/25"), both(Refusal::OwnPodCidr));
        assert_eq!(asked("10.244.77.0/24"), both(Refusal::Connected), "a slice that holds an address of ours");
        assert_eq!(asked("192.0.2.0/24"), both(Refusal::ConnectedNetwork));
        assert_eq!(asked("192.0.2.254/32"), both(Refusal::ConnectedNetwork));
        assert_eq!(asked("192.0.0.0/16"), (None, None), "wider than what we are connected to");
        assert_eq!(asked("0.0.0.0/0"), (Some(Refusal::UnnamedDefaultRoute), None));
        assert_eq!(asked("10.96.7.0/24"), (Some(Refusal::UnnamedServiceCidr), None));
        assert_eq!(asked("10.97.7.0/24"), both(Refusal::UnnamedServiceCidr), "named is another part of it");
    }

    /// Checklist: 81, 82
    #[test]
    fn without_a_policy_slices_alone_are_taken() {
        let (view, mut names) = (view(), Rules::default());
        let mut none = Import::new(None, &mut names);
        let mut asked = |text: &str| none.ask(&view, &prefix(text), &route(), TOR).err();
        assert_eq!(asked("10.244.4.0/24"), None);
        assert_eq!(asked("198.51.100.0/24"), Some(Refusal::NotASlice));
        assert_eq!(asked("10.244.0.0/16"), Some(Refusal::OwnPodCidr));
        assert_eq!(asked("0.0.0.0/0"), Some(Refusal::DefaultRoute));
        assert_eq!(asked("192.0.2.0/24"), Some(Refusal::NotASlice));
        assert_eq!(asked("10.96.0.0/12"), Some(Refusal::NotASlice));
    }

    #[test]
    fn a_refusal_names_policy_and_rule() {
        let (view, mut names) = (view(), Rules::default());
        let bad = RuleConfig { then: Then::Reject, ..takes(vec![PrefixRange::exact(prefix("198.51.100.0/24"))]) };
        let mut import = import(vec![bad], &mut names);
        let refused = |import: &mut Import, text| import.ask(&view, &prefix(text), &route(), TOR).unwrap_err();
        let by_rule = refused(&mut import, "198.51.100.0/24");
        let by_default = refused(&mut import, "203.0.113.0/24");
        assert_eq!(names.words(by_rule), "refused by policy from-tor, rule all");
        assert_eq!(names.words(by_default), "refused by policy from-tor, default");
        assert_eq!(std::mem::size_of::<Refusal>(), 4, "one word a prefix");
    }

    #[test]
    fn what_comes_to_the_same_is_kept_once() {
        let (view, mut names) = (view(), Rules::default());
        let add = |text: &str| CommunityChange { add: vec![text.parse().unwrap()], ..CommunityChange::default() };
        let set = RuleSet { communities: Some(add("1:1")), local_pref: Some(50), ..RuleSet::default() };
        let everything = PrefixRange { prefix: prefix("0.0.0.0/0"), ge: None, le: Some(32) };
        let mut import = import(vec![RuleConfig { set, ..takes(vec![everything]) }], &mut names);
        let route = route();
        let one = import.ask(&view, &prefix("198.51.100.0/24"), &route, TOR).unwrap();
        let two = import.ask(&view, &prefix("203.0.113.0/24"), &route, TOR).unwrap();
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!((one.attributes.local_pref, one.attributes.communities.as_slice()), (Some(50), &[1 << 16 | 1][..]));
        assert_eq!(route.attributes.local_pref, None, "what was announced stays as it is");
    }

    #[test]
    fn names_of_rules_are_bounded() {
        let mut names = Rules::default();
        for n in 0..70_000 {
            names.id(format!("rule {n}").into());
        }
        assert_eq!(names.labels.len(), usize::from(u16::MAX));
        assert_eq!(names.id("rule 7".into()), RuleId(7));
        assert_eq!(names.words(Refusal::Policy(RuleId(u16::MAX))), "refused by the import policy");
    }
}
