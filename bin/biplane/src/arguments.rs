//! Words of the command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use model::{NodeName, PeerId, Plane, Prefix};
use status::{EventKind, Query};

use crate::output::OutputArgs;
use crate::policy::PolicyTestArgs;

/// Biplane's command line: what this node's daemon knows and does.
#[derive(Debug, Parser)]
#[command(name = "biplane", version, propagate_version = true)]
#[command(after_help = "Exit codes: 0 well, 1 the thing checked is not well or was refused, 2 usage, \
                        3 cannot reach the daemon, 4 timed out.")]
pub(crate) struct Arguments {
    /// The daemon's socket; `api.socket` of the configuration if absent
    #[arg(long, global = true, env = "BIPLANE_API__SOCKET", value_name = "PATH", hide_env_values = true)]
    pub(crate) socket: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// This node at a glance; exit code 1 while it is not ready
    Status(StatusArgs),
    /// Nodes of the cluster
    #[command(subcommand, visible_alias = "nodes")]
    Node(NodeCommand),
    /// The plane that is wished, and the switch from one to the other
    #[command(subcommand)]
    Mode(ModeCommand),
    /// Pools and pod CIDRs
    #[command(subcommand)]
    Ipam(IpamCommand),
    /// Peers and routes of the BGP speaker
    #[command(subcommand)]
    Bgp(BgpCommand),
    /// The overlay's link, FDB and neighbours
    #[command(subcommand)]
    Vxlan(VxlanCommand),
    /// Pod CIDR routes: wanted, and in the kernel
    #[command(subcommand, visible_alias = "routes")]
    Route(RouteCommand),
    /// Events as they happen
    Monitor(MonitorArgs),
    /// The configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Labs from containerlab topology files, in network namespaces of this machine
    Lab(testbed::cli::LabArgs),
    /// Print a completion script
    Completion {
        /// Shell that reads it
        shell: Shell,
    },
    /// Versions of this program and of the daemon
    Version(OutputArgs),
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Wait until the node is ready and its switch steady
    #[arg(long, conflicts_with = "watch")]
    pub(crate) wait: bool,
    /// With --wait: give up after this long (exit code 4)
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// One line
    #[arg(long)]
    pub(crate) brief: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List the nodes, and how each is carried from here
    #[command(visible_alias = "ls")]
    List(OutputArgs),
    /// One node
    Show {
        /// Its name
        name: NodeName,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Move traffic away from this node's BGP sessions, then close them (RFC 8326); pods stay and stay reachable
    Drain(DrainArgs),
    /// End a drain: sessions open again
    Undrain,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Close the sessions even if packets have no other way
    #[arg(long)]
    pub(crate) force: bool,
    /// Wait until the sessions are closed
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait: give up waiting after this long (exit code 4); the drain itself goes on
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModeCommand {
    /// The wish, the state of the switch, its gates and what it waits for
    Show(OutputArgs),
    /// Move the whole cluster to a plane, live
    Switch(SwitchArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SwitchArgs {
    /// The plane; `config` takes the cluster's wish back, so that each node's configuration decides
    #[arg(value_enum)]
    pub(crate) to: Target,
    /// Say what would happen, and change nothing; exit code 1 if something is in the way
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
    /// Wait until every node is steady on it
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait: give up waiting after this long (exit code 4); the switch itself goes on
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    Vxlan,
    Bgp,
    Config,
}

impl Target {
    /// The plane; `None` leaves it to the configuration.
    pub(crate) fn plane(self) -> Option<Plane> {
        match self {
            Target::Vxlan => Some(Plane::Overlay),
            Target::Bgp => Some(Plane::Native),
            Target::Config => None,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum IpamCommand {
    /// Pools, or the pod CIDRs cut from them
    Show {
        /// Claimed and quarantined pod CIDRs
        #[arg(long)]
        blocks: bool,
        /// Pod CIDRs of this node
        #[arg(long, value_name = "NODE", conflicts_with = "ip")]
        node: Option<NodeName>,
        /// The pod CIDR that holds this address
        #[arg(long, value_name = "ADDRESS")]
        ip: Option<IpAddr>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Check claims against pools; exit code 1 if something is wrong
    Check(OutputArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum BgpCommand {
    /// Peers, their sessions and what went wrong last
    #[command(visible_aliases = ["neighbors", "neighbours", "summary"])]
    Peers(OutputArgs),
    /// One peer; `up` and `down` open and close its sessions
    #[command(visible_aliases = ["neighbor", "neighbour"])]
    Peer(PeerArgs),
    /// Let a peer's sessions open again
    Up {
        /// The peer
        peer: PeerId,
    },
    /// Close a peer's sessions, until it is taken up again or the daemon starts anew
    Down(DownArgs),
    /// BFD sessions: the paths to peers that are watched, and how soon an outage is noticed
    Bfd(OutputArgs),
    /// Paths, and why the ones that are not used are not
    Routes(RoutesArgs),
    /// Announce a prefix of bgp.originate: it can be forwarded from now on
    Advertise {
        /// The prefix
        prefix: Prefix,
    },
    /// Withdraw a prefix of bgp.originate, and hold it back until it is advertised or the daemon starts anew
    Suppress {
        /// The prefix
        prefix: Prefix,
    },
    /// Policies of the configuration
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Reset sessions
    #[command(visible_alias = "clear")]
    Reset {
        /// The peer
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        peer: Option<PeerId>,
        /// All peers
        #[arg(long)]
        all: bool,
        /// Keep the session; ask for the routes again and send ours again
        #[arg(long)]
        soft: bool,
        /// Keep no path over the reset, here nor at the peer (without it, peers that agreed on graceful restart do)
        #[arg(long, conflicts_with = "soft")]
        hard: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// What a policy makes of a route, without a daemon; exit code 1 if it rejects it, or if a case is not as expected
    ///
    /// What no policy can allow (our own pod CIDRs, connected networks) is for the daemon to know, and not looked at.
    Test(Box<PolicyTestArgs>),
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, disable_help_subcommand = true)]
pub(crate) struct PeerArgs {
    /// Its address
    #[arg(required = true)]
    pub(crate) address: Option<PeerId>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(subcommand)]
    pub(crate) action: Option<PeerAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeerAction {
    /// Let its sessions open again
    Up {
        /// The peer
        peer: PeerId,
    },
    /// Close its sessions, until it is taken up again or the daemon starts anew
    Down(DownArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// The peer
    pub(crate) peer: PeerId,
    /// Words for the operator of the other end (RFC 9003), at most 128 octets
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true, value_parser = text)]
    pub(crate) text: String,
}

#[derive(Debug, Args)]
pub(crate) struct RoutesArgs {
    /// What this peer announces, refused paths too
    #[arg(long, value_name = "PEER", conflicts_with = "out")]
    pub(crate) r#in: Option<PeerId>,
    /// What we announce to this peer
    #[arg(long, value_name = "PEER")]
    pub(crate) out: Option<PeerId>,
    /// All paths of this prefix, refused ones too, and which step or rule decided about each; with --out, what the peer
    /// is told of it and why not more
    #[arg(long, value_name = "PREFIX")]
    pub(crate) why: Option<Prefix>,
    /// Most paths to show
    #[arg(long, value_name = "NUMBER", default_value_t = Query::DEFAULT_ROUTES, value_parser = limit)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VxlanCommand {
    /// The link
    Show(OutputArgs),
    /// Forwarding entries: which node gets the frame
    Fdb(OutputArgs),
    /// Neighbours: which MAC the inner frame carries
    #[command(visible_aliases = ["neighbours", "neighbors"])]
    Neigh(OutputArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// Routes to pod CIDRs, as wanted and as the kernel has them
    #[command(visible_alias = "ls")]
    List {
        /// Only routes of this node's pod CIDRs
        #[arg(long, value_name = "NODE")]
        node: Option<NodeName>,
        /// Only what is not as wanted; exit code 1 if there is any
        #[arg(long)]
        diff: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// The way of a packet to an address: claim, plane, next hop, kernel route, BGP paths; exit code 1 if it does not
    /// arrive, or the kernel is not as wanted
    #[command(visible_alias = "get")]
    Explain {
        /// A pod's address, or any other
        address: IpAddr,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct MonitorArgs {
    /// Kinds of events; all if absent
    #[arg(value_name = "KIND", value_parser = clap::builder::PossibleValuesParser::new(EventKind::ALL.map(EventKind::word)))]
    pub(crate) kinds: Vec<String>,
    /// Form of each event
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = MonitorFormat::Table)]
    pub(crate) output: MonitorFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MonitorFormat {
    /// A line for people
    Table,
    /// A JSON object a line
    #[value(alias = "json")]
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// The settings that the daemon runs with
    Show {
        /// Where each value comes from
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Check a configuration, with conf.d beside it and the environment, without side effects
    Validate {
        /// The file; `-` for the standard input
        #[arg(default_value = node::settings::Settings::FILE)]
        file: PathBuf,
    },
    /// The JSON schema of the file, for editors
    Schema,
    /// Make the daemon read its configuration again
    Reload,
}

/// `90`, `90s`, `5m`, `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: expected for example 90s, 5m or 1h30m");
    let mut seconds: u64 = 0;
    let mut digits = String::new();
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let factor = match letter {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        seconds = number.checked_mul(factor).and_then(|it| seconds.checked_add(it)).ok_or_else(wrong)?;
        digits.clear();
    }
    if !digits.is_empty() || text.is_empty() {
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        seconds = seconds.checked_add(number).ok_or_else(wrong)?;
    }
    Ok(Duration::from_secs(seconds))
}

/// Words of a Cease: one line, as long as every speaker takes it (RFC 8203).
fn text(text: &str) -> Result<String, String> {
    match (text.len(), text.chars().any(char::is_control)) {
        (0..=128, false) => Ok(text.to_owned()),
        (_, true) => Err("expected one line".to_owned()),
        (octets, _) => Err(format!("{octets} octets, expected at most 128")),
    }
}

fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=Query::MAX_ROUTES) => Ok(number),
        _ => Err(format!("expected 1 to {}", Query::MAX_ROUTES)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_hold_together() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn times() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("0s", 0), ("1m1", 61)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "m", "5x", "-1s", "99999999999999999999h", "1.5m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
