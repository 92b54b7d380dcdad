//! Notices of the kernel, and the order in which they are told.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use model::Prefix;
use model::kernel::{Key, Refusal, Value, Write};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::dump::{self, judge_masquerade, judge_vteps};
use crate::kernel::Kernel;
use crate::message::messages;
use crate::nft::{self, NftWatch};
use crate::notice::News;
use crate::socket::Socket;
use crate::uapi::*;
use crate::view::Judged;
use crate::{Event, OpenError, sysctl};

const GROUPS: [u32; 9] = [
    GROUP_LINK,
    GROUP_NEIGH,
    GROUP_IPV4_IFADDR,
    GROUP_IPV4_ROUTE,
    GROUP_IPV6_IFADDR,
    GROUP_IPV6_ROUTE,
    GROUP_IPV4_NETCONF,
    GROUP_IPV6_NETCONF,
    GROUP_NEXTHOP,
];
/// Most datagrams taken in at a stretch, some tens of milliseconds: commands must not wait for a full table to pass by.
const AT_ONCE: usize = 16_384;

/// The side that hears.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    nft: NftWatch,
    /// Number of the socket whose routes are passed over.
    writer: Option<u32>,
    /// More handles of the two sockets, routes first, to wait for while others have the `Watch`.
    sockets: Arc<[OwnedFd; 2]>,
}

impl Watch {
    /// Joins every group that matters, in the network namespace of the calling thread.
    pub fn open() -> Result<Watch, OpenError> {
        let nft = NftWatch::open().map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => OpenError::Permission,
            _ => OpenError::Socket { doing: "listen to nftables", error },
        })?;
        let socket = Socket::open(&GROUPS)?;
        let sockets = handles(&socket, &nft).map_err(|error| OpenError::Socket { doing: "share", error })?;
        Ok(Watch { socket, nft, writer: None, sockets: Arc::new(sockets) })
    }

    /// The sockets that become readable when something changes, as they are now.
    pub(crate) fn sockets(&self) -> Arc<[OwnedFd; 2]> {
        Arc::clone(&self.sockets)
    }

    /// Are there notices that have not been taken in? Where that cannot be found out, yes.
    pub(crate) fn has_come(&self) -> bool {
        let mut fds = [self.route_socket(), self.nft_socket()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
    }

    /// From here on routes that `kernel` writes are passed over: with a full table their echo would cost as much as
    /// the writing. Whoever changes a route while it is written is heard, but not whether before or after us.
    pub(crate) fn pass_over(&mut self, kernel: &Kernel) -> Result<(), OpenError> {
        let failed = |error| OpenError::Socket { doing: "filter notices", error };
        self.writer = Some(kernel.socket.port());
        self.socket.pass_over_routes_of(kernel.socket.port()).map_err(failed)
    }

    /// Readable when something changed: links, addresses, routes, neighbours, FDB entries, nexthop objects.
    pub fn route_socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Readable when nftables changed.
    pub fn nft_socket(&self) -> BorrowedFd<'_> {
        self.nft.as_fd()
    }

    /// Takes in what has come, without waiting. `true` in the second place if there may be more.
    pub(crate) fn drain(&mut self, kernel: &mut Kernel, resolving: bool) -> (News, bool) {
        let mut news = News::default();
        let mut more = true;
        for _ in 0..AT_ONCE {
            match self.socket.receive() {
                Ok(Some(datagram)) => {
                    for message in messages(datagram) {
                        kernel.view.handle_notice(&message, resolving, &mut news);
                    }
                }
                Ok(None) => {
                    more = false;
                    break;
                }
                Err(error) => {
                    kernel.view.nexthops_known = false;
                    match error.raw_os_error() {
                        Some(libc::ENOBUFS) => news.ask_read_back("notices were lost: the receive buffer was full"),
                        _ => {
                            news.ask_read_back(format!("notices cannot be read: {error}"));
                            self.open_again();
                            more = false;
                        }
                    }
                    // What was lost may have been about links.
                    if let Ok(links) = dump::links(&mut kernel.socket) {
                        news.links |= links != kernel.view.links;
                        kernel.view.links = links;
                    }
                    if !more {
                        break;
                    }
                }
            }
        }
        if news.sysctls {
            self.look_at_sysctls(kernel, &mut news);
        }
        match self.nft.read(kernel.view.vteps.port()) {
            Ok(touched) => {
                if touched.masquerade {
                    look_at_masquerade(kernel, &mut news);
                }
                if touched.vteps {
                    look_at_vteps(kernel, &mut news);
                }
            }
            Err(error) => news.ask_read_back(format!("notices of nftables cannot be read: {error}")),
        }
        (news, more)
    }

    /// A socket that fails to read is not read again. Without a new one the old one is tried once a second.
    fn open_again(&mut self) {
        let open = || -> Result<(Socket, [OwnedFd; 2]), ()> {
            let socket = Socket::open(&GROUPS).map_err(drop)?;
            self.writer.map_or(Ok(()), |port| socket.pass_over_routes_of(port)).map_err(drop)?;
            let sockets = handles(&socket, &self.nft).map_err(drop)?;
            Ok((socket, sockets))
        };
        match open() {
            Ok((socket, sockets)) => (self.socket, self.sockets) = (socket, Arc::new(sockets)),
            Err(_) => std::thread::sleep(Duration::from_secs(1)),
        }
    }

    /// The kernel tells that some sysctl of a device changed, not always which.
    fn look_at_sysctls(&self, kernel: &Kernel, news: &mut News) {
        for path in &kernel.view.interest.sysctls {
            if let Ok(text) = sysctl::read(path) {
                news.changed.insert(Key::Sysctl(path.clone()), text.map(Value::Sysctl));
            }
        }
    }
}

fn handles(socket: &Socket, nft: &NftWatch) -> io::Result<[OwnedFd; 2]> {
    Ok([socket.as_fd().try_clone_to_owned()?, nft.as_fd().try_clone_to_owned()?])
}

fn look_at_masquerade(kernel: &mut Kernel, news: &mut News) {
    match nft::read_table().map(judge_masquerade) {
        Ok(Judged::Ours(key, value)) => {
            news.changed.insert(key, Some(value));
        }
        Ok(Judged::Foreign(foreign)) => {
            news.changed.insert(Key::Masquerade, None);
            kernel.view.foreign_came(foreign, news);
        }
        Ok(Judged::Nothing) => {
            news.changed.insert(Key::Masquerade, None);
            kernel.view.foreign_went(&Key::Masquerade, news);
        }
        Err(refusal) => news.ask_read_back(format!("nftables cannot be read: {refusal}")),
    }
}

fn look_at_vteps(kernel: &mut Kernel, news: &mut News) {
    let table = match nft::read_vteps() {
        Ok(table) => table,
        Err(refusal) => return news.ask_read_back(format!("nftables cannot be read: {refusal}")),
    };
    let before = kernel.view.vteps.known.clone();
    let judged = judge_vteps(table, &mut kernel.view);
    // What is there no more, then what is.
    let gone = before.difference(&kernel.view.vteps.known).map(|vtep| Key::Vtep(*vtep));
    news.changed.extend(gone.chain([Key::VtepTable, Key::VtepFilter]).map(|key| (key, None)));
    let mut foreign = None;
    for judged in judged {
        match judged {
            Judged::Ours(Key::Vtep(vtep), _) if before.contains(&vtep) => {}
            Judged::Ours(key, value) => drop(news.changed.insert(key, Some(value))),
            Judged::Foreign(found) => foreign = Some(found),
            Judged::Nothing => {}
        }
    }
    match foreign {
        Some(foreign) => kernel.view.foreign_came(foreign, news),
        None => kernel.view.foreign_went(&Key::VtepTable, news),
    }
}

/// News in the order in which they are told: objects, then what makes one look further. `written` holds what was just
/// written by ourselves: the echo of an object is no news, and a route that somebody else spoke of meanwhile is doubtful.
pub(crate) fn tell(kernel: &Kernel, mut news: News, written: &mut Written, events: &mut impl FnMut(Event)) {
    let mut routes =
        news.changed.keys().filter_map(|key| if let Key::Route(prefix) = key { Some(prefix) } else { None });
    if !written.routes.is_sorted() {
        written.routes.sort();
    }
    if routes.any(|prefix| written.routes.binary_search(prefix).is_ok()) {
        news.ask_read_back("a route was changed while it was written");
    }
    for (key, value) in news.changed {
        if written.objects.get(&key) != Some(&value) {
            // The echo may still come, behind this: then it is news.
            written.objects.remove(&key);
            events(Event::Changed(key, value));
        }
    }
    news.foreign.into_iter().map(Event::Foreign).for_each(&mut *events);
    if news.links {
        events(Event::Links(kernel.view.links.infos()));
    }
    if let Some(why) = news.read_back {
        events(Event::ReadBackNeeded(why));
    }
}

/// What was just written without a refusal.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Last state of each.
    objects: BTreeMap<Key, Option<Value>>,
    /// Their echo is passed over.
    routes: Vec<Prefix>,
}

impl Written {
    pub(crate) fn of(results: &[(Write, Result<(), Refusal>)]) -> Written {
        let mut written = Written::default();
        for (write, _) in results.iter().filter(|(_, result)| result.is_ok()) {
            let (key, value) = match write {
                Write::Create(key, value) | Write::Replace(key, value) => (key, Some(value)),
                Write::Delete(key) => (key, None),
            };
            match key {
                Key::Route(prefix) => written.routes.push(*prefix),
                _ => drop(written.objects.insert(key.clone(), value.cloned())),
            }
        }
        written
    }
}
