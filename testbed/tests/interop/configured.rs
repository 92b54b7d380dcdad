//! What the routers are told: their configuration files.

use std::fmt::Write as _;

use super::bed::{FABRIC, MANY, OUTSIDE, Part, Slot};
use super::routers::Router;

/// [`MANY`] of something.
pub fn many(text: impl Fn(usize) -> String) -> Vec<String> {
    (1..=MANY).map(text).collect()
}

fn told(
    slots: &[Slot],
    router: Router,
) -> impl Iterator<Item = (&Slot, &'static [&'static str], &'static [&'static str])> {
    slots.iter().filter_map(move |slot| match slot.part(router) {
        Part::Told(session, family) => Some((slot, session, family)),
        Part::Lacks => None,
    })
}

/// Statements may name our address: `US`, theirs: `ME`.
fn fill(text: &str, slot: &Slot, router: Router) -> String {
    text.replace("US", &slot.ours(router)).replace("ME", &slot.theirs(router))
}

pub fn frr(slots: &[Slot]) -> String {
    let router = Router::Frr;
    let [plain, tagged, leaving, another] = router.prefixes();
    let long = router.long();
    // A line has room for a few hundred communities.
    let mut tags = String::new();
    for (at, some) in many(|number| format!("{FABRIC}:{number}")).chunks(220).enumerate() {
        let (number, more) = (10 * (at + 1), if at == 0 { "" } else { " additive" });
        let _ =
            write!(tags, "route-map LONG permit {number}\n set community {}{more}\n on-match next\n", some.join(" "));
    }
    let mut text = format!(
        "frr defaults datacenter
hostname frr
log file /var/log/frr/frr.log
service integrated-vtysh-config
!
route-map TAGS permit 10
 set community 65010:100
 set extcommunity rt 65010:77
 set large-community 65010:1:2
!
route-map LEAVING permit 10
 set community 65535:0
!
{tags}!
ip prefix-list SHORT seq 5 deny {long}
ip prefix-list SHORT seq 10 permit any
!
router bgp {FABRIC}
 bgp router-id 10.31.1.1
 bgp graceful-restart restart-time 20
 bgp long-lived-graceful-restart stale-time 600
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 timers bgp 30 90
"
    );
    let mut families = [String::new(), String::new()];
    for (slot, session, family) in told(slots, router) {
        let (us, me) = (slot.ours(router), slot.theirs(router));
        let _ = writeln!(text, " neighbor {us} remote-as {}\n neighbor {us} update-source {me}", slot.our_asn(router));
        for statement in session {
            let _ = writeln!(text, " neighbor {us} {}", fill(statement, slot, router));
        }
        for (number, lines) in families.iter_mut().enumerate() {
            // Without capabilities there is IPv4 alone (RFC 4760 section 8).
            if number == 1 && session.contains(&"dont-capability-negotiate") {
                continue;
            }
            let _ = writeln!(lines, "  neighbor {us} activate");
            if number == 0 && slot.name != "long" {
                let _ = writeln!(lines, "  neighbor {us} prefix-list SHORT out");
            }
            for statement in family {
                let _ = writeln!(lines, "  neighbor {us} {}", fill(statement, slot, router));
            }
        }
    }
    text += " neighbor une interface remote-as external\n";
    families.iter_mut().for_each(|lines| *lines += "  neighbor une activate\n");
    let [v4, v6] = families;
    let _ = write!(
        text,
        " !
 address-family ipv4 unicast
  network {plain}
  network {tagged} route-map TAGS
  network {leaving} route-map LEAVING
  network {another}
  network {}
  network {long} route-map LONG
{v4} exit-address-family
 !
 address-family ipv6 unicast
  network {}
{v6} exit-address-family
!
",
        router.outside(),
        router.prefix6()
    );
    text
}

pub fn bird(slots: &[Slot]) -> String {
    let router = Router::Bird;
    let [plain, tagged, leaving, another] = router.prefixes();
    let tags = many(|number| format!("bgp_community.add(({FABRIC}, {number}));")).join(" ");
    let mut text = format!(
        "log \"/var/log/bird.log\" all;
router id 10.31.2.1;
protocol device {{ scan time 2; }}
protocol bfd {{ }}
protocol static own4 {{
  ipv4;
  route {plain} unreachable;
  route {leaving} unreachable {{ bgp_community.add((65535, 0)); }};
  route {another} unreachable;
  route {} unreachable;
  route {tagged} unreachable {{
    bgp_community.add((65010, 100));
    bgp_ext_community.add((rt, 65010, 77));
    bgp_large_community.add((65010, 1, 2));
  }};
}}
protocol static long4 {{ ipv4; route {} unreachable {{ {tags} }}; }}
protocol static own6 {{ ipv6; route {} unreachable; }}
template bgp common {{
  local as {FABRIC};
  connect retry time 2;
  error wait time 1, 4;
}}
",
        router.outside(),
        router.long(),
        router.prefix6()
    );
    for (slot, session, family) in told(slots, router) {
        let _ = writeln!(text, "protocol bgp s_{} from common {{", slot.name);
        let (us, me) = (slot.ours(router), slot.theirs(router));
        let _ = writeln!(text, "  local {me} as {FABRIC};\n  neighbor {us} as {};", slot.our_asn(router));
        for statement in session {
            let _ = writeln!(text, "  {}", fill(statement, slot, router));
        }
        let family: String = family.iter().map(|line| format!(" {}", fill(line, slot, router))).collect();
        for (channel, source) in [("ipv4", "own4"), ("ipv6", "own6")] {
            if channel == "ipv6" && session.contains(&"capabilities off;") {
                continue;
            }
            let _ = writeln!(text, "  {channel} {{ import all; export where proto = \"{source}\";{family} }};");
        }
        text += "}\n";
    }
    // It advertises itself and waits: which address to dial it never finds out.
    let _ = write!(
        text,
        "protocol radv {{ interface \"une\" {{ max ra interval 10; default lifetime 0; }}; }}
protocol bgp s_unnumbered from common {{
  neighbor range fe80::/10 as {OUTSIDE};
  interface \"une\";
  dynamic name \"s_unnumbered_\";
  ipv4 {{ extended next hop; import all; export where proto = \"own4\"; }};
  ipv6 {{ import all; export where proto = \"own6\"; }};
}}
"
    );
    text
}

pub fn gobgp(slots: &[Slot]) -> String {
    let router = Router::Gobgp;
    let mut text = format!("[global.config]\nas = {FABRIC}\nrouter-id = \"10.31.3.1\"\nport = 179\n");
    let clients: Vec<String> = slots
        .iter()
        .filter(|slot| slot.name.starts_with("client"))
        .map(|slot| format!("\"{}/32\"", slot.ours(router)))
        .collect();
    let _ = write!(
        text,
        "[global.apply-policy.config]
export-policy-list = [\"reflect\"]
default-export-policy = \"accept-route\"

[[defined-sets.neighbor-sets]]
neighbor-set-name = \"clients\"
neighbor-info-list = [{}]

[[policy-definitions]]
name = \"reflect\"
[[policy-definitions.statements]]
name = \"self\"
[policy-definitions.statements.conditions.match-neighbor-set]
neighbor-set = \"clients\"
[policy-definitions.statements.actions]
route-disposition = \"accept-route\"
[policy-definitions.statements.actions.bgp-actions]
set-next-hop = \"self\"
",
        clients.join(", ")
    );
    for (slot, session, family) in told(slots, router) {
        let (us, me) = (slot.ours(router), slot.theirs(router));
        let _ = write!(
            text,
            "\n[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{us}\"\npeer-as = {}\n",
            slot.our_asn(router)
        );
        // Keys of [neighbors.config] come first; whole tables begin with a bracket.
        let (tables, keys): (Vec<&&str>, Vec<&&str>) = session.iter().partition(|line| line.starts_with('['));
        for line in keys.into_iter().chain(tables.iter().copied()) {
            let _ = writeln!(text, "{}", fill(line, slot, router));
        }
        let _ = writeln!(text, "[neighbors.transport.config]\nlocal-address = \"{me}\"");
        if session.iter().all(|line| !line.starts_with("[neighbors.timers.config]")) {
            let _ = writeln!(text, "[neighbors.timers.config]\nconnect-retry = 5");
        }
        for name in ["ipv4-unicast", "ipv6-unicast"] {
            let _ = writeln!(text, "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{name}\"");
            for line in family {
                let _ = writeln!(text, "{}", fill(line, slot, router));
            }
        }
    }
    text
}
