//! The daemon's window: the JSON documents, the unix-socket and HTTP servers that hand them out, the metrics, and the
//! client that the command line uses.
//!
//! Servers hold no state of the daemon. They send a [`Call`] to the core and pass its [`Answer`] on, so that what a
//! person reads is one consistent moment of the core.
//!
//! ```text
//! biplane ──unix socket──► serve_unix ─┐            ┌─► one Answer a Call
//!                                      ├─► Call ──► core
//! Prometheus, kubelet ────► serve_http ┘            └─► MonitorEvent (broadcast) ──► serve_unix ──► biplane monitor
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

use std::fmt;

use model::{PeerId, Plane, Prefix};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

mod ask;
pub mod client;
pub mod doc;
mod http;
pub mod metrics;
mod monitor;
mod process;
mod serve;
mod unix;
mod url;

pub use client::{Client, ClientError, Monitor};
pub use http::{HttpServer, serve_http};
pub use monitor::MonitorLine;
pub use serve::ServeError;
pub use unix::{UnixServer, serve_unix};

/// What can be asked. Asking changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Query {
    /// [`doc::Status`].
    Status,
    /// [`doc::Nodes`].
    Nodes,
    /// [`doc::ModeDoc`].
    Mode,
    /// [`doc::IpamDoc`].
    Ipam,
    /// [`doc::BgpPeers`].
    BgpPeers,
    /// [`doc::BgpRoutes`].
    BgpRoutes {
        /// Which RIB.
        direction: doc::RouteDirection,
        /// Only paths from or to this peer.
        peer: Option<PeerId>,
        /// Only paths of this prefix.
        prefix: Option<Prefix>,
        /// Most paths in the answer; 1 to [`Query::MAX_ROUTES`].
        limit: usize,
    },
    /// [`doc::BgpRoutes`] of one prefix: every path, refused ones too, with the step or the rule that decided about it.
    BgpWhy {
        /// The prefix.
        prefix: Prefix,
        /// `Out`: what `peer`, which must be given, is told and why; else all paths, of `peer` only if it is given.
        direction: doc::RouteDirection,
        /// The peer.
        peer: Option<PeerId>,
    },
    /// [`doc::VxlanDoc`].
    Vxlan,
    /// [`doc::Routes`].
    Routes {
        /// Only what is not as wanted.
        diff: bool,
    },
    /// [`doc::ExplainDoc`].
    RouteExplain {
        /// Where the packet goes.
        address: std::net::IpAddr,
    },
    /// [`doc::ConfigDoc`].
    Config,
    /// [`doc::MetricsDoc`].
    Metrics,
    /// [`doc::Ready`].
    Ready,
    /// [`doc::BfdSessions`].
    Bfd,
}

impl Query {
    /// Paths in an answer when nobody says how many.
    pub const DEFAULT_ROUTES: usize = 1000;
    /// Most paths in an answer: the core may not be held up by one question.
    pub const MAX_ROUTES: usize = 100_000;

    /// `kind` of the document that answers it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Query::Status => "Status",
            Query::Nodes => "NodeList",
            Query::Mode => "Mode",
            Query::Ipam => "Ipam",
            Query::BgpPeers => "BgpPeerList",
            Query::BgpRoutes { .. } | Query::BgpWhy { .. } => "BgpRouteList",
            Query::Vxlan => "Vxlan",
            Query::Routes { .. } => "RouteList",
            Query::RouteExplain { .. } => "RouteExplain",
            Query::Config => "Config",
            Query::Metrics => "Metrics",
            Query::Ready => "Ready",
            Query::Bfd => "BfdSessionList",
        }
    }
}

/// What can be ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// Wish a plane for the whole cluster; `None` takes the wish back, so that each node's configuration decides.
    Switch(Option<Plane>),
    /// Reset sessions.
    BgpReset {
        /// Only this peer's.
        peer: Option<PeerId>,
        /// Ask for the routes again (RFC 2918) and send ours again, but keep the session.
        soft: bool,
        /// Nothing outlives the session on either side (RFC 8538).
        #[serde(default)]
        hard: bool,
    },
    /// Take a peer down, with words for its operator (RFC 9003), or up again.
    BgpPeer {
        /// Which.
        peer: PeerId,
        /// Up; else down.
        up: bool,
        /// What the other end is told when it goes down; may be empty.
        text: String,
    },
    /// A prefix of `bgp.originate` can be forwarded from now on, and is announced; or it cannot, and is withdrawn.
    Advertise {
        /// Which.
        prefix: Prefix,
        /// Announce it; else hold it back.
        on: bool,
    },
    /// Move traffic away from this node's sessions, then close them (RFC 8326).
    Drain {
        /// Close them even if packets have no other way.
        force: bool,
    },
    /// End a drain.
    Undrain,
    /// Read the configuration again.
    Reload,
}

/// One thing that somebody wants of the core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Tell.
    Query(Query),
    /// Do.
    Operate(Operation),
}

/// What the core says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// To a query.
    Doc(Box<doc::Doc>),
    /// To an operation that was taken: what happens now, in words.
    Said(String),
    /// Why not, and the cure.
    Refused(String),
}

impl From<doc::Doc> for Answer {
    fn from(doc: doc::Doc) -> Answer {
        Answer::Doc(Box::new(doc))
    }
}

/// A request on its way to the core, with the way back.
#[derive(Debug)]
pub struct Call {
    /// What is wanted.
    pub request: Request,
    /// Takes the one answer. Dropped unanswered, it tells the asker that the daemon is stopping.
    pub answer: oneshot::Sender<Answer>,
}

/// One line of `biplane monitor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MonitorEvent {
    /// When.
    pub time: doc::Time,
    /// What it is about.
    pub kind: EventKind,
    /// How much it matters.
    pub level: Level,
    /// One line for people.
    pub text: String,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// Sessions and paths.
    Bgp,
    /// Routes and other objects of the kernel.
    Route,
    /// Links.
    Link,
    /// Claims.
    Ipam,
    /// The switch.
    Mode,
    /// The configuration.
    Config,
    /// The store.
    Store,
}

impl EventKind {
    /// All.
    pub const ALL: [EventKind; 7] = [
        EventKind::Bgp,
        EventKind::Route,
        EventKind::Link,
        EventKind::Ipam,
        EventKind::Mode,
        EventKind::Config,
        EventKind::Store,
    ];

    /// The word in the documents.
    pub const fn word(self) -> &'static str {
        match self {
            EventKind::Bgp => "bgp",
            EventKind::Route => "route",
            EventKind::Link => "link",
            EventKind::Ipam => "ipam",
            EventKind::Mode => "mode",
            EventKind::Config => "config",
            EventKind::Store => "store",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl std::str::FromStr for EventKind {
    type Err = String;

    fn from_str(text: &str) -> Result<EventKind, String> {
        EventKind::ALL.into_iter().find(|kind| kind.word() == text).ok_or_else(|| {
            let words = EventKind::ALL.map(EventKind::word).join(", ");
            format!("unknown kind of event `{text}`: expected one of {words}")
        })
    }
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// In the run of things.
    Info,
    /// Somebody should look.
    Warn,
    /// Something does not work.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        })
    }
}
