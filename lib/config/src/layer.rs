//! One layer: a document held against the table of keys. Layers are laid over each other here too.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use crate::keys::{FOREIGN, Field, ROOT, SECRET, Shape};
use crate::leaf::{Leaf, is_name, one_a_family, parsed};
use crate::meant;
use crate::tree::{Entry, Mark, Node, Value};
use crate::{Error, Errors};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) source: String,
    /// Absent for variables and flags.
    pub(crate) mark: Option<Mark>,
}

/// A value that its key allows, and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) what: What,
    pub(crate) place: Place,
}

/// A value that its key allows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    Value(Json),
    /// Of fixed keys, or of names.
    Section(BTreeMap<String, Item>),
    /// Each with its index in the document: what was refused is left out.
    List(Vec<(usize, Item)>),
}

impl Place {
    pub(crate) fn error(&self, message: String) -> Error {
        let mark = self.mark.unwrap_or(Mark { line: 0, column: 0 });
        Error { source: self.source.clone(), line: mark.line, column: mark.column, message }
    }

    /// `name:line`, or the name alone.
    pub(crate) fn origin(&self) -> String {
        match self.mark {
            Some(mark) => format!("{}:{}", self.source, mark.line),
            None => self.source.clone(),
        }
    }
}

impl Item {
    /// A section with nothing in it.
    pub(crate) fn empty() -> Item {
        let place = Place { source: String::new(), mark: None };
        Item { what: What::Section(BTreeMap::new()), place }
    }

    /// The item below `key`: a key of a section.
    pub(crate) fn key(&self, key: &str) -> Option<&Item> {
        match &self.what {
            What::Section(section) => section.get(key),
            _ => None,
        }
    }

    /// The item at a place of a list, and its index in the document.
    pub(crate) fn nth(&self, nth: usize) -> Option<(usize, &Item)> {
        match &self.what {
            What::List(list) => list.get(nth).map(|(at, item)| (*at, item)),
            _ => None,
        }
    }

    /// Lays `over` on top: sections key by key, anything else whole.
    pub(crate) fn lay(&mut self, over: Item) {
        match (&mut self.what, over.what) {
            (What::Section(below), What::Section(above)) => {
                for (key, item) in above {
                    match below.get_mut(&key) {
                        Some(it) => it.lay(item),
                        None => drop(below.insert(key, item)),
                    }
                }
            }
            (_, what) => *self = Item { what, place: over.place },
        }
    }

    /// As JSON, under the keys of the file.
    pub(crate) fn json(&self) -> Json {
        match &self.what {
            What::Value(json) => json.clone(),
            What::List(list) => list.iter().map(|(_, item)| item.json()).collect(),
            What::Section(section) => {
                Json::Object(section.iter().map(|(key, item)| (key.clone(), item.json())).collect::<Map<_, _>>())
            }
        }
    }

    /// Dotted key and origin of every value below.
    pub(crate) fn origins(&self, key: &str, into: &mut BTreeMap<String, String>) {
        match &self.what {
            What::Value(_) => drop(into.insert(key.to_owned(), self.place.origin())),
            What::List(list) if list.is_empty() => drop(into.insert(key.to_owned(), self.place.origin())),
            What::List(list) => {
                list.iter().for_each(|(at, item)| item.origins(&format!("{key}[{at}]"), into));
            }
            What::Section(section) => section.iter().for_each(|(name, item)| item.origins(&below(key, name), into)),
        }
    }
}

/// `key.name`, or `name` at the top.
pub(crate) fn below(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") }
}

/// Walks documents and gathers what is wrong with them.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) errors: Vec<Error>,
    /// Keys with an error of their own: nobody need say that they are missing.
    pub(crate) failed: BTreeSet<String>,
}

impl Walk {
    /// `node`, held against `shape`. `None` when nothing is said there, or nothing usable.
    pub(crate) fn item(&mut self, shape: &'static Shape, node: &Node, key: &str, place: &Place) -> Option<Item> {
        let what = match (shape, &node.value) {
            (_, Value::Nothing) => return None,
            (Shape::Section { fields, .. }, Value::Map(entries)) => self.section(fields, entries, key, place),
            (Shape::Section { fields, short: Some(short) }, _) => {
                let field = fields.iter().find(|field| field.key == *short)?;
                let item = self.item(&field.shape, node, key, place)?;
                What::Section(BTreeMap::from([((*short).to_owned(), item)]))
            }
            (Shape::Section { fields, .. }, other) => {
                let keys: Vec<&str> = fields.iter().map(|field| field.key).collect();
                let which = if keys.is_empty() { String::new() } else { format!(": {}", keys.join(", ")) };
                self.refuse(key, place, &format!("{}; expected a section with keys{which}", other.words()));
                return None;
            }
            (Shape::List(shape) | Shape::Some(shape), Value::List(nodes)) => {
                What::List(self.list(shape, nodes, key, place))
            }
            (Shape::Some(shape), _) => What::List(vec![(0, self.item(shape, node, key, place)?)]),
            (Shape::Map(shape), Value::Map(entries)) => self.map(shape, entries, key, place),
            (Shape::Map(_), other) => {
                let said = format!("{}; expected names, each with a section or a list below it", other.words());
                self.refuse(key, place, &said);
                return None;
            }
            (Shape::Or(leaf, _), Value::Text(_)) => return self.leaf(*leaf, node, key, place),
            (Shape::Or(_, shape), _) => return self.item(shape, node, key, place),
            (Shape::List(_), other) => {
                let said = format!("{}; expected a list, an item a line after `- `", other.words());
                {
                    self.refuse(key, place, &said);
                    return None;
                }
            }
            (Shape::Leaf(Leaf::Addresses), Value::List(nodes)) => What::Value(self.addresses(nodes, key, place)?),
            (Shape::Leaf(leaf), _) => return self.leaf(*leaf, node, key, place),
        };
        Some(Item { what, place: place.clone() })
    }

    fn leaf(&mut self, leaf: Leaf, node: &Node, key: &str, place: &Place) -> Option<Item> {
        match leaf.check(node) {
            Ok(json) => Some(Item { what: What::Value(json), place: place.clone() }),
            Err(said) => {
                self.refuse(key, place, &said);
                None
            }
        }
    }

    /// Names of the operator's own choice.
    fn map(&mut self, shape: &'static Shape, entries: &[Entry], key: &str, place: &Place) -> What {
        let mut map = BTreeMap::new();
        let mut seen: BTreeMap<&str, Mark> = BTreeMap::new();
        for Entry { key: name, mark, node } in entries {
            let here = |mark: Mark| Place { mark: place.mark.map(|_| mark), ..place.clone() };
            if !is_name(name) {
                let said = format!("`{}` as a name; expected {}", name.escape_debug(), Leaf::Name.expected());
                self.refuse(key, &here(*mark), &said);
                continue;
            }
            let full = below(key, name);
            if let Some(first) = seen.insert(name, *mark) {
                let said = format!("is given twice, first in line {}; expected once", first.line);
                self.refuse(&full, &here(*mark), &said);
                continue;
            }
            if let Some(item) = self.item(shape, node, &full, &here(node.mark)) {
                map.insert(name.clone(), item);
            }
        }
        What::Section(map)
    }

    fn section(&mut self, fields: &'static [Field], entries: &[Entry], key: &str, place: &Place) -> What {
        let mut section = BTreeMap::new();
        let mut seen: BTreeMap<&str, Mark> = BTreeMap::new();
        for Entry { key: name, mark, node } in entries {
            let full = below(key, name);
            let here = |mark: Mark| Place { mark: place.mark.map(|_| mark), ..place.clone() };
            if let Some(first) = seen.insert(name, *mark) {
                let said = format!("is given twice, first in line {}; expected once", first.line);
                self.refuse(&full, &here(*mark), &said);
                continue;
            }
            let Some(field) = fields.iter().find(|field| field.key == name) else {
                if let Some(meant) = meant::closest(name, fields.iter().map(|field| field.key)) {
                    self.failed.insert(below(key, meant));
                }
                self.errors.push(here(*mark).error(unknown(key, name, fields)));
                continue;
            };
            if let Some(item) = self.item(&field.shape, node, &full, &here(node.mark)) {
                section.insert(field.key.to_owned(), item);
            }
        }
        What::Section(section)
    }

    fn list(&mut self, shape: &'static Shape, nodes: &[Node], key: &str, place: &Place) -> Vec<(usize, Item)> {
        let mut list = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            let key = format!("{key}[{at}]");
            let place = Place { mark: place.mark.map(|_| node.mark), ..place.clone() };
            if node.value == Value::Nothing {
                self.refuse(&key, &place, "nothing behind `-`; expected an item");
                continue;
            }
            let Some(item) = self.item(shape, node, &key, &place) else { continue };
            let missing = shape.fields().iter().filter(|field| field.required && item.key(field.key).is_none());
            let missing: Vec<&Field> = missing.collect();
            for field in &missing {
                let full = below(&key, field.key);
                if !self.failed.contains(&full) {
                    self.refuse(&full, &place, &format!("is missing; expected {}", expected(&field.shape)));
                }
            }
            if missing.is_empty() {
                list.push((at, item));
            }
        }
        list
    }

    fn addresses(&mut self, nodes: &[Node], key: &str, place: &Place) -> Option<Json> {
        let mut list = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            match Leaf::Address.check(node) {
                Ok(json) => list.push(json),
                Err(said) => {
                    let place = Place { mark: place.mark.map(|_| node.mark), ..place.clone() };
                    {
                        self.refuse(&format!("{key}[{at}]"), &place, &said);
                        return None;
                    }
                }
            }
        }
        let parsed: Vec<_> = list.iter().filter_map(parsed).collect();
        if parsed.is_empty() || !one_a_family(&parsed) {
            let said = format!("{} addresses; expected {}", parsed.len(), Leaf::Addresses.expected());
            {
                self.refuse(key, place, &said);
                return None;
            }
        }
        Some(json!(list))
    }

    /// Takes down an error about `key`.
    pub(crate) fn refuse(&mut self, key: &str, place: &Place, said: &str) {
        self.failed.insert(key.to_owned());
        let verb = said.split(' ').next().is_some_and(|word| word == "is");
        let message = match (key, verb) {
            ("", _) => format!("the document is {said}"),
            (key, true) => format!("{key} {said}"),
            (key, false) => format!("{key}: {said}"),
        };
        self.errors.push(place.error(message));
    }

    /// All that is wrong: in the order of `sources`, in each by line, last what has no line.
    pub(crate) fn finish(mut self, sources: &[crate::Source]) -> Result<(), Errors> {
        if self.errors.is_empty() {
            return Ok(());
        }
        // Variables go by their own names.
        let variables = sources.iter().position(|source| matches!(source.text, crate::Text::Pairs(_)));
        let rank = |name: &str| sources.iter().position(|source| source.name == name).or(variables);
        self.errors.sort_by_key(|error| (rank(&error.source), error.line == 0, error.line, error.column));
        Err(Errors(self.errors))
    }

    /// Nothing of a file is known: nobody need say that all of it is missing.
    pub(crate) fn give_up(&mut self) {
        self.failed.extend(ROOT.fields().iter().map(|field| field.key.to_owned()));
    }
}

/// What may stand at a key, in words.
pub(crate) fn expected(shape: &Shape) -> String {
    match shape {
        Shape::Leaf(leaf) => leaf.expected(),
        Shape::List(_) => "a list".to_owned(),
        Shape::Some(shape) => expected(shape),
        Shape::Or(leaf, shape) => format!("{}, or {}", leaf.expected(), expected(shape)),
        Shape::Section { .. } | Shape::Map(_) => "a section with keys".to_owned(),
    }
}

/// An unknown key's message. The value is not looked at: it may be a secret.
fn unknown(section: &str, name: &str, fields: &[Field]) -> String {
    let last = section.rsplit('.').next().unwrap_or_default().split('[').next().unwrap_or_default();
    let place = if section.is_empty() { String::new() } else { format!(" in {section}") };
    let said = format!("unknown key `{}`{place}", name.escape_debug());
    if SECRET.contains(&name) && matches!(last, "bgp" | "peers") {
        return format!(
            "{said}; a key never goes in here: put it into a file and name that with `passwordFile` of the peer"
        );
    }
    let foreign = FOREIGN.iter().find(|(at, theirs, _)| *at == last && theirs.eq_ignore_ascii_case(name));
    let keys = || fields.iter().map(|field| field.key);
    let meant = foreign.map(|(.., ours)| (*ours).to_owned());
    let meant = meant.or_else(|| meant::closest(name, keys()).map(str::to_owned)).or_else(|| elsewhere(name));
    let said = format!("{said}; expected one of {}", keys().collect::<Vec<_>>().join(", "));
    meant::with(said, meant.as_deref())
}

/// The full key, if exactly one section has a key of this name.
fn elsewhere(name: &str) -> Option<String> {
    let top = ROOT.fields().iter();
    let mut found = top.filter(|field| field.shape.fields().iter().any(|below| below.key == name));
    match (found.next(), found.next()) {
        (Some(field), None) => Some(below(field.key, name)),
        _ => None,
    }
}
