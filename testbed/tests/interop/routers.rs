//! The three routers, and what their own command lines say.

use std::fmt::Write as _;

use super::bed::{Bed, Slot};

/// A router of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Router {
    Frr,
    Bird,
    Gobgp,
}

impl Router {
    pub const ALL: [Router; 3] = [Router::Frr, Router::Bird, Router::Gobgp];

    /// Its node in the lab.
    pub fn node(self) -> &'static str {
        match self {
            Router::Frr => "frr",
            Router::Bird => "bird",
            Router::Gobgp => "gobgp",
        }
    }

    /// As its makers write it.
    pub fn title(self) -> &'static str {
        match self {
            Router::Frr => "FRR",
            Router::Bird => "BIRD",
            Router::Gobgp => "GoBGP",
        }
    }

    /// Third octet of all networks with it, and last digits of what it announces.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// IPv4 prefixes that it originates: a plain one, one with communities, one with GRACEFUL_SHUTDOWN, one more.
    pub fn prefixes(self) -> [String; 4] {
        [100, 110, 120, 130].map(|base| format!("10.244.{}.0/24", base + self.number()))
    }

    /// An IPv4 prefix that it originates outside the pools.
    pub fn outside(self) -> String {
        format!("198.51.{}.0/24", 100 + self.number())
    }

    /// The IPv4 prefix that it announces with [`super::bed::MANY`] communities.
    pub fn long(self) -> String {
        format!("10.244.{}.0/24", 140 + self.number())
    }

    /// Another router of the lab.
    pub fn other(self) -> Router {
        Router::ALL[(self as usize + 1) % Router::ALL.len()]
    }

    /// The IPv6 prefix that it originates.
    pub fn prefix6(self) -> String {
        format!("fd44:0:0:{:x}::/64", 0xf000 + u32::from(self.number()))
    }

    /// Its version, as it says.
    pub fn version(self, bed: &Bed) -> String {
        let script = match self {
            Router::Frr => "/usr/lib/frr/bgpd --version | sed -n '1s/.*version //p'",
            Router::Bird => "bird --version 2>&1 | sed 's/.*version //'",
            Router::Gobgp => "gobgpd --version | sed 's/.*version //'",
        };
        bed.stage.run(self.node(), script).stdout.trim().to_string()
    }

    /// Everything that it says of one session.
    pub fn session(self, bed: &Bed, slot: &Slot) -> String {
        let (us, name) = (slot.ours(self), slot.name);
        let script = match self {
            Router::Frr => format!("vtysh -c 'show bgp neighbors {us}'"),
            Router::Bird => format!("birdc show protocols all s_{name}"),
            Router::Gobgp => format!("gobgp neighbor {us}"),
        };
        let output = bed.stage.run(self.node(), &script);
        output.stdout + &output.stderr
    }

    /// It calls the session Established.
    pub fn is_up(self, bed: &Bed, slot: &Slot) -> Result<(), String> {
        let text = self.session(bed, slot);
        let up = match self {
            Router::Frr => text.contains("BGP state = Established"),
            Router::Bird => text.contains("BGP state:          Established"),
            Router::Gobgp => text.contains("BGP state = ESTABLISHED") || text.contains("BGP state = established"),
        };
        if up { Ok(()) } else { Err(format!("{} does not call the session up: {}", self.title(), brief(&text))) }
    }

    /// What it has learned by one session, with all attributes.
    pub fn learned(self, bed: &Bed, slot: &Slot, prefix: &str) -> String {
        let (us, name) = (slot.ours(self), slot.name);
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let script = match self {
            // All paths of the prefix; each names who it came from.
            Router::Frr => format!("vtysh -c 'show bgp {family} unicast {prefix}'"),
            Router::Bird => format!("birdc show route {prefix} protocol s_{name} all"),
            Router::Gobgp => format!("gobgp neighbor {us} adj-in -a {family}"),
        };
        let text = bed.stage.run(self.node(), &script).stdout;
        match self {
            // A peer that has told the name of its host stands there by that, its address behind it.
            Router::Frr => frr_paths(&text)
                .into_iter()
                .filter(|path| path.contains(&format!(" from {us} ")) || path.contains(&format!("({us}) (")))
                .collect(),
            Router::Bird => text,
            Router::Gobgp => text.lines().filter(|line| line.contains(prefix)).fold(String::new(), |mut all, line| {
                let _ = writeln!(all, "{line}");
                all
            }),
        }
    }

    /// It has learned `prefix` by this session.
    pub fn knows(self, bed: &Bed, slot: &Slot, prefix: &str) -> Result<String, String> {
        let text = self.learned(bed, slot, prefix);
        let known = match self {
            Router::Bird => text.contains(prefix),
            _ => !text.trim().is_empty(),
        };
        if known {
            Ok(text)
        } else {
            Err(format!("{} has not learned {prefix} by session {}: {}", self.title(), slot.name, brief(&text)))
        }
    }

    /// It keeps what it has learned by a session that is over.
    pub fn keeps_stale(self, bed: &Bed, slot: &Slot, prefix: &str) -> Result<String, String> {
        if self.is_up(bed, slot).is_ok() {
            return Err(format!("{} still calls the session up", self.title()));
        }
        let text = self.knows(bed, slot, prefix)?;
        let stale = match self {
            Router::Frr => text.contains("stale"),
            Router::Bird => self.session(bed, slot).contains("graceful restart active"),
            Router::Gobgp => {
                text.lines().any(|line| line.split_whitespace().next().is_some_and(|word| word.contains('S')))
            }
        };
        if stale { Ok(text) } else { Err(format!("{} does not call {prefix} stale: {}", self.title(), brief(&text))) }
    }

    /// Its operator takes a session down, with words for the other end, or up again.
    pub fn shut(self, bed: &Bed, slot: &Slot, words: Option<&str>) {
        let (us, name) = (slot.ours(self), slot.name);
        let script = match (self, words) {
            (Router::Frr, Some(words)) => {
                format!("vtysh -c 'conf t' -c 'router bgp' -c 'neighbor {us} shutdown message {words}'")
            }
            (Router::Frr, None) => format!("vtysh -c 'conf t' -c 'router bgp' -c 'no neighbor {us} shutdown'"),
            (Router::Bird, Some(words)) => format!("birdc 'disable s_{name} \"{words}\"'"),
            (Router::Bird, None) => format!("birdc enable s_{name}"),
            // `disable` loses the words; a reset has them too, and the session comes back by itself.
            (Router::Gobgp, Some(words)) => format!("gobgp neighbor --reason '{words}' {us} reset"),
            (Router::Gobgp, None) => return,
        };
        bed.stage.good(self.node(), &script);
    }

    /// What its log says of a session.
    pub fn log(self, bed: &Bed, slot: &Slot) -> String {
        let us = slot.ours(self);
        let (path, who) = match self {
            Router::Frr => ("/var/log/frr/frr.log", format!(" {us} ")),
            Router::Bird => ("/var/log/bird.log", format!(" s_{}:", slot.name)),
            Router::Gobgp => ("/var/log/gobgpd.log", format!("\"{us}\"")),
        };
        bed.stage.run(self.node(), &format!("grep -F -- '{who}' {path}")).stdout
    }

    /// It asks for our routes again.
    pub fn ask_again(self, bed: &Bed, slot: &Slot) {
        let (us, name) = (slot.ours(self), slot.name);
        let script = match self {
            Router::Frr => format!("vtysh -c 'clear bgp ipv4 unicast {us} soft in'"),
            Router::Bird => format!("birdc reload in s_{name}"),
            Router::Gobgp => format!("gobgp neighbor {us} softresetin"),
        };
        bed.stage.good(self.node(), &script);
    }
}

/// The paths of `show bgp … PREFIX`, each by itself.
fn frr_paths(text: &str) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    // A path begins with its AS path at two blanks; what belongs to it stands further in.
    for line in text.lines().skip_while(|line| !line.starts_with("  ") || line.contains("Advertised to")) {
        let begins = line.starts_with("  ") && !line.starts_with("   ");
        if begins || paths.is_empty() {
            paths.push(String::new());
        }
        if let Some(path) = paths.last_mut() {
            path.push_str(line);
            path.push('\n');
        }
    }
    paths
}

/// The first of what a program said, on one line.
pub fn brief(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().take(60).collect();
    words.join(" ")
}
