//! The metrics against the law of Prometheus's text format, as strictly as its own tool checks it and more.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod samples;

use std::collections::{BTreeMap, BTreeSet};

use status::metrics::render;

#[test]
fn the_text_is_lawful() {
    let text = render(&samples::metrics());
    let page = check(&text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    assert!(page.families.len() >= 40, "{}", page.families.len());
    // For whom wants the verdict of Prometheus's own tool: promtool check metrics < FILE.
    if let Some(path) = std::env::var_os("METRICS_TO") {
        std::fs::write(path, &text).unwrap();
    }
}

#[test]
fn every_promised_metric_is_there() {
    let page = check(&render(&samples::metrics())).unwrap();
    for name in [
        "biplane_build_info",
        "biplane_mode",
        "biplane_mode_switch_phase",
        "biplane_mode_switch_duration_seconds",
        "biplane_waiting_since_timestamp_seconds",
        "biplane_destinations",
        "biplane_bgp_session_up",
        "biplane_bgp_session_state",
        "biplane_bgp_routes",
        "biplane_bgp_messages_total",
        "biplane_bgp_notifications_total",
        "biplane_bgp_update_errors_total",
        "biplane_ipam_pool_blocks",
        "biplane_ipam_conflicts_total",
        "biplane_routes_wanted",
        "biplane_routes_installed",
        "biplane_route_drift_repairs_total",
        "biplane_convergence_seconds",
        "biplane_event_longest_seconds",
        "biplane_netlink_errors_total",
        "biplane_netlink_resyncs_total",
        "biplane_probe_loss_ratio",
        "biplane_probe_rtt_seconds",
        "biplane_config_last_reload_successful",
        "biplane_doctor_check",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_open_fds",
    ] {
        assert!(page.families.contains_key(name), "{name} is missing");
    }
}

#[test]
fn the_numbers_are_those_of_the_document() {
    let page = check(&render(&samples::metrics())).unwrap();
    for (sample, value) in [
        (r#"biplane_mode{mode="bgp"}"#, 1.0),
        (r#"biplane_mode{mode="vxlan"}"#, 0.0),
        (r#"biplane_mode_switch_phase{phase="flipping"}"#, 1.0),
        (r#"biplane_mode_switch_phase{phase="steady"}"#, 0.0),
        (r#"biplane_destinations{plane="vxlan",state="carried"}"#, 2.0),
        (r#"biplane_bgp_session_up{peer="192.0.2.2",peer_asn="4200000000",type="ebgp"}"#, 1.0),
        (r#"biplane_bgp_session_state{peer="192.0.2.2",state="Established"}"#, 1.0),
        (r#"biplane_bgp_session_state{peer="192.0.2.2",state="OpenSent"}"#, 0.0),
        (r#"biplane_bgp_routes{peer="192.0.2.2",afi="ipv6",safi="unicast",kind="accepted"}"#, 2.0),
        (r#"biplane_bgp_notifications_total{peer="192.0.2.2",direction="out",code="2",subcode="2"}"#, 1.0),
        (r#"biplane_netlink_errors_total{op="create",errno="EEXIST"}"#, 5.0),
        (r#"biplane_netlink_errors_total{op="dump",errno="4242"}"#, 1.0),
        (r#"biplane_waiting_since_timestamp_seconds{on="digest"}"#, 1_777_896_000.25),
        (r#"biplane_convergence_seconds_bucket{le="0.00025"}"#, 1.0),
        (r#"biplane_convergence_seconds_bucket{le="0.005"}"#, 3.0),
        (r#"biplane_convergence_seconds_bucket{le="10"}"#, 3.0),
        (r#"biplane_convergence_seconds_bucket{le="+Inf"}"#, 4.0),
        ("biplane_convergence_seconds_count", 4.0),
        ("biplane_event_longest_seconds", 0.004),
    ] {
        assert_eq!(page.samples.get(sample), Some(&value), "{sample}");
    }
}

#[test]
fn a_bare_daemon_is_lawful_too_and_empty_families_are_left_out() {
    let mut numbers = samples::metrics();
    numbers.peers.clear();
    numbers.waiting.clear();
    numbers.pools.clear();
    numbers.probes.clear();
    numbers.doctor.clear();
    numbers.netlink_errors.clear();
    let page = check(&render(&numbers)).unwrap();
    assert!(!page.families.contains_key("biplane_bgp_session_up"));
    assert!(!page.families.contains_key("biplane_waiting_since_timestamp_seconds"));
}

#[test]
fn a_strange_label_or_number_does_not_spoil_the_page() {
    let mut numbers = samples::metrics();
    numbers.waiting[0].on = "a \"quoted\"\nline\\".into();
    numbers.probes[0].loss_ratio = f64::NAN;
    let page = check(&render(&numbers)).unwrap();
    assert!(page.samples.contains_key(r#"biplane_waiting_since_timestamp_seconds{on="a \"quoted\"\nline\\"}"#));
    assert!(!page.families.contains_key("biplane_probe_loss_ratio"));
}

#[test]
fn the_checker_itself_refuses() {
    let gauge = "# HELP a_b Help.\n# TYPE a_b gauge\n";
    let histogram = "# HELP h_seconds H.\n# TYPE h_seconds histogram\n";
    let cases = [
        ("a_b 1\n".to_owned(), "no TYPE"),
        ("# TYPE a_b gauge\na_b 1\n".to_owned(), "TYPE without HELP"),
        (format!("{gauge}a_b 1\na_b 1\n"), "twice"),
        (format!("{gauge}a_b{{x=\"1\"}} 1\na_b{{x=\"1\"}} 2\n"), "twice"),
        (format!("{gauge}a_b{{xY=\"1\"}} 1\n"), "label"),
        (format!("{gauge}a_b{{x=\"1}} 1\n"), "label"),
        (format!("{gauge}a_b one\n"), "number"),
        (gauge.to_owned(), "no sample"),
        (format!("{gauge}a_b 1"), "newline"),
        ("# HELP a_b H.\n# TYPE a_b counter\na_b 1\n".to_owned(), "_total"),
        ("# HELP a_total H.\n# TYPE a_total gauge\na_total 1\n".to_owned(), "_total"),
        ("# HELP a_ms H.\n# TYPE a_ms gauge\na_ms 1\n".to_owned(), "base unit"),
        ("# HELP a_minutes H.\n# TYPE a_minutes gauge\na_minutes 1\n".to_owned(), "base unit"),
        ("# HELP aB H.\n# TYPE aB gauge\naB 1\n".to_owned(), "snake_case"),
        (format!("{gauge}a_b 1\n{gauge}a_b{{x=\"1\"}} 1\n"), "family a_b twice"),
        (
            format!(
                "{histogram}h_seconds_bucket{{le=\"1\"}} 3\nh_seconds_bucket{{le=\"+Inf\"}} 2\nh_seconds_sum 1\nh_seconds_count 2\n"
            ),
            "fall",
        ),
        (format!("{histogram}h_seconds_bucket{{le=\"1\"}} 3\nh_seconds_sum 1\nh_seconds_count 3\n"), "+Inf"),
        (format!("{histogram}h_seconds_bucket{{le=\"+Inf\"}} 3\nh_seconds_sum 1\nh_seconds_count 4\n"), "+Inf"),
    ];
    for (text, words) in cases {
        match check(&text) {
            Ok(_) => panic!("taken, though {words}: {text}"),
            Err(error) => assert!(error.contains(words), "`{error}` should tell of `{words}`: {text}"),
        }
    }
    assert!(check(&format!("{gauge}a_b{{x=\"1\"}} 1\na_b{{x=\"2\"}} 2\n")).is_ok());
}

/// What a page holds.
#[derive(Default)]
struct Page {
    families: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

/// Reads a page strictly.
fn check(text: &str) -> Result<Page, String> {
    if !text.ends_with('\n') {
        return Err("no newline at the end".into());
    }
    let mut page = Page::default();
    let mut help: Option<String> = None;
    let mut family: Option<(String, String)> = None;
    let mut alive = true;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').ok_or_else(|| format!("empty HELP: {line}"))?;
            if words.trim().is_empty() {
                return Err(format!("empty HELP: {line}"));
            }
            help = Some(name.into());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| format!("odd TYPE: {line}"))?;
            if help.take().as_deref() != Some(name) {
                return Err(format!("TYPE without HELP: {line}"));
            }
            if !alive {
                return Err(format!("no sample before: {line}"));
            }
            check_name(name, kind)?;
            if page.families.insert(name.into(), kind.into()).is_some() {
                return Err(format!("family {name} twice"));
            }
            family = Some((name.into(), kind.into()));
            alive = false;
        } else {
            let (name, kind) = family.as_ref().ok_or_else(|| format!("no TYPE before: {line}"))?;
            let (id, value) = line.rsplit_once(' ').ok_or_else(|| format!("odd sample: {line}"))?;
            let value: f64 = value.parse().map_err(|_| format!("no number: {line}"))?;
            let (metric, labels) = match id.split_once('{') {
                Some((metric, rest)) => (metric, check_labels(rest)?),
                None => (id, BTreeSet::new()),
            };
            let suffix = metric.strip_prefix(name.as_str()).ok_or_else(|| format!("no TYPE before: {line}"))?;
            let lawful = match kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                _ => suffix.is_empty(),
            };
            if !lawful || labels.contains("le") != (suffix == "_bucket") {
                return Err(format!("no TYPE before: {line}"));
            }
            if page.samples.insert(id.into(), value).is_some() {
                return Err(format!("sample twice: {line}"));
            }
            alive = true;
        }
    }
    if !alive {
        return Err("no sample at the end".into());
    }
    check_histograms(text, &page)?;
    Ok(page)
}

fn check_name(name: &str, kind: &str) -> Result<(), String> {
    let mut chars = name.chars();
    if !chars.next().is_some_and(|c| c.is_ascii_lowercase())
        || !chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    {
        return Err(format!("{name} is not snake_case"));
    }
    if !["gauge", "counter", "histogram"].contains(&kind) {
        return Err(format!("{name} is of the unknown type {kind}"));
    }
    if name.ends_with("_total") != (kind == "counter") {
        return Err(format!("{name}: counters, and only they, end in _total"));
    }
    if ["_bucket", "_sum", "_count"].iter().any(|suffix| name.ends_with(suffix)) {
        return Err(format!("{name} ends as a histogram's sample does"));
    }
    let units = [
        "ms",
        "us",
        "ns",
        "millis",
        "milliseconds",
        "microseconds",
        "nanoseconds",
        "minutes",
        "hours",
        "days",
        "kb",
        "mb",
        "kilobytes",
        "megabytes",
        "bits",
        "percent",
        "kib",
        "mib",
    ];
    if name.split('_').any(|word| units.contains(&word)) {
        return Err(format!("{name} is not in a base unit"));
    }
    Ok(())
}

/// The labels' names; the text begins after the brace.
fn check_labels(text: &str) -> Result<BTreeSet<String>, String> {
    let bad = || format!("odd label in {{{text}");
    let mut names = BTreeSet::new();
    let mut rest = text;
    loop {
        let (name, after) = rest.split_once("=\"").ok_or_else(bad)?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            return Err(bad());
        }
        if !names.insert(name.to_owned()) {
            return Err(format!("label {name} twice in {{{text}"));
        }
        let mut escaped = false;
        let end = after.char_indices().find_map(|(i, c)| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends.then_some(i)
        });
        rest = after.get(end.ok_or_else(bad)? + 1..).ok_or_else(bad)?;
        match rest {
            "}" => return Ok(names),
            _ => rest = rest.strip_prefix(',').ok_or_else(bad)?,
        }
    }
}

/// Buckets of one set of labels stand together, rise, and end with +Inf, which equals the count.
fn check_histograms(text: &str, page: &Page) -> Result<(), String> {
    for name in page.families.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
        let mut last: Option<(f64, f64)> = None;
        for line in text.lines().filter(|line| line.starts_with(name.as_str())) {
            let (id, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            if id.starts_with(&format!("{name}_bucket")) {
                let bound = id.rsplit_once("le=\"").and_then(|(_, rest)| rest.strip_suffix("\"}")).ok_or("no le")?;
                let bound: f64 = bound.parse().map_err(|_| format!("odd le: {line}"))?;
                if last.is_some_and(|(b, v)| bound <= b || value < v) {
                    return Err(format!("buckets fall: {line}"));
                }
                last = Some((bound, value));
            } else if id.starts_with(&format!("{name}_count")) && last.take() != Some((f64::INFINITY, value)) {
                return Err(format!("the last bucket is not +Inf with the count: {line}"));
            }
        }
    }
    Ok(())
}
