//! How packets travel: the TTL that is sent, the least TTL that is taken (RFC 5082), how many may knock at once.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unsafe_code)]

mod ground;

use std::net::{IpAddr, SocketAddr, TcpStream as Blocking};
use std::time::Duration;

use ground::{Side, address, in_namespace, number, until};
use model::{Prefix, Transport};
use peering::{Command, Event, Remote};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

const FAMILIES: [(&str, &str, &str); 2] =
    [("127.0.0.2", "127.0.0.3", "127.0.0.1:179"), ("fd00::2", "fd00::3", "[fd00::1]:179")];

fn addresses() {
    ground::run("for n in 1 2 3 ; do ip addr add fd00::$n/128 dev lo nodad ; done");
}

fn transport(ttl: Option<u8>, least_ttl: Option<u8>) -> Transport {
    Transport { device: None, ttl, least_ttl }
}

fn remote(prefix: &str, least_ttl: u8) -> Remote {
    let prefix = prefix.parse().unwrap_or_else(|_| Prefix::host(prefix.parse().unwrap()));
    Remote { prefix, transport: transport(Some(255), Some(least_ttl)) }
}

fn set_ttl(socket: &SockRef<'_>, remote: &SocketAddr, ttl: u32) {
    if remote.is_ipv4() { socket.set_ttl_v4(ttl).unwrap() } else { socket.set_unicast_hops_v6(ttl).unwrap() }
}

/// A SYN from `from` with this TTL is under way; nobody waits for the answer.
fn knock(from: &str, to: &str, ttl: u32) -> Socket {
    let (from, to): (IpAddr, SocketAddr) = (from.parse().unwrap(), address(to));
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP)).unwrap();
    set_ttl(&SockRef::from(&socket), &to, ttl);
    socket.bind(&SockAddr::from(SocketAddr::new(from, 0))).unwrap();
    let error = socket.connect(&to.into()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS), "{error}");
    socket
}

/// Has the kernel, as the server, anything of the connection that this socket asks for?
fn has_state(socket: &Socket) -> bool {
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let (ours, theirs) = (format!(":{:04X}", 179), format!(":{port:04X}"));
    let tables = ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap());
    let mut lines = tables.iter().flat_map(|table| table.lines().skip(1));
    lines.any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns[1].ends_with(&ours) && columns[2].ends_with(&theirs)
    })
}

fn segments_in() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let at = lines.next().unwrap().split(' ').position(|name| name == "InSegs").unwrap();
    lines.next().unwrap().split(' ').nth(at).unwrap().parse().unwrap()
}

/// Checklist: 86
#[test]
fn what_comes_from_too_far_makes_no_state_and_gets_no_answer() {
    in_namespace(async || {
        addresses();
        for (guarded, other, to) in FAMILIES {
            // Said before the port is listened on, and said while it is.
            for before in [true, false] {
                let mut server = Side::new();
                let say = |server: &mut Side, least| {
                    server.peering.handle(Command::Travel(vec![remote(guarded, least)]));
                };
                if before {
                    say(&mut server, 255);
                }
                server.peering.handle(Command::Listen(179));
                assert_eq!(server.next().await, Event::Listening);
                if !before {
                    say(&mut server, 255);
                }
                for ttl in [254, 64, 1] {
                    let seen = segments_in();
                    let socket = knock(guarded, to, ttl);
                    until("the SYN has arrived", async || segments_in() > seen).await;
                    assert!(!has_state(&socket), "TTL {ttl} from {guarded}");
                    server.quiet().await;
                    assert!(socket.peer_addr().is_err(), "it was answered");
                }
                // With the TTL of a neighbour it may come, and whoever is not guarded may come from anywhere.
                let near = knock(guarded, to, 255);
                assert_eq!(server.accepted().await.1.ip().to_string(), guarded);
                let far = knock(other, to, 3);
                assert_eq!(server.accepted().await.1.ip().to_string(), other);
                drop((near, far));
                // Two hops: 254 is enough.
                say(&mut server, 254);
                let near = knock(guarded, to, 254);
                while !matches!(server.next().await, Event::Accepted { .. }) {}
                assert!(has_state(&near));
            }
        }
    });
}

/// Checklist: 86
#[test]
fn the_most_specific_range_counts() {
    in_namespace(async || {
        addresses();
        let mut server = Side::listening().await;
        let open = |prefix: &str| Remote { prefix: prefix.parse().unwrap(), transport: Transport::default() };
        server.peering.handle(Command::Travel(vec![
            remote("127.0.0.0/13", 255),
            open("127.1.0.0/16"),
            remote("127.1.9.0/27", 250),
            remote("fd00::/15", 255),
            open("fd00::2/128"),
            remote("fd00::/65", 200),
        ]));
        let cases = [
            ("127.0.0.2", "127.0.0.1:179", 254, false),
            ("127.0.0.2", "127.0.0.1:179", 255, true),
            ("127.1.0.2", "127.0.0.1:179", 1, true),
            ("127.1.9.31", "127.0.0.1:179", 249, false),
            ("127.1.9.31", "127.0.0.1:179", 250, true),
            ("127.1.9.32", "127.0.0.1:179", 1, true),
            ("127.8.0.1", "127.0.0.1:179", 1, true),
            ("fd00::2", "[fd00::1]:179", 1, true),
            ("fd00::3", "[fd00::1]:179", 199, false),
            ("fd00::3", "[fd00::1]:179", 200, true),
        ];
        for (from, to, ttl, comes) in cases {
            let seen = segments_in();
            let socket = knock(from, to, ttl);
            until("the SYN has arrived", async || segments_in() > seen).await;
            match comes {
                true => assert_eq!(server.accepted().await.1.ip().to_string(), from, "TTL {ttl}"),
                false => server.quiet().await,
            }
            drop(socket);
            while server.try_next().await.is_some() {}
        }
    });
}

/// Checklist: 86
#[test]
fn a_connection_that_is_up_is_guarded_and_may_be_guarded_later() {
    in_namespace(async || {
        addresses();
        for (at, (from, _, to)) in FAMILIES.into_iter().enumerate() {
            let (mut server, mut client) = (Side::listening().await, Side::new());
            let here = to.parse::<SocketAddr>().unwrap().ip().to_string();
            let conn = at as u64 + 1;
            // The dialled side is guarded from its SYN on: the answer to that has TTL 255 already.
            client.peering.handle(Command::Dial {
                conn,
                remote: address(to),
                local: Some(from.parse().unwrap()),
                transport: transport(Some(255), Some(255)),
            });
            while !matches!(client.next().await, Event::Dialed { .. }) {}
            let (accepted, _) = server.accepted().await;
            client.send(conn, b"ping");
            assert_eq!(server.take(accepted, 4).await, b"ping");
            // The other one is not yet: what it sends has the kernel's own TTL, and is dropped.
            let dropped = number("TcpExt", "TCPMinTTLDrop");
            server.send(accepted, b"pong");
            until("it is dropped", async || number("TcpExt", "TCPMinTTLDrop") > dropped).await;
            client.drain().await;
            // Now it is: the connection goes on with what was lost meanwhile.
            server.peering.handle(Command::Travel(vec![remote(from, 255)]));
            assert_eq!(client.take(conn, 4).await, b"pong");
            // The dialled side sends with less: dropped until it does not.
            let dropped = number("TcpExt", "TCPMinTTLDrop");
            let said = |ttl| Remote { prefix: Prefix::host(here.parse().unwrap()), transport: transport(ttl, None) };
            client.peering.handle(Command::Travel(vec![said(Some(254))]));
            client.send(conn, b"more");
            until("it is dropped", async || number("TcpExt", "TCPMinTTLDrop") > dropped).await;
            server.drain().await;
            client.peering.handle(Command::Travel(vec![said(Some(255))]));
            assert_eq!(server.take(accepted, 4).await, b"more");
            client.close(conn, true);
            assert_eq!(client.closed(conn).await, None);
            assert_eq!(server.closed(accepted).await, None);
        }
    });
}

#[test]
fn two_thousand_may_knock_while_nobody_opens() {
    in_namespace(async || {
        ground::many_descriptors();
        let room: usize = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
        assert!(room >= 2000, "net.core.somaxconn is {room}: this test needs 2000");
        let mut server = Side::listening().await;
        // This thread is the server's too: nothing is accepted meanwhile.
        let to = address("127.0.0.1:179");
        let knocking: Vec<Blocking> = (0..2000)
            .map(|n| Blocking::connect_timeout(&to, Duration::from_secs(5)).unwrap_or_else(|e| panic!("{n}: {e}")))
            .collect();
        for _ in &knocking {
            server.accepted().await;
        }
    });
}
