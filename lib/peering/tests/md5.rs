#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unsafe_code)]

mod ground;

use std::collections::BTreeMap;

use ground::{Side, address, in_namespace, number, until};
use model::{Prefix, Transport};
use peering::{Auth, Command, Event, Key};
use tokio::net::TcpStream;

/// The client's and the server's addresses, in both families.
const ENDS: [(&str, &str); 2] = [("127.0.0.2", "127.0.0.1"), ("fd00::2", "fd00::1")];

/// Keys by address or prefix.
fn keys(entries: &[(&str, &str)]) -> BTreeMap<Prefix, Auth> {
    let remote = |text: &str| text.parse().unwrap_or_else(|_| Prefix::host(text.parse().unwrap()));
    entries.iter().map(|(text, key)| (remote(text), Auth::Md5(Key::new(*key).unwrap()))).collect()
}

fn to(ip: &str) -> String {
    std::net::SocketAddr::new(ip.parse().unwrap(), 179).to_string()
}

fn two_addresses() {
    ground::run("ip addr add fd00::1/128 dev lo nodad ; ip addr add fd00::2/128 dev lo nodad");
}

async fn talk(client: &mut Side, conn: u64, server: &mut Side, accepted: u64) {
    client.send(conn, b"ping");
    assert_eq!(server.take(accepted, 4).await, b"ping");
    server.send(accepted, b"pong");
    assert_eq!(client.take(conn, 4).await, b"pong");
}

/// Dials, waits until the kernel has counted the dropped segments under `counter`, and gives up.
async fn dropped(client: &mut Side, conn: u64, (from, ip): (&str, &str), counter: &str) {
    let before = number("TcpExt", counter);
    client.peering.handle(Command::Dial {
        conn,
        remote: address(&to(ip)),
        local: Some(from.parse().unwrap()),
        transport: Transport::default(),
    });
    until(counter, async || number("TcpExt", counter) > before).await;
    client.close(conn, false);
    loop {
        match client.next().await {
            Event::Drained(_) => {}
            Event::DialFailed { conn: failed, .. } if failed == conn => break,
            event => panic!("{event:?}"),
        }
    }
}

#[test]
fn this_kernel_has_it() {
    assert_eq!(peering::md5_supported(), Ok(()));
}

/// Checklist: 87
#[test]
fn the_right_key_connects_the_wrong_and_the_missing_do_not() {
    in_namespace(async || {
        two_addresses();
        let (mut server, mut client) = (Side::listening().await, Side::new());
        for (at, (from, ip)) in ENDS.into_iter().enumerate() {
            let conn = at as u64 * 10;
            server.peering.keys(keys(&[(from, "secret")]));
            client.peering.keys(keys(&[(ip, "secret")]));
            let (accepted, _) = client.dial(&mut server, conn + 1, Some(from), &to(ip)).await;
            talk(&mut client, conn + 1, &mut server, accepted).await;

            client.peering.keys(keys(&[(ip, "wrong")]));
            dropped(&mut client, conn + 2, (from, ip), "TCPMD5Failure").await;
            client.peering.keys(keys(&[]));
            dropped(&mut client, conn + 3, (from, ip), "TCPMD5NotFound").await;
            server.peering.keys(keys(&[]));
            client.peering.keys(keys(&[(ip, "secret")]));
            dropped(&mut client, conn + 4, (from, ip), "TCPMD5Unexpected").await;
        }
        // None of them was ever told of.
        server.drain().await;
    });
}

#[test]
fn a_key_holds_for_its_address_alone_and_from_the_first_moment() {
    in_namespace(async || {
        two_addresses();
        let mut server = Side::new();
        // Before the port is listened on.
        server.peering.keys(keys(&[("127.0.0.2", "secret"), ("fd00::2", &"x".repeat(80))]));
        server.peering.handle(Command::Listen(179));
        assert_eq!(server.next().await, Event::Listening);
        let mut client = Side::new();
        for (at, ends) in ENDS.into_iter().enumerate() {
            dropped(&mut client, at as u64, ends, "TCPMD5NotFound").await;
        }
        let _plain = TcpStream::connect("127.0.0.1:179").await.unwrap();
        server.accepted().await;
        let _plain = TcpStream::connect("[::1]:179").await.unwrap();
        server.accepted().await;
        // Listening anew does not forget them.
        server.peering.handle(Command::StopListening);
        server.peering.handle(Command::Listen(179));
        assert_eq!(server.next().await, Event::Listening);
        dropped(&mut client, 3, ENDS[0], "TCPMD5NotFound").await;
        client.peering.keys(keys(&[("127.0.0.1", "secret"), ("fd00::1", &"x".repeat(80))]));
        client.dial(&mut server, 4, Some("127.0.0.2"), "127.0.0.1:179").await;
        client.dial(&mut server, 5, Some("fd00::2"), "[fd00::1]:179").await;
    });
}

/// A connection that is up goes over to another key, to none and back to one, whichever side begins; what is sent while
/// the two have different ones is dropped, and comes once they have the same.
///
/// Checklist: 87
#[test]
fn the_key_of_a_connection_that_is_up_changes_without_its_end() {
    in_namespace(async || {
        two_addresses();
        for (at, (from, ip)) in ENDS.into_iter().enumerate() {
            let (mut server, mut client) = (Side::listening().await, Side::new());
            let conn = at as u64 + 1;
            server.peering.keys(keys(&[(from, "old")]));
            client.peering.keys(keys(&[(ip, "old")]));
            let (accepted, _) = client.dial(&mut server, conn, Some(from), &to(ip)).await;
            talk(&mut client, conn, &mut server, accepted).await;

            let ours = |key: Option<&str>| key.map(|key| keys(&[(from, key)])).unwrap_or_default();
            let theirs = |key: Option<&str>| key.map(|key| keys(&[(ip, key)])).unwrap_or_default();
            let steps = [(Some("new"), "TCPMD5Failure"), (None, "TCPMD5Unexpected"), (Some("third"), "TCPMD5NotFound")];
            for (key, counter) in steps {
                // The server has the new key first. What the client sends is dropped there.
                server.peering.keys(ours(key));
                // The order has reached the socket once a segment is dropped.
                let before = number("TcpExt", counter);
                let mut sent = 0;
                until(counter, async || {
                    client.send(conn, b"x");
                    sent += 1;
                    number("TcpExt", counter) > before
                })
                .await;
                client.peering.keys(theirs(key));
                assert_eq!(server.take(accepted, sent).await, vec![b'x'; sent]);
                server.send(accepted, b"pong");
                assert_eq!(client.take(conn, 4).await, b"pong");
            }
            // And the other way round.
            client.peering.keys(theirs(Some("fourth")));
            let before = number("TcpExt", "TCPMD5Failure");
            let mut sent = 0;
            until("TCPMD5Failure", async || {
                server.send(accepted, b"x");
                sent += 1;
                number("TcpExt", "TCPMD5Failure") > before
            })
            .await;
            server.peering.keys(ours(Some("fourth")));
            assert_eq!(client.take(conn, sent).await, vec![b'x'; sent]);
            talk(&mut client, conn, &mut server, accepted).await;
            // Whoever connects now needs it too.
            client.peering.keys(theirs(Some("wrong")));
            client.close(conn, false);
            assert_eq!(client.closed(conn).await, None);
            dropped(&mut client, 10, (from, ip), "TCPMD5Failure").await;
        }
    });
}

/// Checklist: 87
#[test]
fn a_range_has_a_key_and_the_most_specific_one_counts() {
    in_namespace(async || {
        ground::run("for n in 1 2 3 ; do ip addr add fd00::$n/128 dev lo nodad ; done");
        let (mut server, mut client) = (Side::listening().await, Side::new());
        server.peering.keys(keys(&[
            ("127.0.0.0/29", "range"),
            ("127.0.0.3", "own"),
            ("fd00::/64", "range"),
            ("fd00::3", "own"),
        ]));
        let mut conn = 0;
        for (ranged, own, ip) in [("127.0.0.2", "127.0.0.3", "127.0.0.1"), ("fd00::2", "fd00::3", "fd00::1")] {
            for (from, right, wrong) in [(ranged, "range", "own"), (own, "own", "range")] {
                conn += 10;
                client.peering.keys(keys(&[(ip, right)]));
                let (accepted, _) = client.dial(&mut server, conn, Some(from), &to(ip)).await;
                talk(&mut client, conn, &mut server, accepted).await;
                client.close(conn, true);
                assert_eq!((client.closed(conn).await, server.closed(accepted).await), (None, None));
                client.peering.keys(keys(&[(ip, wrong)]));
                dropped(&mut client, conn + 1, (from, ip), "TCPMD5Failure").await;
                client.peering.keys(keys(&[]));
                dropped(&mut client, conn + 2, (from, ip), "TCPMD5NotFound").await;
            }
        }
        // Outside the range nobody needs one.
        let (accepted, _) = client.dial(&mut server, 90, Some("127.0.0.8"), "127.0.0.1:179").await;
        talk(&mut client, 90, &mut server, accepted).await;
        // The range gets another key: a connection from inside goes over to it.
        server.peering.keys(keys(&[("127.0.0.0/29", "second")]));
        client.peering.keys(keys(&[("127.0.0.1", "second")]));
        let (accepted, _) = client.dial(&mut server, 91, Some("127.0.0.2"), "127.0.0.1:179").await;
        talk(&mut client, 91, &mut server, accepted).await;
        server.peering.keys(keys(&[("127.0.0.0/29", "third")]));
        client.peering.keys(keys(&[("127.0.0.1", "third")]));
        talk(&mut client, 91, &mut server, accepted).await;
    });
}

#[test]
fn a_dial_under_way_with_another_key_is_given_up() {
    in_namespace(async || {
        let (mut server, mut client) = (Side::listening().await, Side::new());
        server.peering.keys(keys(&[("127.0.0.2", "secret")]));
        let before = number("TcpExt", "TCPMD5NotFound");
        let local = Some("127.0.0.2".parse().unwrap());
        client.peering.handle(Command::Dial {
            conn: 1,
            remote: address("127.0.0.1:179"),
            local,
            transport: Transport::default(),
        });
        until("a segment is dropped", async || number("TcpExt", "TCPMD5NotFound") > before).await;
        client.peering.keys(keys(&[("127.0.0.1", "secret")]));
        assert!(client.dial_failed(1).await.contains("key has changed"));
        // Keys of others and the same key again leave a dial alone.
        client.peering.keys(keys(&[("127.0.0.1", "wrong")]));
        client.peering.handle(Command::Dial {
            conn: 2,
            remote: address("127.0.0.1:179"),
            local,
            transport: Transport::default(),
        });
        client.peering.keys(keys(&[("127.0.0.1", "wrong"), ("127.0.0.9", "other")]));
        client.quiet().await;
        tokio::time::pause();
        assert!(client.dial_failed(2).await.contains("is the TCP MD5 key the same on both sides?"));
    });
}

#[test]
fn more_keys_than_the_kernel_has_room_for_are_turned_away_and_named() {
    in_namespace(async || {
        let mut server = Side::listening().await;
        // Per namespace since Linux 6.7, where it begins at 128 KiB.
        let room = std::fs::read_to_string("/proc/sys/net/core/optmem_max").unwrap();
        let room: usize = room.trim().parse().unwrap();
        let many = room / 100;
        let all: Vec<String> = (0..many).map(|i| format!("127.9.{}.{}", i / 256, i % 256)).collect();
        let entries: Vec<(&str, &str)> = all.iter().map(|address| (address.as_str(), "secret")).collect();
        server.peering.keys(keys(&entries));
        let Event::ListenFailed(words) = server.next().await else { panic!("there was room for all") };
        assert!(words.contains("turned away") && words.contains("net.core.optmem_max"), "{words}");
        // The last one has no key, and is not let in without; a stranger is none of its business.
        let mut client = Side::new();
        let local = Some(all.last().unwrap().parse().unwrap());
        client.peering.handle(Command::Dial {
            conn: 1,
            remote: address("127.0.0.1:179"),
            local,
            transport: Transport::default(),
        });
        while !matches!(client.next().await, Event::Closed { .. }) {}
        let _stranger = TcpStream::connect("127.0.0.1:179").await.unwrap();
        let (_, remote) = server.accepted().await;
        assert_eq!(remote.ip().to_string(), "127.0.0.1");
        server.peering.keys(keys(&entries[..10]));
        assert_eq!(server.next().await, Event::Listening);
    });
}
