//! What a lab is made of, as containerlab prints it, and its graph.

use std::collections::BTreeMap;

use serde::Serialize;

use super::state::Lab;
use crate::topology::Kind;

/// One node; the field names are containerlab's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Lab.
    pub lab_name: String,
    /// Topology file.
    pub lab_path: String,
    /// `clab-<lab>-<node>`.
    pub name: String,
    /// PID of the keeper; empty if there is none.
    pub container_id: String,
    /// As in the file; not used.
    pub image: String,
    /// `linux` or `bridge`.
    pub kind: String,
    /// Group.
    pub group: String,
    /// `running` or `exited`.
    pub state: String,
    /// For people.
    pub status: String,
    /// Management address: there is no management network.
    pub ipv4_address: String,
    /// As above.
    pub ipv6_address: String,
}

impl Lab {
    /// All nodes, by lab as containerlab does.
    pub fn inspect(&self) -> BTreeMap<String, Vec<Row>> {
        let rows = self.topology.nodes.iter().map(|node| {
            let keeper = match node.kind {
                Kind::Linux => self.keeper(&node.name),
                Kind::Bridge => self.keeper(super::state::FABRIC),
            };
            Row {
                lab_name: self.name().to_string(),
                lab_path: self.topology.file.display().to_string(),
                name: format!("clab-{}-{}", self.name(), node.name),
                container_id: keeper.map(|k| k.pid.to_string()).unwrap_or_default(),
                image: node.image.clone().unwrap_or_default(),
                kind: match node.kind {
                    Kind::Linux => "linux".into(),
                    Kind::Bridge => "bridge".into(),
                },
                group: node.group.clone().unwrap_or_default(),
                state: if keeper.is_some() { "running".into() } else { "exited".into() },
                status: if keeper.is_some() { "Up".into() } else { "Exited".into() },
                ipv4_address: "N/A".into(),
                ipv6_address: "N/A".into(),
            }
        });
        BTreeMap::from([(self.name().to_string(), rows.collect())])
    }

    /// One `a---b` per link, in mermaid.
    pub fn mermaid(&self) -> String {
        let mut text = format!("---\ntitle: {}\n---\ngraph BT\n", self.name());
        for link in &self.topology.links {
            text += &format!("  {}---{}\n", link.ends[0].node, link.ends[1].node);
        }
        text
    }
}
