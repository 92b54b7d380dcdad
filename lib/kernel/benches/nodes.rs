//! What remote nodes cost: all of them, one more, and a flip of all; beside `ip -batch` and `bridge -batch`.
//!
//! Each run has a fresh network namespace. The ratios are of one run on one machine, whatever else it does.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../tests/netns/mod.rs"]
mod netns;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use kernel::Kernel;
use model::kernel::{Hop, Key, Value, Via, Write};
use model::{MacAddr, Prefix};
use netns::*;

const NODES: u32 = 10_000;
const ROUNDS: usize = 3;
/// Nodes added one at a time for the cost of one.
const MORE: u32 = 1000;

fn main() {
    let (mut batch, mut apply, mut batch_flip) = (Vec::new(), Vec::new(), Vec::new());
    let (mut read, mut flip, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (all, flipped) = inside(by_programs);
        batch.push(all);
        batch_flip.push(flipped);
        let times = inside(by_apply);
        apply.push(times[0]);
        read.push(times[1]);
        flip.push(times[2]);
        back.push(times[3]);
    }
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        few.push(inside(|| one_more(100)));
        many.push(inside(|| one_more(NODES)));
    }
    let [batch, batch_flip, apply, read, flip, back, few, many] =
        [batch, batch_flip, apply, read, flip, back, few, many].map(median);

    println!("{NODES} remote nodes: FDB entry, neighbour, way and route of each; median of {ROUNDS} runs");
    println!("  bridge -batch, ip -batch (gateway in the route)   {}", shown(batch));
    println!("  Kernel::apply (nexthop objects)                   {}   {}", shown(apply), ratio(batch, apply));
    println!("  Kernel::read_back of all                          {}", shown(read));
    println!("one more node, median of {MORE}");
    println!("  beside 100 nodes                                  {}", shown(few));
    println!("  beside {NODES} nodes                               {}   {:.2} times", shown(many), quotient(many, few));
    println!("{NODES} destinations moved to the other plane");
    println!("  ip -batch (gateway in the route)                  {}", shown(batch_flip));
    println!("  Kernel::apply, overlay to native                  {}   {}", shown(flip), ratio(batch_flip, flip));
    println!("  Kernel::apply, native to overlay                  {}", shown(back));
}

/// A remote node: by number, never twice.
struct Node(u32);

impl Node {
    fn mac(&self) -> MacAddr {
        let [_, a, b, c] = self.0.to_be_bytes();
        MacAddr([0x02, 0x42, 0, a, b, c])
    }

    fn underlay(&self) -> IpAddr {
        Ipv4Addr::from(0x0a00_0100 + self.0).into()
    }

    fn pods(&self) -> Prefix {
        Prefix::new(Ipv4Addr::from(0x0a80_0000 + (self.0 << 8)).into(), 24).unwrap()
    }

    fn overlay(&self) -> Hop {
        Hop { gateway: Some(self.mac().link_local().into()), device: overlay() }
    }

    fn native(&self) -> Hop {
        Hop { gateway: Some(self.underlay()), device: device("eth0") }
    }

    fn route(&self, hop: Hop) -> (Key, Value) {
        (Key::Route(self.pods()), Value::Route { via: Via::hops(vec![hop]).unwrap(), src: None })
    }

    fn objects(&self) -> [(Key, Value); 4] {
        [
            (Key::Fdb(overlay(), self.mac()), Value::Fdb(self.underlay())),
            (Key::Neighbour(overlay(), self.mac().link_local().into()), Value::Neighbour(self.mac())),
            nexthop(self.overlay()),
            self.route(self.overlay()),
        ]
    }
}

fn nodes() -> impl Iterator<Item = Node> {
    (0..NODES).map(Node)
}

/// In the order of making, as the daemon writes them.
fn all(nodes: impl Iterator<Item = Node>) -> Vec<Write> {
    let mut objects: Vec<_> = nodes.flat_map(|node| node.objects()).collect();
    objects.sort_by(|(one, _), (other, _)| one.cmp(other));
    create(objects)
}

fn ground() -> Kernel {
    run("ip link add eth0 type veth peer name peer");
    run("ip link set peer up");
    run("ip link set eth0 up");
    run("ip addr add 10.0.0.1/9 dev eth0");
    let mut kernel = open();
    done(&mut kernel, create([link(vxlan(1))]));
    kernel
}

fn by_programs() -> (Duration, Duration) {
    drop(ground());
    let (mut fdb, mut ip, mut native) = (String::new(), String::new(), String::new());
    for node in nodes() {
        let (mac, to, gateway, pods) = (node.mac(), node.underlay(), node.mac().link_local(), node.pods());
        writeln!(fdb, "fdb add {mac} dev biplane.vxlan dst {to} extern_learn").unwrap();
        writeln!(ip, "neigh add {gateway} lladdr {mac} dev biplane.vxlan nud permanent protocol 178").unwrap();
        writeln!(native, "route replace {pods} via {to} dev eth0 proto 178 metric 1178").unwrap();
    }
    for node in nodes() {
        let (gateway, pods) = (node.mac().link_local(), node.pods());
        writeln!(ip, "route add {pods} via inet6 {gateway} dev biplane.vxlan proto 178 metric 1178").unwrap();
    }
    let [fdb, ip, native] = [("fdb", fdb), ("ip", ip), ("native", native)].map(|(name, text)| script(name, &text));
    let start = Instant::now();
    run(&format!("bridge -batch {}", fdb.display()));
    run(&format!("ip -batch {}", ip.display()));
    let made = start.elapsed();
    let start = Instant::now();
    run(&format!("ip -batch {}", native.display()));
    let flipped = start.elapsed();
    assert_eq!(run("ip route show proto 178 dev eth0").lines().count(), NODES as usize);
    for path in [fdb, ip, native] {
        std::fs::remove_file(path).unwrap();
    }
    (made, flipped)
}

fn by_apply() -> [Duration; 4] {
    let mut kernel = ground();
    let writes = all(nodes());
    let count = writes.len();
    let (made, ()) = timed(|| done(&mut kernel, writes));
    let (read, back) = timed(|| read(&mut kernel));
    assert_eq!(back.ours.len(), count + 1, "all of it and the link");

    // Make before break: the native objects stand before anything flips.
    done(&mut kernel, create(nodes().map(|node| nexthop(node.native()))));
    let to = |hop: fn(&Node) -> Hop| -> Vec<Write> {
        nodes()
            .map(|node| {
                let (key, value) = node.route(hop(&node));
                Write::Replace(key, value)
            })
            .collect()
    };
    let (native, overlay) = (to(Node::native), to(Node::overlay));
    let (flipped, ()) = timed(|| done(&mut kernel, native));
    assert_eq!(run("ip route show table main").matches("dev eth0 proto 178").count(), NODES as usize);
    let (returned, ()) = timed(|| done(&mut kernel, overlay));
    [made, read, flipped, returned]
}

fn one_more(beside: u32) -> Duration {
    let mut kernel = ground();
    done(&mut kernel, all((0..beside).map(Node)));
    let times = (0..MORE).map(|n| {
        let writes = create(Node(20_000 + n).objects());
        timed(|| done(&mut kernel, writes)).0
    });
    median(times.collect())
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

/// Runs `work` in a fresh network namespace.
fn inside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, result) = channel();
    fresh(move || sender.send(work()).unwrap());
    result.recv().unwrap()
}

fn script(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("biplane-bench-{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn shown(time: Duration) -> String {
    match time.as_micros() {
        0..10_000 => format!("{:>9.1} µs", time.as_secs_f64() * 1e6),
        _ => format!("{:>9.4} s ", time.as_secs_f64()),
    }
}

fn quotient(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn ratio(one: Duration, other: Duration) -> String {
    format!("{:.1} times faster", quotient(one, other))
}
