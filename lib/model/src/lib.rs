//! Floor 0: the words of Biplane.
//!
//! Every other crate speaks in these types. Nothing here reads a clock, a file or a socket; a value that
//! exists is valid (parse, don't validate): a [`PodCidr`] has no host bits, a [`Vni`] fits 24 bits, a
//! [`NodeName`] is a DNS label sequence.

pub mod addr;
pub mod bfd;
pub mod chance;
pub mod config;
pub mod kernel;
pub mod moment;
pub mod node;
pub mod peer;
pub mod plane;
pub mod policy;
pub mod prefix;
pub mod reflection;
pub mod table;

pub use addr::{Asn, MacAddr, RouterId, Vni};
pub use chance::Chance;
pub use moment::Moment;
pub use node::{Digest, NodeName, NodePhase, NodeSet, Reach, StateName, Uid, Vtep, Wish};
pub use peer::{PeerAs, PeerId, Transport};
pub use plane::{Owner, Plane, PlaneSet, Stance};
pub use prefix::{ClusterPool, Family, PodCidr, Prefix};
pub use reflection::{AddPath, NextHopChoice};
pub use table::{Prefix4, PrefixMap};
