//! A fresh network namespace for each test, on a thread of its own.
#![allow(dead_code, unreachable_pub)]

use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use kernel::{Event, Interest, Kernel, Options, ReadBack, Worker};
use model::kernel::{Device, Hop, Key, Refusal, Value, Via, VxlanLink, Write};
use model::{MacAddr, Prefix, Vni};

/// Runs `test` in a fresh network namespace. It ends with the thread, and everything in it.
pub fn fresh(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        leave_namespace();
        run("ip link set lo up");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Moves the calling thread into a new network namespace.
#[allow(unsafe_code)]
pub fn leave_namespace() {
    // SAFETY: a network namespace, unlike a file table, shares no memory between threads.
    let left = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) };
    left.expect("a network namespace: these tests need root");
}

/// Runs a command in the namespace of the calling thread; it must succeed. Returns its output.
pub fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "`{line}`: {}{text}", String::from_utf8_lossy(&output.stderr));
    text
}

/// An underlay: `eth0` with 10.0.0.1/24 and fd00::1/64, its other end is `peer`.
pub fn underlay() {
    run("ip link add eth0 type veth peer name peer");
    run("ip link set peer up");
    run("ip link set eth0 up");
    run("ip addr add 10.0.0.1/24 dev eth0");
    run("ip addr add fd00::1/64 dev eth0 nodad");
}

pub fn device(name: &str) -> Device {
    Device::new(name).unwrap()
}

pub fn overlay() -> Device {
    device("biplane.vxlan")
}

pub fn open() -> Kernel {
    Kernel::open(&Options { overlay: overlay() }).unwrap()
}

pub fn mac(n: u8) -> MacAddr {
    MacAddr([0x02, 0, 0, 0, 0, n])
}

pub fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub fn hop(gateway: &str, name: &str) -> Hop {
    Hop { gateway: Some(gateway.parse().unwrap()), device: device(name) }
}

pub fn vxlan(n: u8) -> VxlanLink {
    VxlanLink {
        vni: Vni::new(178).unwrap(),
        port: 4789,
        local: "10.0.0.1".parse().unwrap(),
        underlay: device("eth0"),
        mac: mac(n),
        mtu: 1450,
        tx_checksum: true,
    }
}

pub fn link(link: VxlanLink) -> (Key, Value) {
    (Key::Link(overlay()), Value::Link(link.into()))
}

/// FDB entry, neighbour and nexthop object of a remote node on the overlay.
pub fn remote(n: u8) -> Vec<(Key, Value)> {
    let gateway = mac(n).link_local().into();
    vec![
        (Key::Fdb(overlay(), mac(n)), Value::Fdb(format!("10.0.0.{n}").parse().unwrap())),
        (Key::Neighbour(overlay(), gateway), Value::Neighbour(mac(n))),
        (Key::Nexthop(over(n)), Value::There),
    ]
}

/// Hop to a remote node over the overlay.
pub fn over(n: u8) -> Hop {
    Hop { gateway: Some(mac(n).link_local().into()), device: overlay() }
}

/// Route over one hop or several.
pub fn route(to: &str, hops: &[Hop]) -> (Key, Value) {
    (Key::Route(prefix(to)), Value::Route { via: Via::hops(hops.to_vec()).unwrap(), src: None })
}

/// Route over one hop.
pub fn route_via(to: &str, hop: &Hop) -> (Key, Value) {
    route(to, std::slice::from_ref(hop))
}

pub fn unreachable(to: &str) -> (Key, Value) {
    (Key::Route(prefix(to)), Value::Route { via: Via::Unreachable, src: None })
}

pub fn nexthop(hop: Hop) -> (Key, Value) {
    (Key::Nexthop(hop), Value::There)
}

pub fn interest() -> Interest {
    Interest { pools: vec![prefix("10.244.0.0/16"), prefix("fd44::/48")], sysctls: vec![] }
}

pub fn create(objects: impl IntoIterator<Item = (Key, Value)>) -> Vec<Write> {
    objects.into_iter().map(|(key, value)| Write::Create(key, value)).collect()
}

pub fn replace((key, value): (Key, Value)) -> Vec<Write> {
    vec![Write::Replace(key, value)]
}

pub fn delete(key: Key) -> Vec<Write> {
    vec![Write::Delete(key)]
}

/// All writes must be done.
pub fn done(kernel: &mut Kernel, writes: Vec<Write>) {
    for (write, result) in kernel.apply(writes) {
        if let Err(refusal) = result {
            panic!("{write:?}: {refusal}");
        }
    }
}

/// The one write must be refused.
pub fn refused(kernel: &mut Kernel, writes: Vec<Write>) -> Refusal {
    assert_eq!(writes.len(), 1);
    kernel.apply(writes).remove(0).1.expect_err("refused")
}

pub fn read(kernel: &mut Kernel) -> ReadBack {
    kernel.read_back(&interest()).unwrap()
}

/// What a daemon that just started finds of ours under a key.
pub fn found(key: &Key) -> Option<Value> {
    let back = read(&mut open());
    back.ours.into_iter().find(|(other, _)| other == key).map(|(_, value)| value)
}

pub fn assert_found(objects: impl IntoIterator<Item = (Key, Value)>) {
    let back = read(&mut open());
    for (key, value) in objects {
        let found = back.ours.iter().find(|(other, _)| *other == key).map(|(_, value)| value);
        assert_eq!(found, Some(&value), "{key}");
    }
}

pub fn foreign(kernel: &mut Kernel, key: &Key) -> Option<String> {
    read(kernel).foreign.into_iter().find(|foreign| foreign.key == *key).map(|foreign| foreign.what)
}

/// A worker and what it says.
pub struct Ear {
    pub worker: Worker,
    events: Receiver<Event>,
}

pub fn worker() -> Ear {
    let (sender, events) = channel();
    let send = move |event| drop(sender.send(event));
    let ear = Ear { worker: Worker::spawn(Options { overlay: overlay() }, send).unwrap(), events };
    ear.worker.send(kernel::Command::ReadBack(interest()));
    ear.wait("first read-back", |event| matches!(event, Event::ReadBack { .. }).then_some(()));
    ear
}

impl Ear {
    /// Waits for an event, at most 5 s.
    pub fn wait<T>(&self, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(5);
        let mut seen = Vec::new();
        loop {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    seen.push(format!("{event:?}"));
                    if let Some(found) = pick(event) {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no {what}; heard {seen:#?}");
                }
            }
        }
    }

    /// Waits until a key is told to have a value.
    pub fn wait_changed(&self, key: &Key, value: Option<&Value>) {
        self.wait(&format!("{key} = {value:?}"), |event| match event {
            Event::Changed(other, told) if other == *key && told.as_ref() == value => Some(()),
            _ => None,
        });
    }

    /// Waits for a call for a read-back; returns why.
    pub fn wait_read_back(&self) -> String {
        self.wait("call for a read-back", |event| match event {
            Event::ReadBackNeeded(why) => Some(why),
            _ => None,
        })
    }

    /// Writes; returns everything told up to the answer, and the refusals.
    pub fn write(&self, writes: Vec<Write>) -> Vec<(Write, Refusal)> {
        self.worker.send(kernel::Command::Write(writes));
        self.wait("answer to a write", |event| match event {
            Event::Wrote(results) => {
                Some(results.into_iter().filter_map(|(write, result)| Some((write, result.err()?))).collect())
            }
            _ => None,
        })
    }

    /// What has been told by now.
    pub fn next(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// What is told until nothing comes for `quiet`.
    pub fn until_quiet(&self, quiet: Duration) -> Vec<Event> {
        let mut seen = Vec::new();
        while let Ok(event) = self.events.recv_timeout(quiet) {
            seen.push(event);
        }
        seen
    }
}
