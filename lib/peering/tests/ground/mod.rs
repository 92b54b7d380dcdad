//! What the tests stand on: a network namespace each, and a side of a connection whose events can be waited for.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::process::Command as Process;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use model::Transport;
use peering::{Command, Event, Peering};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout;

/// No event takes longer, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(20);
/// Long enough for what is wrongly under way to show itself.
const QUIET: Duration = Duration::from_millis(300);

/// Runs `body` on a thread and runtime of its own in a fresh network namespace with `lo` up.
pub(crate) fn in_namespace<F: AsyncFnOnce() + Send + 'static>(body: F) {
    let run = move || {
        // SAFETY: the thread was made for this; nothing else relies on its namespace.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "this test must run as root");
        run("ip link set lo up");
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body());
    };
    if let Err(panic) = thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a line of shell in the namespace of the calling thread.
pub(crate) fn run(line: &str) {
    let output = Process::new("sh").args(["-ec", line]).output().unwrap();
    assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A counter of this namespace, as in /proc/net/netstat.
pub(crate) fn number(group: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with(group));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|found| found == name).unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let met = timeout(DEADLINE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(met.await.is_ok(), "never came true: {what}");
}

/// Two ends of a thousand connections need more descriptors than a shell gives.
pub(crate) fn many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

pub(crate) struct Side {
    pub(crate) peering: Peering,
    events: UnboundedReceiver<Event>,
}

impl Side {
    pub(crate) fn new() -> Side {
        let (sender, events) = mpsc::unbounded_channel();
        let peering = Peering::new(move |event| {
            let _ = sender.send(event);
        });
        Side { peering, events }
    }

    /// One that listens on port 179.
    pub(crate) async fn listening() -> Side {
        let mut side = Side::new();
        side.peering.handle(Command::Listen(179));
        assert_eq!(side.next().await, Event::Listening);
        side
    }

    pub(crate) async fn next(&mut self) -> Event {
        timeout(DEADLINE, self.events.recv()).await.expect("no event came").expect("no event can come")
    }

    /// No event comes.
    pub(crate) async fn quiet(&mut self) {
        if let Ok(event) = timeout(QUIET, self.events.recv()).await {
            panic!("unexpected: {event:?}");
        }
    }

    /// The next event, if one comes soon.
    pub(crate) async fn try_next(&mut self) -> Option<Event> {
        timeout(QUIET, self.events.recv()).await.ok().flatten()
    }

    /// Takes what is left of [`Event::Drained`].
    pub(crate) async fn drain(&mut self) {
        while let Some(event) = self.try_next().await {
            assert!(matches!(event, Event::Drained(_)), "{event:?}");
        }
    }

    pub(crate) fn send(&mut self, conn: u64, bytes: &[u8]) {
        self.peering.handle(Command::Send { conn, bytes: Bytes::copy_from_slice(bytes) });
    }

    pub(crate) fn close(&mut self, conn: u64, flush: bool) {
        self.peering.handle(Command::Close { conn, flush });
    }

    /// Dials a listening side; its number there, and our end.
    pub(crate) async fn dial(
        &mut self,
        server: &mut Side,
        conn: u64,
        local: Option<&str>,
        to: &str,
    ) -> (u64, SocketAddr) {
        let local = local.map(|text| text.parse().unwrap());
        self.peering.handle(Command::Dial { conn, remote: address(to), local, transport: Transport::default() });
        let local = loop {
            match self.next().await {
                Event::Dialed { conn: dialed, local } if dialed == conn => break local,
                Event::Drained(_) => {}
                event => panic!("the dial failed: {event:?}"),
            }
        };
        let (accepted, remote) = server.accepted().await;
        assert_eq!(remote, local);
        (accepted, local)
    }

    pub(crate) async fn accepted(&mut self) -> (u64, SocketAddr) {
        loop {
            match self.next().await {
                Event::Accepted { conn, remote, .. } => return (conn, remote),
                Event::Drained(_) => {}
                event => panic!("expected a connection: {event:?}"),
            }
        }
    }

    pub(crate) async fn dial_failed(&mut self, wanted: u64) -> String {
        match self.next().await {
            Event::DialFailed { conn, error } if conn == wanted => error,
            event => panic!("expected a failed dial: {event:?}"),
        }
    }

    /// So many bytes of a connection, drained or not meanwhile.
    pub(crate) async fn take(&mut self, wanted: u64, length: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < length {
            match self.next().await {
                Event::Bytes { conn, bytes } if conn == wanted => got.extend_from_slice(&bytes),
                Event::Drained(_) => {}
                event => panic!("expected bytes: {event:?}"),
            }
        }
        got
    }

    /// The end of a connection, drained or not before.
    pub(crate) async fn closed(&mut self, wanted: u64) -> Option<String> {
        loop {
            match self.next().await {
                Event::Closed { conn, error } if conn == wanted => return error,
                Event::Drained(_) => {}
                event => panic!("expected the end of {wanted}: {event:?}"),
            }
        }
    }
}
