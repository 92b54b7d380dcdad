//! Floor 1: what the kernel should hold, from what is known of the cluster.
//!
//! [`ground`] gives the node-wide objects, [`vtep`] those of one remote node on the overlay, [`route`] those of one
//! destination. Each costs what it describes, never the size of the cluster; their sum over all nodes and
//! destinations is everything that is wanted. Nothing here knows what the kernel holds or how to get there.
//!
//! ```text
//!   pod ─► route 10.244.7.0/24 ─► nexthop fe80::… dev biplane.vxlan ─► neighbour ─► inner MAC ─► FDB ─► outer address
//!                              └► nexthop 10.0.0.7 dev eth0                              (native: the fabric does the rest)
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod ground;
mod native;
mod route;
#[cfg(test)]
mod tests;
mod vtep;

pub use ground::{Ground, ground, masquerade, pod_mtu, vxlan_mtu};
pub use native::{NativePath, native_via};
pub use route::{objects, route, route_outside};
pub use vtep::{overlay_via, reach_of, senders, vtep, vtep_mac};
