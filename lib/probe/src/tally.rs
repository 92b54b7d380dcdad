//! Joins what senders and receivers say about the same flows.

use std::collections::BTreeMap;

use model::Family;
use serde::{Deserialize, Serialize};

use crate::flow::Size;
use crate::report::{HostDrops, Report};
use crate::spread::Summary;

/// One flow, both ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Path {
    /// Sending place.
    pub from: String,
    /// Receiving place.
    pub to: String,
    /// Family of the packets.
    pub family: Family,
    /// Size class.
    pub size: Size,
    /// A hello of this flow has been answered.
    pub reached: bool,
    /// Sequence numbers used.
    pub sent: u64,
    /// Distinct ones received.
    pub received: u64,
    /// Sent and not received: still on the way while the senders run, lost for good once the paths have drained.
    pub lost: u64,
    /// Lost for sure, or overtaken: below the highest number received.
    pub missing: u64,
    /// Arrivals of a number already seen.
    pub duplicated: u64,
    /// First arrivals behind a higher number.
    pub reordered: u64,
    /// Of the sent ones, refused by the sender's kernel.
    pub refused: u64,
    /// The last refusal in the kernel's words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refusal: Option<String>,
    /// Longest silence at the receiver, seconds.
    pub longest_gap_seconds: f64,
    /// Round-trip times.
    pub rtt: Summary,
    /// One-way delays.
    pub delay: Summary,
}

/// One TCP stream, both ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamPath {
    /// The end that connected.
    pub from: String,
    /// The end that accepted.
    pub to: String,
    /// Family.
    pub family: Family,
    /// Both ends have it.
    pub connected: bool,
    /// Octets written at both ends.
    pub written: u64,
    /// Octets read right at both ends.
    pub read: u64,
    /// Octets read wrong at both ends.
    pub altered: u64,
    /// Silences longer than [`crate::stream::STALL`], both ends.
    pub stalls: u64,
    /// Longest silence, seconds.
    pub longest_gap_seconds: f64,
    /// Times that it broke.
    pub resets: u64,
    /// How it last broke.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reset: Option<String>,
}

/// All flows of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// UDP, by sender, receiver, family and size.
    pub paths: Vec<Path>,
    /// TCP, by the two places and family.
    pub streams: Vec<StreamPath>,
    /// What the machine dropped by itself.
    pub host: HostDrops,
}

/// A [`Tally`] in one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Sequence numbers used.
    pub sent: u64,
    /// Distinct ones received.
    pub received: u64,
    /// Sent and not received.
    pub lost: u64,
    /// Below the highest number received and not received.
    pub missing: u64,
    /// Arrivals of a number already seen.
    pub duplicated: u64,
    /// First arrivals behind a higher number.
    pub reordered: u64,
    /// Broken TCP streams, and altered octets in them.
    pub stream_faults: u64,
}

/// Joins one report per place.
pub fn join(reports: &[Report]) -> Tally {
    let names: BTreeMap<u16, &str> = reports.iter().map(|r| (r.place, r.name.as_str())).collect();
    let name = |place: u16| names.get(&place).map_or_else(|| format!("place {place}"), |n| (*n).to_string());
    let arrived: BTreeMap<_, _> =
        reports.iter().flat_map(|r| r.incoming.iter().map(|i| ((i.from, r.place, i.family, i.size), i))).collect();
    let mut paths = Vec::new();
    for report in reports {
        for out in &report.outgoing {
            let incoming = arrived.get(&(report.place, out.to, out.family, out.size));
            let received = incoming.map_or(0, |i| i.received);
            paths.push(Path {
                from: report.name.clone(),
                to: name(out.to),
                family: out.family,
                size: out.size,
                reached: out.reached,
                sent: out.sent,
                received,
                lost: out.sent.saturating_sub(received),
                missing: incoming.map_or(0, |i| i.missing),
                duplicated: incoming.map_or(0, |i| i.duplicated),
                reordered: incoming.map_or(0, |i| i.reordered),
                refused: out.refused,
                refusal: out.refusal.clone(),
                longest_gap_seconds: incoming.map_or(0.0, |i| i.longest_gap_seconds),
                rtt: out.rtt,
                delay: incoming.map_or_else(Summary::default, |i| i.delay),
            });
        }
    }
    paths.sort_by(|a, b| (&a.from, &a.to, a.family, a.size).cmp(&(&b.from, &b.to, b.family, b.size)));
    Tally { paths, streams: join_streams(reports, &name), host: join_host(reports) }
}

impl Tally {
    /// The one line.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for path in &self.paths {
            totals.sent += path.sent;
            totals.received += path.received;
            totals.lost += path.lost;
            totals.missing += path.missing;
            totals.duplicated += path.duplicated;
            totals.reordered += path.reordered;
        }
        totals.stream_faults = self.streams.iter().map(|s| s.resets + s.altered).sum();
        totals
    }

    /// Flows and streams that have not come up, in words.
    pub fn unreached(&self) -> Vec<String> {
        let flows = self.paths.iter().filter(|p| !p.reached).map(|p| {
            let why = p.refusal.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
            let size = if p.size == Size::Full { "full-size " } else { "" };
            format!("{} → {}, {size}{}{why}", p.from, p.to, p.family)
        });
        let streams = self.streams.iter().filter(|s| !s.connected).map(|s| {
            let why = s.reset.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
            format!("{} → {}, TCP over {}{why}", s.from, s.to, s.family)
        });
        flows.chain(streams).collect()
    }
}

impl Totals {
    /// What was added since `earlier`, field by field.
    pub fn since(&self, earlier: &Totals) -> Totals {
        Totals {
            sent: self.sent.saturating_sub(earlier.sent),
            received: self.received.saturating_sub(earlier.received),
            lost: self.lost.saturating_sub(earlier.lost),
            missing: self.missing.saturating_sub(earlier.missing),
            duplicated: self.duplicated.saturating_sub(earlier.duplicated),
            reordered: self.reordered.saturating_sub(earlier.reordered),
            stream_faults: self.stream_faults.saturating_sub(earlier.stream_faults),
        }
    }
}

fn join_streams(reports: &[Report], name: &impl Fn(u16) -> String) -> Vec<StreamPath> {
    let mut pairs: BTreeMap<(u16, u16, Family), Vec<&crate::report::Stream>> = BTreeMap::new();
    for report in reports {
        for end in &report.streams {
            let key = (report.place.min(end.peer), report.place.max(end.peer), end.family);
            pairs.entry(key).or_default().push(end);
        }
    }
    pairs
        .into_iter()
        .map(|((from, to, family), ends)| StreamPath {
            from: name(from),
            to: name(to),
            family,
            connected: ends.len() == 2 && ends.iter().all(|e| e.connected),
            written: ends.iter().map(|e| e.written).sum(),
            read: ends.iter().map(|e| e.read).sum(),
            altered: ends.iter().map(|e| e.altered).sum(),
            stalls: ends.iter().map(|e| e.stalls).sum(),
            longest_gap_seconds: ends.iter().map(|e| e.longest_gap_seconds).fold(0.0, f64::max),
            resets: ends.iter().map(|e| e.resets).max().unwrap_or(0),
            reset: ends.iter().find_map(|e| e.reset.clone()),
        })
        .collect()
}

/// Socket buffers and foreign packets are per place; the backlog is one figure of the whole machine.
fn join_host(reports: &[Report]) -> HostDrops {
    HostDrops {
        socket_buffer: reports.iter().map(|r| r.host.socket_buffer).sum(),
        backlog: reports.iter().map(|r| r.host.backlog).max().unwrap_or(0),
        foreign: reports.iter().map(|r| r.host.foreign).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Incoming, Outgoing, Stream};

    fn outgoing(to: u16, sent: u64) -> Outgoing {
        Outgoing {
            to,
            family: Family::V6,
            size: Size::Small,
            sent,
            refused: 0,
            refusal: None,
            reached: true,
            rtt: Summary::default(),
        }
    }

    fn incoming(from: u16, received: u64, missing: u64) -> Incoming {
        Incoming {
            from,
            family: Family::V6,
            size: Size::Small,
            received,
            missing,
            duplicated: 1,
            reordered: 2,
            longest_gap_seconds: 0.5,
            delay: Summary::default(),
        }
    }

    #[test]
    fn a_receiver_that_saw_nothing_means_that_all_is_lost() {
        let a = Report { place: 1, name: "a".into(), outgoing: vec![outgoing(2, 10)], ..Report::default() };
        let b = Report { place: 2, name: "b".into(), outgoing: vec![outgoing(1, 20)], ..Report::default() };
        let a = Report { incoming: vec![incoming(2, 17, 2)], ..a };
        let tally = join(&[a, b]);
        assert_eq!(tally.paths.iter().map(|p| (p.from.as_str(), p.lost)).collect::<Vec<_>>(), [("a", 10), ("b", 3)]);
        let totals = tally.totals();
        assert_eq!((totals.sent, totals.received, totals.lost, totals.missing), (30, 17, 13, 2));
        assert_eq!((totals.duplicated, totals.reordered), (1, 2));
    }

    #[test]
    fn one_end_of_a_stream_is_not_a_connection() {
        let end = |peer| Stream {
            peer,
            family: Family::V4,
            connected: true,
            written: 5,
            read: 4,
            altered: 0,
            stalls: 0,
            longest_gap_seconds: 0.1,
            resets: 0,
            reset: None,
        };
        let a = Report { place: 1, name: "a".into(), streams: vec![end(2)], ..Report::default() };
        assert_eq!(join(std::slice::from_ref(&a)).unreached(), ["a → place 2, TCP over ipv4"]);
        let b = Report { place: 2, name: "b".into(), streams: vec![end(1)], ..Report::default() };
        let tally = join(&[a, b]);
        assert!(tally.unreached().is_empty());
        assert_eq!((tally.streams[0].written, tally.streams[0].read), (10, 8));
    }
}
