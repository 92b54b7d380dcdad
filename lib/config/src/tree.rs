//! A YAML document as a tree in which every node knows its place.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use crate::Error;

/// Line and column from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) mark: Mark,
}

/// Types as YAML 1.2 infers them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Nothing behind the colon, `~` or `null`.
    Nothing,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the document's order, with every duplicate.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) mark: Mark,
    pub(crate) node: Node,
}

impl Value {
    /// What it is, for an error. Long text is cut.
    pub(crate) fn words(&self) -> String {
        match self {
            Value::Nothing => "nothing".to_owned(),
            Value::Bool(it) => it.to_string(),
            Value::Int(it) => it.to_string(),
            Value::Float(it) => it.to_string(),
            Value::Text(it) if it.chars().count() > LONGEST => {
                format!("`{}…`", it.chars().take(LONGEST).collect::<String>().escape_debug())
            }
            Value::Text(it) => format!("`{}`", it.escape_debug()),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a section with keys".to_owned(),
        }
    }
}

/// Characters of a given text that an error repeats.
const LONGEST: usize = 60;

/// Reads one document. `source` is the name that the error carries.
pub(crate) fn parse(source: &str, text: &str) -> Result<Node, Error> {
    // Duplicates are passed on, so that the walk can name all of them, with both places; `yes` and `no` stay text, so
    // that YAML 1.1's booleans are refused by name instead of being guessed.
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        reject_unsupported_tags: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Option<Spanned<Value>>>(text, options) {
        Ok(Some(root)) => Ok(root.into()),
        Ok(None) => Ok(Node { value: Value::Nothing, mark: Mark { line: 1, column: 1 } }),
        Err(error) => Err(broken(source, &error)),
    }
}

fn broken(source: &str, error: &serde_saphyr::Error) -> Error {
    let mark = error.location().map_or(Mark { line: 1, column: 1 }, Mark::from);
    let mut message = error.without_snippet().to_string();
    // The library repeats the place in words, and advises on its own calls.
    for words in [" at line ", " (line ", "; "] {
        if let Some(at) = message.find(words) {
            message.truncate(at);
        }
    }
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let message = message.strip_prefix(&format!("line {} column {}: ", mark.line, mark.column)).unwrap_or(message);
    let first = message.lines().next().unwrap_or_default().trim();
    Error {
        source: source.to_owned(),
        line: mark.line,
        column: mark.column,
        message: format!("not YAML: {first}; expected one document of `key: value` lines, indented by spaces"),
    }
}

impl From<Location> for Mark {
    fn from(at: Location) -> Mark {
        Mark { line: at.line(), column: at.column() }
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Node {
        Node { mark: spanned.defined.into(), value: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Builder)
    }
}

struct Builder;

impl<'de> Visitor<'de> for Builder {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Builder)
    }

    fn visit_bool<E: de::Error>(self, it: bool) -> Result<Value, E> {
        Ok(Value::Bool(it))
    }

    fn visit_i64<E: de::Error>(self, it: i64) -> Result<Value, E> {
        Ok(Value::Int(it.into()))
    }

    fn visit_u64<E: de::Error>(self, it: u64) -> Result<Value, E> {
        Ok(Value::Int(it.into()))
    }

    fn visit_i128<E: de::Error>(self, it: i128) -> Result<Value, E> {
        Ok(Value::Int(it))
    }

    fn visit_u128<E: de::Error>(self, it: u128) -> Result<Value, E> {
        Ok(i128::try_from(it).map_or_else(|_| Value::Text(it.to_string()), Value::Int))
    }

    fn visit_f64<E: de::Error>(self, it: f64) -> Result<Value, E> {
        Ok(Value::Float(it))
    }

    fn visit_str<E: de::Error>(self, it: &str) -> Result<Value, E> {
        Ok(Value::Text(it.to_owned()))
    }

    fn visit_string<E: de::Error>(self, it: String) -> Result<Value, E> {
        Ok(Value::Text(it))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            list.push(item.into());
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let node: Spanned<Value> = entries.next_value()?;
            map.push(Entry { key: key.value, mark: key.defined.into(), node: node.into() });
        }
        Ok(Value::Map(map))
    }
}
