//! Numbers of the kernel's interface that the `libc` crate lacks or has in another width (include/uapi/linux).

// rtnetlink.h: message kinds.
pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
pub(crate) const RTM_GETLINK: u16 = 18;
pub(crate) const RTM_NEWADDR: u16 = 20;
pub(crate) const RTM_DELADDR: u16 = 21;
pub(crate) const RTM_GETADDR: u16 = 22;
pub(crate) const RTM_NEWROUTE: u16 = 24;
pub(crate) const RTM_DELROUTE: u16 = 25;
pub(crate) const RTM_GETROUTE: u16 = 26;
pub(crate) const RTM_NEWNEIGH: u16 = 28;
pub(crate) const RTM_DELNEIGH: u16 = 29;
pub(crate) const RTM_GETNEIGH: u16 = 30;
pub(crate) const RTM_NEWNETCONF: u16 = 80;
pub(crate) const RTM_NEWNEXTHOP: u16 = 104;
pub(crate) const RTM_DELNEXTHOP: u16 = 105;
pub(crate) const RTM_GETNEXTHOP: u16 = 106;

// rtnetlink.h: groups of notices.
pub(crate) const GROUP_LINK: u32 = 1;
pub(crate) const GROUP_NEIGH: u32 = 3;
pub(crate) const GROUP_IPV4_IFADDR: u32 = 5;
pub(crate) const GROUP_IPV4_ROUTE: u32 = 7;
pub(crate) const GROUP_IPV6_IFADDR: u32 = 9;
pub(crate) const GROUP_IPV6_ROUTE: u32 = 11;
pub(crate) const GROUP_IPV4_NETCONF: u32 = 24;
pub(crate) const GROUP_IPV6_NETCONF: u32 = 25;
pub(crate) const GROUP_NEXTHOP: u32 = 32;

// netlink.h: flags of requests that make.
pub(crate) const ACK: u16 = 0x4;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;

// rtnetlink.h: routes.
pub(crate) const RTA_DST: u16 = 1;
pub(crate) const RTA_OIF: u16 = 4;
pub(crate) const RTA_GATEWAY: u16 = 5;
pub(crate) const RTA_PRIORITY: u16 = 6;
pub(crate) const RTA_PREFSRC: u16 = 7;
pub(crate) const RTA_METRICS: u16 = 8;
pub(crate) const RTA_MULTIPATH: u16 = 9;
pub(crate) const RTA_TABLE: u16 = 15;
pub(crate) const RTA_VIA: u16 = 18;
pub(crate) const RTA_ENCAP_TYPE: u16 = 21;
pub(crate) const RTA_NH_ID: u16 = 30;
pub(crate) const RTM_F_CLONED: u32 = 0x200;
pub(crate) const RTN_UNSPEC: u8 = 0;
pub(crate) const RTN_UNICAST: u8 = 1;
pub(crate) const RTN_UNREACHABLE: u8 = 7;
pub(crate) const RT_SCOPE_UNIVERSE: u8 = 0;
pub(crate) const RT_SCOPE_LINK: u8 = 253;
pub(crate) const RT_SCOPE_NOWHERE: u8 = 255;
pub(crate) const RTPROT_KERNEL: u8 = 2;

// neighbour.h.
pub(crate) const NDA_DST: u16 = 1;
pub(crate) const NDA_LLADDR: u16 = 2;
pub(crate) const NDA_PORT: u16 = 6;
pub(crate) const NDA_VNI: u16 = 7;
pub(crate) const NDA_IFINDEX: u16 = 8;
pub(crate) const NDA_PROTOCOL: u16 = 12;
pub(crate) const NDA_NH_ID: u16 = 13;
pub(crate) const NTF_USE: u8 = 0x01;
pub(crate) const NTF_SELF: u8 = 0x02;
pub(crate) const NTF_EXT_LEARNED: u8 = 0x10;
pub(crate) const NUD_NOARP: u16 = 0x40;
pub(crate) const NUD_PERMANENT: u16 = 0x80;
/// `NUD_VALID`: permanent, noarp, reachable, probe, stale, delay.
pub(crate) const NUD_VALID: u16 = 0xde;

// nexthop.h.
pub(crate) const NHA_ID: u16 = 1;
pub(crate) const NHA_GROUP: u16 = 2;
pub(crate) const NHA_GROUP_TYPE: u16 = 3;
pub(crate) const NHA_BLACKHOLE: u16 = 4;
pub(crate) const NHA_OIF: u16 = 5;
pub(crate) const NHA_GATEWAY: u16 = 6;
pub(crate) const NHA_ENCAP: u16 = 8;
pub(crate) const NHA_FDB: u16 = 11;
pub(crate) const NHA_RES_GROUP: u16 = 12;

// if_addr.h.
pub(crate) const IFA_ADDRESS: u16 = 1;
pub(crate) const IFA_LOCAL: u16 = 2;
pub(crate) const IFA_FLAGS: u16 = 8;
pub(crate) const IFA_PROTO: u16 = 11;
pub(crate) const IFA_F_NODAD: u32 = 0x02;
pub(crate) const IFA_F_NOPREFIXROUTE: u32 = 0x200;

// if_link.h.
pub(crate) const IFLA_ADDRESS: u16 = 1;
pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFLA_MTU: u16 = 4;
pub(crate) const IFLA_LINKINFO: u16 = 18;
pub(crate) const IFLA_EXT_MASK: u16 = 29;
pub(crate) const IFLA_INFO_KIND: u16 = 1;
pub(crate) const IFLA_INFO_DATA: u16 = 2;
pub(crate) const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
pub(crate) const IFF_UP: u32 = 0x1;
pub(crate) const IFF_LOWER_UP: u32 = 0x10000;
pub(crate) const VXLAN_ID: u16 = 1;
pub(crate) const VXLAN_GROUP: u16 = 2;
pub(crate) const VXLAN_LINK: u16 = 3;
pub(crate) const VXLAN_LOCAL: u16 = 4;
pub(crate) const VXLAN_LEARNING: u16 = 7;
pub(crate) const VXLAN_PORT_RANGE: u16 = 10;
pub(crate) const VXLAN_PORT: u16 = 15;
pub(crate) const VXLAN_GROUP6: u16 = 16;
pub(crate) const VXLAN_LOCAL6: u16 = 17;
pub(crate) const VXLAN_ZERO_CSUM6_RX: u16 = 20;
pub(crate) const VXLAN_COLLECT_METADATA: u16 = 25;
pub(crate) const VXLAN_RESERVED_BITS: u16 = 33;
