//! Links: brief and extended forms.

use std::collections::HashMap;

use model::MacAddr;
use serde::{Deserialize, Serialize};

use super::nodes::{Kind, Node};
use super::tree::{Place, Tree};
use super::{Fault, Reading, keys};

/// Containerlab's default: tests of an overlay should always say `mtu`, or path-MTU faults hide.
pub const DEFAULT_MTU: u32 = 9500;

/// The other end of a host link: the namespace that the tool runs in.
pub const HOST: &str = "host";

/// A veth pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its ends.
    pub ends: [End; 2],
    /// Octets.
    pub mtu: u32,
}

/// One end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Node, or [`HOST`].
    pub node: String,
    /// Interface name as asked for; any length.
    pub interface: String,
    /// Fixed MAC.
    pub mac: Option<MacAddr>,
}

/// Reads `topology.links`.
pub(crate) fn read(reading: &mut Reading<'_>, tree: Option<&Tree>, nodes: &[Node]) -> Result<Vec<Link>, Fault> {
    let Some(tree) = tree else { return Ok(Vec::new()) };
    let mut taken: HashMap<(String, String), Place> = HashMap::new();
    let mut links = Vec::new();
    for tree in reading.list(tree, "links")?.to_vec() {
        let link = link(reading, &tree)?;
        for end in &link.ends {
            if end.node != HOST && nodes.iter().all(|n| n.name != end.node) {
                let words = format!("Unable to find node {}: it is not under topology.nodes", end.node);
                return Err(reading.fault(tree.place, words));
            }
            // All bridges of a lab are in one namespace, where a port's name is free once; with containerlab it is the
            // host's.
            let is_bridge = nodes.iter().any(|n| n.name == end.node && n.kind == Kind::Bridge);
            let namespace = if is_bridge { "bridges".to_string() } else { format!("node {}", end.node) };
            if let Some(first) = taken.insert((namespace, end.interface.clone()), tree.place) {
                let cure = if is_bridge { "; ports of all bridges need names of their own" } else { "" };
                let words =
                    format!("duplicate endpoint {}:{}: first in line {}{cure}", end.node, end.interface, first.line);
                return Err(reading.fault(tree.place, words));
            }
        }
        links.push(link);
    }
    Ok(links)
}

fn link(reading: &mut Reading<'_>, tree: &Tree) -> Result<Link, Fault> {
    let known: Vec<&str> = keys::LINK_IGNORED.iter().chain(keys::OTHER_LINK_KEYS).copied().collect();
    let fields = reading.fields(tree, "link", keys::LINK, &known)?;
    let kind = fields.find("type").map(|t| reading.text(t, "type")).transpose()?;
    let ends = match kind.as_deref() {
        None | Some("veth") => {
            let endpoints = fields.want("endpoints").map_err(|w| reading.fault(tree.place, format!("link: {w}")))?;
            let [a, b] = reading.list(endpoints, "endpoints")? else {
                return Err(reading.fault(endpoints.place, "endpoints: expected exactly two"));
            };
            let (a, b) = (a.clone(), b.clone());
            [end(reading, &a)?, end(reading, &b)?]
        }
        Some("host") => {
            let endpoint = fields.want("endpoint").map_err(|w| reading.fault(tree.place, format!("host link: {w}")))?;
            let name =
                fields.want("host-interface").map_err(|w| reading.fault(tree.place, format!("host link: {w}")))?;
            let outside = End { node: HOST.into(), interface: reading.text(name, "host-interface")?, mac: None };
            [end(reading, endpoint)?, outside]
        }
        Some(other) if keys::OTHER_LINK_TYPES.contains(&other) => {
            let words = format!("a link of type {other:?} is not realised in a namespace lab; veth and host are");
            return Err(reading.fault(tree.place, words));
        }
        Some(other) => {
            return Err(reading.fault(tree.place, format!("unknown link type {other:?}; expected veth or host")));
        }
    };
    let mtu = match fields.find("mtu") {
        Some(mtu) => {
            let number = reading.number(mtu, "mtu", 65_535)?;
            if number < 68 {
                return Err(reading.fault(mtu.place, format!("mtu {number}: 68 is the least (RFC 791)")));
            }
            u32::try_from(number).unwrap_or(DEFAULT_MTU)
        }
        None => DEFAULT_MTU,
    };
    Ok(Link { ends, mtu })
}

/// `"node:interface"` or `{node, interface, mac}`.
fn end(reading: &mut Reading<'_>, tree: &Tree) -> Result<End, Fault> {
    if let Some(text) = tree.text() {
        let Some((node, interface)) = text.split_once(':').filter(|(n, i)| !n.is_empty() && is_interface(i)) else {
            return Err(reading.fault(tree.place, format!("endpoint {text:?}: expected \"node:interface\"")));
        };
        if matches!(node, "mgmt-net" | "macvlan") {
            return Err(reading.fault(tree.place, format!("an endpoint {node:?} is not realised in a namespace lab")));
        }
        return Ok(End { node: node.to_string(), interface: interface.to_string(), mac: None });
    }
    let fields = reading.fields(tree, "endpoint", keys::ENDPOINT, keys::ENDPOINT_IGNORED)?;
    let want = |key| fields.want(key).map_err(|w| reading.fault(tree.place, format!("endpoint: {w}")));
    let node = reading.text(want("node")?, "node")?;
    let interface_tree = want("interface")?;
    let interface = reading.text(interface_tree, "interface")?;
    if !is_interface(&interface) {
        return Err(reading.fault(interface_tree.place, format!("interface {interface:?}: not an interface name")));
    }
    let mac = match fields.find("mac") {
        Some(tree) => {
            let text = reading.text(tree, "mac")?;
            let mac = text.parse().map_err(|e| reading.fault(tree.place, format!("mac {text:?}: {e}")))?;
            Some(mac)
        }
        None => None,
    };
    Ok(End { node, interface, mac })
}

fn is_interface(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', ':']) && !name.contains(char::is_whitespace)
}
