//! One lab for the whole matrix: four daemons (one in an AS of its own, three in the routers' AS), three routers, and as many
//! sessions between each pair as there are features that need one of their own.

use std::fmt::Write as _;

use serde_json::Value;

use super::configured::{bird, frr, gobgp, many};
use super::routers::Router;
use super::stage::Stage;

/// The routers' AS, and that of the daemons `i`, `j` and `k`.
pub const FABRIC: u32 = 65010;
/// The AS of the daemon `e`: one that two octets cannot hold.
pub const OUTSIDE: u32 = 4_200_000_001;
/// The AS that `e` says it is in, in one session.
pub const DISGUISE: u32 = 64999;
/// CLUSTER_ID of `i`, which reflects.
pub const CLUSTER: &str = "10.32.0.9";
/// So many communities make an UPDATE longer than 4096 octets.
pub const MANY: usize = 1100;
/// `e` originates it with [`MANY`] communities.
pub const OUR_LONG: &str = "10.250.0.0/24";
/// First half of their names: short, as FRR prints no more than some 8000 letters of them.
pub const OUR_TAG: u32 = 7;
/// `e` originates it besides.
const OUR_OTHER: &str = "10.251.0.0/24";
/// The daemons, and the second octet of their networks.
pub const NODES: [(&str, u8); 4] = [("e", 31), ("i", 32), ("j", 33), ("k", 34)];
/// The key of the sessions that have one.
pub const KEY: &str = "of-this-lab-alone";

/// FRR's programs.
const DAEMONS: &str = "bgpd=yes
bfdd=yes
vtysh_enable=yes
zebra_options=\"-A 127.0.0.1\"
bgpd_options=\"-A 127.0.0.1\"
bfdd_options=\"-A 127.0.0.1\"
";

/// Whether a router can play its part in a session, and what it must be told.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Statements for the session, and for each address family of it.
    Told(&'static [&'static str], &'static [&'static str]),
    /// The router lacks it; the row says why.
    Lacks,
}

/// Nothing beyond address and AS.
pub const PLAIN: Part = Part::Told(&[], &[]);

/// Keys of a slot whose router is not configured as a peer: it connects from a range.
pub const RANGED: &str = "ranged";

/// One session with each router.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub name: &'static str,
    /// Last octet of the router's address; ours is 100 more.
    pub number: u8,
    /// Our daemon: `e` is external, `i` internal and a reflector, `j` and `k` internal.
    pub node: &'static str,
    /// Over IPv6.
    pub v6: bool,
    /// More keys of the peer in our configuration.
    pub keys: &'static str,
    /// FRR, BIRD, GoBGP.
    pub parts: [Part; 3],
}

impl Slot {
    fn network(&self, router: Router) -> (u8, u8) {
        (second_octet(self.node), router.number())
    }

    /// The router's address.
    pub fn theirs(&self, router: Router) -> String {
        self.address(router, u16::from(self.number))
    }

    /// Ours.
    pub fn ours(&self, router: Router) -> String {
        self.address(router, u16::from(self.number) + 100)
    }

    fn address(&self, router: Router, host: u16) -> String {
        let (net, third) = self.network(router);
        if self.v6 { format!("fd{net}:{third}::{host}") } else { format!("10.{net}.{third}.{host}") }
    }

    pub fn part(&self, router: Router) -> Part {
        self.parts[router as usize]
    }

    /// The AS that a router expects of us.
    pub fn our_asn(&self, router: Router) -> u32 {
        match (self.node, self.name, router) {
            // RFC 6793: who knows but two octets meets AS_TRANS. FRR believes capability 65 though it sends none itself.
            ("e", "two_octet", Router::Bird) => 23456,
            ("e", "local_as", _) => DISGUISE,
            ("e", ..) => OUTSIDE,
            _ => FABRIC,
        }
    }
}

/// The lab.
pub struct Bed {
    pub stage: Stage,
    slots: Vec<Slot>,
}

impl Bed {
    pub fn deploy(slots: Vec<Slot>) -> Bed {
        for (at, slot) in slots.iter().enumerate() {
            let taken =
                |other: &&Slot| other.name == slot.name || (other.node, other.number) == (slot.node, slot.number);
            assert!(!slots[..at].iter().any(|other| taken(&other)), "{} and another session are the same", slot.name);
        }
        let mut files: Vec<(String, String)> = vec![
            ("bgp.key".into(), KEY.into()),
            ("daemons".into(), DAEMONS.into()),
            ("vtysh.conf".into(), "service integrated-vtysh-config\n".into()),
            ("frr.conf".into(), frr(&slots)),
            ("bird.conf".into(), bird(&slots)),
            ("gobgpd.toml".into(), gobgp(&slots)),
        ];
        for (node, _) in NODES {
            files.push((format!("{node}.yaml"), ours(&slots, node)));
        }
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let stage = Stage::written("interop", &topology(&slots), &files);
        Bed { stage, slots }
    }

    pub fn slot(&self, name: &str) -> &Slot {
        self.slots.iter().find(|slot| slot.name == name).unwrap_or_else(|| panic!("no session is called {name}"))
    }

    /// What our daemon says of a session.
    pub fn peer(&self, slot: &Slot, router: Router) -> Result<Value, String> {
        let address = slot.theirs(router);
        let output = self.stage.run(slot.node, &format!("biplane bgp peer {address} -o json"));
        let document: Value = serde_json::from_str(&output.stdout)
            .map_err(|e| format!("biplane bgp peer {address}: {e} {}", output.stderr))?;
        // One peer, or a list of one.
        Ok(if document["items"].is_array() { document["items"][0].clone() } else { document })
    }

    /// The paths of one RIB.
    pub fn routes(&self, node: &str, words: &str) -> Vec<Value> {
        self.stage.ask(node, &format!("bgp routes {words}"))["items"].as_array().cloned().unwrap_or_default()
    }

    /// The path of `prefix` that a router announces to us, refused or not.
    pub fn heard(&self, slot: &Slot, router: Router, prefix: &str) -> Result<Value, String> {
        let all = self.routes(slot.node, &format!("--in {}", slot.theirs(router)));
        let found = all.iter().find(|route| route["prefix"] == prefix).cloned();
        found.ok_or_else(|| format!("{prefix} is not among {} paths of session {}", all.len(), slot.name))
    }

    /// Our side calls the session Established.
    pub fn is_up(&self, slot: &Slot, router: Router) -> Result<Value, String> {
        let peer = self.peer(slot, router)?;
        if peer["state"] == "Established" {
            return Ok(peer);
        }
        Err(format!("biplane calls session {} {}: {}", slot.name, peer["state"], peer["lastError"]))
    }

    /// Our own pod CIDR of a family.
    pub fn own(&self, node: &str, v6: bool) -> Result<String, String> {
        let status = self.stage.ask(node, "status");
        let cidrs = status["podCidrs"].as_array().cloned().unwrap_or_default();
        let mut cidrs = cidrs.iter().filter_map(Value::as_str);
        let found = cidrs.find(|cidr| cidr.contains(':') == v6).map(String::from);
        found.ok_or_else(|| format!("{node} has no pod CIDR yet"))
    }

    /// A metric of our daemon: the sum of its lines that hold all of `labels`.
    pub fn metric(&self, node: &str, name: &str, labels: &[String]) -> f64 {
        let page = self.stage.good(node, "curl -s http://127.0.0.1:9178/metrics");
        let lines =
            page.lines().filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Our kernel's route to a prefix, as iproute2 prints it.
    pub fn kernel(&self, node: &str, prefix: &str) -> String {
        let family = if prefix.contains(':') { "-6" } else { "-4" };
        self.stage.run(node, &format!("ip -d {family} route show {prefix} proto 178; for n in $(ip {family} route show {prefix} proto 178 | sed -n 's/.*nhid \\([0-9]*\\).*/\\1/p'); do ip nexthop show id $n; done")).stdout
    }
}

/// As long as it is there, no new connection comes about in a session; one that is there goes on.
pub struct Barrier<'a> {
    bed: &'a Bed,
    node: &'static str,
    table: String,
}

impl Bed {
    pub fn bar(&self, slot: &Slot, router: Router) -> Barrier<'_> {
        let (table, theirs) = (format!("barrier_{}", slot.theirs(router).replace('.', "_")), slot.theirs(router));
        let rules: String = [("input", "saddr"), ("output", "daddr")]
            .map(|(hook, end)| {
                format!("chain {hook} {{ type filter hook {hook} priority 0; ip {end} {theirs} tcp flags & syn == syn drop; }};")
            })
            .join(" ");
        self.stage.good(slot.node, &format!("nft 'table inet {table} {{ {rules} }}'"));
        Barrier { bed: self, node: slot.node, table }
    }

    /// TCP breaks without a word, at both ends.
    pub fn cut(&self, slot: &Slot, router: Router) {
        self.stage.good(slot.node, &format!("ss -K dst {} >/dev/null", slot.theirs(router)));
    }
}

impl Drop for Barrier<'_> {
    fn drop(&mut self) {
        self.bed.stage.run(self.node, &format!("nft delete table inet {}", self.table));
    }
}

fn second_octet(node: &str) -> u8 {
    NODES.iter().find(|(name, _)| *name == node).map_or_else(|| panic!("no daemon is called {node}"), |(_, net)| *net)
}

fn topology(slots: &[Slot]) -> String {
    let mut text = String::from(
        "name: interop
prefix: __lab-name
topology:
  defaults: {kind: linux, image: \"biplane/lab:dev\", privileged: false, cap-add: [NET_ADMIN, NET_RAW, SYS_ADMIN]}
  kinds:
    linux: {network-mode: none}
  nodes:
",
    );
    for (node, _) in NODES {
        let _ = write!(
            text,
            "    {node}:
      binds: [\"{node}.yaml:/etc/biplane/config.yaml:ro\", \"bgp.key:/etc/biplane/bgp.key:ro\"]
      tmpfs: [/var/lib/biplane, /etc/cni/net.d]
      exec:
"
        );
        for router in Router::ALL {
            addresses(&mut text, slots, node, router, true);
        }
        text += "        - sh -c 'biplaned --config /etc/biplane/config.yaml >/var/log/biplaned.log 2>&1 &'\n";
    }
    for router in Router::ALL {
        let binds = match router {
            Router::Frr => {
                "[\"daemons:/etc/frr/daemons:ro\", \"vtysh.conf:/etc/frr/vtysh.conf:ro\", \"frr.conf:/etc/frr/frr.conf:ro\"]"
            }
            Router::Bird => "[\"bird.conf:/etc/bird/bird.conf:ro\"]",
            Router::Gobgp => "[\"gobgpd.toml:/etc/gobgp/gobgpd.toml:ro\"]",
        };
        let _ = write!(text, "    {}:\n      binds: {binds}\n      exec:\n", router.node());
        for (node, _) in NODES {
            addresses(&mut text, slots, node, router, false);
        }
        for line in start(router) {
            let _ = writeln!(text, "        - {line}");
        }
    }
    text += "  links:\n";
    for router in Router::ALL {
        for (node, _) in NODES {
            let r = router.node();
            let _ = writeln!(text, "    - {{endpoints: [\"{node}:{r}\", \"{r}:{node}\"], mtu: 1500}}");
            let _ = writeln!(text, "    - {{endpoints: [\"{node}:un{r}\", \"{r}:un{node}\"], mtu: 1500}}");
        }
    }
    text
}

/// `ip address add` for one end of a link.
fn addresses(text: &mut String, slots: &[Slot], node: &str, router: Router, ours: bool) {
    let device = if ours { router.node() } else { node };
    for slot in slots.iter().filter(|slot| slot.node == node) {
        for v6 in [false, true] {
            let slot = Slot { v6, ..*slot };
            let address = if ours { slot.ours(router) } else { slot.theirs(router) };
            let _ = if v6 {
                writeln!(text, "        - ip address add {address}/64 dev {device} nodad")
            } else {
                writeln!(text, "        - ip address add {address}/24 dev {device}")
            };
        }
    }
}

fn start(router: Router) -> Vec<String> {
    let here = router.prefixes();
    match router {
        Router::Frr => vec!["/usr/lib/frr/frrinit.sh start".into()],
        Router::Bird => vec!["mkdir -p /run/bird".into(), "bird -c /etc/bird/bird.conf".into()],
        Router::Gobgp => {
            let mut lines = vec![
                "sh -c 'gobgpd --config-file /etc/gobgp/gobgpd.toml >/var/log/gobgpd.log 2>&1 &'".to_string(),
                "sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do gobgp global >/dev/null 2>&1 && break; sleep 0.3; done'"
                    .into(),
            ];
            for prefix in [&here[0], &here[3], &router.outside()] {
                lines.push(format!("gobgp global rib add {prefix}"));
            }
            let [_, tagged, leaving, _] = &here;
            lines.push(format!("gobgp global rib add {leaving} community 65535:0"));
            lines.push(format!(
                "gobgp global rib add {tagged} community 65010:100 rt 65010:77 large-community 65010:1:2"
            ));
            // Over a session of the other family its own choice would be ::ffff:10.31.3.1.
            lines.push(format!("gobgp global rib -a ipv6 add {} nexthop fd31:3::1", router.prefix6()));
            lines
        }
    }
}

/// A daemon's configuration.
fn ours(slots: &[Slot], node: &str) -> String {
    let asn = if node == "e" { OUTSIDE } else { FABRIC };
    let net = second_octet(node);
    let first = slots.iter().find(|slot| slot.node == node).map_or(1, |slot| slot.number) + 100;
    // A reflector is one of the mesh, and this one has it for itself.
    let mesh = node == "i";
    let more = match node {
        "e" => format!(
            "  maxPaths: 64
  gracefulRestart: {{restartTime: 60}}
  gracefulShutdown: {{waitSeconds: 600}}
  originate:
    - {{prefix: {OUR_LONG}, communities: [{}]}}
    - {{prefix: {OUR_OTHER}}}
  policies:
    to-fabric:
      rules:
        - {{match: {{origin: pod}}, set: {{communities: {{add: [\"64512:100\"]}}, prepend: {{times: 2}}}}, then: accept}}
    from-fabric:
      rules:
        - {{match: {{prefixes: [{{prefix: 10.244.128.0/21, ge: 24, le: 24}}]}}, set: {{localPref: 200}}, then: accept}}
",
            many(|number| format!("\"{OUR_TAG}:{number}\"")).join(", ")
        ),
        "i" => format!(
            "  gracefulRestart: {{restartTime: 3, longLived: 600}}
  reflectors: {{nodes: [i], clusterId: {CLUSTER}}}
  policies:
    routers:
      rules:
        - match: {{prefixes: [{{prefix: 10.244.96.0/19, ge: 24, le: 24}}, {{prefix: 10.244.128.0/20, ge: 24, le: 24}}]}}
          then: accept
"
        ),
        _ => String::new(),
    };
    let mut text = format!(
        "mode: bgp
node: {{name: {node}, address: [10.{net}.1.{first}, \"fd{net}:1::{first}\"]}}
store: {{kind: files, path: /var/lib/biplane/store}}
pools:
  - {{cidr: 10.244.0.0/16, nodePrefix: 24}}
  - {{cidr: \"fd44::/48\", nodePrefix: 64}}
masquerade: {{enabled: false}}
metrics: {{listen: 127.0.0.1:9178}}
bgp:
  localAsn: {asn}
  mesh: {mesh}
{more}  peers:
"
    );
    for slot in slots.iter().filter(|slot| slot.node == node && slot.keys != RANGED) {
        for router in Router::ALL.into_iter().filter(|router| matches!(slot.part(*router), Part::Told(..))) {
            let keys = if slot.keys.is_empty() { String::new() } else { format!(", {}", slot.keys) };
            let (theirs, ours) = (slot.theirs(router), slot.ours(router));
            let _ = writeln!(
                text,
                "    - {{address: \"{theirs}\", asn: {FABRIC}, localAddress: \"{ours}\", description: {}{keys}}}",
                slot.name
            );
        }
    }
    if node == "e" {
        for router in [Router::Frr, Router::Bird] {
            let _ = writeln!(text, "    - {{interface: un{}, asn: external, description: unnumbered}}", router.node());
        }
    }
    if slots.iter().any(|slot| slot.node == node && slot.keys == RANGED) {
        text += "  listen:\n";
    }
    for slot in slots.iter().filter(|slot| slot.node == node && slot.keys == RANGED) {
        for router in Router::ALL {
            let _ = writeln!(text, "    - {{range: {}/31, asn: [{FABRIC}, 1], limit: 1}}", slot.theirs(router));
        }
    }
    text
}
