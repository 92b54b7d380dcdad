//! Prefixes that this node puts into BGP itself: own pod CIDRs, configured ones, and aggregates of the former.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Prefix;
use serde::{Deserialize, Serialize};
use wire::{Attributes, Origin};

use crate::status::Untold;

/// A prefix that the operator wants announced, or what an own pod CIDR is to be announced with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origination {
    /// The prefix.
    pub prefix: Prefix,
    /// COMMUNITIES (RFC 1997), high octets first.
    pub communities: Vec<u32>,
    /// LARGE_COMMUNITY (RFC 8092).
    pub large_communities: Vec<[u32; 3]>,
    /// LOCAL_PREF towards peers of our AS; 100 if absent.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC; none if absent.
    pub med: Option<u32>,
    /// Announced only while an own pod CIDR lies inside.
    pub aggregate: bool,
    /// Own pod CIDRs inside are not announced to configured peers while this is. Nodes of the mesh get them always.
    pub summary_only: bool,
}

impl Origination {
    /// The prefix alone, announced always.
    pub fn new(prefix: Prefix) -> Origination {
        Origination {
            prefix,
            communities: Vec::new(),
            large_communities: Vec::new(),
            local_pref: None,
            med: None,
            aggregate: false,
            summary_only: false,
        }
    }

    fn attributes(&self) -> Arc<Attributes> {
        Arc::new(Attributes {
            origin: Origin::Igp,
            communities: self.communities.clone(),
            large_communities: self.large_communities.clone(),
            local_pref: self.local_pref,
            med: self.med,
            ..Attributes::default()
        })
    }
}

/// What is announced of our own. A change names the prefixes that it touches.
#[derive(Debug, Default)]
pub(crate) struct OwnPrefixes {
    /// Told by the claims.
    pods: BTreeSet<Prefix>,
    configured: BTreeMap<Prefix, (Origination, Arc<Attributes>)>,
    /// Not to be announced for now, whatever else is said.
    held_back: BTreeSet<Prefix>,
    announced: BTreeMap<Prefix, Arc<Attributes>>,
    plain: Arc<Attributes>,
}

impl OwnPrefixes {
    /// What an announced prefix is announced with.
    pub(crate) fn of(&self, prefix: &Prefix) -> Option<&Arc<Attributes>> {
        self.announced.get(prefix)
    }

    /// All that is announced.
    pub(crate) fn announced(&self) -> &BTreeMap<Prefix, Arc<Attributes>> {
        &self.announced
    }

    /// Why a prefix of our own is announced to nobody; `None` if it is announced, or is not ours.
    pub(crate) fn silent(&self, prefix: &Prefix) -> Option<Untold> {
        if self.announced.contains_key(prefix) || !(self.pods.contains(prefix) || self.configured.contains_key(prefix))
        {
            return None;
        }
        Some(if self.held_back.contains(prefix) { Untold::HeldBack } else { Untold::EmptyAggregate })
    }

    /// What puts an announced prefix into BGP, in words.
    pub(crate) fn source(&self, prefix: &Prefix) -> &'static str {
        match (self.pods.contains(prefix), self.configured.get(prefix)) {
            (true, None) => "a pod CIDR of this node",
            (true, Some(_)) => "a pod CIDR of this node, with the attributes of bgp.originate",
            (false, Some((origination, _))) if origination.aggregate => "an aggregate of bgp.originate",
            (false, _) => "bgp.originate",
        }
    }

    /// An announced aggregate stands for it.
    pub(crate) fn is_summarised(&self, prefix: &Prefix) -> bool {
        self.around(prefix)
            .any(|at| self.configured.get(&at).is_some_and(|(it, _)| it.summary_only) && self.of(&at).is_some())
    }

    /// An own pod CIDR comes or goes.
    #[must_use]
    pub(crate) fn set_pod(&mut self, prefix: Prefix, on: bool) -> Vec<Prefix> {
        let news = if on { self.pods.insert(prefix) } else { self.pods.remove(&prefix) };
        if !news {
            return Vec::new();
        }
        let around: Vec<Prefix> = self.around(&prefix).filter(|at| self.configured.contains_key(at)).collect();
        self.renew(around.into_iter().chain([prefix]).collect())
    }

    /// Another configuration.
    #[must_use]
    pub(crate) fn configure(&mut self, wanted: &[Origination]) -> Vec<Prefix> {
        let before = std::mem::take(&mut self.configured);
        for origination in wanted {
            let attributes = match before.get(&origination.prefix) {
                Some((same, attributes)) if same == origination => attributes.clone(),
                _ => origination.attributes(),
            };
            self.configured.insert(origination.prefix, (origination.clone(), attributes));
        }
        let gone = before.keys().chain(self.configured.keys()).copied().collect::<BTreeSet<Prefix>>();
        self.renew(gone)
    }

    /// Lets a prefix be announced, or holds it back: it cannot be forwarded now.
    #[must_use]
    pub(crate) fn advertise(&mut self, prefix: Prefix, on: bool) -> Vec<Prefix> {
        let news = if on { self.held_back.remove(&prefix) } else { self.held_back.insert(prefix) };
        if news { self.renew(BTreeSet::from([prefix])) } else { Vec::new() }
    }

    /// Looks at some prefixes anew. Whatever a summary hides or shows comes with it.
    fn renew(&mut self, mut looked_at: BTreeSet<Prefix>) -> Vec<Prefix> {
        let mut changed = BTreeSet::new();
        while let Some(prefix) = looked_at.pop_last() {
            let wanted = self.wanted(&prefix);
            if self.announced.get(&prefix) == wanted.as_ref() && !self.configured.contains_key(&prefix) {
                continue;
            }
            match wanted {
                Some(attributes) => self.announced.insert(prefix, attributes),
                None => self.announced.remove(&prefix),
            };
            changed.insert(prefix);
            changed.extend(self.pods.range(prefix..).take_while(|pod| prefix.covers(pod)));
        }
        changed.into_iter().collect()
    }

    fn wanted(&self, prefix: &Prefix) -> Option<Arc<Attributes>> {
        if self.held_back.contains(prefix) {
            return None;
        }
        let configured = self.configured.get(prefix);
        let pod = self.pods.contains(prefix);
        match configured {
            Some((origination, attributes)) => {
                let holds_pod = || self.pods.range(*prefix..).next().is_some_and(|next| prefix.covers(next));
                (pod || !origination.aggregate || holds_pod()).then(|| attributes.clone())
            }
            None => pod.then(|| self.plain.clone()),
        }
    }

    /// Every prefix around one, itself left out.
    fn around(&self, prefix: &Prefix) -> impl Iterator<Item = Prefix> + use<> {
        let prefix = *prefix;
        let longest = if self.configured.is_empty() { 0 } else { prefix.len() };
        (0..longest).filter_map(move |len| Prefix::new(prefix.address(), len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn announced(own: &OwnPrefixes) -> Vec<String> {
        own.announced().keys().map(Prefix::to_string).collect()
    }

    #[test]
    fn an_aggregate_lives_while_a_pod_cidr_is_inside_and_hides_it() {
        let mut own = OwnPrefixes::default();
        let aggregate =
            Origination { aggregate: true, summary_only: true, ..Origination::new(prefix("10.244.0.0/20")) };
        let service = Origination { communities: vec![7], ..Origination::new(prefix("198.51.100.7/32")) };
        let touched = own.configure(&[aggregate.clone(), service.clone()]);
        assert_eq!(touched, vec![prefix("10.244.0.0/20"), prefix("198.51.100.7/32")]);
        assert_eq!(announced(&own), ["198.51.100.7/32"], "there is nothing to aggregate");
        let pod = prefix("10.244.3.0/24");
        assert_eq!(own.set_pod(pod, true), vec![prefix("10.244.0.0/20"), pod]);
        assert_eq!(own.set_pod(pod, true), vec![], "said already");
        assert!(own.is_summarised(&pod) && !own.is_summarised(&prefix("10.244.0.0/20")));
        assert!(!own.is_summarised(&prefix("198.51.100.7/32")));
        assert_eq!(own.of(&prefix("198.51.100.7/32")).unwrap().communities, vec![7]);
        let _ = own.set_pod(prefix("10.245.0.0/24"), true);
        assert!(!own.is_summarised(&prefix("10.245.0.0/24")), "outside");
        let touched = own.configure(&[service]);
        assert!(touched.contains(&pod), "it is to be looked at again: it is hidden no more");
        assert!(!own.is_summarised(&pod));
        let _ = own.configure(&[aggregate]);
        let _ = own.set_pod(pod, false);
        assert_eq!(announced(&own), ["10.245.0.0/24"]);
    }

    #[test]
    fn what_cannot_be_forwarded_is_held_back() {
        let mut own = OwnPrefixes::default();
        let service = prefix("198.51.100.7/32");
        assert_eq!(own.advertise(service, false), vec![], "nobody has heard of it");
        let _ = own.configure(&[Origination::new(service)]);
        assert!(announced(&own).is_empty());
        assert_eq!(own.advertise(service, true), vec![service]);
        assert_eq!(announced(&own), ["198.51.100.7/32"]);
        assert_eq!(own.advertise(service, true), vec![], "no news");
    }
}
