//! The stream of events: bounded, whoever reads slowly.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::timeout;

use crate::{EventKind, MonitorEvent, url};

/// What `biplane monitor` reads, a line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MonitorLine {
    /// An event.
    Event(MonitorEvent),
    /// The reader was too slow: so many events, of all kinds, were not kept for it.
    Missed {
        /// How many.
        missed: u64,
    },
}

/// A sign of life when nothing happens: an empty line, which readers skip. Tells the server of a reader that has gone.
const IDLE: Duration = Duration::from_secs(15);

/// What a reader wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Kinds of events; empty for all.
    kinds: BTreeSet<EventKind>,
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    /// One JSON object a line.
    #[default]
    JsonLines,
    /// For curl and people.
    Text,
    /// Server-sent events, for browsers.
    EventStream,
}

impl std::str::FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Format, &'static str> {
        match text {
            "jsonl" => Ok(Format::JsonLines),
            "text" => Ok(Format::Text),
            "sse" => Ok(Format::EventStream),
            _ => Err("expected jsonl, text or sse"),
        }
    }
}

/// `kinds` as the client writes it.
pub(crate) fn write_kinds(kinds: &[EventKind]) -> String {
    kinds.iter().map(|kind| kind.word()).collect::<Vec<_>>().join(",")
}

impl Wanted {
    /// Parameters `kinds=bgp,route` and `format=jsonl|text|sse`.
    pub(crate) fn read(parameters: &[(String, String)]) -> Result<Wanted, String> {
        url::check(url::MONITOR, &["kinds", "format"], parameters)?;
        let kinds: Option<String> = url::parameter(parameters, "kinds")?;
        let words = kinds.iter().flat_map(|kinds| kinds.split(',')).filter(|word| !word.is_empty());
        let kinds = words.map(str::parse).collect::<Result<_, _>>()?;
        Ok(Wanted { kinds, format: url::parameter(parameters, "format")?.unwrap_or_default() })
    }

    fn wants(&self, event: &MonitorEvent) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&event.kind)
    }

    fn write(&self, line: &MonitorLine) -> String {
        let json = || serde_json::to_string(line).unwrap_or_default();
        match (self.format, line) {
            (Format::JsonLines, _) => json() + "\n",
            (Format::EventStream, _) => format!("data: {}\n\n", json()),
            (Format::Text, MonitorLine::Event(event)) => {
                format!("{} {:<5} {:<6} {}\n", event.time, event.level, event.kind, event.text)
            }
            (Format::Text, MonitorLine::Missed { missed }) => format!("({missed} events missed: reader too slow)\n"),
        }
    }

    const fn sign_of_life(&self) -> &'static str {
        match self.format {
            Format::JsonLines | Format::Text => "\n",
            Format::EventStream => ":\n\n",
        }
    }

    const fn content_type(&self) -> &'static str {
        match self.format {
            Format::JsonLines => "application/x-ndjson",
            Format::Text => "text/plain; charset=utf-8",
            Format::EventStream => "text/event-stream",
        }
    }
}

/// The response. Memory is bounded by the broadcast channel, which all readers share, and by the socket's buffers:
/// the next event is taken only when the one before has been handed to the connection.
pub(crate) fn stream(events: broadcast::Receiver<MonitorEvent>, wanted: Wanted) -> Response {
    let headers = [(header::CONTENT_TYPE, wanted.content_type()), (header::CACHE_CONTROL, "no-store")];
    let lines = stream::unfold((events, wanted), |(mut events, wanted)| async move {
        let text = next(&mut events, &wanted).await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), (events, wanted)))
    });
    (headers, Body::new(StreamBody::new(lines))).into_response()
}

/// The next text to send; `None` when the daemon stops.
async fn next(events: &mut broadcast::Receiver<MonitorEvent>, wanted: &Wanted) -> Option<String> {
    loop {
        let line = match timeout(IDLE, events.recv()).await {
            Ok(Ok(event)) if wanted.wants(&event) => MonitorLine::Event(event),
            Ok(Ok(_)) => continue,
            Ok(Err(RecvError::Lagged(missed))) => MonitorLine::Missed { missed },
            Ok(Err(RecvError::Closed)) => return None,
            Err(_) => return Some(wanted.sign_of_life().to_owned()),
        };
        return Some(wanted.write(&line));
    }
}
