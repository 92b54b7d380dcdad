//! The kernel as one thread sees it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use model::kernel::{Device, Hop, Refusal, Write};

use crate::apply::Apply;
use crate::message::{Batch, Message};
use crate::socket::{Socket, refusal_of};
use crate::uapi::NUD_VALID;
use crate::view::View;
use crate::{Error, Interest, OpenError, ReadBack, decode, dump, encode};

/// Longest that [`Kernel::resolve`] waits for answers on the wire.
const RESOLVE_WAIT: Duration = Duration::from_millis(20);

/// How the kernel is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The VXLAN device: FDB entries and neighbours on it are looked at, a device of that name is ours to judge.
    pub overlay: Device,
}

/// The side that writes and reads back, in the network namespace of the thread that opened it. It must stay on threads of
/// that namespace: sysctls and nftables are reached by the namespace of the calling thread.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) socket: Socket,
    pub(crate) view: View,
}

impl Kernel {
    /// Opens sockets in the network namespace of the calling thread, and checks that writing is allowed.
    pub fn open(options: &Options) -> Result<Kernel, OpenError> {
        let mut socket = Socket::open(&[])?;
        let mut batch = Batch::default();
        encode::permission_check(&mut batch, socket.next_sequence());
        if let Err(Refusal { errno: libc::EPERM | libc::EACCES, .. }) = socket.ask(&batch, |_| {}) {
            return Err(OpenError::Permission);
        }
        let mut view = View::new(options.overlay.clone());
        view.links = dump::links(&mut socket).map_err(|error| OpenError::Read(error.to_string()))?;
        match dump::read_nexthops(&mut socket, &mut view) {
            Err(Error::Io { error, .. }) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                return Err(OpenError::NoNexthopObjects);
            }
            other => other.map_err(|error| OpenError::Read(error.to_string()))?,
        }
        Ok(Kernel { socket, view })
    }

    /// Dumps everything of ours, what of others is in our way, and every link. A table that keeps changing during its dump
    /// is an error after some tries.
    pub fn read_back(&mut self, interest: &Interest) -> Result<ReadBack, Error> {
        dump::read_back(&mut self.socket, &mut self.view, interest)
    }

    /// Writes in the order given. Each write comes back once, in the same order, with what the kernel said; a refused one
    /// does not hold up the others.
    pub fn apply(&mut self, writes: Vec<Write>) -> Vec<(Write, Result<(), Refusal>)> {
        let results = Apply::new(&mut self.socket, &mut self.view, &writes).run();
        writes.into_iter().zip(results).collect()
    }

    /// Are the numbers of the nexthop objects known, so that a route is one message?
    pub(crate) fn knows_nexthops(&self) -> bool {
        self.view.nexthops_known
    }

    /// Asks the kernel to resolve the gateways, waits at most 20 ms for answers on the wire, and tells for each hop
    /// whether its gateway's link layer address is known. Hops without gateway need none.
    pub fn resolve(&mut self, hops: &[Hop]) -> Vec<(Hop, bool)> {
        let gateways = self.gateways(hops);
        self.use_gateways(&gateways);
        let end = Instant::now() + RESOLVE_WAIT;
        loop {
            let found: Vec<bool> = gateways.iter().map(|gateway| self.is_resolved(gateway)).collect();
            if found.iter().all(|resolved| *resolved) || Instant::now() >= end {
                return hops.iter().cloned().zip(found).collect();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Where the hops' gateways are to be asked for.
    pub(crate) fn gateways(&mut self, hops: &[Hop]) -> Vec<Gateway> {
        let mut indexes: BTreeMap<&Device, Option<u32>> = BTreeMap::new();
        let mut gateways = Vec::with_capacity(hops.len());
        for hop in hops {
            let Some(ip) = hop.gateway else {
                gateways.push(Gateway::OnLink);
                continue;
            };
            let index = *indexes
                .entry(&hop.device)
                .or_insert_with(|| ask_link(&mut self.socket, &hop.device).ok().flatten().map(|link| link.index));
            gateways.push(index.map_or(Gateway::NoDevice, |index| Gateway::At(index, ip)));
        }
        gateways
    }

    /// Makes the kernel ask for the gateways' link layer addresses as if a packet were waiting.
    pub(crate) fn use_gateways(&mut self, gateways: &[Gateway]) {
        for gateways in gateways.chunks(self.socket.in_flight()) {
            let mut batch = Batch::default();
            for gateway in gateways {
                if let Gateway::At(index, ip) = gateway {
                    encode::use_neighbour(&mut batch, self.socket.next_sequence(), *index, ip);
                }
            }
            // A gateway that cannot be asked for stays unresolved.
            let _ = self.socket.exchange(&mut batch);
        }
    }

    /// Is the link layer address of the gateway known?
    pub(crate) fn is_resolved(&mut self, gateway: &Gateway) -> bool {
        match gateway {
            Gateway::OnLink => true,
            Gateway::NoDevice => false,
            Gateway::At(index, ip) => {
                ask_neighbour(&mut self.socket, *index, ip).is_some_and(|neigh| neigh.state & NUD_VALID != 0)
            }
        }
    }
}

/// Where the gateway of a hop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gateway {
    /// There is none.
    OnLink,
    /// Its device is not there.
    NoDevice,
    /// Behind the interface with this index.
    At(u32, IpAddr),
}

/// Looks for one neighbour entry, now.
pub(crate) fn ask_neighbour(socket: &mut Socket, index: u32, ip: &IpAddr) -> Option<decode::Neigh> {
    let mut batch = Batch::default();
    encode::ask_neighbour(&mut batch, socket.next_sequence(), index, ip);
    let mut found = None;
    socket.ask(&batch, |message: &Message<'_>| found = decode::neigh(message)).ok()?;
    found
}

/// Looks for one link by name, now.
pub(crate) fn ask_link(socket: &mut Socket, device: &Device) -> Result<Option<decode::Link>, Refusal> {
    let mut batch = Batch::default();
    encode::ask_link(&mut batch, socket.next_sequence(), device);
    let mut found = None;
    let asked = socket.ask(&batch, |message| found = decode::link(message));
    match asked {
        Ok(()) => Ok(found),
        Err(refusal) if refusal.errno == libc::ENODEV => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// Errors of a dump as a refusal of the write that needed it.
pub(crate) fn refusal_of_dump(error: &Error) -> Refusal {
    match error {
        Error::Io { error, .. } => refusal_of(error),
        other => Refusal { errno: libc::EAGAIN, message: other.to_string() },
    }
}
