//! The table of keys: one place for what is allowed, what each key means, and the JSON schema.

use crate::leaf::Leaf;

mod policies;

/// What may stand at a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Keys below it. A bare scalar, if allowed, stands for the one named in `short`.
    Section { fields: &'static [Field], short: Option<&'static str> },
    /// A list of such.
    List(&'static Shape),
    /// A list of such; one alone needs no list.
    Some(&'static Shape),
    /// Names that the operator chooses, and what each stands for.
    Map(&'static Shape),
    /// Text as this leaf has it, or else such.
    Or(Leaf, &'static Shape),
    /// A scalar (or, for [`Leaf::Addresses`], a short list of them).
    Leaf(Leaf),
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) key: &'static str,
    /// Without it the section says nothing.
    pub(crate) required: bool,
    pub(crate) shape: Shape,
    pub(crate) doc: &'static str,
}

impl Shape {
    /// Fields of a section; none of anything else.
    pub(crate) fn fields(&self) -> &'static [Field] {
        match self {
            Shape::Section { fields, .. } => fields,
            _ => &[],
        }
    }
}

pub(crate) const fn leaf(key: &'static str, leaf: Leaf, doc: &'static str) -> Field {
    Field { key, required: false, shape: Shape::Leaf(leaf), doc }
}

pub(crate) const fn needed(key: &'static str, leaf: Leaf, doc: &'static str) -> Field {
    Field { key, required: true, shape: Shape::Leaf(leaf), doc }
}

pub(crate) const fn section(key: &'static str, fields: &'static [Field], doc: &'static str) -> Field {
    Field { key, required: false, shape: Shape::Section { fields, short: None }, doc }
}

pub(crate) const fn field(key: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { key, required: false, shape, doc }
}

/// The fields of two lists that are both not empty, as one.
const fn joined<const N: usize>(first: &[Field], second: &[Field]) -> [Field; N] {
    let mut all = [first[0]; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    all
}

const PORT: Leaf = Leaf::Int { min: 1, max: 65535, unit: "" };
const MTU: Leaf = Leaf::Int { min: 576, max: 65535, unit: "octets" };
const PREFIXES: Leaf = Leaf::Int { min: 1, max: 10_000_000, unit: "" };

const PERCENT: Leaf = Leaf::Int { min: 0, max: 100, unit: "percent" };
const PAUSE: Leaf = Leaf::Int { min: 1, max: 86_400, unit: "seconds" };
const INTERVAL: Leaf = Leaf::Int { min: 0, max: 600, unit: "seconds" };
/// RFC 9234 section 4.1.
const ROLES: &[&str] = &["provider", "customer", "peer", "routeServer", "routeServerClient"];

/// The whole file.
pub(crate) static ROOT: Shape = Shape::Section { fields: TOP, short: None };

const TOP: &[Field] = &[
    needed("mode", Leaf::Word(&["vxlan", "bgp"]), "Preferred plane: vxlan (overlay) or bgp (native routes)."),
    leaf(
        "fallback",
        Leaf::Bool,
        "Keep the other plane standing, and carry a destination by it while the preferred one is not usable to it.",
    ),
    section("node", NODE, "This node."),
    section("store", STORE, "Where claims, phases and the digest are kept."),
    Field {
        key: "pools",
        required: true,
        shape: Shape::List(&Shape::Section { fields: POOL, short: None }),
        doc: "Cluster pools that pod CIDRs are cut from; at least one, none overlaps another.",
    },
    field(
        "serviceCidrs",
        Shape::List(&Shape::Leaf(Leaf::Prefix)),
        "Service CIDRs of the cluster: refused from peers unless a rule of the import policy names them.",
    ),
    section("vxlan", VXLAN, "The overlay."),
    section("bgp", BGP, "The BGP speaker."),
    Field {
        key: "masquerade",
        required: false,
        shape: Shape::Section { fields: MASQUERADE, short: Some("enabled") },
        doc: "Masquerade of pod traffic that leaves the cluster; true or false alone sets `enabled`.",
    },
    section("cni", CNI, "Pods."),
    section("switch", SWITCH, "The switch from one plane to the other."),
    section("metrics", METRICS, "Prometheus metrics, /livez and /readyz over HTTP."),
    section("api", API, "The command line's socket."),
];

const NODE: &[Field] = &[
    leaf("name", Leaf::NodeName, "Name of the node; the host's name if absent."),
    leaf(
        "address",
        Leaf::Addresses,
        "Underlay address, or a list with one a family, primary first; found by the default route if absent.",
    ),
    field("labels", LABELS, "Labels, for the selectors of peers and reflectors."),
];

const STORE: &[Field] = &[
    leaf("kind", Leaf::Word(&["files"]), "Kind of the store: files."),
    leaf("path", Leaf::Path, "Directory that all nodes share; made if absent."),
    leaf(
        "quarantineSeconds",
        Leaf::Int { min: 0, max: 604_800, unit: "seconds" },
        "How long a freed pod CIDR stays unused.",
    ),
];

const POOL: &[Field] = &[
    needed("cidr", Leaf::Prefix, "All pods of the pool live in here."),
    needed("nodePrefix", Leaf::Int { min: 0, max: 128, unit: "" }, "Prefix length of a node's slice."),
];

const VXLAN: &[Field] = &[
    leaf("vni", Leaf::Int { min: 1, max: model::Vni::MAX as u64, unit: "" }, "VXLAN network identifier."),
    leaf("port", PORT, "UDP port."),
    leaf("mtu", MTU, "MTU of the link; derived from the underlay if absent."),
    leaf(
        "txChecksumOffload",
        Leaf::Bool,
        "Leave checksums inside the tunnel to the hardware; false where its checksums are broken.",
    ),
    leaf(
        "acceptFrom",
        Leaf::Word(&["nodes", "any"]),
        "Whose frames are taken: nodes of the cluster (by underlay address), or anybody's.",
    ),
];

const BGP: &[Field] = &[
    leaf("localAsn", Leaf::Asn, "Own AS number."),
    leaf("routerId", Leaf::RouterId, "BGP Identifier; the primary IPv4 underlay address if absent."),
    leaf("port", PORT, "TCP port that we listen on, and dial in the mesh."),
    leaf("mesh", Leaf::Bool, "Automatic full mesh with every node that has a claim."),
    leaf("holdTime", Leaf::HoldTime, "Hold time that we propose, in seconds."),
    leaf(
        "staleTime",
        Leaf::Int { min: 0, max: 86_400, unit: "seconds" },
        "How long the paths of a peer outlive its TCP session when that broke without a NOTIFICATION; its hold time if absent.",
    ),
    section("gracefulRestart", GRACEFUL_RESTART, "Restarts, ours and of peers (RFC 4724, 8538, 9494)."),
    section("gracefulShutdown", GRACEFUL_SHUTDOWN, "Sessions that are about to go (RFC 8326)."),
    leaf("maxPrefixes", PREFIXES, "Most prefixes that one peer may announce before its session is closed."),
    leaf("maxPrefixesWarn", PERCENT, "Percent of maxPrefixes at which a line is written; 0 writes none."),
    leaf(
        "maxPrefixesRestart",
        PAUSE,
        "How long a session that was closed for too many prefixes stays down, in seconds; a minute or more if absent.",
    ),
    leaf(
        "minAdvertisementInterval",
        INTERVAL,
        "Least time between two bursts of announcements to a peer, in seconds; withdrawals never wait.",
    ),
    leaf("maxPaths", Leaf::Int { min: 1, max: 64, unit: "" }, "Most equal paths that become one kernel route."),
    leaf(
        "acceptAsSets",
        Leaf::Bool,
        "Take paths with an AS_SET; RFC 9774 wants them treated as withdrawn, and so they are by default.",
    ),
    field("prefixSets", policies::PREFIX_SETS, "Named sets of prefixes, for policies."),
    field("policies", policies::POLICIES, "Named policies: rules in order, the first that accepts or rejects decides."),
    leaf(
        "meshImport",
        Leaf::Name,
        "Policy on what other nodes announce in the mesh; slices of the pools alone if absent.",
    ),
    leaf("meshExport", Leaf::Name, "Policy on what other nodes are told in the mesh; what is our own if absent."),
    field(
        "bfdProfiles",
        Shape::Map(&Shape::Section { fields: BFD_PROFILE, short: None }),
        "Named settings of BFD; `default` is there without being written: 300 ms, 3 times.",
    ),
    leaf("meshBfd", Leaf::BfdProfile, "BFD profile for the paths to other nodes of the mesh; no BFD if absent."),
    section("reflectors", REFLECTORS, "Route reflectors instead of the full mesh."),
    field(
        "originate",
        Shape::List(&Shape::Section { fields: ORIGINATE, short: None }),
        "Prefixes to announce besides own pod CIDRs, and what these are announced with.",
    ),
    Field {
        key: "peers",
        required: false,
        shape: Shape::List(&Shape::Section { fields: &PEER, short: None }),
        doc: "Configured peers; addresses are unique.",
    },
    Field {
        key: "listen",
        required: false,
        shape: Shape::List(&Shape::Section { fields: &RANGE, short: None }),
        doc: "Ranges that peers may connect from without being configured one by one; nobody is dialed there.",
    },
];

const GRACEFUL_RESTART: &[Field] = &[
    leaf("enabled", Leaf::Bool, "Tell peers that we keep forwarding over a restart, and keep their paths over theirs."),
    leaf(
        "restartTime",
        Leaf::Int { min: 0, max: 4095, unit: "seconds" },
        "We are back within this; so long we wait for peers at most, unless staleTime says otherwise.",
    ),
    leaf(
        "longLived",
        Leaf::Int { min: 0, max: 16_777_215, unit: "seconds" },
        "How long stale paths live on after that as a last resort (RFC 9494); 0: not at all.",
    ),
];

const GRACEFUL_SHUTDOWN: &[Field] = &[
    leaf(
        "honour",
        Leaf::Bool,
        "Prefer any other path to one with the community GRACEFUL_SHUTDOWN, whatever the policy says.",
    ),
    leaf(
        "waitSeconds",
        Leaf::Int { min: 0, max: 3600, unit: "seconds" },
        "How long a drained node waits for its peers to move away before its sessions close.",
    ),
];

/// Keys of a peer.
static PEER: [Field; PEER_ALONE.len() + SESSION.len()] = joined(PEER_ALONE, SESSION);

const PEER_ALONE: &[Field] = &[
    leaf("address", Leaf::Address, "Address of the peer."),
    leaf(
        "interface",
        Leaf::Interface,
        "Interface that the peer is behind, instead of its address: the router that advertises itself there is the peer.",
    ),
    leaf("port", PORT, "TCP port that we dial."),
    needed("asn", Leaf::PeerAs, "AS number of the peer; the own one makes it iBGP. `external`: any but the own one."),
    leaf("localAddress", Leaf::Address, "Source address of the session; chosen by the kernel if absent."),
    leaf("passive", Leaf::Bool, "Never dial, only listen."),
];

/// Keys of a range of peers.
static RANGE: [Field; RANGE_ALONE.len() + SESSION.len()] = joined(RANGE_ALONE, SESSION);

const RANGE_ALONE: &[Field] = &[
    needed(
        "range",
        Leaf::Prefix,
        "Peers may connect from here; the most specific range counts, and a configured peer before all.",
    ),
    Field {
        key: "asn",
        required: true,
        shape: Shape::Some(&Shape::Leaf(Leaf::PeerAs)),
        doc: "AS number of the peers, `external` or `internal`, or a list of those that they may be of.",
    },
    leaf("limit", Leaf::Int { min: 1, max: 10_000, unit: "" }, "Most peers of the range at a time."),
];

/// What can be said of sessions: with one peer, or with those that connect from a range.
const SESSION: &[Field] = &[
    leaf("passwordFile", Leaf::KeyFile, "File that holds the TCP MD5 key, 1 to 80 octets."),
    leaf("holdTime", Leaf::HoldTime, "Hold time for this peer, in seconds."),
    leaf("maxPrefixes", PREFIXES, "Most prefixes that this peer may announce."),
    leaf("maxPrefixesWarn", PERCENT, "Percent of this peer's maxPrefixes at which a line is written."),
    leaf("maxPrefixesRestart", PAUSE, "How long this peer stays down after too many prefixes, in seconds."),
    leaf(
        "minAdvertisementInterval",
        INTERVAL,
        "Least time between two bursts of announcements to this peer, in seconds.",
    ),
    leaf("role", Leaf::Word(ROLES), "What this node is to the peer, which is in another AS (RFC 9234)."),
    leaf("roleStrict", Leaf::Bool, "Refuse the peer if it names no role."),
    leaf(
        "gracefulRestart",
        Leaf::Bool,
        "Take part in graceful restart with this peer; as bgp.gracefulRestart if absent.",
    ),
    leaf("bfd", Leaf::BfdProfile, "BFD profile for the path to this peer; true is `default`, no BFD if absent."),
    leaf("description", Leaf::Text, "Words for people."),
    leaf("import", Leaf::Name, "Policy on what the peer announces; slices of the pools alone are accepted if absent."),
    leaf("export", Leaf::Name, "Policy on what the peer is told; what is our own if absent."),
    field("nodes", LABELS, "Only nodes with these labels have the peer; every node if absent."),
    leaf("localAsn", Leaf::Asn, "Own AS number in sessions with this peer."),
    leaf("nextHop", Leaf::Word(&["auto", "self", "keep"]), "Next hop that the peer is given."),
    section("addPath", ADD_PATH, "Several paths for a prefix (RFC 7911)."),
    leaf("client", Leaf::Bool, "A client of this node when it reflects."),
    leaf(
        "multihop",
        Leaf::Int { min: 1, max: 255, unit: "hops" },
        "How far away the peer may be; if absent, a peer of another AS has to be on a connected network.",
    ),
    leaf(
        "ttlSecurity",
        Leaf::Int { min: 1, max: 254, unit: "hops" },
        "How far away the peer may be, held by TTL (RFC 5082): the kernel drops what comes from farther away.",
    ),
    leaf("tcpAoFile", Leaf::KeyFile, "File that holds the TCP-AO keychain (RFC 5925), a key a line."),
];

const BFD_INTERVAL: Leaf = Leaf::Int { min: 10, max: 60_000, unit: "milliseconds" };

const BFD_PROFILE: &[Field] = &[
    leaf("minTx", BFD_INTERVAL, "Packets are sent this often, if the peer takes them so often."),
    leaf("minRx", BFD_INTERVAL, "Packets are taken this often."),
    leaf(
        "multiplier",
        Leaf::Int { min: 1, max: 255, unit: "packets" },
        "So many may be missing in a row before the peer declares the path down.",
    ),
    leaf("passive", Leaf::Bool, "Say nothing before the peer does."),
    leaf(
        "multihop",
        Leaf::Bool,
        "Over more than one hop (RFC 5883, UDP port 4784) or not (RFC 5881, port 3784); if absent, by the peer's \
         multihop or ttlSecurity, and without them over many to peers of the own AS, over one to others.",
    ),
];

const LABELS: Shape = Shape::Map(&Shape::Leaf(Leaf::Text));

const REFLECTORS: &[Field] = &[
    field("nodes", Shape::List(&Shape::Leaf(Leaf::NodeName)), "These nodes reflect."),
    field("selector", LABELS, "Nodes with these labels reflect."),
    leaf("clusterId", Leaf::RouterId, "CLUSTER_ID; a node is a client of the reflectors that have the same."),
    leaf(
        "above",
        Leaf::Int { min: 1, max: 100_000, unit: "" },
        "Reflectors only while there are more nodes than this.",
    ),
    leaf("count", Leaf::Int { min: 1, max: 32, unit: "" }, "How many nodes reflect when nothing says which."),
];

const ORIGINATE: &[Field] = &[
    needed("prefix", Leaf::Prefix, "The prefix."),
    field("communities", Shape::List(&policies::COMMUNITY), "Communities that it bears."),
    field("largeCommunities", Shape::List(&policies::LARGE_COMMUNITY), "Large communities that it bears."),
    leaf("localPref", Leaf::Int { min: 0, max: u32::MAX as u64, unit: "" }, "LOCAL_PREF towards peers of our AS."),
    leaf("med", Leaf::Int { min: 0, max: u32::MAX as u64, unit: "" }, "MULTI_EXIT_DISC."),
    leaf("aggregate", Leaf::Bool, "Announce it only while a pod CIDR of this node lies inside."),
    leaf("summaryOnly", Leaf::Bool, "Announce the pod CIDRs inside to nodes only, as long as it is announced."),
    leaf("suppressed", Leaf::Bool, "Hold it back until `biplane bgp advertise` says that it can be forwarded."),
];

const ADD_PATH: &[Field] = &[
    leaf("send", Leaf::Int { min: 0, max: 64, unit: "" }, "Most paths of a prefix that the peer is told."),
    leaf("receive", Leaf::Bool, "Take several paths of a prefix in."),
];

const MASQUERADE: &[Field] = &[
    leaf("enabled", Leaf::Bool, "Masquerade pod traffic that leaves the cluster."),
    Field {
        key: "exclude",
        required: false,
        shape: Shape::List(&Shape::Leaf(Leaf::Prefix)),
        doc: "Destinations that see pods' own addresses, besides the pools.",
    },
];

const CNI: &[Field] = &[
    leaf("confDir", Leaf::Path, "Directory of the conflist; nothing is written if absent."),
    leaf("plugin", Leaf::Word(&["bridge", "ptp"]), "Reference plugin that makes the pod's interface."),
    leaf("mtu", MTU, "MTU of pods; the smaller of the planes' if absent."),
];

const SWITCH: &[Field] = &[leaf(
    "lingerSeconds",
    Leaf::Int { min: 0, max: 3600, unit: "seconds" },
    "How long the old plane keeps receiving after the last destination has flipped.",
)];

const METRICS: &[Field] = &[leaf("listen", Leaf::Socket, "Where to listen; no HTTP if absent.")];

const API: &[Field] = &[leaf("socket", Leaf::Path, "Path of the unix socket.")];

/// Keys that people bring from elsewhere, and ours. The section is the last key above; empty at the top.
pub(crate) const FOREIGN: &[(&str, &str, &str)] = &[
    ("bgp", "asn", "localAsn"),
    ("bgp", "as", "localAsn"),
    ("bgp", "asNumber", "localAsn"),
    ("bgp", "neighbors", "peers"),
    ("bgp", "fullMesh", "mesh"),
    ("bgp", "nodeToNodeMeshEnabled", "mesh"),
    ("peers", "as", "asn"),
    ("peers", "peerASN", "asn"),
    ("peers", "asNumber", "asn"),
    ("peers", "remoteAs", "asn"),
    ("peers", "peerIP", "address"),
    ("peers", "neighbor", "address"),
    ("peers", "neighborInterface", "interface"),
    ("peers", "device", "interface"),
    ("peers", "sourceAddress", "localAddress"),
    ("peers", "ebgpMultihop", "multihop"),
    ("peers", "gtsm", "ttlSecurity"),
    ("peers", "ttlSecurityHops", "ttlSecurity"),
    ("listen", "prefix", "range"),
    ("listen", "cidr", "range"),
    ("listen", "peerASN", "asn"),
    ("listen", "remoteAs", "asn"),
    ("bgp", "listenRange", "listen"),
    ("bgp", "dynamicNeighbors", "listen"),
    ("pools", "blockSize", "nodePrefix"),
    ("pools", "nodeLen", "nodePrefix"),
    ("pools", "subnetLen", "nodePrefix"),
    ("pools", "maskSize", "nodePrefix"),
    ("pools", "network", "cidr"),
    ("node", "addresses", "address"),
    ("node", "ip", "address"),
    ("", "backend", "mode"),
    ("", "plane", "mode"),
    ("", "ipMasq", "masquerade"),
    ("", "network", "pools"),
    ("", "peers", "bgp.peers"),
    ("", "policies", "bgp.policies"),
    ("bgp", "bfd", "bfdProfiles"),
    ("peers", "bfdProfile", "bfd"),
    ("peers", "importPolicy", "import"),
    ("peers", "exportPolicy", "export"),
    ("peers", "in", "import"),
    ("peers", "out", "export"),
    ("rules", "action", "then"),
    ("rules", "when", "match"),
    ("match", "neighbor", "neighbour"),
    ("match", "prefixSet", "prefixes"),
    ("match", "prefix", "prefixes"),
    ("asPath", "neighbor", "neighbour"),
    ("set", "localPreference", "localPref"),
    ("set", "asPathPrepend", "prepend"),
];

/// Keys under which people write a secret.
pub(crate) const SECRET: &[&str] = &["password", "md5", "md5Password", "authPassword", "key", "secret", "tcpMd5"];
