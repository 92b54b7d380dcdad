//! What the operator and the claims say to the speaker.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use model::{AddPath, Asn, ClusterPool, NextHopChoice, PeerAs, PeerId, Prefix, RouterId, Transport};

use crate::graceful::GracefulRestart;
use crate::origination::Origination;
use crate::policy::Policy;

/// The speaker's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakerConfig {
    /// Own AS number.
    pub local_asn: Asn,
    /// Own BGP Identifier.
    pub router_id: RouterId,
    /// Hold time that we propose, whole seconds: 0, or 3 to 65535.
    pub hold_time: Duration,
    /// First wait between two dials; doubles with each failure up to [`SpeakerConfig::MAX_RETRY`], jitter down to 75 %.
    pub connect_retry: Duration,
    /// How long paths outlive a TCP session that broke without a NOTIFICATION, if the peer has promised nothing of
    /// graceful restart; the negotiated hold time if absent. If present, it bounds the wait for peers that have, too.
    pub stale_time: Option<Duration>,
    /// Paths with GRACEFUL_SHUTDOWN get LOCAL_PREF 0, whatever a policy says (RFC 8326).
    pub honour_shutdown: bool,
    /// Graceful restart, ours and of peers.
    pub graceful_restart: GracefulRestart,
    /// Most equal paths in a multipath set, at least 1.
    pub max_paths: u8,
    /// Paths with an AS_SET are taken, instead of being treated as withdrawn (RFC 9774).
    pub accept_as_sets: bool,
    /// Only slices of these are accepted from peers without an import policy.
    pub pools: Vec<ClusterPool>,
    /// What lies in these is accepted only when a rule of an import policy names it.
    pub service_cidrs: Vec<Prefix>,
    /// Peers; addresses are unique (of two with one address the last counts).
    pub peers: Vec<PeerConfig>,
    /// Where peers may connect from that are not among [`SpeakerConfig::peers`].
    pub ranges: Vec<PeerRange>,
    /// Seed of all jitter.
    pub seed: u64,
    /// Name of this host, told to peers (capability 73); at most 255 octets.
    pub host_name: Option<String>,
    /// Reflects paths between peers of our AS (RFC 4456), under this CLUSTER_ID.
    pub reflector: Option<Ipv4Addr>,
    /// Other reflectors are to take over: of equal paths, those by them are the better ones. CLUSTER_LIST says so, by its
    /// length (RFC 4456 section 9).
    pub reflects_last: bool,
    /// Prefixes to announce besides own pod CIDRs, and what these are announced with; prefixes are unique (of two the
    /// last counts).
    pub originate: Vec<Origination>,
}

impl SpeakerConfig {
    /// Default of [`SpeakerConfig::connect_retry`].
    pub const CONNECT_RETRY: Duration = Duration::from_secs(5);
    /// Longest wait between two dials.
    pub const MAX_RETRY: Duration = Duration::from_secs(120);

    /// No pools, no peers, and defaults for the rest: hold time 90 s, 16 paths.
    pub fn new(local_asn: Asn, router_id: RouterId) -> SpeakerConfig {
        SpeakerConfig {
            local_asn,
            router_id,
            hold_time: Duration::from_secs(90),
            connect_retry: Self::CONNECT_RETRY,
            stale_time: None,
            honour_shutdown: true,
            graceful_restart: GracefulRestart::default(),
            max_paths: 16,
            accept_as_sets: false,
            pools: Vec::new(),
            service_cidrs: Vec::new(),
            peers: Vec::new(),
            ranges: Vec::new(),
            seed: 0,
            host_name: None,
            reflector: None,
            reflects_last: false,
            originate: Vec::new(),
        }
    }
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// The peer: where we dial, and where its connections must come from.
    pub id: PeerId,
    /// TCP port that we dial.
    pub port: u16,
    /// AS of the peer; our own makes it iBGP.
    pub asn: PeerAs,
    /// Source address of the session; chosen by the kernel if absent.
    pub local_address: Option<IpAddr>,
    /// Never dial, only wait for the peer.
    pub passive: bool,
    /// Hold time for this peer instead of [`SpeakerConfig::hold_time`].
    pub hold_time: Option<Duration>,
    /// Most prefixes that the peer may announce, refused ones counted too; one more closes the session (Cease 6/1).
    pub max_prefixes: u32,
    /// Made from a claim, not by an operator.
    pub mesh: bool,
    /// Another number means another key. Sessions go on with it; where there is none, a dial is tried at once.
    pub key_generation: u64,
    /// The range that it connected from, if it is there for that alone: it is forgotten when nothing of it is left.
    pub range: Option<Prefix>,
    /// ASes that it may be of; the one that its OPEN tells becomes [`PeerConfig::asn`]. Empty: that one alone.
    pub asns: Vec<PeerAs>,
    /// How many hops away it may be, 1 to 255: the TTL of what it is sent. If absent, 1 for one of another AS; the
    /// kernel's default inside our AS and in the mesh.
    pub multihop: Option<u8>,
    /// How many hops away it may be, 1 to 254, held by TTL (RFC 5082); before [`PeerConfig::multihop`].
    pub ttl_security: Option<u8>,
    /// Take part in graceful restart with this peer, instead of what [`GracefulRestart::enabled`] says.
    pub graceful_restart: Option<bool>,
    /// What we are to the peer (RFC 9234); counts between two ASes only. Another role opens the session anew.
    pub role: Option<wire::Role>,
    /// Refuse a peer that names no role; counts from the next session on.
    pub role_strict: bool,
    /// Percent of [`PeerConfig::max_prefixes`] at which a line is written; 0: none is.
    pub max_prefixes_warn: u8,
    /// How long a session that was closed for too many prefixes stays down; at least a minute, and longer each time, if
    /// absent.
    pub max_prefixes_restart: Option<Duration>,
    /// Least time between two bursts of announcements; withdrawals never wait. Zero: nothing waits.
    pub min_advertisement_interval: Duration,
    /// Words for people.
    pub description: Option<String>,
    /// Our AS number in sessions with this peer instead of [`SpeakerConfig::local_asn`]; equal to the peer's makes it
    /// iBGP. It stands on the AS_PATH of what the peer is told, and a path that it is on is a loop.
    pub local_asn: Option<Asn>,
    /// A client of ours, when we reflect; counts for peers of our AS.
    pub client: bool,
    /// Which next hop the peer is given.
    pub next_hop: NextHopChoice,
    /// Several paths for a prefix (RFC 7911). Some instead of none, or none instead of some, needs another session.
    pub add_path: AddPath,
    /// Profile by which whoever runs BFD watches the path to the peer; the speaker only hands it back, in
    /// [`crate::Speaker::watched`]. Another one changes nothing about the session.
    pub bfd: Option<String>,
    /// Policy on what the peer announces; slices of the pools alone are accepted without (RFC 8212).
    pub import: Option<Arc<Policy>>,
    /// Policy on what the peer is told; what is our own without (RFC 8212).
    pub export: Option<Arc<Policy>>,
}

impl PeerConfig {
    /// Default of [`PeerConfig::max_prefixes_warn`].
    pub const WARN: u8 = 75;

    /// A peer at port 179 that may announce 20,000 prefixes.
    pub fn new(id: impl Into<PeerId>, asn: impl Into<PeerAs>) -> PeerConfig {
        PeerConfig {
            id: id.into(),
            port: 179,
            asn: asn.into(),
            local_address: None,
            passive: false,
            hold_time: None,
            max_prefixes: 20_000,
            mesh: false,
            key_generation: 0,
            range: None,
            asns: Vec::new(),
            multihop: None,
            ttl_security: None,
            graceful_restart: None,
            role: None,
            role_strict: false,
            max_prefixes_warn: PeerConfig::WARN,
            max_prefixes_restart: None,
            min_advertisement_interval: Duration::ZERO,
            description: None,
            local_asn: None,
            client: false,
            next_hop: NextHopChoice::Auto,
            add_path: AddPath::default(),
            bfd: None,
            import: None,
            export: None,
        }
    }

    /// How the packets of its connections travel, when our AS number is `own` unless it is told another.
    pub fn transport(&self, own: Asn) -> Transport {
        let own = self.local_asn.unwrap_or(own);
        let external = self.asn.is_external(own) && self.asns.iter().all(|asn| asn.is_external(own));
        let (ttl, least_ttl) = match (self.ttl_security, self.multihop) {
            (Some(hops), _) => (Some(u8::MAX), Some(u8::MAX - hops.saturating_sub(1))),
            (None, Some(hops)) => (Some(hops), None),
            (None, None) => ((external && !self.mesh).then_some(1), None),
        };
        Transport { device: self.id.device.clone(), ttl, least_ttl }
    }

    /// May it be behind a router? Then next hops need not be on a network that it shares with us.
    pub fn is_far(&self) -> bool {
        self.ttl_security.or(self.multihop).is_some_and(|hops| hops > 1)
    }
}

/// Where peers may connect from that are not configured one by one (dynamic neighbours). They are never dialed, and
/// forgotten when their session is over and nothing of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRange {
    /// The range; of several that hold an address the most specific counts.
    pub prefix: Prefix,
    /// Most peers of the range at a time; whoever comes then is turned away.
    pub limit: u32,
    /// What each of them is like; its `id` says nothing.
    pub peer: PeerConfig,
}

impl PeerRange {
    /// The peer of the range behind this address.
    pub(crate) fn peer(&self, id: PeerId, asn: Option<PeerAs>) -> PeerConfig {
        let asn = asn.filter(|asn| self.peer.asns.contains(asn)).unwrap_or(self.peer.asn);
        PeerConfig { id, asn, passive: true, range: Some(self.prefix), ..self.peer.clone() }
    }
}
