//! What rtnetlink messages say, still in the kernel's numbers. Nothing here panics on what the kernel sends.

use std::net::{IpAddr, Ipv6Addr};

use model::kernel::Device;
use model::{Family, MacAddr, Prefix};

use crate::message::{Message, address, attributes, text, u8_at, u16_at, u32_at};
use crate::uapi::*;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) device: Device,
    pub(crate) flags: u32,
    pub(crate) mtu: u32,
    pub(crate) kind: String,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) vxlan: Option<Vxlan>,
}

impl Link {
    /// Administratively up.
    pub(crate) fn is_up(&self) -> bool {
        self.flags & IFF_UP != 0
    }

    /// Up and with a carrier: what leads over it can pass.
    pub(crate) fn passes(&self) -> bool {
        self.is_up() && self.flags & IFF_LOWER_UP != 0
    }
}

/// Parameters of a VXLAN link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vxlan {
    pub(crate) vni: u32,
    pub(crate) port: u16,
    pub(crate) local: Option<IpAddr>,
    pub(crate) lower: Option<u32>,
    pub(crate) learning: bool,
    pub(crate) external: bool,
    pub(crate) remote: Option<IpAddr>,
}

/// `None` for another family than unspecified (bridge ports tell of themselves in `AF_BRIDGE`), or without a name.
pub(crate) fn link(message: &Message<'_>) -> Option<Link> {
    let bytes = message.payload;
    if u8_at(bytes, 0)? != libc::AF_UNSPEC as u8 {
        return None;
    }
    let (index, flags) = (u32_at(bytes, 4)?, u32_at(bytes, 8)?);
    let (mut device, mut mtu, mut kind, mut mac, mut data) = (None, 0, String::new(), None, None);
    for (attribute, value) in attributes(bytes.get(16..)?) {
        match attribute {
            IFLA_IFNAME => device = text(value).and_then(Device::new),
            IFLA_MTU => mtu = u32_at(value, 0)?,
            IFLA_ADDRESS => mac = value.try_into().ok().map(MacAddr),
            IFLA_LINKINFO => {
                for (attribute, value) in attributes(value) {
                    match attribute {
                        IFLA_INFO_KIND => kind = text(value).unwrap_or_default().to_owned(),
                        IFLA_INFO_DATA => data = Some(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let vxlan = (kind == "vxlan").then(|| data.map(vxlan).unwrap_or_default());
    Some(Link { index, device: device?, flags, mtu, kind, mac, vxlan })
}

fn vxlan(data: &[u8]) -> Vxlan {
    let mut found = Vxlan::default();
    for (attribute, value) in attributes(data) {
        let flag = || value.first().is_some_and(|byte| *byte != 0);
        match attribute {
            VXLAN_ID => found.vni = u32_at(value, 0).unwrap_or_default(),
            VXLAN_PORT => found.port = value.try_into().map(u16::from_be_bytes).unwrap_or_default(),
            VXLAN_LOCAL | VXLAN_LOCAL6 => found.local = address(value).filter(|local| !local.is_unspecified()),
            VXLAN_GROUP | VXLAN_GROUP6 => found.remote = address(value).filter(|remote| !remote.is_unspecified()),
            VXLAN_LINK => found.lower = u32_at(value, 0).filter(|index| *index != 0),
            VXLAN_LEARNING => found.learning = flag(),
            VXLAN_COLLECT_METADATA => found.external = flag(),
            _ => {}
        }
    }
    found
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) ip: IpAddr,
    pub(crate) len: u8,
    /// `IFA_PROTO`; `None` before Linux 5.18, and on addresses that nobody marked.
    pub(crate) protocol: Option<u8>,
}

pub(crate) fn interface_address(message: &Message<'_>) -> Option<Address> {
    let bytes = message.payload;
    let (len, index) = (u8_at(bytes, 1)?, u32_at(bytes, 4)?);
    let (mut peer, mut local, mut protocol) = (None, None, None);
    for (attribute, value) in attributes(bytes.get(8..)?) {
        match attribute {
            // On a point-to-point address IFA_ADDRESS is the other end's.
            IFA_ADDRESS => peer = address(value),
            IFA_LOCAL => local = address(value),
            IFA_PROTO => protocol = u8_at(value, 0).filter(|protocol| *protocol != 0),
            _ => {}
        }
    }
    Some(Address { index, ip: local.or(peer)?, len, protocol })
}

/// A neighbour entry, or an FDB entry if `bridge`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Neigh {
    pub(crate) bridge: bool,
    pub(crate) index: u32,
    pub(crate) state: u16,
    pub(crate) flags: u8,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) protocol: u8,
    /// Another UDP port, VNI or device than the link's own, or a nexthop object: never ours as we write it.
    pub(crate) detour: bool,
}

/// Interface of a neighbour or FDB message: looked at first, as most are on devices that do not matter.
pub(crate) fn neigh_index(message: &Message<'_>) -> Option<u32> {
    u32_at(message.payload, 4)
}

pub(crate) fn neigh(message: &Message<'_>) -> Option<Neigh> {
    let bytes = message.payload;
    let bridge = match i32::from(u8_at(bytes, 0)?) {
        libc::AF_BRIDGE => true,
        libc::AF_INET | libc::AF_INET6 => false,
        _ => return None,
    };
    let mut found = Neigh {
        bridge,
        index: u32_at(bytes, 4)?,
        state: u16_at(bytes, 8)?,
        flags: u8_at(bytes, 10)?,
        ip: None,
        mac: None,
        protocol: 0,
        detour: false,
    };
    for (attribute, value) in attributes(bytes.get(12..)?) {
        match attribute {
            NDA_DST => found.ip = address(value),
            NDA_LLADDR => found.mac = value.try_into().ok().map(MacAddr),
            NDA_PROTOCOL => found.protocol = u8_at(value, 0)?,
            NDA_PORT | NDA_VNI | NDA_IFINDEX | NDA_NH_ID => found.detour = true,
            _ => {}
        }
    }
    Some(found)
}

/// A nexthop object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nexthop {
    pub(crate) id: u32,
    pub(crate) protocol: u8,
    pub(crate) oif: Option<u32>,
    pub(crate) gateway: Option<IpAddr>,
    /// Members of a group of equal weights.
    pub(crate) group: Option<Vec<u32>>,
    /// Blackhole, encapsulation, FDB, resilient or weighted group: not of a shape that we make.
    pub(crate) strange: bool,
}

pub(crate) fn nexthop(message: &Message<'_>) -> Option<Nexthop> {
    let bytes = message.payload;
    let mut found =
        Nexthop { id: 0, protocol: u8_at(bytes, 2)?, oif: None, gateway: None, group: None, strange: false };
    for (attribute, value) in attributes(bytes.get(8..)?) {
        match attribute {
            NHA_ID => found.id = u32_at(value, 0)?,
            NHA_OIF => found.oif = u32_at(value, 0),
            NHA_GATEWAY => found.gateway = address(value),
            NHA_GROUP => {
                let (members, rest) = value.as_chunks::<8>();
                // Octets 4 and 5 of `struct nexthop_grp`: weight less one.
                found.strange |= !rest.is_empty() || members.iter().any(|member| member[4] != 0 || member[5] != 0);
                found.group = Some(members.iter().filter_map(|member| u32_at(member, 0)).collect());
            }
            NHA_GROUP_TYPE => found.strange |= u16_at(value, 0) != Some(0),
            NHA_BLACKHOLE | NHA_ENCAP | NHA_FDB | NHA_RES_GROUP => found.strange = true,
            _ => {}
        }
    }
    (found.id != 0).then_some(found)
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) prefix: Prefix,
    pub(crate) tos: u8,
    pub(crate) protocol: u8,
    pub(crate) kind: u8,
    pub(crate) metric: u32,
    pub(crate) src: Option<IpAddr>,
    pub(crate) nexthop: Option<u32>,
    pub(crate) oif: Option<u32>,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) paths: bool,
    /// Carries path metrics (MTU, window, …) or an encapsulation: we never write one.
    pub(crate) strange: bool,
}

/// `None` for routes of other tables than `table`, cached clones, and other families than IPv4 and IPv6.
pub(crate) fn route(message: &Message<'_>, table: u32) -> Option<Route> {
    let bytes = message.payload;
    let family = match i32::from(u8_at(bytes, 0)?) {
        libc::AF_INET => Family::V4,
        libc::AF_INET6 => Family::V6,
        _ => return None,
    };
    let (len, tos, protocol, kind) = (u8_at(bytes, 1)?, u8_at(bytes, 3)?, u8_at(bytes, 5)?, u8_at(bytes, 7)?);
    let mut in_table = u32::from(u8_at(bytes, 4)?);
    if u32_at(bytes, 8)? & RTM_F_CLONED != 0 {
        return None;
    }
    let mut destination = match family {
        Family::V4 => IpAddr::from([0; 4]),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let (mut metric, mut src, mut nexthop, mut oif, mut gateway) = (0, None, None, None, None);
    let (mut paths, mut strange) = (false, false);
    for (attribute, value) in attributes(bytes.get(12..)?) {
        match attribute {
            RTA_DST => destination = address(value)?,
            RTA_TABLE => in_table = u32_at(value, 0)?,
            RTA_PRIORITY => metric = u32_at(value, 0)?,
            RTA_PREFSRC => src = address(value),
            RTA_NH_ID => nexthop = u32_at(value, 0).filter(|id| *id != 0),
            RTA_OIF => oif = u32_at(value, 0),
            RTA_GATEWAY => gateway = address(value),
            RTA_VIA => gateway = value.get(2..).and_then(address),
            RTA_MULTIPATH => paths = true,
            RTA_METRICS | RTA_ENCAP_TYPE => strange = true,
            _ => {}
        }
    }
    let prefix = Prefix::new(destination, len)?;
    (in_table == table).then_some(Route {
        prefix,
        tos,
        protocol,
        kind,
        metric,
        src,
        nexthop,
        oif,
        gateway,
        paths,
        strange,
    })
}

/// A route protocol as iproute2 spells it (`/etc/iproute2/rt_protos`), or its number.
pub(crate) fn protocol_name(protocol: u8) -> String {
    let name = match protocol {
        0 => "unspec",
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        9 => "ra",
        11 => "zebra",
        12 => "bird",
        16 => "dhcp",
        18 => "keepalived",
        42 => "babel",
        80 => "80 (Calico)",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        number => return number.to_string(),
    };
    name.to_owned()
}

/// A route type as iproute2 spells it.
pub(crate) fn kind_name(kind: u8) -> &'static str {
    match kind {
        1 => "unicast",
        2 => "local",
        3 => "broadcast",
        4 => "anycast",
        5 => "multicast",
        6 => "blackhole",
        7 => "unreachable",
        8 => "prohibit",
        9 => "throw",
        10 => "nat",
        _ => "of unknown type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{self, Mode};
    use crate::message::{Batch, messages};
    use model::Owner;

    fn batch() -> Batch {
        let mut batch = Batch::default();
        let prefix: Prefix = "fd44:0:0:2::/64".parse().unwrap();
        let (ip, mac) = ("fd00::2".parse().unwrap(), MacAddr([2, 0, 0, 0, 0, 1]));
        let to = Some(encode::RouteTo { nexthop: 77, on_link: false });
        encode::route(&mut batch, 1, Mode::Create, &prefix, to, Some(&ip));
        encode::fdb(&mut batch, 2, Mode::Create, 3, &mac, Some(&ip));
        encode::neighbour(&mut batch, 3, Mode::Create, 3, &ip, Some(&mac));
        encode::nexthop(&mut batch, 4, Mode::Create, 77, Some(&ip), 3);
        encode::nexthop_group(&mut batch, 5, Mode::Create, 78, &[77, 79]);
        encode::interface_address(&mut batch, 6, Mode::Create, 1, &Prefix::host(ip));
        let link = model::kernel::VxlanLink {
            vni: model::Vni::new(178).unwrap(),
            port: 4789,
            local: ip,
            underlay: Device::new("eth0").unwrap(),
            mac,
            mtu: 1430,
            tx_checksum: true,
        };
        encode::vxlan(&mut batch, 7, &Device::new("biplane.vxlan").unwrap(), &link, 2);
        batch
    }

    fn decode_all(message: &Message<'_>) -> [bool; 5] {
        [
            route(message, 254).is_some(),
            neigh(message).is_some(),
            nexthop(message).is_some(),
            interface_address(message).is_some(),
            link(message).is_some(),
        ]
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let batch = batch();
        let found: Vec<Message<'_>> = messages(batch.bytes()).collect();
        let path = route(&found[0], 254).unwrap();
        assert_eq!((path.nexthop, path.metric, path.protocol, path.kind), (Some(77), Owner::METRIC, 178, RTN_UNICAST));
        assert_eq!((path.prefix.to_string().as_str(), path.src), ("fd44:0:0:2::/64", "fd00::2".parse().ok()));
        assert_eq!(route(&found[0], 100), None, "another table");
        let fdb = neigh(&found[1]).unwrap();
        assert!(fdb.bridge && fdb.flags & NTF_EXT_LEARNED != 0 && !fdb.detour);
        assert_eq!(neigh(&found[2]).unwrap().protocol, 178);
        assert_eq!(nexthop(&found[3]).unwrap().gateway, "fd00::2".parse().ok());
        assert_eq!(nexthop(&found[4]).unwrap().group, Some(vec![77, 79]));
        assert_eq!(interface_address(&found[5]).unwrap().protocol, Some(178));
        let made = link(&found[6]).unwrap();
        assert_eq!(made.kind, "vxlan");
        assert_eq!(made.vxlan.map(|vxlan| (vxlan.vni, vxlan.port, vxlan.lower)), Some((178, 4789, Some(2))));
    }

    #[test]
    fn octets_of_any_kind_do_no_harm() {
        let batch = batch();
        let bytes = batch.bytes();
        let mut decoded = 0usize;
        for at in 0..bytes.len() {
            for value in [0, 1, 3, 4, 7, 8, 127, 128, 254, 255] {
                let mut harmed = bytes.to_vec();
                harmed[at] = value;
                for harmed in [&harmed[..], &harmed[..at]] {
                    decoded += messages(harmed).flat_map(|m| decode_all(&m)).filter(|done| *done).count();
                }
            }
        }
        assert!(decoded > 10_000, "{decoded}");
    }
}
