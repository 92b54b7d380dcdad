//! TCP-AO (RFC 5925): with Linux 6.7 or newer and CONFIG_TCP_AO=y that it works, with any other kernel that it is refused and
//! nothing goes without it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unsafe_code)]

mod ground;

use std::collections::BTreeMap;

use ground::{Side, address, in_namespace, number, until};
use model::{Prefix, Transport};
use peering::{Auth, Command, Event, Keychain};

fn chain(remote: &str, text: &str) -> BTreeMap<Prefix, Auth> {
    let remote = remote.parse().unwrap_or_else(|_| Prefix::host(remote.parse().unwrap()));
    BTreeMap::from([(remote, Auth::Ao(Keychain::parse(text).unwrap()))])
}

fn dial(side: &mut Side, conn: u64) {
    let local = Some("127.0.0.2".parse().unwrap());
    let remote = address("127.0.0.1:179");
    side.peering.handle(Command::Dial { conn, remote, local, transport: Transport::default() });
}

const OLD: &str = "1 1 hmac-sha-1-96 old secret";
const NEW: &str = "2 2 aes-128-cmac-96 new secret";

/// Checklist: 88
#[test]
fn a_kernel_without_it_lets_nothing_pass_and_one_with_it_signs() {
    match peering::ao_supported() {
        Ok(()) => signs(),
        Err(words) => {
            assert!(words.contains("Linux 6.7") && words.contains("CONFIG_TCP_AO=y"), "{words}");
            refuses(words);
        }
    }
}

fn refuses(words: String) {
    in_namespace(async move || {
        let (mut server, mut client) = (Side::listening().await, Side::new());
        server.peering.keys(chain("127.0.0.0/30", OLD));
        let Event::ListenFailed(said) = server.next().await else { panic!("the kernel has taken it") };
        assert!(said.starts_with("127.0.0.0/30 is turned away: ") && said.ends_with(&words), "{said}");
        // Nobody is let in without it, nor dialled.
        dial(&mut client, 1);
        while !matches!(client.next().await, Event::Closed { conn: 1, .. }) {}
        server.quiet().await;
        client.peering.keys(chain("127.0.0.1", OLD));
        dial(&mut client, 2);
        assert_eq!(client.dial_failed(2).await, words);
        server.quiet().await;
        // Others are none of its business, and without the key all is as it was.
        client.peering.keys(BTreeMap::new());
        client.dial(&mut server, 3, Some("127.0.0.9"), "127.0.0.1:179").await;
        server.peering.keys(BTreeMap::new());
        assert_eq!(server.next().await, Event::Listening);
        client.dial(&mut server, 4, Some("127.0.0.2"), "127.0.0.1:179").await;
    });
}

fn signs() {
    in_namespace(async || {
        let (mut server, mut client) = (Side::listening().await, Side::new());
        server.peering.keys(chain("127.0.0.0/30", OLD));
        client.peering.keys(chain("127.0.0.1", OLD));
        let (accepted, _) = client.dial(&mut server, 1, Some("127.0.0.2"), "127.0.0.1:179").await;
        let talk = async |client: &mut Side, server: &mut Side| {
            client.send(1, b"ping");
            assert_eq!(server.take(accepted, 4).await, b"ping");
            server.send(accepted, b"pong");
            assert_eq!(client.take(1, 4).await, b"pong");
        };
        talk(&mut client, &mut server).await;
        // From one key to the next, one end after the other, without a segment lost.
        let bad = number("TcpExt", "TCPAOBad") + number("TcpExt", "TCPAOKeyNotFound");
        let both = format!("{NEW}\n{OLD}");
        server.peering.keys(chain("127.0.0.0/30", &both));
        talk(&mut client, &mut server).await;
        client.peering.keys(chain("127.0.0.1", &both));
        talk(&mut client, &mut server).await;
        talk(&mut client, &mut server).await;
        server.peering.keys(chain("127.0.0.0/30", NEW));
        talk(&mut client, &mut server).await;
        client.peering.keys(chain("127.0.0.1", NEW));
        talk(&mut client, &mut server).await;
        assert_eq!(number("TcpExt", "TCPAOBad") + number("TcpExt", "TCPAOKeyNotFound"), bad);
        // Another secret, or none: no connection.
        client.peering.keys(chain("127.0.0.1", "2 2 aes-128-cmac-96 wrong"));
        let before = number("TcpExt", "TCPAOBad");
        dial(&mut client, 2);
        until("a segment is dropped", async || number("TcpExt", "TCPAOBad") > before).await;
        client.peering.keys(BTreeMap::new());
        let before = number("TcpExt", "TCPAORequired");
        dial(&mut client, 3);
        until("a segment is dropped", async || number("TcpExt", "TCPAORequired") > before).await;
    });
}
