//! What one offer says about all the prefixes that came with it.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use wire::Attributes;

/// Attributes and next hop, shared by the prefixes of an UPDATE.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) attributes: Arc<Attributes>,
    pub(crate) next_hop: IpAddr,
    pub(crate) link_local: Option<Ipv6Addr>,
}

/// Remembers the last route, so that UPDATEs which say the same share one.
#[derive(Debug, Default)]
pub(crate) struct LastRoute(Option<Arc<Route>>);

impl LastRoute {
    /// The shared form of a route.
    pub(crate) fn share(
        &mut self,
        attributes: &Arc<Attributes>,
        next_hop: IpAddr,
        link_local: Option<Ipv6Addr>,
    ) -> Arc<Route> {
        if let Some(last) = &self.0
            && last.next_hop == next_hop
            && last.link_local == link_local
            && (Arc::ptr_eq(&last.attributes, attributes) || last.attributes == *attributes)
        {
            return last.clone();
        }
        let route = Arc::new(Route { attributes: attributes.clone(), next_hop, link_local });
        self.0 = Some(route.clone());
        route
    }
}
