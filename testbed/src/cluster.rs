//! The daemons of a lab as an operator meets them: `biplane status`, `biplane mode switch`, and the kernel's own tables.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use model::{Owner, Plane};
use serde_json::Value;

use crate::lab::{Interrupt, Lab, poll};
use crate::places;

/// Nodes of a lab that run `biplaned`.
pub struct Cluster<'a> {
    lab: &'a Lab,
    nodes: Vec<String>,
}

/// What a node's daemon says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// Node.
    pub node: String,
    /// Pod CIDRs, joined by commas.
    pub pod_cidrs: String,
    /// Plane that carries, in the words of the configuration.
    pub carry: String,
    /// State of the switch.
    pub state: String,
    /// `2/2`.
    pub peers: String,
    /// Destinations with a route.
    pub routes: u64,
    /// What it waits for.
    pub waiting: Vec<String>,
    /// Both planes stay.
    pub fallback: bool,
}

impl<'a> Cluster<'a> {
    /// The daemons of a lab.
    pub fn of(lab: &'a Lab) -> Cluster<'a> {
        let nodes = lab.topology.nodes.iter().filter(|n| places::runs_daemon(n)).map(|n| n.name.clone()).collect();
        Cluster { lab, nodes }
    }

    /// Their nodes, in the file's order.
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// What one of them says, or why it says nothing.
    pub fn stand(&self, node: &str) -> Result<Stand> {
        let words = ["biplane", "status", "-o", "json"].map(String::from);
        let output = self.lab.exec(self.lab.node(node)?, None, &words)?;
        let json: Value = serde_json::from_str(&output.stdout).with_context(|| {
            format!("biplane status on {node} ended with {}: {}", output.return_code, output.stderr.trim())
        })?;
        Ok(read_stand(node, &json))
    }

    /// What all of them say; one that does not answer says so in its `state`.
    pub fn stands(&self) -> Vec<Stand> {
        let ask = |node: &String| {
            self.stand(node).unwrap_or_else(|error| Stand {
                node: node.clone(),
                state: "no answer".into(),
                waiting: vec![format!("{error:#}")],
                ..Stand::default()
            })
        };
        self.nodes.iter().map(ask).collect()
    }

    /// Waits until every daemon is steady on `plane`, with nothing pending.
    pub fn await_steady(&self, plane: Plane, limit: Duration, interrupt: &Interrupt) -> Result<()> {
        let mut last = Vec::new();
        let all = poll(limit, interrupt, || {
            last = self.stands();
            last.iter().all(|s| s.is_steady(plane)).then_some(())
        });
        if all.is_some() {
            return Ok(());
        }
        if interrupt.is_raised() {
            bail!("interrupted");
        }
        let late: Vec<String> = last.iter().filter(|s| !s.is_steady(plane)).map(Stand::words).collect();
        bail!("after {} s not steady on {}: {}", limit.as_secs(), plane.mode(), late.join("; "));
    }

    /// Begins a switch of the whole cluster from its first node, as an operator would; it runs on by itself.
    pub fn switch(&self, plane: Plane) -> Result<Switching> {
        let Some(first) = self.nodes.first() else { bail!("lab {:?} runs no biplaned", self.lab.name()) };
        let mut command = self.lab.command(self.lab.node(first)?, "biplane")?;
        command.args(["mode", "switch", plane.mode(), "--wait"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().context("cannot start biplane mode switch")?;
        Ok(Switching { child, plane, began: Instant::now() })
    }

    /// Everything in the kernels that belongs to `plane`, which should have gone.
    pub fn leftovers(&self, plane: Plane) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for node in &self.nodes {
            found.extend(leftovers(self.lab, node, plane)?);
        }
        Ok(found)
    }
}

/// A `biplane mode switch --wait` under way.
pub struct Switching {
    child: Child,
    plane: Plane,
    began: Instant,
}

impl Switching {
    /// When it ended well, how long it took; `None` while it runs.
    pub fn poll(&mut self) -> Result<Option<Duration>> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(None);
        };
        if !status.success() {
            let mut words = String::new();
            if let Some(mut stderr) = self.child.stderr.take() {
                std::io::Read::read_to_string(&mut stderr, &mut words)?;
            }
            bail!("biplane mode switch {} --wait: {status}: {}", self.plane.mode(), words.trim());
        }
        Ok(Some(self.began.elapsed()))
    }

    /// How long it has been under way.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for Switching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stand {
    /// Steady, and carrying by `plane`.
    pub fn is_steady(&self, plane: Plane) -> bool {
        self.state.eq_ignore_ascii_case("steady") && self.carry == plane.mode()
    }

    /// One line.
    pub fn words(&self) -> String {
        let waiting = if self.waiting.is_empty() { String::new() } else { format!(" ({})", self.waiting.join(", ")) };
        format!(
            "{} is {} on {}{waiting}",
            self.node,
            self.state,
            if self.carry.is_empty() { "nothing" } else { &self.carry }
        )
    }
}

fn read_stand(node: &str, json: &Value) -> Stand {
    let text = |key: &str| json[key].as_str().unwrap_or_default().to_string();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let list = |value: &Value| -> Vec<String> {
        let words =
            |v: &Value| v.as_str().or_else(|| v["what"].as_str()).or_else(|| v["podCidr"].as_str()).map(String::from);
        value.as_array().into_iter().flatten().filter_map(words).collect()
    };
    let cidrs = if json["podCidrs"].is_array() { &json["podCidrs"] } else { &json["podCIDRs"] };
    let destinations = &json["destinations"];
    Stand {
        node: node.to_string(),
        pod_cidrs: list(cidrs).join(","),
        carry: match text("carry").as_str() {
            "overlay" => Plane::Overlay.mode().to_string(),
            "native" => Plane::Native.mode().to_string(),
            other => other.to_string(),
        },
        state: text("state"),
        peers: format!("{}/{}", number(&json["peersUp"]), number(&json["peersTotal"])),
        routes: number(&destinations["overlay"]) + number(&destinations["native"]),
        waiting: list(&json["waiting"]),
        fallback: json["fallback"] == true,
    }
}

/// What a node's kernel still holds of `plane`: link, FDB entries, neighbours, nexthops, routes.
pub fn leftovers(lab: &Lab, node: &str, plane: Plane) -> Result<Vec<String>> {
    let device = Owner::VXLAN_DEVICE;
    let mark = Owner::MARK.to_string();
    let tables = Tables::read(lab, node)?;
    let on_overlay = |entry: &Value| entry["dev"] == device;
    let is_ours = |entry: &Value| entry["protocol"].as_str() == Some(mark.as_str());
    let mut found = Vec::new();
    let mut tell = |what: &str, entry: &Value| found.push(format!("{node}: {what} {entry}"));
    match plane {
        Plane::Overlay => {
            tables.links.iter().filter(|l| l["ifname"] == device).for_each(|l| tell("link", &l["ifname"]));
            tables.fdb.iter().filter(|f| f["ifname"] == device).for_each(|f| tell("FDB entry", f));
            tables.neighbours.iter().filter(|n| on_overlay(n)).for_each(|n| tell("neighbour", n));
            tables.nexthops.iter().filter(|n| on_overlay(n)).for_each(|n| tell("nexthop", n));
            tables.routes.iter().filter(|r| on_overlay(r)).for_each(|r| tell("route", r));
        }
        Plane::Native => {
            // Our own pod CIDR is held by an unreachable route on both planes.
            let is_native = |entry: &Value| is_ours(entry) && !on_overlay(entry) && entry["type"] != "unreachable";
            tables.neighbours.iter().filter(|n| is_native(n)).for_each(|n| tell("neighbour", n));
            tables.nexthops.iter().filter(|n| is_native(n)).for_each(|n| tell("nexthop", n));
            tables.routes.iter().filter(|r| is_native(r)).for_each(|r| tell("route", r));
        }
    }
    Ok(found)
}

/// The kernel's tables of a node in iproute2's JSON.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// `ip link`
    pub links: Vec<Value>,
    /// `bridge fdb`
    pub fdb: Vec<Value>,
    /// `ip neigh`, both families
    pub neighbours: Vec<Value>,
    /// `ip nexthop`
    pub nexthops: Vec<Value>,
    /// `ip route`, both families, all tables
    pub routes: Vec<Value>,
}

impl Tables {
    /// Reads them all, one after the other.
    pub fn read(lab: &Lab, node: &str) -> Result<Tables> {
        let table = |command: &str| -> Result<Vec<Value>> {
            let text = lab.shell(node, command)?;
            // iproute2 prints nothing at all for some empty tables.
            if text.trim().is_empty() {
                return Ok(Vec::new());
            }
            serde_json::from_str(&text).with_context(|| format!("{command} on {node}"))
        };
        let mut neighbours = table("ip -j -4 neigh show nud all")?;
        neighbours.extend(table("ip -j -6 neigh show nud all")?);
        let mut routes = table("ip -j -4 route show table all")?;
        routes.extend(table("ip -j -6 route show table all")?);
        Ok(Tables {
            links: table("ip -j link")?,
            fdb: table("bridge -j fdb")?,
            neighbours,
            nexthops: table("ip -j nexthop")?,
            routes,
        })
    }

    /// Where packets for `prefix` leave by our route: gateway and device of each next hop, by device; empty without one.
    pub fn hops(&self, prefix: &str) -> Vec<(String, String)> {
        let mark = Owner::MARK.to_string();
        let is_ours = |route: &&Value| route["dst"] == prefix && route["protocol"].as_str() == Some(mark.as_str());
        let Some(route) = self.routes.iter().find(is_ours) else { return Vec::new() };
        let object = |id: &Value| self.nexthops.iter().find(|n| n["id"] == *id);
        let mut hops: Vec<(String, String)> = match object(&route["nhid"]) {
            Some(group) if group["group"].is_array() => {
                let members = group["group"].as_array().into_iter().flatten();
                members.filter_map(|member| object(&member["id"])).map(hop).collect()
            }
            Some(single) => vec![hop(single)],
            None => vec![hop(route)],
        };
        hops.sort_by(|a, b| a.1.cmp(&b.1));
        hops
    }
}

fn hop(entry: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let gateway = if entry["via"].is_object() { &entry["via"]["host"] } else { &entry["gateway"] };
    (text(gateway), text(&entry["dev"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_read_in_the_words_of_the_configuration() {
        let status = json!({
            "state": "steady", "carry": "bgp", "podCidrs": ["10.244.1.0/24", "fd44:1::/64"], "peersUp": 2, "peersTotal": 3,
            "destinations": {"overlay": 1, "native": 3, "unreachable": 0}, "waiting": [{"what": "a peer", "forSeconds": 2}]
        });
        let stand = read_stand("n1", &status);
        assert!(stand.is_steady(Plane::Native) && !stand.is_steady(Plane::Overlay));
        assert_eq!(
            (stand.peers.as_str(), stand.routes, stand.pod_cidrs.as_str()),
            ("2/3", 4, "10.244.1.0/24,fd44:1::/64")
        );
        assert_eq!(stand.words(), "n1 is steady on bgp (a peer)");
        assert!(!read_stand("n1", &json!({})).is_steady(Plane::Native));
    }

    #[test]
    fn next_hops_are_found_through_objects_and_groups() {
        let route = |dst: &str, nhid: u32| json!({"dst": dst, "protocol": "178", "nhid": nhid});
        let tables = Tables {
            nexthops: vec![
                json!({"id": 1, "gateway": "10.2.1.1", "dev": "eth2"}),
                json!({"id": 2, "gateway": "10.1.1.1", "dev": "eth1"}),
                json!({"id": 3, "group": [{"id": 1}, {"id": 2}]}),
                json!({"id": 4, "via": {"family": "inet6", "host": "fe80::1"}, "dev": "biplane.vxlan"}),
            ],
            routes: vec![
                route("10.244.1.0/24", 3),
                route("10.244.2.0/24", 4),
                json!({"dst": "10.244.3.0/24", "protocol": "bird", "gateway": "10.0.0.1", "dev": "eth0"}),
            ],
            ..Tables::default()
        };
        let hop = |gateway: &str, device: &str| (gateway.to_string(), device.to_string());
        assert_eq!(tables.hops("10.244.1.0/24"), [hop("10.1.1.1", "eth1"), hop("10.2.1.1", "eth2")]);
        assert_eq!(tables.hops("10.244.2.0/24"), [hop("fe80::1", "biplane.vxlan")]);
        assert_eq!(tables.hops("10.244.3.0/24"), []);
    }
}
