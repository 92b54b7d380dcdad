//! The documents' JSON is a contract: a changed snapshot is a change for every program that reads it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod samples;

use serde_json::Value;
use status::doc::{API_VERSION, Document, Histogram, rfc3339};
use status::{EventKind, MonitorLine, Operation};

#[test]
fn every_document_is_as_it_was() {
    for doc in samples::all() {
        let kind = doc.kind();
        let json = serde_json::to_string_pretty(&Document::from(doc)).unwrap();
        insta::assert_snapshot!(kind, json);
    }
}

#[test]
fn every_document_is_read_back_as_it_was_written() {
    for doc in samples::all() {
        let kind = doc.kind();
        let document = Document::from(doc);
        let json = serde_json::to_value(&document).unwrap();
        assert_eq!((&json["apiVersion"], &json["kind"]), (&API_VERSION.into(), &kind.into()));
        let text = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<Document>(&text).unwrap(), document, "{kind}");
    }
}

#[test]
fn keys_are_camel_case_and_enums_are_words() {
    fn look(path: &str, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    // Dotted keys of the configuration are data, not names of ours.
                    let clean = key.starts_with(|c: char| c.is_ascii_lowercase())
                        && key.chars().all(|c| c.is_ascii_alphanumeric());
                    assert!(clean, "{path}.{key} is not camelCase");
                    look(&format!("{path}.{key}"), value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| look(path, item)),
            _ => {}
        }
    }
    for doc in samples::all() {
        look(doc.kind(), &serde_json::to_value(Document::from(doc)).unwrap());
    }
}

#[test]
fn a_field_of_a_newer_daemon_is_no_trouble() {
    let mut json = serde_json::to_value(Document::from(samples::all().remove(0))).unwrap();
    json["fromTheFuture"] = 1.into();
    json["destinations"]["teleported"] = 7.into();
    let document: Document = serde_json::from_value(json).unwrap();
    assert_eq!(document.body.kind(), "Status");
}

#[test]
fn times_are_utc_with_milliseconds() {
    let time = "2026-05-04T14:00:00.2504+02:00".parse().unwrap();
    assert_eq!(rfc3339(time), "2026-05-04T12:00:00.250Z");
    assert_eq!(rfc3339(jiff::Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
}

#[test]
fn operations_and_events_as_written() {
    let text = |operation: &Operation| serde_json::to_string(operation).unwrap();
    assert_eq!(text(&Operation::Switch(Some(model::Plane::Native))), r#"{"switch":"bgp"}"#);
    assert_eq!(text(&Operation::Switch(None)), r#"{"switch":null}"#);
    assert_eq!(
        text(&Operation::BgpReset { peer: None, soft: true, hard: false }),
        r#"{"bgpReset":{"peer":null,"soft":true,"hard":false}}"#
    );
    assert_eq!(text(&Operation::Reload), r#""reload""#);
    let event = samples::event(EventKind::Bgp, "up");
    let line = r#"{"time":"2026-05-04T12:00:00.250Z","kind":"bgp","level":"info","text":"up"}"#;
    assert_eq!(serde_json::to_string(&event).unwrap(), line);
    assert_eq!(serde_json::from_str::<MonitorLine>(line).unwrap(), MonitorLine::Event(event));
    assert_eq!(serde_json::from_str::<MonitorLine>(r#"{"missed":3}"#).unwrap(), MonitorLine::Missed { missed: 3 });
}

#[test]
fn a_histogram_counts_each_observation_once() {
    let mut histogram = Histogram::new(&[0.1, 0.5, 0.2, 1.0, f64::INFINITY]);
    assert_eq!(histogram.bounds, [0.1, 0.5, 1.0]);
    for seconds in [0.0, 0.1, 0.10001, 1.0, 7.0, f64::NAN, -1.0, f64::INFINITY] {
        histogram.observe(seconds);
    }
    assert_eq!((histogram.buckets, histogram.count), (vec![2, 1, 1], 5));
    assert!((histogram.sum - 8.20001).abs() < 1e-9);
    for bounds in [Histogram::CONVERGENCE, Histogram::SWITCH, Histogram::RTT] {
        assert_eq!(Histogram::new(bounds).bounds, bounds);
    }
}
