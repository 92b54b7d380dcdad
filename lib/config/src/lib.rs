//! Configuration: texts in, a validated [`Config`] out, with the place of every mistake.
//!
//! Layers, lowest first: what is built in, the main file, the files of `conf.d`, the environment
//! (`BIPLANE_BGP__LOCAL_ASN` is `bgp.localAsn`), flags. Maps are merged key by key; a list or a scalar replaces what
//! lies below it. A key without a value is as if it were not there. Nothing here reads a file: the texts are arguments.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod check;
mod document;
mod error;
mod keys;
mod layer;
mod leaf;
mod meant;
mod pairs;
mod policies;
mod schema;
#[cfg(test)]
mod tests;
mod tree;

pub use document::{completed, document};
pub use error::{Error, Errors};
pub use model::config::Config;
pub use schema::schema;

use std::collections::BTreeMap;

use layer::{Item, Place, Walk};

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Path of the file, `environment`, or `flag --x`: what errors and origins name.
    pub name: String,
    /// What it says.
    pub text: Text,
}

/// What a layer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// A YAML document.
    Yaml(String),
    /// Names and values. A name is an environment variable (`BIPLANE_…`; others are passed over) or a dotted key
    /// (`bgp.localAsn`, from a flag); a value is YAML, where the key wants text it is taken as it stands.
    Pairs(Vec<(String, String)>),
}

/// A configuration that holds together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Where each value comes from: dotted key (`bgp.peers[0].asn`) to `name:line`, to the name of the variable or
    /// flag, or to [`BUILT_IN`].
    pub origins: BTreeMap<String, String>,
    /// What is allowed but hardly meant, in words.
    pub warnings: Vec<String>,
}

/// Origin of a value that nobody gave.
pub const BUILT_IN: &str = "built in";

/// Lays the sources over each other, lowest first, and checks the outcome.
///
/// # Errors
/// All mistakes that can be told apart at once, in the order of the sources.
pub fn load(sources: &[Source]) -> Result<Loaded, Errors> {
    let mut walk = Walk::default();
    let mut warnings = Vec::new();
    let mut root = Item::empty();
    for source in sources {
        if let Some(layer) = layer(&mut walk, source, &mut warnings) {
            root.lay(layer);
        }
    }
    let file = sources.iter().find(|source| matches!(source.text, Text::Yaml(_)));
    let main = file.or(sources.first()).map_or("configuration", |source| &source.name);
    let config = document::config(&root.json()).map_err(|error| {
        Errors(vec![Error { source: main.to_owned(), line: 0, column: 0, message: error.to_string() }])
    })?;
    warnings.extend(check::check(&mut walk, &root, &config, main));
    walk.finish(sources)?;
    Ok(Loaded { origins: origins(&root, &config), config, warnings })
}

fn layer(walk: &mut Walk, source: &Source, warnings: &mut Vec<String>) -> Option<Item> {
    let place = |mark| Place { source: source.name.clone(), mark };
    match &source.text {
        Text::Pairs(pairs) => Some(pairs::layer(walk, &source.name, pairs, warnings)),
        Text::Yaml(text) => match tree::parse(&source.name, text) {
            Ok(node) => {
                let item = walk.item(&keys::ROOT, &node, "", &place(Some(node.mark)));
                if item.is_none() && node.value != tree::Value::Nothing {
                    walk.give_up();
                }
                item
            }
            Err(error) => {
                walk.give_up();
                walk.errors.push(error);
                None
            }
        },
    }
}

fn origins(root: &Item, config: &Config) -> BTreeMap<String, String> {
    let mut origins = BTreeMap::new();
    root.origins("", &mut origins);
    values("", &document(config), &mut |key| {
        origins.entry(key).or_insert_with(|| BUILT_IN.to_owned());
    });
    origins
}

/// Every value of a document: its dotted key.
fn values(key: &str, json: &serde_json::Value, each: &mut impl FnMut(String)) {
    match json {
        serde_json::Value::Object(map) if !map.is_empty() => {
            map.iter().for_each(|(name, it)| values(&layer::below(key, name), it, each))
        }
        serde_json::Value::Array(list) if !list.is_empty() && key != "node.address" => {
            list.iter().enumerate().for_each(|(at, it)| values(&format!("{key}[{at}]"), it, each));
        }
        _ => each(key.to_owned()),
    }
}
