#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unsafe_code)]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kernel::nft::{self, NftWatch, Table, Touched};
use model::Prefix;
use model::kernel::{Masquerade, Value};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[test]
fn what_is_written_is_read_back_equal_and_shown_by_nft() {
    in_namespace(|| {
        assert_eq!(nft::read_masquerade().unwrap(), None);
        let wanted = usual();
        nft::create_masquerade(&wanted).unwrap();
        assert_eq!(found(), value(&wanted));
        let shown = run("nft list ruleset");
        for line in [
            "table inet biplane {",
            "comment \"written by biplaned\"",
            "type nat hook postrouting priority srcnat; policy accept;",
            "ip daddr 10.244.0.0/16 return",
            "ip6 daddr fd00:10:244::/48 return",
            "ip saddr 10.244.1.0/24 masquerade fully-random",
            "ip6 saddr fd00:10:244:1::/64 masquerade fully-random",
        ] {
            assert!(shown.contains(line), "no `{line}` in:\n{shown}");
        }
        assert!(!shown.contains("iif") && !shown.contains("oif"), "{shown}");

        // A second one is not made, ours though it is; it is rewritten in place.
        assert_eq!(nft::create_masquerade(&wanted).unwrap_err().errno, libc::EEXIST);
        let other = masquerade(&["10.9.1.0/24"], &["10.9.0.0/16"]);
        nft::replace_masquerade(&other).unwrap();
        assert_eq!(found(), value(&other));
        nft::write_masquerade(&wanted).unwrap();
        assert_eq!(found(), value(&wanted));

        nft::delete_masquerade().unwrap();
        assert_eq!(nft::read_table().unwrap(), Table::Absent);
        nft::delete_masquerade().unwrap();
        assert_eq!(nft::replace_masquerade(&wanted).unwrap_err().errno, libc::ENOENT);
        assert_eq!(run("nft list ruleset"), "");
    });
}

#[test]
fn every_prefix_length_comes_back() {
    in_namespace(|| {
        let prefix = |address: &str, length| Prefix::new(address.parse().unwrap(), length).unwrap();
        let v4 = (0..=32).map(|length| prefix("203.253.255.173", length));
        let v6 = (0..=128).map(|length| prefix("fdff:eedd:ccbb:aa99:8877:6655:4433:2211", length));
        let all: Vec<Prefix> = v4.chain(v6).collect();
        let wanted = Masquerade { sources: all.clone(), exclude: all };
        nft::write_masquerade(&wanted).unwrap();
        assert_eq!(found(), value(&wanted));
        let nothing = masquerade(&[], &[]);
        nft::write_masquerade(&nothing).unwrap();
        assert_eq!(found(), value(&nothing));
    });
}

#[test]
fn thousands_of_exclusions_fit_one_transaction() {
    in_namespace(|| {
        let exclude =
            (0..5000_u32).map(|i| Prefix::new(IpAddr::from((0x0b00_0000 + i * 256).to_be_bytes()), 24).unwrap());
        let wanted = Masquerade { sources: usual().sources, exclude: exclude.collect() };
        let began = Instant::now();
        nft::write_masquerade(&wanted).unwrap();
        let wrote = began.elapsed();
        assert_eq!(found(), value(&wanted));
        println!("5000 exclusions: written in {wrote:?}, read in {:?}", began.elapsed() - wrote);
    });
}

#[test]
fn an_altered_table_of_ours_is_known_and_repaired() {
    in_namespace(|| {
        let wanted = usual();
        for alteration in [
            "nft flush chain inet biplane postrouting ; nft add rule inet biplane postrouting ip daddr 1.2.3.4 accept",
            "nft insert rule inet biplane postrouting accept",
            "nft add rule inet biplane postrouting ip saddr 10.0.0.0/8 masquerade",
            "nft add rule inet biplane postrouting ip daddr 10.0.0.0/8 return",
            "nft add rule inet biplane postrouting oifname eth0 masquerade fully-random",
            "nft add chain inet biplane mine",
            "nft add set inet biplane mine '{ type ipv4_addr; }'",
            "nft add table inet biplane '{ flags dormant; }'",
            "nft delete chain inet biplane postrouting",
            "nft delete chain inet biplane postrouting ; nft add chain inet biplane postrouting \
             '{ type nat hook postrouting priority 50; }'",
        ] {
            nft::write_masquerade(&wanted).unwrap();
            run(alteration);
            match nft::read_table().unwrap() {
                Table::Ours(Value::OtherMasquerade(what)) => assert!(!what.is_empty()),
                table => panic!("after `{alteration}`: {table:?}"),
            }
            nft::replace_masquerade(&wanted).unwrap();
            assert_eq!(found(), value(&wanted), "after `{alteration}`");
        }
        // A rule more of just our shape (nft itself compares whole octets, so not a /24) is another wish than ours, and seen as that.
        run("nft add rule inet biplane postrouting ip saddr 10.244.9.0/25 masquerade fully-random");
        let mut more = wanted.clone();
        more.sources.push("10.244.9.0/25".parse().unwrap());
        assert_eq!(found(), value(&more));
    });
}

#[test]
fn a_foreign_table_is_reported_and_left_alone() {
    in_namespace(|| {
        run("nft add table inet biplane ; nft add chain inet biplane mine ; nft add rule inet biplane mine accept");
        let before = run("nft list ruleset");
        assert!(matches!(nft::read_table().unwrap(), Table::Foreign(_)));
        assert!(
            matches!(nft::read_masquerade().unwrap(), Some(Value::OtherMasquerade(what)) if what.contains("not ours"))
        );
        for result in [
            nft::create_masquerade(&usual()),
            nft::replace_masquerade(&usual()),
            nft::write_masquerade(&usual()),
            nft::delete_masquerade(),
        ] {
            let refusal = result.unwrap_err();
            assert!(refusal.message.contains("nft delete table inet biplane"), "{refusal}");
        }
        assert_eq!(run("nft list ruleset"), before);

        // A table of our name in another family, or of another name, is nobody's business.
        run("nft delete table inet biplane ; nft add table ip biplane ; nft add table inet biplane2");
        assert_eq!(nft::read_table().unwrap(), Table::Absent);
        nft::write_masquerade(&usual()).unwrap();
        nft::delete_masquerade().unwrap();
        let left = run("nft list ruleset");
        assert!(left.contains("table ip biplane {") && left.contains("table inet biplane2 {"), "{left}");
    });
}

#[test]
fn writes_go_through_while_others_change_the_ruleset() {
    in_namespace(|| {
        let (stop, stopped) = mpsc::channel::<()>();
        let namespace = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        let other = thread::spawn(move || {
            rustix::thread::move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&namespace),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )
            .unwrap();
            let mut changes = 0;
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                run("nft add table inet noise ; nft delete table inet noise");
                changes += 1;
            }
            changes
        });
        let (one, two) = (usual(), masquerade(&["10.9.1.0/24"], &[]));
        for wanted in [&one, &two].into_iter().cycle().take(100) {
            nft::write_masquerade(wanted).unwrap();
            assert_eq!(found(), value(wanted));
        }
        drop(stop);
        assert!(other.join().unwrap() > 0);
    });
}

#[test]
fn the_watch_tells_changes_of_our_table_from_others() {
    in_namespace(|| {
        let mut watch = NftWatch::open().unwrap();
        assert_eq!(watch.read(None).unwrap(), Touched::default());
        let mut touched = |command: &str| {
            run(command);
            let mut descriptors = [PollFd::new(&watch, PollFlags::IN)];
            let second = Timespec { tv_sec: 5, tv_nsec: 0 };
            assert_eq!(poll(&mut descriptors, Some(&second)).unwrap(), 1, "no notice of `{command}`");
            let Touched { masquerade, vteps } = watch.read(None).unwrap();
            assert!(!vteps);
            masquerade
        };
        assert!(!touched("nft add table inet other"));
        assert!(!touched("nft add table ip biplane"));
        assert!(touched("nft add table inet biplane"));
        assert!(touched("nft add chain inet biplane mine"));
        assert!(touched("nft add rule inet biplane mine accept"));
        assert!(!touched("nft add chain inet other mine"));
        assert!(touched("nft add set inet biplane named '{ type ipv4_addr; }'"));
        assert!(touched("nft add element inet biplane named '{ 1.2.3.4 }'"));
        assert!(touched("nft flush ruleset"));
        assert_eq!(watch.read(None).unwrap(), Touched::default());
        nft::write_masquerade(&usual()).unwrap();
        assert!(watch.read(None).unwrap().masquerade);
    });
}

#[test]
fn no_permission_is_named_with_its_cure() {
    in_namespace(|| {
        // Of this thread alone: capabilities are a thread's own in Linux.
        let none = rustix::thread::CapabilitySets {
            effective: rustix::thread::CapabilitySet::empty(),
            permitted: rustix::thread::CapabilitySet::empty(),
            inheritable: rustix::thread::CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, none).unwrap();
        let refusal = nft::write_masquerade(&usual()).unwrap_err();
        assert_eq!(refusal.errno, libc::EPERM);
        assert!(refusal.message.contains("CAP_NET_ADMIN"), "{refusal}");
    });
}

/// A router with the table, a pod behind it, and two hosts on the other side: one excluded, one not. Each host answers
/// with the source address that it saw.
#[test]
fn packets_keep_or_lose_their_source_as_wished() {
    in_namespace(|| {
        let [pod, host] = [namespace(), namespace()];
        run(&format!(
            "ip link add pod type veth peer name eth0 netns {pod} ; ip link add wan type veth peer name eth0 netns {host} ;
             ip addr add 10.244.1.1/24 dev pod ; ip addr add fd00:10:244:1::1/64 dev pod nodad ;
             ip addr add 192.0.2.1/24 dev wan ; ip addr add 2001:db8::1/64 dev wan nodad ;
             ip link set lo up ; ip link set pod up ; ip link set wan up",
            pod = pod.pid,
            host = host.pid
        ));
        kernel::sysctl::write("net/ipv4/ip_forward", "1").unwrap();
        kernel::sysctl::write("net/ipv6/conf/all/forwarding", "1").unwrap();
        pod.run(
            "ip link set lo up ; ip addr add 10.244.1.2/24 dev eth0 ; ip addr add 10.99.0.2/32 dev eth0 ;
             ip addr add fd00:10:244:1::2/64 dev eth0 nodad ; ip addr add fd00:99::2/128 dev eth0 nodad ; ip link set eth0 up ;
             ip route add default via 10.244.1.1 ; ip -6 route add default via fd00:10:244:1::1",
        );
        // The other addresses of the pod's namespace stand for sources that are no pods.
        run("ip route add 10.99.0.2/32 via 10.244.1.2 ; ip -6 route add fd00:99::2/128 via fd00:10:244:1::2");
        host.run(
            "ip link set lo up ; ip addr add 192.0.2.9/24 dev eth0 ; ip addr add 10.244.2.9/32 dev eth0 ;
             ip addr add 2001:db8::9/64 dev eth0 nodad ; ip addr add fd00:10:244:2::9/128 dev eth0 nodad ; ip link set eth0 up ;
             ip route add default via 192.0.2.1 ; ip -6 route add default via 2001:db8::1",
        );
        run("ip route add 10.244.2.0/24 via 192.0.2.9 ; ip -6 route add fd00:10:244:2::/64 via 2001:db8::9");
        for address in ["192.0.2.9", "10.244.2.9", "2001:db8::9", "fd00:10:244:2::9"] {
            let socket = host.socket(address);
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(from.ip().to_string().as_bytes(), from);
                }
            });
        }
        let cases = [
            // From, to, and the source that the other side sees without and with the table.
            ("10.244.1.2", "192.0.2.9", "192.0.2.1"),
            ("10.244.1.2", "10.244.2.9", "10.244.1.2"),
            ("10.99.0.2", "192.0.2.9", "10.99.0.2"),
            ("fd00:10:244:1::2", "2001:db8::9", "2001:db8::1"),
            ("fd00:10:244:1::2", "fd00:10:244:2::9", "fd00:10:244:1::2"),
            ("fd00:99::2", "2001:db8::9", "fd00:99::2"),
        ];
        for (from, to, _) in cases {
            assert_eq!(pod.seen(from, to), from, "{from} to {to} without the table");
        }
        nft::write_masquerade(&usual()).unwrap();
        for (from, to, seen) in cases {
            assert_eq!(pod.seen(from, to), seen, "{from} to {to} with the table");
        }
        // The router's own packets from its address among the pods are a pod's; those from elsewhere are not.
        assert_eq!(seen(&UdpSocket::bind("10.244.1.1:0").unwrap(), "192.0.2.9"), "192.0.2.1");
        run("ip addr add 198.51.100.1/32 dev lo");
        assert_eq!(seen(&UdpSocket::bind("198.51.100.1:0").unwrap(), "192.0.2.9"), "198.51.100.1");

        // A flow that is up stays as it is while the table is rewritten, again and again.
        let flow = pod.socket("10.244.1.2");
        assert_eq!(seen(&flow, "192.0.2.9"), "192.0.2.1");
        for _ in 0..20 {
            nft::replace_masquerade(&usual()).unwrap();
            assert_eq!(seen(&flow, "192.0.2.9"), "192.0.2.1");
        }
        nft::delete_masquerade().unwrap();
        assert_eq!(pod.seen("10.244.1.2", "192.0.2.9"), "10.244.1.2");
    });
}

fn usual() -> Masquerade {
    masquerade(
        &["10.244.1.0/24", "fd00:10:244:1::/64"],
        &["10.244.0.0/16", "224.0.0.0/4", "fd00:10:244::/48", "ff00::/8"],
    )
}

fn masquerade(sources: &[&str], exclude: &[&str]) -> Masquerade {
    let prefixes = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Masquerade { sources: prefixes(sources), exclude: prefixes(exclude) }
}

fn value(masquerade: &Masquerade) -> Table {
    Table::Ours(Value::Masquerade(Arc::new(masquerade.clone())))
}

fn found() -> Table {
    nft::read_table().unwrap()
}

/// Runs `body` on a thread of its own in a fresh network namespace.
fn in_namespace(body: impl FnOnce() + Send + 'static) {
    let run = move || {
        unshare();
        body();
    };
    if let Err(panic) = thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

fn unshare() {
    // SAFETY: called on threads that were made for this; nothing else relies on their namespace.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "this test must run as root");
}

/// Runs a line of shell in the namespace of the calling thread.
fn run(line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).output().unwrap();
    assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A namespace beside ours, held by a thread that does in it what it is asked to.
struct Namespace {
    /// Number of the thread, as `ip link … netns` takes it.
    pid: i32,
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

fn namespace() -> Namespace {
    let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        unshare();
        tell.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        for job in queue {
            job();
        }
    });
    Namespace { pid: told.recv().unwrap(), jobs }
}

impl Namespace {
    fn ask<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.jobs.send(Box::new(move || tell.send(job()).unwrap())).unwrap();
        told.recv().expect("the job failed")
    }

    fn run(&self, line: &'static str) {
        self.ask(move || run(line));
    }

    /// A socket of this namespace; for the hosts on the port that is asked.
    fn socket(&self, address: &'static str) -> UdpSocket {
        let port = if address.ends_with('9') { PORT } else { 0 };
        self.ask(move || UdpSocket::bind(SocketAddr::new(address.parse().unwrap(), port)).unwrap())
    }

    /// The source that `to` sees; a new flow each time, as NAT is decided by a flow's first packet.
    fn seen(&self, from: &'static str, to: &str) -> String {
        seen(&self.socket(from), to)
    }
}

const PORT: u16 = 7000;

/// The source that `to` sees of a packet through this socket.
fn seen(socket: &UdpSocket, to: &str) -> String {
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut buffer = [0; 64];
    while Instant::now() < deadline {
        socket.send_to(b"?", SocketAddr::new(to.parse().unwrap(), PORT)).unwrap();
        if let Ok((length, _)) = socket.recv_from(&mut buffer) {
            return String::from_utf8_lossy(&buffer[..length]).into_owned();
        }
    }
    panic!("no answer from {to}");
}
