//! Two network namespaces joined by a veth pair, and what lives in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use bfd::{SessionKey, Snapshot, State};
use peering::{Bfd, BfdEvent};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Nothing takes longer, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Namespaces 0 and 1, device `wire` in both, addresses 10.0.0.N/24 and fd00::N/64 with N 1 and 2.
pub(crate) struct Cable {
    names: [String; 2],
}

impl Cable {
    pub(crate) fn new() -> Cable {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = |end: usize| format!("bpbfd-{}-{number}-{end}", std::process::id());
        let cable = Cable { names: [name(0), name(1)] };
        for name in &cable.names {
            sh(&format!("ip netns add {name}"));
        }
        cable.run(0, "ip link add wire type veth peer name wire netns $OTHER");
        for end in 0..2 {
            cable.run(
                end,
                "ip link set lo up; ip link set wire addrgenmode none up; ip addr add 10.0.0.$N/24 dev wire; ip addr add fd00::$N/64 dev wire nodad",
            );
        }
        cable
    }

    /// Shell in a namespace: `$N` is 1 or 2, `$OTHER` the name of the other one.
    pub(crate) fn run(&self, end: usize, line: &str) {
        self.output(end, line);
    }

    pub(crate) fn output(&self, end: usize, line: &str) -> String {
        let prelude = format!("N={} OTHER={}; ", end + 1, self.names[1 - end]);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[end], "sh", "-ec", &(prelude + line)]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Does something on a thread in a namespace; what that spawns stays there.
    pub(crate) fn within<T: Send>(&self, end: usize, action: impl FnOnce() -> T + Send) -> T {
        let name = format!("/run/netns/{}", self.names[end]);
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let space = File::open(name).unwrap();
                move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                action()
            });
            inside.join().unwrap()
        })
    }

    pub(crate) fn socket(&self, end: usize, address: &str) -> UdpSocket {
        self.within(end, || {
            let socket = UdpSocket::bind(address).unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            socket
        })
    }

    /// A BFD thread.
    pub(crate) fn end(&self, end: usize) -> End {
        let (sender, events) = channel();
        let bfd = self.within(end, move || {
            Bfd::spawn(end as u64, move |event| {
                let _ = sender.send(event);
            })
            .unwrap()
        });
        let namespace = self.names[end].clone();
        End { bfd, events, namespace, known: BTreeMap::new(), notices: Vec::new(), trouble: None }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn sh(line: &str) {
    let output = Command::new("sh").args(["-ec", line]).output().unwrap();
    assert!(output.status.success(), "`{line}` (as root?): {}", String::from_utf8_lossy(&output.stderr));
}

/// A BFD thread and what it has told.
pub(crate) struct End {
    pub(crate) bfd: Bfd,
    events: Receiver<BfdEvent>,
    namespace: String,
    pub(crate) known: BTreeMap<SessionKey, Snapshot>,
    pub(crate) notices: Vec<String>,
    pub(crate) trouble: Option<String>,
}

impl End {
    pub(crate) fn state(&self, session: &SessionKey) -> State {
        self.known.get(session).map_or(State::Down, |snapshot| snapshot.state)
    }

    /// Listens until a condition holds.
    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&End) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.take(event),
                Err(_) => panic!("never came true: {what}; known: {:#?}", self.known),
            }
        }
    }

    /// Listens for a time.
    pub(crate) fn watch(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Ok(event) = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.take(event);
        }
    }

    pub(crate) fn cable_run(&self, line: &str) {
        sh(&format!("ip netns exec {} sh -ec '{line}'", self.namespace));
    }

    fn take(&mut self, event: BfdEvent) {
        match event {
            BfdEvent::Changed { session, snapshot } => drop(self.known.insert(session, snapshot)),
            BfdEvent::Gone(session) => drop(self.known.remove(&session)),
            BfdEvent::Trouble(trouble) => self.trouble = trouble,
            BfdEvent::Notice(text) => self.notices.push(text),
        }
    }
}
