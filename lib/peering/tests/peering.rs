#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unsafe_code)]

mod ground;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ground::{Side, address, in_namespace};
use model::Transport;
use peering::{Command, Event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[test]
fn accepts_and_dials_in_both_families_and_bytes_keep_their_order() {
    in_namespace(async || {
        let (mut server, mut client) = (Side::listening().await, Side::new());
        for (conn, (from, to)) in [("127.0.0.2", "127.0.0.1:179"), ("::1", "[::1]:179")].into_iter().enumerate() {
            let conn = conn as u64 + 1;
            let (accepted, local) = client.dial(&mut server, conn, Some(from), to).await;
            assert_eq!(local.ip().to_string(), from);
            assert!(accepted >> 63 == 1 && conn >> 63 == 0);
            let sent: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
            for piece in sent.chunks(4096) {
                client.send(conn, piece);
            }
            server.send(accepted, &sent);
            assert_eq!(server.take(accepted, sent.len()).await, sent);
            assert_eq!(client.take(conn, sent.len()).await, sent);
            client.close(conn, true);
            assert_eq!(client.closed(conn).await, None);
            assert_eq!(server.closed(accepted).await, None);
        }
        server.quiet().await;
        client.quiet().await;
    });
}

#[test]
fn a_failed_dial_says_why() {
    in_namespace(async || {
        let mut side = Side::new();
        let cases = [
            ("127.0.0.1:179", None, "nothing listens"),
            ("127.0.0.1:179", Some("203.0.113.1"), "cannot dial from 203.0.113.1"),
            ("[::1]:179", Some("127.0.0.1"), "cannot dial from 127.0.0.1"),
            ("203.0.113.1:179", None, "unreachable"),
        ];
        for (conn, (remote, local, words)) in cases.into_iter().enumerate() {
            let local = local.map(|text: &str| text.parse().unwrap());
            side.peering.handle(Command::Dial {
                conn: conn as u64,
                remote: address(remote),
                local,
                transport: Transport::default(),
            });
            let error = side.dial_failed(conn as u64).await;
            assert!(error.contains(words), "{remote} from {local:?}: {error}");
        }
        side.quiet().await;
    });
}

#[test]
fn a_dial_without_answer_is_given_up_or_cancelled() {
    in_namespace(async || {
        // Packets to it are swallowed.
        ground::run(
            "ip link add hole type bridge ; ip addr add 192.0.2.1/24 dev hole ; ip link set hole up ;
             nft add table ip f ; nft add chain ip f o '{ type filter hook output priority 0; }' ;
             nft add rule ip f o ip daddr 192.0.2.2 drop",
        );
        let mut side = Side::new();
        let dial = |conn| Command::Dial {
            conn,
            remote: address("192.0.2.2:179"),
            local: None,
            transport: Transport::default(),
        };
        side.peering.handle(dial(1));
        side.send(1, b"too early");
        side.close(1, true);
        assert!(side.dial_failed(1).await.contains("given up"));
        // The clock runs only when there is nothing else to do.
        tokio::time::pause();
        side.peering.handle(dial(2));
        assert_eq!(side.dial_failed(2).await, "no answer in 10 s");
    });
}

#[test]
fn what_is_sent_before_the_dial_is_up_goes_out_first() {
    in_namespace(async || {
        let listener = TcpListener::bind("127.0.0.1:179").await.unwrap();
        let mut side = Side::new();
        side.peering.handle(Command::Dial {
            conn: 1,
            remote: address("127.0.0.1:179"),
            local: None,
            transport: Transport::default(),
        });
        side.send(1, b"one");
        side.send(1, b"two");
        assert!(matches!(side.next().await, Event::Dialed { conn: 1, .. }));
        let (mut stream, _) = listener.accept().await.unwrap();
        side.close(1, true);
        let mut got = String::new();
        stream.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "onetwo");
    });
}

#[test]
fn a_taken_port_is_named_with_its_holder_and_taken_over_when_free() {
    for held in ["0.0.0.0:179", "[::1]:179"] {
        in_namespace(async move || {
            let holder = std::net::TcpListener::bind(held).unwrap();
            let mut side = Side::new();
            side.peering.handle(Command::Listen(179));
            let Event::ListenFailed(words) = side.next().await else { panic!("{held} was not in the way") };
            assert!(words.starts_with("port 179 is taken by ") && words.contains("bgp.port"), "{words}");
            assert!(words.contains(&format!("pid {}", std::process::id())), "{words}");
            drop(holder);
            let began = Instant::now();
            // Told once, however often it is tried.
            assert_eq!(side.next().await, Event::Listening);
            println!("{held} freed: listening after {:?}", began.elapsed());
            TcpStream::connect("127.0.0.1:179").await.unwrap();
            TcpStream::connect("[::1]:179").await.unwrap();
        });
    }
}

#[test]
fn no_permission_for_the_port_is_named_with_its_cure() {
    in_namespace(async || {
        let none = rustix::thread::CapabilitySets {
            effective: rustix::thread::CapabilitySet::empty(),
            permitted: rustix::thread::CapabilitySet::empty(),
            inheritable: rustix::thread::CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, none).unwrap();
        let mut side = Side::new();
        side.peering.handle(Command::Listen(179));
        let Event::ListenFailed(words) = side.next().await else { panic!("listening without permission") };
        assert!(words.contains("CAP_NET_BIND_SERVICE"), "{words}");
    });
}

#[test]
fn listening_stops_and_starts_again_at_once() {
    in_namespace(async || {
        let mut side = Side::listening().await;
        let stream = TcpStream::connect("127.0.0.1:179").await.unwrap();
        let conn = side.accepted().await.0;
        for _ in 0..20 {
            side.peering.handle(Command::StopListening);
            side.peering.handle(Command::Listen(179));
            assert_eq!(side.next().await, Event::Listening);
        }
        // A second order for the same port is none; another port is another.
        side.peering.handle(Command::Listen(179));
        side.peering.handle(Command::Listen(1790));
        assert_eq!(side.next().await, Event::Listening);
        TcpStream::connect("127.0.0.1:1790").await.unwrap();
        side.accepted().await;
        ground::until("the old port is free", async || TcpStream::connect("127.0.0.1:179").await.is_err()).await;
        // What is up stays up.
        side.send(conn, b"x");
        let mut stream = stream;
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        side.peering.handle(Command::StopListening);
        ground::until("the port is free", async || TcpStream::connect("127.0.0.1:1790").await.is_err()).await;
    });
}

#[test]
fn reading_waits_until_what_was_read_is_taken() {
    in_namespace(async || {
        let mut side = Side::listening().await;
        let stream = TcpStream::connect("127.0.0.1:179").await.unwrap();
        let conn = side.accepted().await.0;
        // As much as goes in until the peer is held back; a megabyte or so of kernel buffers.
        let mut sent = 0_usize;
        let piece: Vec<u8> = (0..4096_u32).map(|i| (i % 251) as u8).collect();
        let mut held = None;
        loop {
            match stream.try_write(&piece[sent % 4096..]) {
                Ok(length) => sent += length,
                Err(_) if held.is_none() => held = Some(side.next().await),
                // Nothing moved for a while.
                Err(_) if tokio::time::timeout(Duration::from_millis(200), stream.writable()).await.is_err() => break,
                Err(_) => {}
            }
            assert!(sent < 64 << 20, "the peer is not held back");
            tokio::task::yield_now().await;
        }
        side.quiet().await;
        let Some(Event::Bytes { bytes, .. }) = held else { panic!("{held:?}") };
        assert!((1..=65536).contains(&bytes.len()));
        // A clone holds the credit as well.
        let clone = bytes.clone();
        let mut got = bytes.to_vec();
        drop(bytes);
        side.quiet().await;
        drop(clone);
        while got.len() < sent {
            let Event::Bytes { bytes, .. } = side.next().await else { panic!() };
            assert!((1..=65536).contains(&bytes.len()));
            got.extend_from_slice(&bytes);
        }
        assert!(got.iter().enumerate().all(|(at, byte)| *byte == piece[at % 4096]));
        assert_eq!(got.len(), sent);
        drop(stream);
        assert_eq!(side.closed(conn).await, None);
    });
}

#[test]
fn a_peer_that_takes_nothing_is_not_drained_and_does_not_hold_up_the_close() {
    in_namespace(async || {
        let mut side = Side::listening().await;
        let mut stream = TcpStream::connect("127.0.0.1:179").await.unwrap();
        let conn = side.accepted().await.0;
        side.send(conn, b"small");
        assert_eq!(side.next().await, Event::Drained(conn));
        let mut got = [0; 5];
        stream.read_exact(&mut got).await.unwrap();

        let much = vec![7; 32 << 20];
        side.send(conn, &much);
        side.quiet().await;
        let mut got = vec![0; much.len()];
        stream.read_exact(&mut got).await.unwrap();
        assert!(got == much);
        assert_eq!(side.next().await, Event::Drained(conn));

        side.send(conn, &much);
        side.quiet().await;
        let began = Instant::now();
        side.close(conn, true);
        assert!(side.closed(conn).await.unwrap().contains("took no bytes for 5 s"));
        assert!(began.elapsed() < Duration::from_secs(7));

        // Without flush at once.
        let _stream = TcpStream::connect("127.0.0.1:179").await.unwrap();
        let conn = side.accepted().await.0;
        side.send(conn, &much);
        side.quiet().await;
        side.close(conn, false);
        assert_eq!(side.closed(conn).await, None);
    });
}

#[test]
fn the_peers_end_is_told_in_words() {
    in_namespace(async || {
        let mut side = Side::listening().await;
        let mut stream = TcpStream::connect("127.0.0.1:179").await.unwrap();
        let conn = side.accepted().await.0;
        // Half-closed: a BGP peer that sends no more is gone (RFC 4271 event 18).
        stream.write_all(b"bye").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(side.take(conn, 3).await, b"bye");
        assert_eq!(side.closed(conn).await, None);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);

        let stream = TcpStream::connect("127.0.0.1:179").await.unwrap();
        let conn = side.accepted().await.0;
        stream.set_zero_linger().unwrap();
        drop(stream);
        assert_eq!(side.closed(conn).await.unwrap(), "connection reset by the peer");

        // The peer says why and goes, while we write to it: what it said still comes, before the end.
        for _ in 0..50 {
            let mut stream = TcpStream::connect("127.0.0.1:179").await.unwrap();
            let conn = side.accepted().await.0;
            side.send(conn, b"never read");
            stream.write_all(b"NOTIFICATION").await.unwrap();
            drop(stream);
            side.send(conn, b"into the void");
            side.send(conn, b"and again");
            assert_eq!(side.take(conn, 12).await, b"NOTIFICATION");
            side.closed(conn).await;
        }
    });
}

#[test]
fn our_last_words_arrive_though_the_peers_were_not_read() {
    in_namespace(async || {
        let mut side = Side::listening().await;
        for _ in 0..50 {
            let mut stream = TcpStream::connect("127.0.0.1:179").await.unwrap();
            let conn = side.accepted().await.0;
            stream.write_all(&[1; 100_000]).await.unwrap();
            // Held, so that the rest stays unread: closing now would reset the connection.
            let held = side.next().await;
            assert!(matches!(held, Event::Bytes { .. }), "{held:?}");
            side.send(conn, b"NOTIFICATION");
            side.close(conn, true);
            assert_eq!(side.closed(conn).await, None);
            stream.write_all(b"still talking").await.unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, b"NOTIFICATION");
        }
    });
}

#[test]
fn a_peer_that_vanished_neither_ends_nor_holds_up_anything() {
    in_namespace(async || {
        let mut side = Side::listening().await;
        let _gone = TcpStream::connect("127.0.0.1:179").await.unwrap();
        let old = side.accepted().await.0;
        ground::run("ip link set lo down");
        side.send(old, b"anybody?");
        assert_eq!(side.next().await, Event::Drained(old));
        // TCP itself gives up only after many minutes: that is for the hold timer.
        side.quiet().await;
        ground::run("ip link set lo up");
        // The peer is back with no memory of the old connection; both stand until the speaker decides.
        let _back = TcpStream::connect("127.0.0.1:179").await.unwrap();
        let new = side.accepted().await.0;
        assert_ne!(old, new);
        ground::run("ip link set lo down");
        let began = Instant::now();
        side.close(old, true);
        side.close(new, false);
        assert_eq!((side.closed(old).await, side.closed(new).await), (None, None));
        assert!(began.elapsed() < Duration::from_secs(6));
    });
}

#[test]
fn five_hundred_peers_connect_at_once() {
    in_namespace(async || {
        ground::many_descriptors();
        let (mut server, mut client) = (Side::listening().await, Side::new());
        let began = Instant::now();
        for conn in 1..=500_u64 {
            let local: IpAddr = format!("127.1.{}.{}", conn / 250, conn % 250 + 1).parse().unwrap();
            client.peering.handle(Command::Dial {
                conn,
                remote: address("127.0.0.1:179"),
                local: Some(local),
                transport: Transport::default(),
            });
        }
        let mut accepted = std::collections::BTreeMap::new();
        for _ in 0..500 {
            let (conn, remote) = server.accepted().await;
            assert_eq!(accepted.insert(remote, conn), None);
            assert!(matches!(client.next().await, Event::Dialed { .. }));
        }
        println!("500 connections after {:?}", began.elapsed());
        // All of them work.
        for conn in accepted.values() {
            server.send(*conn, b"hello");
        }
        let mut greeted = 0;
        while greeted < 500 {
            if let Event::Bytes { bytes, .. } = client.next().await {
                assert_eq!(bytes, "hello");
                greeted += 1;
            }
        }
        println!("500 greetings after {:?}", began.elapsed());
        drop(client);
        let mut closed = 0;
        while closed < 500 {
            if let Event::Closed { .. } = server.next().await {
                closed += 1;
            }
        }
        assert!(began.elapsed() < Duration::from_secs(10));
    });
}

#[test]
fn a_dropped_peering_leaves_nothing() {
    in_namespace(async || {
        let mut side = Side::listening().await;
        let mut stream = TcpStream::connect("127.0.0.1:179").await.unwrap();
        side.accepted().await;
        drop(side);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        ground::until("the port is free", async || TcpListener::bind("0.0.0.0:179").await.is_ok()).await;
    });
}

#[test]
fn commands_about_nothing_do_nothing() {
    in_namespace(async || {
        let mut side = Side::new();
        side.send(99, b"nobody");
        side.close(99, true);
        side.peering.handle(Command::StopListening);
        side.peering.handle(Command::Send { conn: 99, bytes: Bytes::new() });
        side.quiet().await;
        let mut server = Side::listening().await;
        let (accepted, _) = side.dial(&mut server, 1, None, "127.0.0.1:179").await;
        // An empty write is drained like any other; a number in use is not used twice.
        side.send(1, b"");
        assert_eq!(side.next().await, Event::Drained(1));
        side.peering.handle(Command::Dial {
            conn: 1,
            remote: address("127.0.0.1:179"),
            local: None,
            transport: Transport::default(),
        });
        side.close(1, false);
        side.close(1, false);
        side.send(1, b"late");
        assert_eq!(side.closed(1).await, None);
        assert_eq!(server.closed(accepted).await, None);
        side.quiet().await;
    });
}

#[test]
fn events_and_commands_are_written_and_read_as_json() {
    let local = address("10.0.0.1:179");
    let events = [
        Event::Accepted {
            conn: 1 << 63 | 5,
            local,
            remote: address("[fe80::1]:40000"),
            device: model::kernel::Device::new("eth0"),
        },
        Event::Bytes { conn: 1, bytes: Bytes::from_static(&[255, 0, 19]) },
        Event::Closed { conn: 1, error: None },
        Event::Drained(7),
    ];
    for event in events {
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
    }
    let text = serde_json::to_string(&Event::Bytes { conn: 1, bytes: Bytes::from_static(&[255, 0]) }).unwrap();
    assert_eq!(text, r#"{"bytes":{"conn":1,"bytes":[255,0]}}"#);
    let command = Command::Send { conn: 1, bytes: Bytes::from_static(b"x") };
    assert_eq!(serde_json::from_str::<Command>(&serde_json::to_string(&command).unwrap()).unwrap(), command);
}

#[test]
fn an_ipv4_peer_comes_as_one() {
    in_namespace(async || {
        let mut side = Side::listening().await;
        // Never as ::ffff:127.0.0.1: no key would hold for that, and no peer be found by it.
        let stream = TcpStream::connect("127.0.0.1:179").await.unwrap();
        let (_, remote) = side.accepted().await;
        assert_eq!(remote, stream.local_addr().unwrap());
        assert!(matches!(remote, SocketAddr::V4(_)));
    });
}
