//! Configuration, validated. `lib/config` makes it from text; nobody else builds one but tests.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bfd::BfdProfile;
use crate::kernel::Device;
use crate::policy::{PolicyConfig, PrefixRange};
use crate::reflection::{Labels, OriginateConfig, ReflectorsConfig};
use crate::{AddPath, Asn, ClusterPool, NextHopChoice, NodeName, PeerAs, Plane, Prefix, RouterId, Vni};

/// Everything an operator can say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Preferred plane: `vxlan` or `bgp`.
    pub mode: Plane,
    /// Keep the other plane standing, and carry a destination by it while the preferred one is not usable to it.
    pub fallback: bool,
    /// This node.
    pub node: NodeConfig,
    /// Where claims, phases and the digest are kept.
    pub store: StoreConfig,
    /// Cluster pools; never empty, none overlaps another.
    pub pools: Vec<ClusterPool>,
    /// Service CIDRs of the cluster: from a peer they are refused unless a rule of its import policy names them.
    pub service_cidrs: Vec<Prefix>,
    /// The overlay.
    pub vxlan: VxlanConfig,
    /// The BGP speaker.
    pub bgp: BgpConfig,
    /// Masquerade of pod traffic that leaves the cluster.
    pub masquerade: MasqueradeConfig,
    /// Pods.
    pub cni: CniConfig,
    /// The switch.
    pub switch: SwitchConfig,
    /// Prometheus metrics, `/livez` and `/readyz` over HTTP.
    pub metrics: MetricsConfig,
    /// The command line's socket.
    pub api: ApiConfig,
}

/// This node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeConfig {
    /// Name; the host's name if absent.
    pub name: Option<NodeName>,
    /// Underlay addresses, primary first, at most one per family; found by the default route if empty.
    pub addresses: Vec<IpAddr>,
    /// Labels, for selectors of peers and reflectors.
    pub labels: Labels,
}

/// Where the cluster's state is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum StoreConfig {
    /// A directory that all nodes of the lab or the machine share.
    Files {
        /// The directory; made if absent.
        path: PathBuf,
        /// How long a freed pod CIDR stays unused, in whole seconds.
        #[serde(with = "seconds", rename = "quarantineSeconds")]
        quarantine: Duration,
    },
}

/// The overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VxlanConfig {
    /// VXLAN network identifier; default 178 (flannel uses 1, Calico 4096, Cilium 2).
    pub vni: Vni,
    /// UDP port; default 4789 (RFC 7348).
    pub port: u16,
    /// MTU of the link; derived from the underlay if absent.
    pub mtu: Option<u32>,
    /// Leave checksums inside the tunnel to the hardware; default true. False costs four fifths of TCP throughput.
    #[serde(default = "yes")]
    pub tx_checksum_offload: bool,
    /// Whose frames are taken; default nodes.
    #[serde(default)]
    pub accept_from: AcceptFrom,
}

/// Whose VXLAN frames this node takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AcceptFrom {
    /// Those of nodes of the cluster, by their underlay addresses.
    #[default]
    Nodes,
    /// Anybody's, as the VXLAN device itself does.
    Any,
}

const fn yes() -> bool {
    true
}

/// The BGP speaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpConfig {
    /// Own AS number; default 64512.
    pub local_asn: Asn,
    /// BGP Identifier; the primary IPv4 underlay address, or a hash of the node's name on an IPv6-only underlay, if absent.
    pub router_id: Option<RouterId>,
    /// TCP port that we listen on, and dial in the mesh; default 179.
    pub port: u16,
    /// Automatic full mesh with every node that has a claim; default true.
    pub mesh: bool,
    /// Hold time that we propose, whole seconds, 0 or 3 to 65535; default 90.
    #[serde(with = "seconds", rename = "holdTime")]
    pub hold_time: Duration,
    /// How long the paths of a peer outlive its TCP session when that broke without a NOTIFICATION; default: its hold time.
    #[serde(with = "optional_seconds", rename = "staleTime")]
    pub stale_time: Option<Duration>,
    /// Restarts, ours and of peers (RFC 4724, 8538, 9494).
    pub graceful_restart: GracefulRestartConfig,
    /// Sessions that are about to go (RFC 8326).
    pub graceful_shutdown: GracefulShutdownConfig,
    /// Most prefixes that one peer may announce before its session is closed with Cease 6/1; default 20000.
    pub max_prefixes: u32,
    /// Percent of [`BgpConfig::max_prefixes`] at which a line is written, 0 to 100; default 75, and 0 writes none.
    pub max_prefixes_warn: u8,
    /// How long a session that was closed for too many prefixes stays down; at least a minute, and longer each time, if
    /// absent.
    #[serde(with = "optional_seconds", rename = "maxPrefixesRestart")]
    pub max_prefixes_restart: Option<Duration>,
    /// Least time between two bursts of announcements to a peer, whole seconds; default 0 (RFC 4271 section 9.2.1.1).
    #[serde(with = "seconds", rename = "minAdvertisementInterval")]
    pub min_advertisement_interval: Duration,
    /// Most equal paths that become one kernel route; 1 to 64, default 16.
    pub max_paths: u8,
    /// Paths with an AS_SET are taken; RFC 9774 wants them treated as withdrawn. Default false.
    pub accept_as_sets: bool,
    /// Named sets of prefixes, for policies.
    pub prefix_sets: BTreeMap<String, Vec<PrefixRange>>,
    /// Named policies; every name that is referred to is there.
    pub policies: BTreeMap<String, PolicyConfig>,
    /// Policy on what other nodes announce in the mesh; slices of the pools alone are accepted if absent.
    pub mesh_import: Option<String>,
    /// Policy on what other nodes are told in the mesh; what is our own if absent.
    pub mesh_export: Option<String>,
    /// Named settings of BFD; every name that is referred to is there, but for [`BfdProfile::DEFAULT`].
    #[serde(default)]
    pub bfd_profiles: BTreeMap<String, BfdProfile>,
    /// Profile by which BFD watches the paths to other nodes of the mesh; it does not if absent.
    #[serde(default)]
    pub mesh_bfd: Option<String>,
    /// Route reflectors instead of the full mesh.
    pub reflectors: Option<ReflectorsConfig>,
    /// Prefixes to announce besides own pod CIDRs, and what these are announced with; each once.
    pub originate: Vec<OriginateConfig>,
    /// Configured peers; addresses are unique.
    pub peers: Vec<BgpPeerConfig>,
    /// Ranges that peers may connect from without being configured one by one; ranges are unique.
    #[serde(default)]
    pub listen: Vec<BgpListenConfig>,
}

/// Restarts, ours and of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GracefulRestartConfig {
    /// Tell peers that we keep forwarding over a restart, and keep their paths over theirs; default true.
    pub enabled: bool,
    /// We are back within this, and so long we wait for peers at most; whole seconds up to 4095, default 120.
    #[serde(with = "seconds", rename = "restartTime")]
    pub restart_time: Duration,
    /// How long stale paths live on after that as a last resort; whole seconds below 2^24, default 0: not at all.
    #[serde(with = "seconds", rename = "longLived")]
    pub long_lived: Duration,
}

/// Sessions that are about to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GracefulShutdownConfig {
    /// Prefer any other path to one with the community GRACEFUL_SHUTDOWN, whatever the policy says; default true.
    pub honour: bool,
    /// How long a drained node waits for its peers to move away before its sessions close; default 10 s.
    #[serde(with = "seconds", rename = "waitSeconds")]
    pub wait: Duration,
}

/// One configured peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpPeerConfig {
    /// Address of the peer; absent if and only if `interface` is there.
    pub address: Option<IpAddr>,
    /// The interface that the peer is behind: the router that advertises itself there (RFC 4861) is the peer.
    pub interface: Option<Device>,
    /// TCP port that we dial; default 179.
    pub port: u16,
    /// AS of the peer; own AS makes it iBGP.
    pub asn: PeerAs,
    /// Source address of the session; chosen by the kernel if absent.
    pub local_address: Option<IpAddr>,
    /// Never dial, only listen; default false.
    pub passive: bool,
    /// What is said of its sessions.
    #[serde(flatten)]
    pub session: BgpSessionConfig,
}

/// What can be said of sessions: with one peer, or with those that connect from a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpSessionConfig {
    /// File that holds the TCP MD5 key (RFC 2385), 1 to 80 bytes; a trailing newline is not part of it.
    pub password_file: Option<PathBuf>,
    /// Hold time for this peer, as [`BgpConfig::hold_time`].
    #[serde(with = "optional_seconds", rename = "holdTime")]
    pub hold_time: Option<Duration>,
    /// Bound for this peer, as [`BgpConfig::max_prefixes`].
    pub max_prefixes: Option<u32>,
    /// As [`BgpConfig::max_prefixes_warn`], for this peer.
    pub max_prefixes_warn: Option<u8>,
    /// As [`BgpConfig::max_prefixes_restart`], for this peer.
    #[serde(with = "optional_seconds", rename = "maxPrefixesRestart")]
    pub max_prefixes_restart: Option<Duration>,
    /// As [`BgpConfig::min_advertisement_interval`], for this peer.
    #[serde(with = "optional_seconds", rename = "minAdvertisementInterval")]
    pub min_advertisement_interval: Option<Duration>,
    /// What this node is to the peer (RFC 9234), which is in another AS; nothing is said of it if absent.
    pub role: Option<BgpRole>,
    /// Refuse the peer if it names no role; default false.
    pub role_strict: bool,
    /// Take part in graceful restart with this peer; as [`GracefulRestartConfig::enabled`] if absent.
    pub graceful_restart: Option<bool>,
    /// Words for people; shown in `biplane bgp peers`.
    pub description: Option<String>,
    /// Profile by which BFD watches the path to it; it does not if absent.
    #[serde(default)]
    pub bfd: Option<String>,
    /// Policy on what it announces; slices of the pools alone are accepted if absent (RFC 8212).
    pub import: Option<String>,
    /// Policy on what it is told; what is our own if absent.
    pub export: Option<String>,
    /// Only nodes with these labels have the peer; every node if empty.
    pub nodes: Labels,
    /// Our AS number in sessions with it, instead of [`BgpConfig::local_asn`].
    pub local_asn: Option<Asn>,
    /// Which next hop it is given; default auto.
    pub next_hop: NextHopChoice,
    /// Several paths for a prefix (RFC 7911); default none.
    pub add_path: AddPath,
    /// A client of this node when it reflects; default false.
    pub client: bool,
    /// How many hops away the peer may be at most, 1 to 255: the TTL of what it is sent. If absent, 1 for a peer of another
    /// AS, who then has to be on a connected network; the kernel's default inside our AS.
    #[serde(default)]
    pub multihop: Option<u8>,
    /// How many hops away the peer may be at most, 1 to 254, held by TTL (RFC 5082): what it is sent begins with 255, and
    /// of what comes the kernel drops all that has less than 256 minus this. Not beside [`BgpSessionConfig::multihop`].
    #[serde(default)]
    pub ttl_security: Option<u8>,
    /// File that holds the TCP-AO keychain (RFC 5925). Not beside [`BgpSessionConfig::password_file`].
    #[serde(default)]
    pub tcp_ao_file: Option<PathBuf>,
}

/// A range that peers may connect from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpListenConfig {
    /// Where they connect from. Of several ranges the most specific counts; a configured peer comes before all.
    pub range: Prefix,
    /// ASes that they may be of; never empty.
    #[serde(rename = "asn")]
    pub asns: Vec<PeerAs>,
    /// Most peers of the range at a time; default 100.
    pub limit: u32,
    /// What is said of their sessions.
    #[serde(flatten)]
    pub session: BgpSessionConfig,
}

/// What one end of a session between two ASes is to the other (RFC 9234 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BgpRole {
    /// Sells transit.
    Provider,
    /// Buys transit.
    Customer,
    /// Exchanges its own and its customers' routes.
    Peer,
    /// Route server of an exchange.
    RouteServer,
    /// Client of a route server.
    RouteServerClient,
}

/// Masquerade of pod traffic that leaves the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MasqueradeConfig {
    /// Default true.
    pub enabled: bool,
    /// Destinations that see pods' own addresses, besides the pools.
    pub exclude: Vec<Prefix>,
}

/// Which reference plugin makes the pod's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CniPlugin {
    /// `bridge`: pods of a node share one L2 segment.
    Bridge,
    /// `ptp`: a veth pair and a host route per pod.
    Ptp,
}

/// Pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CniConfig {
    /// Directory of the conflist; nothing is written if absent.
    pub conf_dir: Option<PathBuf>,
    /// Default bridge.
    pub plugin: CniPlugin,
    /// MTU of pods; the smaller of the planes' if absent.
    pub mtu: Option<u32>,
}

/// The switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchConfig {
    /// How long the old plane keeps receiving after the last destination has flipped, seconds; default 2.
    #[serde(with = "seconds", rename = "lingerSeconds")]
    pub linger: Duration,
}

/// HTTP for machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricsConfig {
    /// Where to listen; no HTTP if absent.
    pub listen: Option<SocketAddr>,
}

/// The command line's socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiConfig {
    /// Path of the unix socket; default /run/biplane/biplane.sock.
    pub socket: PathBuf,
}

impl BgpConfig {
    /// The settings of a BFD profile; the built-in default is there even if nobody wrote it.
    pub fn bfd_profile(&self, name: &str) -> Option<BfdProfile> {
        let built_in = (name == BfdProfile::DEFAULT).then(BfdProfile::default);
        self.bfd_profiles.get(name).copied().or(built_in)
    }
}

impl Config {
    /// The smallest configuration that works, with every default: what a file with `mode` and `pools` alone gives.
    pub fn minimal(mode: Plane, pools: Vec<ClusterPool>) -> Config {
        Config {
            mode,
            fallback: false,
            node: NodeConfig::default(),
            store: StoreConfig::Files {
                path: PathBuf::from("/var/lib/biplane/store"),
                quarantine: Duration::from_secs(60),
            },
            pools,
            service_cidrs: Vec::new(),
            vxlan: VxlanConfig {
                vni: Vni::new(178).unwrap_or_else(|| unreachable!()),
                port: 4789,
                mtu: None,
                tx_checksum_offload: true,
                accept_from: AcceptFrom::Nodes,
            },
            bgp: BgpConfig {
                local_asn: Asn(64512),
                router_id: None,
                port: 179,
                mesh: true,
                hold_time: Duration::from_secs(90),
                stale_time: None,
                graceful_restart: GracefulRestartConfig {
                    enabled: true,
                    restart_time: Duration::from_secs(120),
                    long_lived: Duration::ZERO,
                },
                graceful_shutdown: GracefulShutdownConfig { honour: true, wait: Duration::from_secs(10) },
                max_prefixes: 20_000,
                max_prefixes_warn: 75,
                max_prefixes_restart: None,
                min_advertisement_interval: Duration::ZERO,
                max_paths: 16,
                accept_as_sets: false,
                prefix_sets: BTreeMap::new(),
                policies: BTreeMap::new(),
                mesh_import: None,
                mesh_export: None,
                bfd_profiles: BTreeMap::new(),
                mesh_bfd: None,
                reflectors: None,
                originate: Vec::new(),
                peers: Vec::new(),
                listen: Vec::new(),
            },
            masquerade: MasqueradeConfig { enabled: true, exclude: Vec::new() },
            cni: CniConfig { conf_dir: None, plugin: CniPlugin::Bridge, mtu: None },
            switch: SwitchConfig { linger: Duration::from_secs(2) },
            metrics: MetricsConfig::default(),
            api: ApiConfig { socket: PathBuf::from("/run/biplane/biplane.sock") },
        }
    }

    /// The overlay's device.
    pub fn vxlan_device(&self) -> Device {
        Device::new(crate::Owner::VXLAN_DEVICE).unwrap_or_else(|| unreachable!("a constant that fits"))
    }
}

mod seconds {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(d.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_secs)
    }
}

mod optional_seconds {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        match d {
            Some(d) => s.serialize_some(&d.as_secs()),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(d)?.map(Duration::from_secs))
    }
}
