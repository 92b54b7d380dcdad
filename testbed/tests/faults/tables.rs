//! What the kernels hold of the daemons', by content: numbers that the kernel gave out are left out.

use std::collections::{BTreeMap, BTreeSet};

use model::Owner;
use serde_json::Value;

use crate::bench::Bench;

/// Links, addresses, FDB entries, neighbours, nexthops, routes and the masquerade of every node, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tables(BTreeSet<String>);

impl Tables {
    pub(crate) fn read(bench: &Bench) -> Tables {
        Tables(bench.nodes().iter().flat_map(|node| of_node(bench, node)).collect())
    }

    /// Lines that one has and the other has not.
    pub(crate) fn differences(&self, reference: &Tables) -> Vec<String> {
        let more = self.0.difference(&reference.0).map(|line| format!("  more: {line}"));
        let less = reference.0.difference(&self.0).map(|line| format!("  less: {line}"));
        more.chain(less).collect()
    }
}

fn of_node(bench: &Bench, node: &str) -> Vec<String> {
    let device = Owner::VXLAN_DEVICE;
    let mark = Owner::MARK.to_string();
    let table = |command: &str| -> Vec<Value> {
        let text = bench.lab.shell(node, command).unwrap();
        // iproute2 prints nothing at all for some empty tables.
        if text.trim().is_empty() { Vec::new() } else { serde_json::from_str(&text).unwrap() }
    };
    let both = |rest: &str| -> Vec<Value> {
        let mut entries = table(&format!("ip -j -4 {rest}"));
        entries.extend(table(&format!("ip -j -6 {rest}")));
        entries
    };
    let nexthops = Nexthops(table("ip -j nexthop").into_iter().filter_map(|n| Some((n["id"].as_u64()?, n))).collect());
    let mut lines = Vec::new();
    let mut tell = |what: &str, entry: &Value| lines.push(format!("{node} {what} {}", content(entry, &nexthops)));
    for link in table("ip -j -d link").iter().filter(|link| link["ifname"] == device) {
        tell("link", link);
    }
    for link in table("ip -j address") {
        let addresses = link["addr_info"].as_array().into_iter().flatten();
        for address in addresses.filter(|a| link["ifname"] == device || a["protocol"] == mark.as_str()) {
            tell(&format!("address on {}", link["ifname"]), address);
        }
    }
    for entry in table("bridge -j fdb").iter().filter(|entry| entry["ifname"] == device) {
        tell("FDB entry", entry);
    }
    for entry in both("neigh show nud all").iter().filter(|e| e["dev"] == device || e["protocol"] == mark.as_str()) {
        tell("neighbour", entry);
    }
    for entry in nexthops.0.values().filter(|entry| entry["protocol"] == mark.as_str()) {
        tell("nexthop", entry);
    }
    for entry in both("route show table all").iter().filter(|e| e["dev"] == device || e["protocol"] == mark.as_str()) {
        tell("route", entry);
    }
    lines.push(format!("{node} masquerade {}", bench.lab.shell(node, "nft list table inet biplane").unwrap()));
    lines
}

/// Nexthop objects by their numbers.
struct Nexthops(BTreeMap<u64, Value>);

/// One entry with the numbers left out and nexthops named by what they are.
fn content(entry: &Value, nexthops: &Nexthops) -> String {
    let Some(fields) = entry.as_object() else { return entry.to_string() };
    let mut words = Vec::new();
    for (name, value) in fields {
        match name.as_str() {
            "ifindex" | "id" | "stats" | "stats64" | "used" | "refcnt" | "cacheinfo" | "master" => {}
            // What neighbour resolution is about at this moment.
            "probes" | "confirmed" | "updated" => {}
            "nhid" => words.push(format!("via {}", nexthop(value, nexthops))),
            "group" if value.is_array() => {
                let members = value.as_array().into_iter().flatten();
                let members: BTreeSet<String> = members.map(|member| nexthop(&member["id"], nexthops)).collect();
                words.push(format!("group {members:?}"));
            }
            _ => words.push(format!("{name}={value}")),
        }
    }
    words.join(" ")
}

fn nexthop(id: &Value, nexthops: &Nexthops) -> String {
    let found = id.as_u64().and_then(|id| nexthops.0.get(&id));
    // A group in a group is not possible: this goes one step down at most.
    found.map_or_else(|| format!("a nexthop {id} that is not there"), |n| format!("({})", content(n, nexthops)))
}
