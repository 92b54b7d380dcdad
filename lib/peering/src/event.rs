use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use model::kernel::Device;
use model::{Prefix, Transport};
use serde::{Deserialize, Serialize};

/// What happened on the TCP side.
///
/// A connection's life is a line: [`Event::Accepted`] or [`Event::Dialed`], then any number of [`Event::Bytes`] and
/// [`Event::Drained`], then exactly one [`Event::Closed`], also when the close was commanded. A dial ends in exactly one
/// of [`Event::Dialed`] and [`Event::DialFailed`], also when it was cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// Connections to our port are accepted from now on, in both address families that the kernel has.
    Listening,
    /// The port cannot be listened on, or not as wished: words with the cause and the cure. Tried again every 2 s; told
    /// again only when the words change.
    ListenFailed(String),
    /// A dial of ours is up.
    Dialed {
        /// Number given in [`Command::Dial`].
        conn: u64,
        /// Our end.
        local: SocketAddr,
    },
    /// A dial of ours came to nothing.
    DialFailed {
        /// Number given in [`Command::Dial`].
        conn: u64,
        /// Cause in words.
        error: String,
    },
    /// Somebody connected to our port. Whoever it is: the speaker closes strangers.
    Accepted {
        /// Number of the connection, top bit set.
        conn: u64,
        /// Our end.
        local: SocketAddr,
        /// Their end.
        remote: SocketAddr,
        /// Where a link-local `remote` is; `None` for others, and when the interface has gone meanwhile.
        device: Option<Device>,
    },
    /// Bytes that came in, 1 to 65536 of them.
    ///
    /// They carry the connection's credit: nothing more is read from it until they, and every clone and slice of them,
    /// are dropped. So a peer that sends faster than we work is held back by TCP, and memory stays bounded.
    Bytes {
        /// Number of the connection.
        conn: u64,
        /// What came.
        bytes: Bytes,
    },
    /// The connection is no more.
    Closed {
        /// Number of the connection.
        conn: u64,
        /// `None` if either side closed it in order.
        error: Option<String>,
    },
    /// Everything given by [`Command::Send`] for this connection has been taken by the kernel. A peer that takes nothing
    /// keeps this away once some [`crate::UNSENT`] bytes are under way (RFC 9687).
    Drained(u64),
    /// A router on a device of [`Command::Discover`] has advertised itself: at once if it is another one than before, else
    /// every few seconds at most.
    Neighbour {
        /// The device.
        device: Device,
        /// Its link-local address there.
        address: Ipv6Addr,
    },
    /// Routers on a device of [`Command::Discover`] cannot be heard, nor can they hear us: words with the cause and the
    /// cure. Tried again every second; told again only when the words change.
    DiscoveryFailed {
        /// The device.
        device: Device,
        /// Cause and cure.
        error: String,
    },
}

/// Remotes, and how packets from and to them travel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remote {
    /// Their addresses. Link-local ones are those behind the device in `transport`.
    pub prefix: Prefix,
    /// TTL sent, and least TTL taken.
    pub transport: Transport,
}

/// What the TCP side shall do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// Accept connections on this port, 1 to 65535, in both families. On another port before: that one is given up.
    Listen(u16),
    /// Accept no more; connections that are up stay.
    StopListening,
    /// How packets from and to these remotes travel, the most specific prefix counting: for what is accepted from now on,
    /// and for connections that are up. What comes with less than the least TTL is dropped by the kernel before it makes
    /// any state (RFC 5082). Replaces what was said before; remotes that are left out travel as the kernel likes.
    Travel(Vec<Remote>),
    /// Connect.
    Dial {
        /// Number of the connection to be: new, top bit clear.
        conn: u64,
        /// The peer. A link-local one is behind the device in `transport`.
        remote: SocketAddr,
        /// Source address; the kernel's choice if `None`.
        local: Option<IpAddr>,
        /// Device and TTL.
        transport: Transport,
    },
    /// Write, after all that was sent before. The caller bounds what is under way by [`Event::Drained`].
    Send {
        /// Number of the connection; one that is no more is passed over.
        conn: u64,
        /// Whole messages or parts of them.
        bytes: Bytes,
    },
    /// Close, or cancel a dial.
    Close {
        /// Number of the connection; one that is no more is passed over.
        conn: u64,
        /// Write out first what was sent (a NOTIFICATION), for at most [`crate::FLUSH`]; else drop it.
        flush: bool,
    },
    /// Hear router advertisements on these devices (with the kernel's index), and advertise this host there; on no others.
    /// A device whose index is another one now is begun with anew.
    Discover(BTreeMap<Device, u32>),
}
