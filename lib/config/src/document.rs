//! The configuration under the keys of the file, there and back.

use model::Plane;
use model::config::{BgpSessionConfig, Config};
use serde_json::{Value as Json, json};

/// `config` as a document: every key of the file with its value in use, `null` where a default is found at run time.
///
/// Read back through [`crate::load`] it gives the same configuration.
pub fn document(config: &Config) -> Json {
    let mut document = serde_json::to_value(config).unwrap_or_default();
    rename(&mut document["node"], "addresses", "address");
    for pool in items(&mut document["pools"]) {
        rename(pool, "nodeLen", "nodePrefix");
    }
    document
}

/// What is built in, as a document; `mode` and `pools` in it say nothing.
pub(crate) fn built_in() -> Json {
    document(&Config::minimal(Plane::Overlay, Vec::new()))
}

/// The configuration of a document that went through the table of keys, laid over what is built in.
pub(crate) fn config(given: &Json) -> Result<Config, serde_json::Error> {
    let mut document = built_in();
    overlay(&mut document, given);
    rename(&mut document["node"], "address", "addresses");
    for pool in items(&mut document["pools"]) {
        rename(pool, "nodePrefix", "nodeLen");
    }
    for peer in items(&mut document["bgp"]["peers"]) {
        let mut whole = peer_built_in();
        overlay(&mut whole, peer);
        *peer = whole;
    }
    for range in items(&mut document["bgp"]["listen"]) {
        let mut whole = range_built_in();
        overlay(&mut whole, range);
        *range = whole;
    }
    serde_json::from_value(document)
}

/// A configuration as serde wrote it, maybe by an older program, with what is built in for every key that it lacks.
pub fn completed(stored: &Json) -> Json {
    let mut whole = serde_json::to_value(Config::minimal(Plane::Overlay, Vec::new())).unwrap_or_default();
    overlay(&mut whole, stored);
    for peer in items(&mut whole["bgp"]["peers"]) {
        let mut complete = peer_built_in();
        overlay(&mut complete, peer);
        *peer = complete;
    }
    for range in items(&mut whole["bgp"]["listen"]) {
        let mut complete = range_built_in();
        overlay(&mut complete, range);
        *range = complete;
    }
    whole
}

/// A peer's defaults.
pub(crate) fn peer_built_in() -> Json {
    let mut peer = session_built_in();
    overlay(&mut peer, &json!({ "port": 179, "passive": false, "localAddress": null }));
    peer
}

/// A range's defaults.
pub(crate) fn range_built_in() -> Json {
    let mut range = session_built_in();
    overlay(&mut range, &json!({ "limit": 100 }));
    range
}

fn session_built_in() -> Json {
    serde_json::to_value(BgpSessionConfig::default()).unwrap_or_default()
}

fn overlay(below: &mut Json, above: &Json) {
    match (below, above) {
        (Json::Object(below), Json::Object(above)) => {
            for (key, value) in above {
                overlay(below.entry(key).or_insert(Json::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}

fn rename(object: &mut Json, from: &str, to: &str) {
    if let Some(object) = object.as_object_mut()
        && let Some(value) = object.remove(from)
    {
        object.insert(to.to_owned(), value);
    }
}

fn items(list: &mut Json) -> impl Iterator<Item = &mut Json> {
    list.as_array_mut().into_iter().flatten()
}
