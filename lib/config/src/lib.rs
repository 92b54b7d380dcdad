//! Configuration: texts in, a validated [`Config`] out, with the place of every mistake.
//!
//! Layers, lowest first: what is built in, the main file, the files of `conf.d`, the environment
//! (`BIPLANE_BGP__LOCAL_ASN` is `bgp.localAsn`), flags. Maps are merged key by key; a list or a scalar replaces what
//! lies below it. A key without a value is as if it were not there. Nothing here reads a file: the texts are arguments.

mod error;

pub use error::{Error, Errors};
pub use model::config::Config;

use std::collections::BTreeMap;

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
    /// Where each value that is not built in comes from: dotted key (`bgp.peers.0.asn`) to `name:line`, or to the
    /// name of the variable or flag.
    pub origins: BTreeMap<String, String>,
    /// What is allowed but hardly meant, in words.
    pub warnings: Vec<String>,
}

/// Lays the sources over each other, lowest first, and checks the outcome.
///
/// # Errors
/// All mistakes that can be told apart at once, in the order of the sources.
pub fn load(_sources: &[Source]) -> Result<Loaded, Errors> {
    Err(Errors(Vec::new()))
}
