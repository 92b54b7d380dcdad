//! The metrics: names, helps and labels, in one place, made of [`MetricsDoc`].
//!
//! Naming law of Prometheus: base units, counters end in `_total`, states as 0 or 1 for each state, times instead of
//! ages. The same names in both modes: a dashboard that works on one plane works on the other.

use std::collections::BTreeMap;

use model::{Family, Plane, StateName};
use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::doc::{BfdSession, BfdState, BgpState, Histogram, MetricsDoc, PeerMetrics};
use crate::process::Process;

/// Content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics in Prometheus's text format, with those of this process.
pub fn render(numbers: &MetricsDoc) -> String {
    let mut page = Page::default();
    mode(&mut page, numbers);
    bgp(&mut page, &numbers.peers, numbers.strangers);
    bfd(&mut page, &numbers.bfd);
    ipam(&mut page, numbers);
    kernel(&mut page, numbers);
    probes(&mut page, numbers);
    config(&mut page, numbers);
    process(&mut page, Process::read());
    page.text()
}

fn mode(page: &mut Page, n: &MetricsDoc) {
    page.gauge("biplane_build_info", "Version of the daemon; always 1.", [(labels([("version", &n.version)]), 1.0)]);
    let of_plane = |name: &'static str, plane: Plane| {
        Plane::BOTH.map(|each| (labels([(name, &each.mode())]), f64::from(each == plane)))
    };
    page.gauge("biplane_mode", "Wished plane: 1 for the wished one, 0 for the other.", of_plane("mode", n.mode));
    page.gauge("biplane_carry", "Plane that this node prefers to send on: 1 or 0.", of_plane("plane", n.carry));
    let states =
        [StateName::Steady, StateName::Raising, StateName::Flipping, StateName::Lingering, StateName::Lowering];
    page.gauge(
        "biplane_mode_switch_phase",
        "State of the switch: 1 for the present one, 0 for the others.",
        states.map(|state| (labels([("phase", &state)]), f64::from(state == n.state))),
    );
    page.histogram(
        "biplane_mode_switch_duration_seconds",
        "How long finished switches took, from the wish until everything of the old plane had gone.",
        [(Labels::new(), &n.switch_duration)],
    );
    page.counter(
        "biplane_mode_switch_reversals_total",
        "Switches that turned back before they were finished.",
        [(Labels::new(), n.switch_reversals)],
    );
    let mut waiting = n.waiting.iter().collect::<Vec<_>>();
    waiting.sort_by(|a, b| a.since.total_cmp(&b.since));
    page.gauge(
        "biplane_waiting_since_timestamp_seconds",
        "What the daemon waits for, and since when; `biplane status` has the words. Absent when nothing is waited for.",
        waiting.into_iter().map(|waiting| (labels([("on", &waiting.on)]), waiting.since)),
    );
    page.gauge("biplane_ready", "Is the node ready for pods?", [(Labels::new(), f64::from(n.ready))]);
    page.gauge("biplane_store_up", "Can the store be read and written?", [(Labels::new(), f64::from(n.store_up))]);
    page.gauge(
        "biplane_coordinator",
        "Is this node the coordinator, which writes the digest?",
        [(Labels::new(), f64::from(n.coordinator))],
    );
    let d = &n.destinations;
    page.gauge(
        "biplane_destinations",
        "Pod CIDRs of other nodes, by the plane that the kernel carries them on.",
        [("vxlan", "carried", d.overlay), ("bgp", "carried", d.native), ("none", "unreachable", d.unreachable)]
            .map(|(plane, state, count)| (labels([("plane", &plane), ("state", &state)]), count as f64)),
    );
}

fn bgp(page: &mut Page, peers: &[PeerMetrics], strangers: u64) {
    page.gauge(
        "biplane_bgp_session_up",
        "Is the session with the peer in Established?",
        peers.iter().map(|p| {
            let labels = labels([("peer", &p.peer), ("peer_asn", &p.asn), ("type", &p.peer_type)]);
            (labels, f64::from(p.state == BgpState::Established))
        }),
    );
    page.gauge(
        "biplane_bgp_session_state",
        "State of the session with the peer: 1 for the present one, 0 for the others.",
        peers.iter().flat_map(|p| {
            BgpState::ALL.map(|state| (labels([("peer", &p.peer), ("state", &state)]), f64::from(state == p.state)))
        }),
    );
    page.gauge(
        "biplane_bgp_session_established_timestamp_seconds",
        "When the session entered Established; absent while it is not.",
        peers.iter().filter_map(|p| Some((labels([("peer", &p.peer)]), p.established_time?))),
    );
    page.gauge(
        "biplane_bgp_routes",
        "Prefixes announced by the peer, and to it.",
        peers.iter().flat_map(|p| {
            p.routes.iter().map(|r| {
                let afi = match r.family {
                    Family::V4 => "ipv4",
                    Family::V6 => "ipv6",
                };
                let labels = labels([("peer", &p.peer), ("afi", &afi), ("safi", &"unicast"), ("kind", &r.kind)]);
                (labels, r.count as f64)
            })
        }),
    );
    page.counter(
        "biplane_bgp_messages_total",
        "BGP messages by type.",
        peers.iter().flat_map(|p| {
            p.messages
                .iter()
                .map(|m| (labels([("peer", &p.peer), ("direction", &m.direction), ("type", &m.message)]), m.count))
        }),
    );
    page.counter(
        "biplane_bgp_notifications_total",
        "NOTIFICATION messages by code and subcode (RFC 4271, RFC 4486).",
        peers.iter().flat_map(|p| {
            p.notifications.iter().map(|n| {
                let labels = labels([
                    ("peer", &p.peer),
                    ("direction", &n.direction),
                    ("code", &n.code),
                    ("subcode", &n.subcode),
                ]);
                (labels, n.count)
            })
        }),
    );
    page.counter(
        "biplane_bgp_update_errors_total",
        "Malformed UPDATE messages by what was done about them (RFC 7606).",
        peers.iter().flat_map(|p| {
            p.update_errors.iter().map(|(error, count)| (labels([("peer", &p.peer), ("error", error)]), *count))
        }),
    );
    page.counter(
        "biplane_bgp_connections_refused_total",
        "Connections of unknown peers that were closed.",
        [(Labels::new(), strangers)],
    );
}

fn bfd(page: &mut Page, sessions: &[BfdSession]) {
    let of = |it: &BfdSession| labels([("peer", &it.address)]);
    page.gauge(
        "biplane_bfd_session_up",
        "Is the BFD session with the peer in Up?",
        sessions.iter().map(|it| (of(it), f64::from(it.state == BfdState::Up))),
    );
    page.gauge(
        "biplane_bfd_session_state",
        "State of the BFD session with the peer: 1 for the present one, 0 for the others.",
        sessions.iter().flat_map(|it| {
            BfdState::ALL
                .map(|state| (labels([("peer", &it.address), ("state", &state)]), f64::from(state == it.state)))
        }),
    );
    page.counter(
        "biplane_bfd_session_ups_total",
        "Times that the BFD session has come up.",
        sessions.iter().map(|it| (of(it), it.ups)),
    );
    page.counter(
        "biplane_bfd_session_failures_total",
        "Times that the path failed while the BFD session was up; AdminDown is no failure.",
        sessions.iter().map(|it| (of(it), it.failures)),
    );
    page.gauge(
        "biplane_bfd_detection_time_seconds",
        "Silence of the peer for so long takes the BFD session down; absent while the peer is not heard.",
        sessions.iter().filter_map(|it| Some((of(it), it.detection_time_seconds?))),
    );
}

fn ipam(page: &mut Page, n: &MetricsDoc) {
    page.gauge(
        "biplane_ipam_pool_blocks",
        "Slices of the pool by state.",
        n.pools.iter().flat_map(|p| {
            [("claimed", p.claimed), ("quarantined", p.quarantined), ("free", p.free)]
                .map(|(state, count)| (labels([("pool", &p.pool), ("state", &state)]), count as f64))
        }),
    );
    page.counter(
        "biplane_ipam_conflicts_total",
        "Claims that failed because another node held the pod CIDR.",
        [(Labels::new(), n.ipam_conflicts)],
    );
}

fn kernel(page: &mut Page, n: &MetricsDoc) {
    let by = |label: &'static str, counts: &BTreeMap<String, u64>| -> Vec<(Labels, u64)> {
        counts.iter().map(|(key, count)| (labels([(label, key)]), *count)).collect()
    };
    let gauges = |counts: &BTreeMap<String, u64>| -> Vec<(Labels, f64)> {
        by("kind", counts).into_iter().map(|(labels, count)| (labels, count as f64)).collect()
    };
    page.gauge("biplane_routes_wanted", "Kernel objects wanted, by kind.", gauges(&n.wanted));
    page.gauge("biplane_routes_installed", "Kernel objects that are as wanted, by kind.", gauges(&n.installed));
    page.gauge(
        "biplane_kernel_objects_failing",
        "Kernel objects whose last write was refused, by kind.",
        gauges(&n.failing),
    );
    page.gauge(
        "biplane_kernel_objects_foreign",
        "Objects of others in our way or beside ours, by kind; they are left alone.",
        gauges(&n.foreign),
    );
    page.counter(
        "biplane_route_drift_repairs_total",
        "Kernel objects set right after somebody else changed them, by what was wrong.",
        by("cause", &n.drift_repairs),
    );
    page.histogram(
        "biplane_convergence_seconds",
        "From an event to the kernel's acknowledgement of what it changed.",
        [(Labels::new(), &n.convergence)],
    );
    page.gauge(
        "biplane_event_longest_seconds",
        "Longest that the daemon has worked on one event; nothing else was served meanwhile.",
        [(Labels::new(), n.event_longest)],
    );
    page.counter(
        "biplane_netlink_errors_total",
        "Writes that the kernel refused.",
        n.netlink_errors.iter().map(|e| (labels([("op", &e.op), ("errno", &errno_name(e.errno))]), e.count)),
    );
    page.counter(
        "biplane_netlink_resyncs_total",
        "Full read-backs of the kernel, by reason.",
        by("reason", &n.netlink_resyncs),
    );
}

fn probes(page: &mut Page, n: &MetricsDoc) {
    let of = |p: &crate::doc::ProbeMetrics| labels([("peer_node", &p.peer_node), ("plane", &p.plane)]);
    page.gauge(
        "biplane_probe_loss_ratio",
        "Probes to the node that were lost in the last window: 0 to 1.",
        n.probes.iter().map(|p| (of(p), p.loss_ratio)),
    );
    page.histogram(
        "biplane_probe_rtt_seconds",
        "Round trips of probes to the node.",
        n.probes.iter().map(|p| (of(p), &p.rtt)),
    );
    page.gauge(
        "biplane_doctor_check",
        "Named checks of the node: 1 passed, 0 failed.",
        n.doctor.iter().map(|c| (labels([("check", &c.check), ("severity", &c.severity)]), f64::from(c.ok))),
    );
}

fn config(page: &mut Page, n: &MetricsDoc) {
    page.gauge(
        "biplane_config_last_reload_successful",
        "Did the last reload of the configuration succeed?",
        [(Labels::new(), f64::from(n.config_last_reload_successful))],
    );
    page.gauge(
        "biplane_config_last_reload_success_timestamp_seconds",
        "When the running configuration was taken.",
        [(Labels::new(), n.config_last_reload_success_time)],
    );
}

fn process(page: &mut Page, p: Process) {
    let mut gauge = |name: &str, help: &str, value: Option<f64>| {
        page.gauge(name, help, value.map(|value| (Labels::new(), value)));
    };
    gauge("process_open_fds", "Open files.", p.open_fds);
    gauge("process_max_fds", "Most open files.", p.max_fds);
    gauge("process_virtual_memory_bytes", "Virtual memory.", p.virtual_memory);
    gauge("process_resident_memory_bytes", "Resident memory.", p.resident_memory);
    gauge("process_start_time_seconds", "When the process started, UNIX time.", p.start_time);
    gauge("process_threads", "Threads.", p.threads);
    page.family("process_cpu_seconds_total", "User and system time.", MetricType::COUNTER, {
        p.cpu_seconds.map(|seconds| (Labels::new(), counted(seconds)))
    });
}

/// The symbol of errno(3) for those that netlink gives; the number for others.
fn errno_name(errno: i32) -> String {
    let name = match errno {
        0 => "none",
        1 => "EPERM",
        2 => "ENOENT",
        3 => "ESRCH",
        4 => "EINTR",
        6 => "ENXIO",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        16 => "EBUSY",
        17 => "EEXIST",
        19 => "ENODEV",
        22 => "EINVAL",
        28 => "ENOSPC",
        30 => "EROFS",
        34 => "ERANGE",
        95 => "EOPNOTSUPP",
        97 => "EAFNOSUPPORT",
        98 => "EADDRINUSE",
        99 => "EADDRNOTAVAIL",
        100 => "ENETDOWN",
        101 => "ENETUNREACH",
        105 => "ENOBUFS",
        113 => "EHOSTUNREACH",
        other => return other.to_string(),
    };
    name.to_owned()
}

type Labels = Vec<(&'static str, String)>;

fn labels<const N: usize>(pairs: [(&'static str, &dyn ToString); N]) -> Labels {
    pairs.into_iter().map(|(name, value)| (name, value.to_string())).collect()
}

/// Metric families in the order of their making. A family without samples is left out, as the format wants it.
#[derive(Default)]
struct Page {
    families: Vec<MetricFamily>,
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) {
        let samples = samples.into_iter().filter(|(_, value)| value.is_finite()).map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = Metric::default();
            metric.set_gauge(gauge);
            (labels, metric)
        });
        self.family(name, help, MetricType::GAUGE, samples);
    }

    fn counter(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, u64)>) {
        let mut sums: BTreeMap<Labels, u64> = BTreeMap::new();
        for (labels, count) in samples {
            *sums.entry(labels).or_default() += count;
        }
        let samples = sums.into_iter().map(|(labels, count)| (labels, counted(count as f64)));
        self.family(name, help, MetricType::COUNTER, samples);
    }

    fn histogram<'a>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, &'a Histogram)>) {
        let samples = samples.into_iter().map(|(labels, histogram)| (labels, bucketed(histogram)));
        self.family(name, help, MetricType::HISTOGRAM, samples);
    }

    /// One sample for each set of labels, the first: a scrape with a duplicate is refused as a whole.
    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = (Labels, Metric)>,
    ) {
        let mut unique: BTreeMap<Labels, Metric> = BTreeMap::new();
        for (labels, metric) in samples {
            unique.entry(labels).or_insert(metric);
        }
        if unique.is_empty() {
            return;
        }
        let metrics: Vec<Metric> = unique
            .into_iter()
            .map(|(labels, mut metric)| {
                let pair = |(name, value): (&'static str, String)| {
                    let mut pair = LabelPair::default();
                    pair.set_name(name.to_owned());
                    pair.set_value(value);
                    pair
                };
                metric.set_label(labels.into_iter().map(pair).collect());
                metric
            })
            .collect();
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.families.push(family);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for family in &self.families {
            // Fails only for a family without name or samples; those are not made.
            if let Err(error) = TextEncoder::new().encode_utf8(std::slice::from_ref(family), &mut text) {
                tracing::warn!("metric {}: {error}", family.name());
            }
        }
        text
    }
}

fn counted(value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::default();
    metric.set_counter(counter);
    metric
}

fn bucketed(histogram: &Histogram) -> Metric {
    let mut below = 0;
    let buckets = histogram.bounds.iter().zip(&histogram.buckets).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut made = prometheus::proto::Histogram::default();
    made.set_bucket(buckets.collect());
    made.set_sample_sum(histogram.sum);
    made.set_sample_count(histogram.count);
    let mut metric = Metric::default();
    metric.set_histogram(made);
    metric
}
