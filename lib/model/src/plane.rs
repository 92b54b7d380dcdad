//! The two planes, what stands of them, and whose kernel objects are whose.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A way for pod packets between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Plane {
    /// VXLAN: encapsulated, needs nothing of the network between the nodes.
    #[serde(rename = "vxlan")]
    Overlay,
    /// Native routing: routes learned by BGP, no encapsulation.
    #[serde(rename = "bgp")]
    Native,
}

impl Plane {
    /// Both, overlay first.
    pub const BOTH: [Plane; 2] = [Plane::Overlay, Plane::Native];

    /// The other one.
    pub const fn other(self) -> Plane {
        match self {
            Plane::Overlay => Plane::Native,
            Plane::Native => Plane::Overlay,
        }
    }

    /// The word of the configuration file: `vxlan` or `bgp`.
    pub const fn mode(self) -> &'static str {
        match self {
            Plane::Overlay => "vxlan",
            Plane::Native => "bgp",
        }
    }
}

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mode())
    }
}

impl FromStr for Plane {
    type Err = String;

    fn from_str(text: &str) -> Result<Plane, String> {
        match text {
            "vxlan" => Ok(Plane::Overlay),
            "bgp" => Ok(Plane::Native),
            _ => Err(format!("unknown mode `{text}`: expected vxlan or bgp")),
        }
    }
}

/// A set of planes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<Plane>", into = "Vec<Plane>")]
pub struct PlaneSet {
    overlay: bool,
    native: bool,
}

impl PlaneSet {
    /// No plane.
    pub const NONE: PlaneSet = PlaneSet { overlay: false, native: false };
    /// Both planes.
    pub const BOTH: PlaneSet = PlaneSet { overlay: true, native: true };

    /// One plane alone.
    pub const fn only(plane: Plane) -> PlaneSet {
        match plane {
            Plane::Overlay => PlaneSet { overlay: true, native: false },
            Plane::Native => PlaneSet { overlay: false, native: true },
        }
    }

    /// Is `plane` in it?
    pub const fn has(self, plane: Plane) -> bool {
        match plane {
            Plane::Overlay => self.overlay,
            Plane::Native => self.native,
        }
    }

    /// The set with `plane` added.
    #[must_use]
    pub const fn with(self, plane: Plane) -> PlaneSet {
        match plane {
            Plane::Overlay => PlaneSet { overlay: true, ..self },
            Plane::Native => PlaneSet { native: true, ..self },
        }
    }

    /// The set with `plane` taken out.
    #[must_use]
    pub const fn without(self, plane: Plane) -> PlaneSet {
        match plane {
            Plane::Overlay => PlaneSet { overlay: false, ..self },
            Plane::Native => PlaneSet { native: false, ..self },
        }
    }

    /// Are all planes of `other` in it?
    pub fn covers(self, other: PlaneSet) -> bool {
        other.iter().all(|plane| self.has(plane))
    }

    /// No plane at all?
    pub const fn is_empty(self) -> bool {
        !self.overlay && !self.native
    }

    /// The planes in it, overlay first.
    pub fn iter(self) -> impl Iterator<Item = Plane> {
        Plane::BOTH.into_iter().filter(move |plane| self.has(*plane))
    }
}

impl FromIterator<Plane> for PlaneSet {
    fn from_iter<I: IntoIterator<Item = Plane>>(planes: I) -> PlaneSet {
        planes.into_iter().fold(PlaneSet::NONE, PlaneSet::with)
    }
}

impl From<Vec<Plane>> for PlaneSet {
    fn from(planes: Vec<Plane>) -> PlaneSet {
        planes.into_iter().collect()
    }
}

impl From<PlaneSet> for Vec<Plane> {
    fn from(set: PlaneSet) -> Vec<Plane> {
        set.iter().collect()
    }
}

impl fmt::Display for PlaneSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.overlay, self.native) {
            (true, true) => f.write_str("vxlan+bgp"),
            (true, false) => f.write_str("vxlan"),
            (false, true) => f.write_str("bgp"),
            (false, false) => f.write_str("none"),
        }
    }
}

impl fmt::Debug for PlaneSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What stands on this node, and which plane senders here prefer, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stance {
    /// Planes whose ground (link, sysctls, sessions) and destinations' objects are kept in the kernel.
    pub stand: PlaneSet,
    /// Plane a destination is carried by when it is usable.
    pub carry: Plane,
    /// Plane that carries a destination while `carry` is not usable to it; always in `stand`.
    pub fallback: Option<Plane>,
}

/// How a restarted daemon with no memory knows its own kernel objects.
pub struct Owner;

impl Owner {
    /// Protocol number on routes, nexthop objects, neighbours and addresses (`IFA_PROTO`).
    ///
    /// Free in iproute2's `rt_protos`, not 80 (Calico), not 17 (kube-router's GoBGP), not 186 to 199 (FRR).
    pub const MARK: u8 = 178;
    /// Metric of every route of ours, on both planes: a replace with another metric would add a second route.
    ///
    /// Above 256, which the kernel gives IPv6 networks of a device: the pods' bridge must win over the route that makes
    /// the rest of the own pod CIDR unreachable. Above 1024 too, iproute2's default for IPv6: what an administrator
    /// adds by hand wins, as it does with IPv4.
    pub const METRIC: u32 = 1178;
    /// Routing table of every route of ours: main.
    pub const TABLE: u32 = 254;
    /// Devices of ours have names that begin so.
    pub const DEVICE_PREFIX: &'static str = "biplane";
    /// The overlay's VXLAN link.
    pub const VXLAN_DEVICE: &'static str = "biplane.vxlan";
    /// The pods' bridge, made by the CNI bridge plugin.
    pub const POD_BRIDGE: &'static str = "biplane0";
    /// Device that carries the node's own address among its pods; it stands in both modes.
    pub const NODE_ADDRESS_DEVICE: &'static str = "lo";
    /// Name of the nftables table (family inet).
    pub const NFT_TABLE: &'static str = "biplane";
    /// Name of the nftables table (family inet) that says whose VXLAN frames are taken.
    pub const NFT_VTEP_TABLE: &'static str = "biplane.vteps";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_spelled_as_modes() {
        assert_eq!(serde_json::to_string(&PlaneSet::BOTH).unwrap(), r#"["vxlan","bgp"]"#);
        assert_eq!("bgp".parse(), Ok(Plane::Native));
        assert!("BGP".parse::<Plane>().is_err());
    }
}
