//! The numbers that the metrics are made of: plain counts, no names of metrics.

use std::collections::BTreeMap;

use model::{Asn, Family, NodeName, PeerId, Plane, Prefix, StateName};
use serde::{Deserialize, Serialize};

use super::{BfdSession, BgpState, Destinations, PeerType};

/// All numbers. Counts are since the daemon started; times are UNIX times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricsDoc {
    /// Version of the daemon.
    pub version: String,
    /// The wished plane.
    pub mode: Plane,
    /// Plane that this node prefers to send on.
    pub carry: Plane,
    /// State of the switch.
    pub state: StateName,
    /// How long finished switches took, from the wish to `steady`.
    pub switch_duration: Histogram,
    /// Switches that turned back before they were finished.
    pub switch_reversals: u64,
    /// What is waited for now.
    pub waiting: Vec<WaitingMetric>,
    /// Ready for pods?
    pub ready: bool,
    /// Can the store be read and written?
    pub store_up: bool,
    /// Is this node the coordinator?
    pub coordinator: bool,
    /// Other nodes' pod CIDRs.
    pub destinations: Destinations,
    /// BGP peers.
    pub peers: Vec<PeerMetrics>,
    /// BFD sessions.
    #[serde(default)]
    pub bfd: Vec<BfdSession>,
    /// Connections of unknown peers that were closed.
    pub strangers: u64,
    /// Pools.
    pub pools: Vec<PoolMetrics>,
    /// Claims that another node was faster to make, or that came under two names.
    pub ipam_conflicts: u64,
    /// Wanted kernel objects by kind (`model::kernel::Key::kind`).
    pub wanted: BTreeMap<String, u64>,
    /// Kernel objects that are as wanted, by kind.
    pub installed: BTreeMap<String, u64>,
    /// Kernel objects whose write was refused last, by kind.
    pub failing: BTreeMap<String, u64>,
    /// Foreign objects in our way or beside ours, by kind.
    pub foreign: BTreeMap<String, u64>,
    /// Objects set right after somebody else changed them, by cause (`missing`, `altered`, `stray`).
    pub drift_repairs: BTreeMap<String, u64>,
    /// From the event that changed the desired state to the kernel's acknowledgement.
    pub convergence: Histogram,
    /// Longest that the daemon worked on one event, seconds: nothing else was served meanwhile.
    #[serde(default)]
    pub event_longest: f64,
    /// Refused writes.
    pub netlink_errors: Vec<ErrnoCount>,
    /// Full read-backs of the kernel by reason (`start`, `timer`, `overrun`, `link`, …).
    pub netlink_resyncs: BTreeMap<String, u64>,
    /// Path probes; empty when there are none.
    pub probes: Vec<ProbeMetrics>,
    /// Did the last reload of the configuration succeed?
    pub config_last_reload_successful: bool,
    /// When the running settings were taken.
    pub config_last_reload_success_time: f64,
    /// Named checks that the daemon makes of its surroundings; empty when it makes none.
    pub doctor: Vec<DoctorMetrics>,
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingMetric {
    /// One word of a small set: `ground`, `sessions`, `digest`, `destinations`, `senders`, `store`, `claim`, …; not a sentence,
    /// which would make a new time series of every wording.
    pub on: String,
    /// Since when.
    pub since: f64,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerMetrics {
    /// Its address.
    pub peer: PeerId,
    /// Its AS number.
    pub asn: Asn,
    /// Own AS or another.
    #[serde(rename = "type")]
    pub peer_type: PeerType,
    /// State of the session.
    pub state: BgpState,
    /// When it entered Established; `null` if it is not.
    pub established_time: Option<f64>,
    /// Prefixes.
    pub routes: Vec<RouteCount>,
    /// Messages.
    pub messages: Vec<MessageCount>,
    /// NOTIFICATION messages.
    pub notifications: Vec<NotificationCount>,
    /// Malformed UPDATE messages by treatment (RFC 7606).
    pub update_errors: BTreeMap<String, u64>,
}

/// Prefixes of one kind with one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteCount {
    /// Unicast of this family.
    pub family: Family,
    /// `received`, `accepted`, `rejected`, `advertised`, `stale`.
    pub kind: String,
    /// How many.
    pub count: u64,
}

/// Messages of one type with one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageCount {
    /// `in` or `out`.
    pub direction: String,
    /// `open`, `update`, `notification`, `keepalive`, `routeRefresh`.
    #[serde(rename = "type")]
    pub message: String,
    /// How many.
    pub count: u64,
}

/// NOTIFICATION messages of one code with one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationCount {
    /// `in` or `out`.
    pub direction: String,
    /// Error code (RFC 4271 section 4.5).
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// How many.
    pub count: u64,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolMetrics {
    /// The pool.
    pub pool: Prefix,
    /// Slices that nodes hold.
    pub claimed: u64,
    /// Freed slices that may not be claimed yet.
    pub quarantined: u64,
    /// Slices that may be claimed now.
    pub free: u64,
}

/// Refused writes of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrnoCount {
    /// `create`, `replace`, `delete`, `dump`.
    pub op: String,
    /// errno(3); 0 when no system call was made.
    pub errno: i32,
    /// How many.
    pub count: u64,
}

/// Probes to one node over one plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeMetrics {
    /// The node probed.
    pub peer_node: NodeName,
    /// The plane.
    pub plane: Plane,
    /// Lost of the last window: 0 to 1.
    pub loss_ratio: f64,
    /// Round trips.
    pub rtt: Histogram,
}

/// One named check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DoctorMetrics {
    /// Its name: `RpFilter`, `UnderlayMtu`, …
    pub check: String,
    /// `warning` or `error`.
    pub severity: String,
    /// Passed?
    pub ok: bool,
}

/// A histogram of seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Histogram {
    /// Upper bounds in seconds, inclusive, ascending; what is above the last counts in `count` alone.
    pub bounds: Vec<f64>,
    /// Observations in each bucket (not cumulative), as many as `bounds`.
    pub buckets: Vec<u64>,
    /// Sum of all observations, seconds.
    pub sum: f64,
    /// Number of all observations.
    pub count: u64,
}

impl Histogram {
    /// From event to kernel: 100 µs to 10 s.
    pub const CONVERGENCE: &'static [f64] =
        &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    /// A whole switch: half a second to an hour.
    pub const SWITCH: &'static [f64] = &[0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];
    /// Round trips: 50 µs to 1 s.
    pub const RTT: &'static [f64] =
        &[0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

    /// An empty one. Bounds that do not ascend, and what is not finite, are left out.
    pub fn new(bounds: &[f64]) -> Histogram {
        let mut ascending: Vec<f64> = Vec::with_capacity(bounds.len());
        for bound in bounds.iter().copied().filter(|bound| bound.is_finite()) {
            if ascending.last().is_none_or(|last| *last < bound) {
                ascending.push(bound);
            }
        }
        Histogram { buckets: vec![0; ascending.len()], bounds: ascending, sum: 0.0, count: 0 }
    }

    /// Counts one observation; what is negative or not finite is left out.
    pub fn observe(&mut self, seconds: f64) {
        if !seconds.is_finite() || seconds < 0.0 {
            return;
        }
        let place = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get_mut(place) {
            *bucket += 1;
        }
        self.sum += seconds;
        self.count += 1;
    }
}
