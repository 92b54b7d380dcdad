use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::Prefix;
use model::kernel::Device;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use crate::auth::Auth;
use crate::conn::{self, Order};
use crate::discovery;
use crate::event::{Command, Event};
use crate::listen::{self, Keyed, Listening};

/// The TCP side. Made and used inside a tokio runtime; dropping it closes everything.
pub struct Peering {
    shared: Arc<Shared>,
    listener: Option<(u16, JoinHandle<()>)>,
    /// The aborted task of the listener before, which may still hold the port.
    before: Option<JoinHandle<()>>,
    /// Devices on which routers are listened for, with index and task.
    discovering: BTreeMap<Device, (u32, JoinHandle<()>)>,
}

impl Peering {
    /// `events` is called from several tasks, one call at a time, in the order of what happened on each connection. It
    /// must not block, nor call back into this `Peering`.
    pub fn new(events: impl FnMut(Event) + Send + 'static) -> Peering {
        let shared = Shared {
            events: Mutex::new(Box::new(events)),
            conns: Mutex::default(),
            listening: Mutex::default(),
            accepted: AtomicU64::new(0),
        };
        Peering { shared: Arc::new(shared), listener: None, before: None, discovering: BTreeMap::new() }
    }

    /// Does what it is told, without waiting.
    pub fn handle(&mut self, command: Command) {
        match command {
            Command::Listen(port) => match &self.listener {
                Some((on, task)) if *on == port && !task.is_finished() => {}
                _ => {
                    let closings = self.stop_listening();
                    let before = self.before.take();
                    let task = tokio::spawn(listen::listen(self.shared.clone(), port, closings, before));
                    self.listener = Some((port, task));
                }
            },
            Command::StopListening => {
                self.stop_listening();
            }
            Command::Travel(remotes) => {
                let failed = self.shared.listening().travel(remotes);
                if let Err(words) = failed {
                    self.shared.say(Event::ListenFailed(words));
                }
                self.shared.travel();
            }
            Command::Dial { conn, remote, local, transport } => {
                let Some(orders) = self.shared.open(conn, remote.ip(), transport.device.clone()) else {
                    tracing::error!(conn, "a dial with the number of a connection that is up");
                    return;
                };
                let key = self.shared.listening().key(&remote.ip()).cloned();
                tokio::spawn(conn::dial(self.shared.clone(), conn, remote, local, transport, key, orders));
            }
            Command::Send { conn, bytes } => self.shared.order(conn, Order::Send(bytes)),
            Command::Close { conn, flush } => self.shared.order(conn, Order::Close { flush }),
            Command::Discover(devices) => self.discover(devices),
        }
    }

    fn discover(&mut self, devices: BTreeMap<Device, u32>) {
        self.discovering.retain(|device, (index, task)| {
            let stays = devices.get(device) == Some(index);
            if !stays {
                task.abort();
            }
            stays
        });
        for (device, index) in devices {
            let shared = &self.shared;
            self.discovering.entry(device).or_insert_with_key(|device| {
                (index, tokio::spawn(discovery::discover(shared.clone(), device.clone(), index)))
            });
        }
    }

    /// Makes these the keys of TCP MD5 and TCP-AO, by remote address, the most specific prefix counting: at once for whatever
    /// is dialled or accepted from now on, and for what is up: until the peer has the new key of TCP MD5 too, segments are
    /// dropped on both sides and sent again; with TCP-AO the old one is used so long. Dials under way with another key are
    /// given up, and connections that cannot go over to it.
    ///
    /// A key that the kernel does not take is told by [`Event::ListenFailed`]; nobody is accepted from, or dialled at,
    /// its address without it.
    pub fn keys(&mut self, keys: BTreeMap<Prefix, Auth>) {
        let (old, keyed) = self.shared.listening().rekey(keys);
        match keyed {
            Keyed::Right => {}
            Keyed::Cured => self.shared.say(Event::Listening),
            Keyed::Failed(words) => self.shared.say(Event::ListenFailed(words)),
        }
        self.shared.rekeyed(&old);
    }

    fn stop_listening(&mut self) -> u64 {
        let closings = self.shared.listening().close();
        if let Some((_, task)) = self.listener.take() {
            task.abort();
            self.before = Some(task);
        }
        closings
    }
}

impl Drop for Peering {
    fn drop(&mut self) {
        self.stop_listening();
        self.discover(BTreeMap::new());
        self.shared.conns().clear();
    }
}

/// What the tasks share.
pub(crate) struct Shared {
    events: Mutex<Box<dyn FnMut(Event) + Send>>,
    conns: Mutex<BTreeMap<u64, Conn>>,
    listening: Mutex<Listening>,
    accepted: AtomicU64,
}

struct Conn {
    remote: IpAddr,
    /// What a link-local remote is behind.
    device: Option<Device>,
    orders: UnboundedSender<Order>,
}

impl Shared {
    pub(crate) fn say(&self, event: Event) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events(event);
    }

    pub(crate) fn listening(&self) -> MutexGuard<'_, Listening> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn conns(&self) -> MutexGuard<'_, BTreeMap<u64, Conn>> {
        self.conns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection; `None` if its number is in use.
    pub(crate) fn open(&self, conn: u64, remote: IpAddr, device: Option<Device>) -> Option<UnboundedReceiver<Order>> {
        match self.conns().entry(conn) {
            Entry::Occupied(_) => None,
            Entry::Vacant(vacant) => {
                let (orders, receiver) = mpsc::unbounded_channel();
                vacant.insert(Conn { remote, device, orders });
                Some(receiver)
            }
        }
    }

    pub(crate) fn forget(&self, conn: u64) {
        self.conns().remove(&conn);
    }

    pub(crate) fn next_accepted(&self) -> u64 {
        self.accepted.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn order(&self, conn: u64, order: Order) {
        if let Some(conn) = self.conns().get(&conn) {
            // A task that has just ended takes no orders: its Closed event is under way.
            let _ = conn.orders.send(order);
        }
    }

    /// Tells connections of their new keys; `old` is what was before.
    fn rekeyed(&self, old: &BTreeMap<Prefix, Auth>) {
        let conns = self.conns();
        let listening = self.listening();
        for conn in conns.values() {
            let before = listen::most_specific(old, &conn.remote).map(|(_, key)| key);
            let key = listening.key(&conn.remote);
            if before != key {
                let _ = conn.orders.send(Order::Rekey { before: before.cloned(), now: key.cloned() });
            }
        }
    }

    /// Tells connections how their packets travel.
    fn travel(&self) {
        let conns = self.conns();
        let listening = self.listening();
        for conn in conns.values() {
            let _ = conn.orders.send(Order::Travel(listening.transport(&conn.remote, conn.device.as_ref())));
        }
    }
}
