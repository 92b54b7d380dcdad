//! YAML as a tree that knows where each word stands.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};

/// Aliases may repeat what they stand for up to this many values: a file of a few lines must not fill the memory.
const MOST_VALUES: usize = 200_000;

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Where it starts.
    pub place: Place,
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// The text as written: `1.10` stays `1.10`.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Tree>),
    Map(Vec<(Key, Tree)>),
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its text.
    pub name: String,
    /// Where it stands.
    pub place: Place,
}

/// The entries of a mapping.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [(Key, Tree)]);

impl<'a> Fields<'a> {
    /// All of them, in the file's order.
    pub fn entries(&self) -> &'a [(Key, Tree)] {
        self.0
    }

    /// The value of `key`; a null counts as absent.
    pub fn find(&self, key: &str) -> Option<&'a Tree> {
        self.0.iter().find(|(k, v)| k.name == key && !v.is_null()).map(|(_, v)| v)
    }

    /// The value of `key`, or words that it is missing.
    pub fn want(&self, key: &str) -> Result<&'a Tree, String> {
        self.find(key).ok_or_else(|| format!("key {key:?} is missing"))
    }
}

impl Tree {
    /// Absent in YAML's words: nothing, `~` or `null`, not quoted.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null"))
    }

    /// The entries of a mapping; none of a null.
    pub fn fields(&self) -> Option<Fields<'_>> {
        match &self.value {
            Value::Map(entries) => Some(Fields(entries)),
            _ if self.is_null() => Some(Fields(&[])),
            _ => None,
        }
    }

    /// The items of a list; none of a null.
    pub fn list(&self) -> Option<&[Tree]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ if self.is_null() => Some(&[]),
            _ => None,
        }
    }

    /// The text of a scalar that is not null.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// Its text in quotes, or what it is.
    pub fn shown(&self) -> String {
        self.text().map_or_else(|| self.kind().to_string(), |t| format!("{t:?}"))
    }
}

/// Reads one document.
pub fn parse(text: &str) -> Result<Tree, (Place, String)> {
    let mut builder = Builder { parser: Parser::new_from_str(text), anchors: HashMap::new(), values: 0 };
    loop {
        match builder.next()? {
            (Event::StreamStart | Event::DocumentStart(..), _) => {}
            (Event::StreamEnd, span) => return Err((place(&span), "the file is empty".to_string())),
            (event, span) => return builder.value(event, &span),
        }
    }
}

struct Builder<'t> {
    parser: Parser<'t, serde_saphyr::granit_parser::StrInput<'t>>,
    anchors: HashMap<usize, Tree>,
    values: usize,
}

impl<'t> Builder<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), (Place, String)> {
        match self.parser.find(|event| !matches!(event, Ok((Event::Comment(..), _)))) {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let mark = error.marker();
                let words = format!("broken YAML: {}", error.info());
                Err((Place { line: mark.line(), column: mark.col() + 1 }, words))
            }
            None => Err((Place::default(), "the file ends in the middle of a value".to_string())),
        }
    }

    fn value(&mut self, event: Event<'t>, span: &Span) -> Result<Tree, (Place, String)> {
        let place = place(span);
        self.count(1, place)?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                (Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (Value::List(self.items()?), anchor),
            Event::MappingStart(_, anchor, _) => (Value::Map(self.entries()?), anchor),
            Event::Alias(anchor) => {
                let Some(tree) = self.anchors.get(&anchor).cloned() else {
                    return Err((place, "an alias inside of what it stands for".to_string()));
                };
                self.count(size(&tree), place)?;
                return Ok(tree);
            }
            other => return Err((place, format!("unexpected YAML event {other:?}"))),
        };
        let tree = Tree { place, value };
        if anchor != 0 {
            self.anchors.insert(anchor, tree.clone());
        }
        Ok(tree)
    }

    fn items(&mut self) -> Result<Vec<Tree>, (Place, String)> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.value(event, &span)?),
            }
        }
    }

    fn entries(&mut self) -> Result<Vec<(Key, Tree)>, (Place, String)> {
        let mut entries: Vec<(Key, Tree)> = Vec::new();
        let mut merged: Vec<(Key, Tree)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                for (key, value) in merged {
                    if entries.iter().all(|(k, _)| k.name != key.name) {
                        entries.push((key, value));
                    }
                }
                return Ok(entries);
            }
            let place = place(&span);
            let key = self.value(event, &span)?;
            let Some(name) = key.text().map(str::to_string) else {
                return Err((place, format!("a key must be a text, found {}", key.kind())));
            };
            let (event, span) = self.next()?;
            let value = self.value(event, &span)?;
            if name == "<<" {
                merged.extend(merge(place, value)?);
                continue;
            }
            if let Some((first, _)) = entries.iter().find(|(k, _)| k.name == name) {
                return Err((place, format!("key {name:?} is here twice: first in line {}", first.place.line)));
            }
            entries.push((Key { name, place }, value));
        }
    }

    fn count(&mut self, more: usize, place: Place) -> Result<(), (Place, String)> {
        self.values += more;
        if self.values > MOST_VALUES {
            return Err((place, format!("more than {MOST_VALUES} values, aliases written out")));
        }
        Ok(())
    }
}

/// What `<<: *a` or `<<: [*a, *b]` brings in, first wins.
fn merge(place: Place, value: Tree) -> Result<Vec<(Key, Tree)>, (Place, String)> {
    match value.value {
        Value::Map(entries) => Ok(entries),
        Value::List(items) => {
            let mut all: Vec<(Key, Tree)> = Vec::new();
            for item in items {
                for (key, value) in merge(place, item)? {
                    if all.iter().all(|(k, _)| k.name != key.name) {
                        all.push((key, value));
                    }
                }
            }
            Ok(all)
        }
        Value::Scalar { .. } => Err((place, "<<: expected an alias of a mapping".to_string())),
    }
}

fn size(tree: &Tree) -> usize {
    match &tree.value {
        Value::Scalar { .. } => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|(_, v)| size(v)).sum::<usize>(),
    }
}

fn place(span: &Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}
