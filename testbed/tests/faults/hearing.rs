//! `ip monitor route` in a node: what was deleted, and a proof that it was heard to the end.

use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testbed::lab::{Interrupt, Lab, poll};

/// A route that comes and goes to show that the listener hears (RFC 5737), in a table of nobody's.
const MARK: &str = "198.51.100";

pub(crate) struct Hearing<'a> {
    pub(crate) node: String,
    lab: &'a Lab,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    marks: u8,
}

impl<'a> Hearing<'a> {
    /// Listens to the routes of both families in `node`.
    pub(crate) fn start(lab: &'a Lab, node: &str) -> Hearing<'a> {
        let mut command = lab.command(lab.node(node).unwrap(), "ip").unwrap();
        command.args(["-ts", "-o", "monitor", "route"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                to.lock().unwrap().push(line);
            }
        });
        let mut hearing = Hearing { node: node.to_string(), lab, child, lines, marks: 0 };
        hearing.mark();
        hearing
    }

    /// Everything that happened until now has been heard once this returns.
    pub(crate) fn mark(&mut self) {
        let heard = poll(Duration::from_secs(10), &Interrupt::default(), || {
            // It does not listen yet when it has just been started: then the next one is heard.
            self.marks += 1;
            let mark = format!("{MARK}.{}", self.marks);
            let script =
                format!("ip route add blackhole {mark} table 1717 && ip route del blackhole {mark} table 1717");
            self.lab.shell(&self.node, &script).unwrap();
            let deleted = |line: &String| line.contains("Deleted") && line.contains(&mark);
            let limit = Duration::from_millis(500);
            poll(limit, &Interrupt::default(), || self.lines.lock().unwrap().iter().any(deleted).then_some(()))
        });
        assert!(heard.is_some(), "{}: ip monitor does not hear", self.node);
    }

    /// Deletes of pod routes. All nodes stay, so none of them ever becomes invalid.
    pub(crate) fn deletes(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        let deletes = lines.iter().filter(|line| is_pod_delete(line));
        deletes.map(|line| format!("{}: {line}", self.node)).collect()
    }

    /// The last lines.
    pub(crate) fn end(&self) -> String {
        let lines = self.lines.lock().unwrap();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Hearing<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In table main, which is not named, and inside the demo's pools. What the kernel itself keeps in table local for the
/// addresses of the VXLAN link goes with the link.
fn is_pod_delete(line: &str) -> bool {
    line.contains("Deleted") && !line.contains(" table ") && destination(line).is_some_and(in_pools)
}

/// `[…] Deleted unreachable 10.244.1.0/24 dev lo …`
fn destination(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace().skip_while(|word| *word != "Deleted").skip(1);
    words.find_map(|word| word.split('/').next()?.parse().ok())
}

fn in_pools(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..2] == [10, 244],
        IpAddr::V6(address) => address.segments()[..3] == [0xfd44, 0, 0],
    }
}

#[test]
fn a_delete_in_the_pools_is_known_for_one() {
    let deleted = is_pod_delete;
    assert!(deleted("[2026-01-01T00:00:00.000000] Deleted 10.244.1.0/24 nhid 5 dev eth1 proto 178 metric 1178"));
    assert!(deleted("Deleted unreachable fd44:0:0:1::/64 dev lo proto 178 metric 1178"));
    assert!(!deleted("Deleted broadcast 10.20.0.255 dev eth1 table local"));
    assert!(!deleted("Deleted local 10.244.1.2 dev biplane.vxlan table local proto kernel"));
    assert!(!deleted("10.244.1.0/24 nhid 5 dev eth1 proto 178 metric 1178"));
}
