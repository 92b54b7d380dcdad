//! The keys that containerlab knows, by what becomes of them here.

/// Top level, honoured.
pub const DOCUMENT: &[&str] = &["name", "prefix", "topology"];
/// Top level, warned about: there is no management network, and no settings of the tool.
pub const DOCUMENT_IGNORED: &[&str] = &["mgmt", "settings", "debug"];
/// Under `topology`.
pub const TOPOLOGY: &[&str] = &["defaults", "kinds", "groups", "nodes", "links"];

/// Of a node, honoured.
pub const NODE: &[&str] = &[
    "kind",
    "group",
    "image",
    "binds",
    "exec",
    "env",
    "env-files",
    "sysctls",
    "labels",
    "startup-delay",
    "hostname",
    "tmpfs",
    "network-mode",
    // Without effect, and rightly so: nodes are root in their own namespaces, run no image and die with the lab.
    "privileged",
    "cap-add",
    "image-pull-policy",
    "auto-remove",
    "restart-policy",
    "runtime",
];

/// Of a node, warned about.
pub const NODE_IGNORED: &[&str] = &[
    "license",
    "type",
    "startup-config",
    "enforce-startup-config",
    "suppress-startup-config",
    "volumes",
    "ports",
    "credentials",
    "user",
    "entrypoint",
    "cmd",
    "mgmt-ipv4",
    "mgmt-ipv6",
    "link-apply-mode",
    "cpu",
    "memory",
    "cpu-set",
    "extras",
    "config",
    "stages",
    "dns",
    "certificate",
    "healthcheck",
    "components",
    "aliases",
    "shm-size",
    "cgroupns-mode",
    "cgroup-parent",
    "pid-mode",
    "security-opts",
    "devices",
];

/// Kinds realised here.
pub const KINDS: &[&str] = &["linux", "bridge"];

/// Of a link, honoured.
pub const LINK: &[&str] = &["type", "endpoints", "endpoint", "host-interface", "mtu"];
/// Of a link, warned about: addresses have no effect on linux nodes in containerlab either.
pub const LINK_IGNORED: &[&str] = &["ipv4", "ipv6", "vars", "labels"];
/// Of a link's endpoint, honoured.
pub const ENDPOINT: &[&str] = &["node", "interface", "mac"];
/// Of a link's endpoint, warned about.
pub const ENDPOINT_IGNORED: &[&str] = &["ipv4", "ipv6", "vars"];
/// Link types that containerlab has and a namespace lab has not.
pub const OTHER_LINK_TYPES: &[&str] = &["mgmt-net", "macvlan", "vxlan", "vxlan-stitch", "veth-stitch", "dummy"];

/// Keys of the schema that belong to link types which are refused as a whole.
pub const OTHER_LINK_KEYS: &[&str] = &["mode", "remote", "vni", "dst-port", "src-port"];
