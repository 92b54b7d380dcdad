//! Writes as rtnetlink messages, one message each.

use std::net::IpAddr;

use model::kernel::{Device, VxlanLink};
use model::{Family, MacAddr, Owner, Prefix};

use crate::message::{Batch, family_number};
use crate::uapi::*;

/// How a message writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Only where nothing is.
    Create,
    /// Only where something is.
    Replace,
    /// Away.
    Delete,
}

impl Mode {
    fn flags(self) -> u16 {
        ACK | match self {
            Mode::Create => CREATE | EXCL,
            Mode::Replace => REPLACE,
            Mode::Delete => 0,
        }
    }

    fn pick(self, new: u16, del: u16) -> u16 {
        if self == Mode::Delete { del } else { new }
    }
}

/// A route of ours: table main, our protocol, our metric. `nexthop` and its scope; `None` is unreachable.
///
/// On delete, protocol and metric must match, so that a foreign twin never goes; type and scope are left open, so
/// that a route of ours that someone altered goes too.
pub(crate) fn route(
    batch: &mut Batch,
    sequence: u32,
    mode: Mode,
    prefix: &Prefix,
    to: Option<RouteTo>,
    src: Option<&IpAddr>,
) {
    let (kind, scope) = match (mode, to) {
        (Mode::Delete, _) => (RTN_UNSPEC, RT_SCOPE_NOWHERE),
        (_, None) => (RTN_UNREACHABLE, RT_SCOPE_UNIVERSE),
        (_, Some(RouteTo { on_link: true, .. })) if prefix.family() == Family::V4 => (RTN_UNICAST, RT_SCOPE_LINK),
        (_, Some(_)) => (RTN_UNICAST, RT_SCOPE_UNIVERSE),
    };
    let family = family_number(prefix.family());
    let table = Owner::TABLE as u8;
    let fixed = [family, prefix.len(), 0, 0, table, Owner::MARK, scope, kind, 0, 0, 0, 0];
    batch.begin(mode.pick(RTM_NEWROUTE, RTM_DELROUTE), mode.flags(), sequence, &fixed);
    batch.put_address(RTA_DST, &prefix.address());
    batch.put_u32(RTA_PRIORITY, Owner::METRIC);
    if mode != Mode::Delete {
        if let Some(to) = to {
            batch.put_u32(RTA_NH_ID, to.nexthop);
        }
        if let Some(src) = src {
            batch.put_address(RTA_PREFSRC, src);
        }
    }
    batch.end();
}

/// What a route names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteTo {
    /// Number of the nexthop object.
    pub(crate) nexthop: u32,
    /// The object has no gateway: IPv4 wants link scope then.
    pub(crate) on_link: bool,
}

/// FDB entry of a VXLAN device; the externally-learned flag marks it as ours.
pub(crate) fn fdb(batch: &mut Batch, sequence: u32, mode: Mode, index: u32, mac: &MacAddr, to: Option<&IpAddr>) {
    let fixed = ndmsg(libc::AF_BRIDGE as u8, index, NUD_PERMANENT | NUD_NOARP, NTF_SELF | NTF_EXT_LEARNED);
    batch.begin(mode.pick(RTM_NEWNEIGH, RTM_DELNEIGH), mode.flags(), sequence, &fixed);
    batch.put(NDA_LLADDR, &mac.0);
    if let Some(to) = to {
        batch.put_address(NDA_DST, to);
    }
    batch.end();
}

/// Permanent neighbour entry; the protocol number marks it as ours.
pub(crate) fn neighbour(batch: &mut Batch, sequence: u32, mode: Mode, index: u32, ip: &IpAddr, mac: Option<&MacAddr>) {
    let fixed = ndmsg(family_number(Family::of(ip)), index, NUD_PERMANENT, 0);
    batch.begin(mode.pick(RTM_NEWNEIGH, RTM_DELNEIGH), mode.flags(), sequence, &fixed);
    batch.put_address(NDA_DST, ip);
    if let Some(mac) = mac {
        batch.put(NDA_LLADDR, &mac.0);
        batch.put_u8(NDA_PROTOCOL, Owner::MARK);
    }
    batch.end();
}

/// Makes the kernel resolve a neighbour as if a packet wanted it.
pub(crate) fn use_neighbour(batch: &mut Batch, sequence: u32, index: u32, ip: &IpAddr) {
    let fixed = ndmsg(family_number(Family::of(ip)), index, 0, NTF_USE);
    batch.begin(RTM_NEWNEIGH, ACK | CREATE, sequence, &fixed);
    batch.put_address(NDA_DST, ip);
    batch.end();
}

/// Asks for one neighbour entry.
pub(crate) fn ask_neighbour(batch: &mut Batch, sequence: u32, index: u32, ip: &IpAddr) {
    batch.begin(RTM_GETNEIGH, ACK, sequence, &ndmsg(family_number(Family::of(ip)), index, 0, 0));
    batch.put_address(NDA_DST, ip);
    batch.end();
}

fn ndmsg(family: u8, index: u32, state: u16, flags: u8) -> [u8; 12] {
    let (index, state) = (index.to_ne_bytes(), state.to_ne_bytes());
    [family, 0, 0, 0, index[0], index[1], index[2], index[3], state[0], state[1], flags, 0]
}

/// Nexthop object of one hop. Its family is that of the gateway; without a gateway IPv6, which routes of both
/// families may name.
pub(crate) fn nexthop(batch: &mut Batch, sequence: u32, mode: Mode, id: u32, gateway: Option<&IpAddr>, index: u32) {
    let family = gateway.map_or(Family::V6, Family::of);
    batch.begin(RTM_NEWNEXTHOP, mode.flags(), sequence, &nhmsg(family_number(family)));
    batch.put_u32(NHA_ID, id);
    if let Some(gateway) = gateway {
        batch.put_address(NHA_GATEWAY, gateway);
    }
    batch.put_u32(NHA_OIF, index);
    batch.end();
}

/// Nexthop group of equal weights.
pub(crate) fn nexthop_group(batch: &mut Batch, sequence: u32, mode: Mode, id: u32, members: &[u32]) {
    batch.begin(RTM_NEWNEXTHOP, mode.flags(), sequence, &nhmsg(libc::AF_UNSPEC as u8));
    batch.put_u32(NHA_ID, id);
    let mut group = Vec::with_capacity(members.len() * 8);
    for member in members {
        group.extend_from_slice(&member.to_ne_bytes());
        group.extend_from_slice(&[0; 4]);
    }
    batch.put(NHA_GROUP, &group);
    batch.end();
}

/// Takes a nexthop object or group away, or asks for it.
pub(crate) fn nexthop_by_id(batch: &mut Batch, sequence: u32, kind: u16, id: u32) {
    batch.begin(kind, ACK, sequence, &[0; 8]);
    batch.put_u32(NHA_ID, id);
    batch.end();
}

fn nhmsg(family: u8) -> [u8; 8] {
    [family, 0, Owner::MARK, 0, 0, 0, 0, 0]
}

/// Address of ours on a device: marked by `IFA_PROTO`, without a connected route, usable at once.
pub(crate) fn interface_address(batch: &mut Batch, sequence: u32, mode: Mode, index: u32, prefix: &Prefix) {
    let index = index.to_ne_bytes();
    let family = family_number(prefix.family());
    let fixed = [family, prefix.len(), 0, RT_SCOPE_UNIVERSE, index[0], index[1], index[2], index[3]];
    batch.begin(mode.pick(RTM_NEWADDR, RTM_DELADDR), mode.flags(), sequence, &fixed);
    batch.put_address(IFA_LOCAL, &prefix.address());
    batch.put_address(IFA_ADDRESS, &prefix.address());
    if mode != Mode::Delete {
        batch.put_u32(IFA_FLAGS, IFA_F_NODAD | IFA_F_NOPREFIXROUTE);
        batch.put_u8(IFA_PROTO, Owner::MARK);
    }
    batch.end();
}

/// Where the ports begin and end that outer datagrams come from, by the flow inside.
const SOURCE_PORTS: [u16; 2] = [49152, 65535];

/// Makes the VXLAN link, down.
pub(crate) fn vxlan(batch: &mut Batch, sequence: u32, device: &Device, link: &VxlanLink, underlay: u32) {
    batch.begin(RTM_NEWLINK, ACK | CREATE | EXCL, sequence, &ifinfomsg(0, 0, 0));
    batch.put_text(IFLA_IFNAME, device.as_str());
    batch.put_u32(IFLA_MTU, link.mtu);
    batch.put(IFLA_ADDRESS, &link.mac.0);
    vxlan_info(batch, link, underlay, |data| {
        data.put(VXLAN_PORT, &link.port.to_be_bytes());
        // RFC 7348 section 5: source ports from the dynamic range; reserved bits are ignored on receipt. A kernel before 6.14
        // drops frames that have any, and does not know the attribute.
        let [low, high] = SOURCE_PORTS.map(u16::to_be_bytes);
        data.put(VXLAN_PORT_RANGE, &[low, high].concat());
        data.put(VXLAN_RESERVED_BITS, &[0; 8]);
        if link.local.is_ipv6() {
            // Senders may leave the UDP checksum out over IPv6 too (RFC 6935).
            data.put_u8(VXLAN_ZERO_CSUM6_RX, 1);
        }
    });
    batch.end();
}

/// Changes what can be changed of the tunnel in place. The kernel refuses the whole if it names the UDP port or an MTU,
/// even the same ones, or another VNI or family of the local address.
pub(crate) fn change_vxlan(batch: &mut Batch, sequence: u32, index: u32, link: &VxlanLink, underlay: u32) {
    batch.begin(RTM_NEWLINK, ACK, sequence, &ifinfomsg(index, 0, 0));
    vxlan_info(batch, link, underlay, |_| {});
    batch.end();
}

fn vxlan_info(batch: &mut Batch, link: &VxlanLink, underlay: u32, more: impl FnOnce(&mut Batch)) {
    batch.nest(IFLA_LINKINFO, |info| {
        info.put_text(IFLA_INFO_KIND, "vxlan");
        info.nest(IFLA_INFO_DATA, |data| {
            data.put_u32(VXLAN_ID, link.vni.number());
            match link.local {
                IpAddr::V4(_) => data.put_address(VXLAN_LOCAL, &link.local),
                IpAddr::V6(_) => data.put_address(VXLAN_LOCAL6, &link.local),
            }
            data.put_u32(VXLAN_LINK, underlay);
            data.put_u8(VXLAN_LEARNING, 0);
            more(data);
        });
    });
}

/// Sets the MTU of a link that there is, its MAC too if given, and sets it up.
///
/// Naming the MAC, even the same one, makes the kernel forget every neighbour on the link, permanent ones too.
pub(crate) fn settle_link(batch: &mut Batch, sequence: u32, index: u32, mtu: u32, mac: Option<&MacAddr>) {
    batch.begin(RTM_NEWLINK, ACK, sequence, &ifinfomsg(index, IFF_UP, IFF_UP));
    batch.put_u32(IFLA_MTU, mtu);
    if let Some(mac) = mac {
        batch.put(IFLA_ADDRESS, &mac.0);
    }
    batch.end();
}

/// Sets a link up.
pub(crate) fn link_up(batch: &mut Batch, sequence: u32, index: u32) {
    batch.begin(RTM_NEWLINK, ACK, sequence, &ifinfomsg(index, IFF_UP, IFF_UP));
    batch.end();
}

/// Takes a link away.
pub(crate) fn delete_link(batch: &mut Batch, sequence: u32, index: u32) {
    batch.begin(RTM_DELLINK, ACK, sequence, &ifinfomsg(index, 0, 0));
    batch.end();
}

/// Asks for one link by name.
pub(crate) fn ask_link(batch: &mut Batch, sequence: u32, device: &Device) {
    batch.begin(RTM_GETLINK, ACK, sequence, &ifinfomsg(0, 0, 0));
    batch.put_text(IFLA_IFNAME, device.as_str());
    batch.put_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    batch.end();
}

/// A change of nothing: the kernel refuses it with `EPERM` to who may not change anything, with `ENODEV` else.
pub(crate) fn permission_check(batch: &mut Batch, sequence: u32) {
    batch.begin(RTM_NEWLINK, ACK, sequence, &ifinfomsg(0, 0, 0));
    batch.end();
}

fn ifinfomsg(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..16].copy_from_slice(&change.to_ne_bytes());
    fixed
}

/// Requests for whole tables.
pub(crate) mod dump {
    use super::*;

    pub(crate) fn links(batch: &mut Batch, flags: u16, sequence: u32) {
        batch.begin(RTM_GETLINK, flags, sequence, &ifinfomsg(0, 0, 0));
        batch.put_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        batch.end();
    }

    pub(crate) fn addresses(family: Family) -> impl Fn(&mut Batch, u16, u32) {
        move |batch, flags, sequence| {
            batch.begin(RTM_GETADDR, flags, sequence, &[family_number(family), 0, 0, 0, 0, 0, 0, 0]);
            batch.end();
        }
    }

    pub(crate) fn nexthops(batch: &mut Batch, flags: u16, sequence: u32) {
        batch.begin(RTM_GETNEXTHOP, flags, sequence, &[0; 8]);
        batch.end();
    }

    /// FDB (`AF_BRIDGE`) or neighbours of one device.
    pub(crate) fn neighbours(family: u8, index: u32) -> impl Fn(&mut Batch, u16, u32) {
        move |batch, flags, sequence| {
            batch.begin(RTM_GETNEIGH, flags, sequence, &ndmsg(family, 0, 0, 0));
            batch.put_u32(NDA_IFINDEX, index);
            batch.end();
        }
    }

    /// Routes of one family in table main, whosever.
    pub(crate) fn routes(family: Family) -> impl Fn(&mut Batch, u16, u32) {
        move |batch, flags, sequence| {
            let fixed = [family_number(family), 0, 0, 0, Owner::TABLE as u8, 0, 0, 0, 0, 0, 0, 0];
            batch.begin(RTM_GETROUTE, flags, sequence, &fixed);
            batch.put_u32(RTA_TABLE, Owner::TABLE);
            batch.end();
        }
    }
}
