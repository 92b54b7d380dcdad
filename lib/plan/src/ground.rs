//! What a node needs whatever its destinations are.

use std::net::IpAddr;
use std::sync::Arc;

use model::kernel::{Device, Key, Masquerade, Value, Via, VtepFilter, VxlanLink};
use model::{ClusterPool, Family, Owner, PodCidr, Prefix};

/// Node-wide facts and wishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ground {
    /// Own pod CIDRs.
    pub own: Vec<PodCidr>,
    /// The VXLAN link, if the overlay is to stand.
    pub vxlan: Option<VxlanLink>,
    /// Devices by which packets of other nodes may come in natively, sorted.
    pub underlay: Vec<Device>,
    /// Those of them that have no IPv4 address: peers behind them have none either.
    pub unnumbered: Vec<Device>,
    /// Families of the cluster's pools.
    pub families: Vec<Family>,
    /// Masquerade, if it is wanted.
    pub masquerade: Option<Masquerade>,
    /// Frames of other nodes alone are to be taken while the overlay stands; who they are is told per node
    /// ([`crate::senders`]).
    pub vtep_filter: bool,
    /// [`crate::senders`] of every node are wanted, so that all others may be shut out.
    pub senders_known: bool,
}

impl Ground {
    /// The node's own address of `family` among its pods: preferred source of every route, on both planes alike, so
    /// that the host's own source does not change with the plane.
    pub fn source(&self, family: Family) -> Option<IpAddr> {
        self.own.iter().find(|cidr| cidr.family() == family).and_then(PodCidr::node_address)
    }

    /// The VXLAN device, if the overlay is to stand.
    pub fn overlay(&self) -> Option<Device> {
        self.vxlan.as_ref().and_then(|_| Device::new(Owner::VXLAN_DEVICE))
    }
}

/// The node-wide objects: sysctls, link and whose frames it takes, own addresses, the route that keeps own pod CIDRs from
/// looping, masquerade.
pub fn ground(ground: &Ground) -> Vec<(Key, Value)> {
    let mut wanted = Vec::new();
    let mut sysctl = |path: String, value: &str| wanted.push((Key::Sysctl(path.into()), Value::Sysctl(value.into())));
    for family in &ground.families {
        match family {
            Family::V4 => sysctl("net/ipv4/ip_forward".to_owned(), "1"),
            Family::V6 => sysctl("net/ipv6/conf/all/forwarding".to_owned(), "1"),
        }
    }
    // Loose reverse-path filtering, RFC 3704: while the two ends of a flip differ, packets come in by the other plane's
    // device. The kernel takes the larger of `all` and the device's own, so 2 on the device is loose whatever `all` says.
    for device in ground.underlay.iter().cloned().chain(ground.overlay()) {
        sysctl(format!("net/ipv4/conf/{device}/rp_filter"), "2");
    }
    if let (Some(device), Some(link)) = (ground.overlay(), &ground.vxlan) {
        wanted.push((Key::Link(device), Value::Link(Arc::new(link.clone()))));
        if ground.vtep_filter {
            wanted.push((Key::VtepTable, Value::There));
        }
        if ground.vtep_filter && ground.senders_known {
            wanted.push((Key::VtepFilter, Value::VtepFilter(VtepFilter { vni: link.vni, port: link.port })));
        }
    }
    let holder = Device::new(Owner::NODE_ADDRESS_DEVICE);
    for cidr in &ground.own {
        if let (Some(device), Some(address)) = (&holder, cidr.node_address()) {
            wanted.push((Key::Address(device.clone(), Prefix::host(address)), Value::There));
        }
        // On a device without an IPv4 address the kernel's loose filter is strict (`fib_validate_source`): it would drop
        // what comes in by the overlay while the way back is native, and the other way round on an unnumbered uplink.
        if let Some(address @ IpAddr::V4(_)) = cidr.node_address() {
            for device in ground.overlay().into_iter().chain(ground.unnumbered.iter().cloned()) {
                wanted.push((Key::Address(device, Prefix::host(address)), Value::There));
            }
        }
        wanted.push((Key::Route(cidr.0), Value::Route { via: Via::Unreachable, src: None }));
    }
    if let Some(masquerade) = &ground.masquerade {
        wanted.push((Key::Masquerade, Value::Masquerade(Arc::new(masquerade.clone()))));
    }
    wanted
}

/// What is masqueraded: pods' packets to whatever is neither a pod, nor multicast, nor excluded by the operator.
pub fn masquerade(own: &[PodCidr], pools: &[ClusterPool], exclude: &[Prefix]) -> Option<Masquerade> {
    let mut sources: Vec<Prefix> = own.iter().map(|cidr| cidr.0).collect();
    sources.sort();
    let multicast = ["224.0.0.0/4", "ff00::/8"].into_iter().filter_map(|text| text.parse().ok());
    let mut exclude: Vec<Prefix> =
        pools.iter().map(|pool| pool.cidr).chain(exclude.iter().copied()).chain(multicast).collect();
    exclude.sort();
    exclude.dedup();
    (!sources.is_empty()).then_some(Masquerade { sources, exclude })
}

/// MTU of the VXLAN link: the underlay's less outer IP, UDP, VXLAN and inner Ethernet headers: 50 octets over IPv4, 70
/// over IPv6 (RFC 7348 section 5).
pub fn vxlan_mtu(underlay: u32, local: &IpAddr) -> u32 {
    let headers = match Family::of(local) {
        Family::V4 => 50,
        Family::V6 => 70,
    };
    underlay.saturating_sub(headers)
}

/// MTU of pods: the smaller of the planes', so that a flip to the overlay meets no packet that is too big for it.
pub fn pod_mtu(vxlan: u32, underlay: u32) -> u32 {
    vxlan.min(underlay)
}
