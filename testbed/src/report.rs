//! `biplane lab report`: what the probes of a lab counted.

use probe::report::HostDrops;
use probe::tally::{Path, StreamPath, Tally, Totals};
use serde::{Deserialize, Serialize};

use crate::demo::{grouped, totals_line};
use crate::lab::state::Place;

/// The file of the lab's folder that holds its last report.
pub const REPORT: &str = "report.json";

/// A contract: fields are added, never renamed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `v1`.
    pub api_version: String,
    /// Lab.
    pub lab: String,
    /// Where probes ran.
    pub places: Vec<Place>,
    /// How long they sent.
    pub seconds: f64,
    /// All flows together.
    pub totals: Totals,
    /// UDP, one entry per sender, receiver, family and size.
    pub paths: Vec<Path>,
    /// TCP, one entry per pair and family.
    pub streams: Vec<StreamPath>,
    /// What the machine dropped by itself.
    pub host: HostDrops,
    /// Switches made meanwhile.
    pub switches: Vec<Switch>,
}

/// One switch of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Switch {
    /// `vxlan` or `bgp`.
    pub from: String,
    /// The other one.
    pub to: String,
    /// From the command until every daemon was steady.
    pub seconds: f64,
    /// Probes sent meanwhile.
    pub sent: u64,
    /// Of these, lost.
    pub lost: u64,
    /// Doubled.
    pub duplicated: u64,
    /// Reordered.
    pub reordered: u64,
}

impl Switch {
    /// `switched vxlan→bgp in 2.8 s: 12,640 probes sent, 0 lost, 0 duplicated, 0 reordered`.
    pub fn line(&self) -> String {
        let totals = Totals {
            sent: self.sent,
            lost: self.lost,
            duplicated: self.duplicated,
            reordered: self.reordered,
            ..Totals::default()
        };
        format!("switched {}→{} in {:.1} s: {}", self.from, self.to, self.seconds, totals_line(&totals))
    }
}

impl Report {
    /// Puts the parts together.
    pub fn new(lab: &str, places: &[Place], seconds: f64, tally: &Tally, switches: Vec<Switch>) -> Report {
        Report {
            api_version: "v1".into(),
            lab: lab.into(),
            places: places.to_vec(),
            seconds,
            totals: tally.totals(),
            paths: tally.paths.clone(),
            streams: tally.streams.clone(),
            host: tally.host,
            switches,
        }
    }

    /// Nothing lost, doubled or broken.
    pub fn is_good(&self) -> bool {
        let totals = &self.totals;
        totals.sent > 0 && totals.lost == 0 && totals.duplicated == 0 && totals.stream_faults == 0
    }

    /// Rows of a table, with their header.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let header = [
            "FROM",
            "TO",
            "FAMILY",
            "SIZE",
            "SENT",
            "RECEIVED",
            "LOST",
            "DUPLICATED",
            "REORDERED",
            "P50",
            "P99",
            "LONGEST GAP",
        ];
        let mut rows = vec![header.map(String::from).to_vec()];
        for path in &self.paths {
            rows.push(vec![
                path.from.clone(),
                path.to.clone(),
                path.family.to_string(),
                format!("{:?}", path.size).to_lowercase(),
                grouped(path.sent),
                grouped(path.received),
                grouped(path.lost),
                grouped(path.duplicated),
                grouped(path.reordered),
                format!("{:.2} ms", path.rtt.p50_seconds * 1000.0),
                format!("{:.2} ms", path.rtt.p99_seconds * 1000.0),
                format!("{:.0} ms", path.longest_gap_seconds * 1000.0),
            ]);
        }
        for stream in &self.streams {
            let mut row = vec![stream.from.clone(), stream.to.clone(), stream.family.to_string(), "tcp".to_string()];
            row.extend([stream.written, stream.read, stream.written.saturating_sub(stream.read)].map(grouped));
            row.extend(["-", "-", "-", "-"].map(String::from));
            row.push(format!("{:.0} ms", stream.longest_gap_seconds * 1000.0));
            rows.push(row);
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_in_one_line() {
        let switch = Switch {
            from: "vxlan".into(),
            to: "bgp".into(),
            seconds: 2.84,
            sent: 12_640,
            lost: 0,
            duplicated: 0,
            reordered: 3,
        };
        let expected = "switched vxlan→bgp in 2.8 s: 12,640 probes sent, 0 lost, 0 duplicated, 3 reordered";
        assert_eq!(switch.line(), expected);
    }
}
