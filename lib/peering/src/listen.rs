//! The listening sockets: one per address family, bound and keyed together, tried until they stand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use model::kernel::Device;
use model::{Family, Prefix, Transport};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::auth::{self, Auth, On};
use crate::conn;
use crate::event::{Event, Remote};
use crate::guard;
use crate::options;
use crate::peering::Shared;
use crate::scope;
use crate::words::{listen_words, words};

/// A port that is taken is tried again after this.
const RETRY: Duration = Duration::from_secs(2);
/// Connections that the kernel holds for us to accept, if net.core.somaxconn allows: thousands of peers may dial in the
/// same instant, and one that does not fit comes back after a second at the earliest.
const BACKLOG: i32 = 4096;
/// Accepted connections at most; more wait in the backlog. Far above what a speaker keeps: it closes strangers at once.
const ACCEPTED: usize = 4096;
/// Numbers of accepted connections carry this bit.
const TOP: u64 = 1 << 63;

/// The sockets and their keys, under one lock: a key is on a socket before that socket listens.
#[derive(Default)]
pub(crate) struct Listening {
    keys: BTreeMap<Prefix, Auth>,
    /// Remotes whose key is on no socket, because the kernel refused: whoever says to be one of them is turned away.
    unkeyed: BTreeSet<Prefix>,
    /// How packets travel.
    remotes: Vec<Remote>,
    sockets: Vec<(Domain, Arc<TcpListener>)>,
    /// Counts the closings, so that a task which is aborted while it binds leaves no socket behind.
    closings: u64,
}

/// What became of new keys.
pub(crate) enum Keyed {
    Right,
    /// The kernel had refused a key, and now there is none that it refuses.
    Cured,
    /// A key was refused, in words.
    Failed(String),
}

impl Listening {
    /// The key for a remote.
    pub(crate) fn key(&self, remote: &IpAddr) -> Option<&Auth> {
        most_specific(&self.keys, remote).map(|(_, key)| key)
    }

    /// How packets from and to a remote travel.
    pub(crate) fn transport(&self, remote: &IpAddr, device: Option<&Device>) -> Transport {
        let theirs = self.remotes.iter().filter(|it| it.prefix.holds(remote));
        let theirs = theirs.filter(|it| it.transport.device.is_none() || it.transport.device.as_ref() == device);
        theirs.max_by_key(|it| it.prefix.len()).map(|it| it.transport.clone()).unwrap_or_default()
    }

    /// Makes `keys` the keys of the sockets. Returns those that were before.
    pub(crate) fn rekey(&mut self, keys: BTreeMap<Prefix, Auth>) -> (BTreeMap<Prefix, Auth>, Keyed) {
        let old = std::mem::replace(&mut self.keys, keys);
        let prefixes: BTreeSet<Prefix> = old.keys().chain(self.keys.keys()).copied().collect();
        let changed = prefixes.into_iter().filter(|prefix| old.get(prefix) != self.keys.get(prefix));
        let failed = !self.unkeyed.is_empty();
        // What the kernel refused before it may take now.
        let tried: Vec<Prefix> = changed.chain(self.unkeyed.iter().copied()).collect();
        let mut result = Ok(());
        for (domain, socket) in self.sockets.clone() {
            result = result.and(self.put(domain, socket.as_fd(), &tried, &old));
        }
        let keyed = match result {
            Err(words) => Keyed::Failed(words),
            Ok(()) if failed && self.unkeyed.is_empty() && !self.sockets.is_empty() => Keyed::Cured,
            Ok(()) => Keyed::Right,
        };
        (old, keyed)
    }

    /// Puts the keys of those `remotes` that are of the socket's family on it, where there were those of `before`. The first
    /// error in words.
    fn put(
        &mut self,
        domain: Domain,
        socket: BorrowedFd<'_>,
        remotes: &[Prefix],
        before: &BTreeMap<Prefix, Auth>,
    ) -> Result<(), String> {
        let mut result = Ok(());
        for remote in
            remotes.iter().filter(|remote| Domain::for_address(SocketAddr::new(remote.address(), 0)) == domain)
        {
            self.unkeyed.remove(remote);
            let (before, now) = (before.get(remote), self.keys.get(remote));
            if let Err(error) = auth::set(socket, On::Listening, *remote, before, now) {
                self.unkeyed.insert(*remote);
                let who = if remote.len() == remote.family().bits() {
                    remote.address().to_string()
                } else {
                    remote.to_string()
                };
                let words = format!("{who} is turned away: {error}");
                result = result.and(Err(words));
            }
        }
        result
    }

    /// Is there a key for this remote that the kernel has refused?
    fn is_unkeyed(&self, remote: &IpAddr) -> bool {
        most_specific(&self.keys, remote).is_some_and(|(prefix, _)| self.unkeyed.contains(prefix))
    }

    /// Makes packets of `remotes` travel so, from the next one on. The error is in words.
    pub(crate) fn travel(&mut self, remotes: Vec<Remote>) -> Result<(), String> {
        self.remotes = remotes;
        self.sockets.iter().try_for_each(|(domain, socket)| self.guard(*domain, &SockRef::from(&**socket)))
    }

    /// Has the kernel drop what comes to a listening socket from too far away.
    fn guard(&self, domain: Domain, socket: &SockRef<'_>) -> Result<(), String> {
        let family = if domain == Domain::IPV4 { Family::V4 } else { Family::V6 };
        let result = match guard::program(family, &self.remotes) {
            Some(program) => socket.attach_filter(&program),
            None => match socket.detach_filter() {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
                result => result,
            },
        };
        result.map_err(|error| format!("the TTL of new connections cannot be checked (ttlSecurity): {}", words(&error)))
    }

    /// Binds both families or neither. `Ok` carries what is not as wished though both listen.
    fn bind(&mut self, port: u16) -> Result<Result<(), String>, io::Error> {
        let mut keyed = Ok(());
        self.unkeyed.clear();
        let mut sockets = Vec::new();
        let remotes: Vec<Prefix> = self.keys.keys().copied().collect();
        for address in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            let domain = Domain::for_address(SocketAddr::new(address, port));
            let socket = match Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP)) {
                Ok(socket) => socket,
                // A kernel without this family has no peers of it either.
                Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => continue,
                Err(error) => return Err(error),
            };
            if domain == Domain::IPV6 {
                // Else IPv4 peers would come as mapped IPv6 ones, past their keys.
                socket.set_only_v6(true)?;
            }
            // Connections of the daemon before us may still be in TIME_WAIT.
            socket.set_reuse_address(true)?;
            options::tune(&SockRef::from(&socket), &address);
            let answers = Transport { ttl: Some(options::LISTEN_TTL), ..Transport::default() };
            options::travel(socket.as_fd(), &address, &answers)?;
            socket.bind(&SocketAddr::new(address, port).into())?;
            keyed = keyed.and(self.put(domain, socket.as_fd(), &remotes, &BTreeMap::new()));
            keyed = keyed.and(self.guard(domain, &SockRef::from(&socket)));
            socket.listen(BACKLOG)?;
            sockets.push((domain, Arc::new(TcpListener::from_std(socket.into())?)));
        }
        self.sockets = sockets;
        Ok(keyed)
    }

    /// Gives the sockets up. Returns what [`listen`] is started with.
    pub(crate) fn close(&mut self) -> u64 {
        self.sockets.clear();
        self.closings += 1;
        self.closings
    }
}

/// Listens and accepts until the task is aborted. `before` is the aborted task of an earlier one, whose sockets are
/// waited for.
pub(crate) async fn listen(shared: Arc<Shared>, port: u16, closings: u64, before: Option<JoinHandle<()>>) {
    if let Some(before) = before {
        let _ = before.await;
    }
    let mut said = None;
    let keyed = loop {
        // The lock is not held over the looking for words: that reads much of /proc.
        let bound = {
            let mut listening = shared.listening();
            if listening.closings != closings {
                return;
            }
            listening.bind(port)
        };
        let failure = match bound {
            Ok(keyed) => break keyed,
            Err(error) => tokio::task::spawn_blocking(move || listen_words(port, &error)).await.unwrap_or_default(),
        };
        if said.as_ref() != Some(&failure) {
            said = Some(failure.clone());
            shared.say(Event::ListenFailed(failure));
        }
        sleep(RETRY).await;
    };
    shared.say(Event::Listening);
    if let Err(words) = keyed {
        shared.say(Event::ListenFailed(words));
    }
    let sockets = shared.listening().sockets.clone();
    let room = Arc::new(Semaphore::new(ACCEPTED));
    // In this task, so that the sockets are gone when it is.
    let mut sockets = sockets.into_iter().map(|(_, socket)| socket);
    tokio::join!(accept(&shared, sockets.next(), &room), accept(&shared, sockets.next(), &room));
}

async fn accept(shared: &Arc<Shared>, socket: Option<Arc<TcpListener>>, room: &Arc<Semaphore>) {
    let Some(socket) = socket else { return };
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (stream, remote) = match socket.accept().await {
            Ok(accepted) => accepted,
            // The peer gave up while it waited.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                tracing::warn!(%error, "a connection to the BGP port was not accepted");
                // Out of descriptors or memory: the connection stays in the backlog, and the next try fails as fast.
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            take(shared, stream, remote).await;
            drop(permit);
        });
    }
}

async fn take(shared: Arc<Shared>, stream: TcpStream, remote: SocketAddr) {
    let ip = remote.ip();
    if shared.listening().is_unkeyed(&ip) {
        return;
    }
    let Ok(local) = stream.local_addr() else { return };
    options::tune(&SockRef::from(&stream), &ip);
    let conn = TOP | shared.next_accepted();
    let device = scope::device_of(&remote);
    let Some(orders) = shared.open(conn, ip, device.clone()) else { return };
    // The connection has what the listening socket had when it came. Looked up after it was entered: what changes from
    // now on is told to it.
    let (key, transport) = {
        let listening = shared.listening();
        (listening.key(&ip).cloned(), listening.transport(&ip, device.as_ref()))
    };
    let made = options::travel(stream.as_fd(), &ip, &transport)
        .map_err(|error| words(&error))
        .and_then(|()| auth::set(stream.as_fd(), On::Connected, Prefix::host(ip), None, key.as_ref()));
    if let Err(error) = made {
        tracing::warn!(peer = %ip, "a connection is turned away: {error}");
        return shared.forget(conn);
    }
    // The least TTL is the connection's own from here on.
    let _ = SockRef::from(&stream).detach_filter();
    shared.say(Event::Accepted { conn, local: scope::bare(local), remote: scope::bare(remote), device });
    conn::serve(shared, conn, ip, stream, orders, VecDeque::new()).await;
}

/// What is said of the longest prefix that holds an address.
pub(crate) fn most_specific<'a, T>(said: &'a BTreeMap<Prefix, T>, address: &IpAddr) -> Option<(&'a Prefix, &'a T)> {
    let longest = Family::of(address).bits();
    (0..=longest).rev().filter_map(|len| said.get_key_value(&Prefix::new(*address, len)?)).next()
}
