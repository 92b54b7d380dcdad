//! Kernel objects that Biplane wants or finds, keyed as the kernel keys them.
//!
//! [`Key`] and [`Value`] are two halves of one object. The order of [`Key`]'s variants is the order of making:
//! sysctl, VTEPs and their filter, link, address, FDB, neighbour, nexthop, nexthop group, masquerade, route; breaking goes in reverse
//! (facts: an FDB entry 5 ms after its route cost 3,777 of 80,000 packets).

use std::borrow::Borrow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{MacAddr, Owner, Prefix, Vni};

/// Name of a network interface, 1 to 15 bytes. Objects name devices, never indexes: an index dies with its link.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Device(Arc<str>);

impl Device {
    /// `None` if empty, longer than 15 bytes, or with a slash, a colon or white space in it (kernel: `dev_valid_name`).
    pub fn new(name: &str) -> Option<Device> {
        let fits = (1..=15).contains(&name.len()) && name != "." && name != "..";
        let clean = !name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace());
        (fits && clean).then(|| Device(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(name: String) -> Result<Device, String> {
        Device::new(&name).ok_or_else(|| format!("`{name}` is not an interface name: expected 1 to 15 characters"))
    }
}

impl From<Device> for String {
    fn from(device: Device) -> String {
        device.0.as_ref().to_owned()
    }
}

impl Borrow<str> for Device {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A VXLAN link of ours (RFC 7348): learning off, external control off, IPv6 link-local kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VxlanLink {
    /// VXLAN network identifier.
    pub vni: Vni,
    /// UDP destination port, 1 to 65535.
    pub port: u16,
    /// Outer source address: the node's primary underlay address.
    pub local: IpAddr,
    /// Device that carries `local`.
    pub underlay: Device,
    /// MAC of the link, derived from the node's identity.
    pub mac: MacAddr,
    /// MTU of the link: the underlay's less 50 (IPv4 outer) or 70 (IPv6 outer), unless configured.
    pub mtu: u32,
    /// Checksums of what is inside may be left to the underlay's hardware (`tx-checksumming` of ethtool).
    #[serde(default = "offloaded")]
    pub tx_checksum: bool,
}

const fn offloaded() -> bool {
    true
}

/// One way out: gateway and device. A nexthop object of the kernel.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hop {
    /// Gateway; IPv6 gateways serve IPv4 routes too. `None` for a destination on the link itself.
    pub gateway: Option<IpAddr>,
    /// Outgoing device.
    pub device: Device,
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gateway {
            Some(gateway) => write!(f, "via {gateway} dev {}", self.device),
            None => write!(f, "dev {}", self.device),
        }
    }
}

impl fmt::Debug for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a route leads.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Via {
    /// Packets are answered with ICMP unreachable; covers our own pod CIDR, so that nothing loops.
    Unreachable,
    /// One hop, or several for ECMP: sorted, without duplicates, never empty. The kernel's route names the nexthop
    /// object that has just this content.
    Hops(Arc<[Hop]>),
    /// Something of another shape, as found in the kernel under our mark after someone altered it; never wanted.
    Other(Arc<str>),
}

impl Via {
    /// One hop.
    pub fn hop(gateway: Option<IpAddr>, device: Device) -> Via {
        Via::Hops(Arc::from([Hop { gateway, device }]))
    }

    /// Sorts the hops and takes duplicates out; `None` if there are none.
    pub fn hops(mut hops: Vec<Hop>) -> Option<Via> {
        hops.sort();
        hops.dedup();
        (!hops.is_empty()).then(|| Via::Hops(hops.into()))
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Via::Unreachable => f.write_str("unreachable"),
            Via::Other(what) => f.write_str(what),
            Via::Hops(hops) => {
                for (i, hop) in hops.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    hop.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A sysctl below `net/`, path with slashes as below /proc/sys: `net/ipv4/ip_forward`.
///
/// An interface name in it may hold dots, so the dotted form of sysctl(8) is not used.
pub type SysctlPath = Arc<str>;

/// The kernel's key of one object, table main, ToS 0 and [`crate::Owner::METRIC`] understood for routes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Key {
    /// A sysctl. Never deleted: leaving it wanted by nobody leaves it as it is.
    Sysctl(SysctlPath),
    /// The table that holds [`Key::Vtep`] and [`Key::VtepFilter`].
    VtepTable,
    /// An underlay address whose VXLAN frames are taken.
    Vtep(IpAddr),
    /// What drops the frames of all other addresses. Behind every [`Key::Vtep`], so that no wanted frame is dropped.
    VtepFilter,
    /// A VXLAN link, by name.
    Link(Device),
    /// An address on a device.
    Address(Device, Prefix),
    /// Which node gets the frame: MAC on the VXLAN device.
    Fdb(Device, MacAddr),
    /// Which MAC the inner frame carries: gateway on the device.
    Neighbour(Device, IpAddr),
    /// A nexthop object, by content; its number is the kernel crate's own business.
    Nexthop(Hop),
    /// A nexthop group, by content: two or more hops, sorted.
    NexthopGroup(Arc<[Hop]>),
    /// The masquerade table.
    Masquerade,
    /// A route of table main.
    Route(Prefix),
}

impl Key {
    /// The kind as a word for metrics and messages.
    pub const fn kind(&self) -> &'static str {
        match self {
            Key::Sysctl(_) => "sysctl",
            Key::VtepTable => "vtepTable",
            Key::Vtep(_) => "vtep",
            Key::VtepFilter => "vtepFilter",
            Key::Link(_) => "link",
            Key::Address(..) => "address",
            Key::Fdb(..) => "fdb",
            Key::Neighbour(..) => "neighbour",
            Key::Nexthop(_) => "nexthop",
            Key::NexthopGroup(_) => "nexthopGroup",
            Key::Masquerade => "masquerade",
            Key::Route(_) => "route",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Sysctl(path) => write!(f, "sysctl {path}"),
            Key::VtepTable => write!(f, "table inet {}", Owner::NFT_VTEP_TABLE),
            Key::Vtep(ip) => write!(f, "vtep {ip} in table inet {}", Owner::NFT_VTEP_TABLE),
            Key::VtepFilter => write!(f, "filter of table inet {}", Owner::NFT_VTEP_TABLE),
            Key::Link(device) => write!(f, "link {device}"),
            Key::Address(device, prefix) => write!(f, "address {prefix} dev {device}"),
            Key::Fdb(device, mac) => write!(f, "fdb {mac} dev {device}"),
            Key::Neighbour(device, ip) => write!(f, "neighbour {ip} dev {device}"),
            Key::Nexthop(hop) => write!(f, "nexthop {hop}"),
            Key::NexthopGroup(hops) => write!(f, "nexthop group of {}", hops.len()),
            Key::Masquerade => f.write_str("masquerade"),
            Key::Route(prefix) => write!(f, "route {prefix}"),
        }
    }
}

/// What of pod traffic is masqueraded: from `sources`, unless it goes to `exclude`. Matches destinations, never devices.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Masquerade {
    /// Pod CIDRs of this node; sorted.
    pub sources: Vec<Prefix>,
    /// Destinations that see the pod's own address: all pools, what the operator named, multicast; sorted.
    pub exclude: Vec<Prefix>,
}

/// Frames of this VNI on this UDP port are taken from VTEPs of the cluster alone, and no pod may send one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VtepFilter {
    /// VXLAN network identifier.
    pub vni: Vni,
    /// UDP destination port, 1 to 65535.
    pub port: u16,
}

/// The value half of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Value {
    /// Of [`Key::Sysctl`]: the text without newline.
    Sysctl(Arc<str>),
    /// Of [`Key::Link`]; the link is also up.
    Link(Arc<VxlanLink>),
    /// Of [`Key::Link`]: a device of that name which is not a VXLAN link as ours are, or is down; told in words.
    OtherLink(Arc<str>),
    /// Of [`Key::Address`], [`Key::Nexthop`], [`Key::NexthopGroup`], [`Key::VtepTable`] and [`Key::Vtep`]: being there is
    /// all.
    There,
    /// Of [`Key::VtepFilter`].
    VtepFilter(VtepFilter),
    /// Of [`Key::VtepTable`] and [`Key::VtepFilter`] as found in the kernel when they are not what we write.
    OtherTable(Arc<str>),
    /// Of [`Key::Fdb`]: underlay address of the node.
    Fdb(IpAddr),
    /// Of [`Key::Neighbour`]: MAC, permanent.
    Neighbour(MacAddr),
    /// Of [`Key::Masquerade`].
    Masquerade(Arc<Masquerade>),
    /// Of [`Key::Masquerade`] as found in the kernel when it is not what we write.
    OtherMasquerade(Arc<str>),
    /// Of [`Key::Route`].
    Route {
        /// Where it leads.
        via: Via,
        /// Preferred source address: the node's own address among its pods.
        src: Option<IpAddr>,
    },
}

/// One write to the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Write {
    /// Make an object that is not there. Exclusive: an object with this key, whoever's, makes it fail with `EEXIST`.
    Create(Key, Value),
    /// Rewrite an object of ours that is there, in one step (one replace of one key); `ENOENT` if it has gone.
    Replace(Key, Value),
    /// Take an object of ours away; gone already counts as done.
    Delete(Key),
}

impl Write {
    /// The key it writes.
    pub const fn key(&self) -> &Key {
        match self {
            Write::Create(key, _) | Write::Replace(key, _) | Write::Delete(key) => key,
        }
    }
}

/// Why the kernel refused a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} (errno {errno})")]
pub struct Refusal {
    /// Positive errno as in errno(3); 0 when no system call was made.
    pub errno: i32,
    /// The kernel's extended acknowledgement if it gave one, else the errno's text.
    pub message: String,
}

/// A network interface as seen in the kernel, ours or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkInfo {
    /// Name.
    pub device: Device,
    /// Kernel index.
    pub index: u32,
    /// Administratively up, and with a carrier (`IFF_UP` and `IFF_LOWER_UP`).
    pub up: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// `IFLA_INFO_KIND`: `vxlan`, `bridge`, `veth`, …; empty for hardware.
    pub kind: String,
    /// Addresses with the length of their connected prefix.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// An object that is in our way, or beside ours, and not ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Foreign {
    /// The key it shares with an object that we may want.
    pub key: Key,
    /// What it is and whose, in words: `protocol static, via 10.0.0.1 dev eth0`.
    pub what: String,
}
