//! Variables and flags: names to keys.

use std::collections::BTreeMap;

use crate::keys::{ROOT, Shape};
use crate::layer::{Item, Place, Walk, What, below};
use crate::tree::{Mark, Node, Value, parse};
use crate::{Error, meant};

/// Begins every variable of ours.
const PREFIX: &str = "BIPLANE_";
/// Stands for the dot between keys.
const DOT: &str = "__";

/// Makes a layer of variables (`BIPLANE_BGP__LOCAL_ASN`) and dotted keys.
pub(crate) fn layer(walk: &mut Walk, source: &str, pairs: &[(String, String)], warnings: &mut Vec<String>) -> Item {
    let mut layer = Item::empty();
    for (name, value) in pairs {
        let (place, path) = if name.contains('.') || name.chars().next().is_some_and(|c| c.is_ascii_lowercase()) {
            (source, dotted(name))
        } else if let Some(rest) = name.strip_prefix(PREFIX) {
            match variable(name, rest, warnings) {
                None => continue,
                Some(path) => (name.as_str(), path),
            }
        } else {
            continue;
        };
        let place = Place { source: place.to_owned(), mark: None };
        match path {
            Ok(path) => {
                if let Some(item) = item(walk, &path, value, &place) {
                    layer.lay(item);
                }
            }
            Err(message) => walk.errors.push(place.error(message)),
        }
    }
    layer
}

/// Keys from the top, and what the last of them may hold.
type Path = (Vec<&'static str>, &'static Shape);

fn dotted(name: &str) -> Result<Path, String> {
    let mut path: Path = (Vec::new(), &ROOT);
    for part in name.split('.') {
        let Some(field) = path.1.fields().iter().find(|field| field.key == part) else {
            let known = path.1.fields().iter().map(|field| field.key);
            let whole = path.0.join(".");
            let meant = meant::closest(part, known.clone()).map(|key| below(&whole, key));
            let said = format!("unknown key `{name}`; expected one of {}", known.collect::<Vec<_>>().join(", "));
            return Err(meant::with(said, meant.as_deref()));
        };
        path.0.push(field.key);
        path.1 = &field.shape;
    }
    Ok(path)
}

/// The keys that a variable names. `None`: it is somebody else's (Kubernetes puts `BIPLANE_SERVICE_HOST` there when a
/// Service has our name), perhaps with a warning.
fn variable(name: &str, rest: &str, warnings: &mut Vec<String>) -> Option<Result<Path, String>> {
    let mut path: Path = (Vec::new(), &ROOT);
    for part in rest.split(DOT) {
        let known = || path.1.fields().iter().map(|field| (shouted(field.key), field));
        if let Some((_, field)) = known().find(|(shouted, _)| shouted == part) {
            path.0.push(field.key);
            path.1 = &field.shape;
            continue;
        }
        if !rest.contains(DOT) {
            if let Some(meant) = every_variable().into_iter().find(|it| it.replace(DOT, "_") == name) {
                warnings
                    .push(format!("{name} is passed over; did you mean {meant}, with two underscores for the dot?"));
            }
            return None;
        }
        let so_far: String = path.0.iter().map(|key| shouted(key) + DOT).collect();
        let whole = so_far.trim_end_matches('_');
        if matches!(path.1, Shape::List(_)) {
            return Some(Err(format!(
                "an item of a list has no variable; expected the whole list in {PREFIX}{whole}, as YAML: [{{…}}, {{…}}]"
            )));
        }
        if matches!(path.1, Shape::Map(_)) {
            return Some(Err(format!(
                "a name that you chose has no variable; expected all of them in {PREFIX}{whole}, as YAML: {{name: …}}"
            )));
        }
        let all: Vec<String> = known().map(|(shouted, _)| format!("{PREFIX}{so_far}{shouted}")).collect();
        let words: Vec<String> = known().map(|(shouted, _)| shouted).collect();
        let meant = meant::closest(part, words.iter().map(String::as_str)).map(|it| format!("{PREFIX}{so_far}{it}"));
        let said = if all.is_empty() {
            format!("unknown variable; expected {PREFIX}{}, which has nothing below it", so_far.trim_end_matches('_'))
        } else {
            format!("unknown variable; expected one of {}", all.join(", "))
        };
        return Some(Err(meant::with(said, meant.as_deref())));
    }
    Some(Ok(path))
}

fn item(walk: &mut Walk, path: &Path, value: &str, place: &Place) -> Option<Item> {
    let (keys, shape) = path;
    let node = match read(shape, value, place) {
        Ok(node) => node,
        Err(error) => {
            walk.errors.push(error);
            return None;
        }
    };
    let item = walk.item(shape, &node, &keys.join("."), place)?;
    let wrap = |item, key: &&'static str| Item {
        what: What::Section(BTreeMap::from([((*key).to_owned(), item)])),
        place: place.clone(),
    };
    Some(keys.iter().rev().fold(item, wrap))
}

/// Text is taken as it stands, so that a name like `1e3` needs no quotes within the shell's; the rest is YAML.
fn read(shape: &Shape, value: &str, place: &Place) -> Result<Node, Error> {
    if value.is_empty() {
        return Ok(Node { value: Value::Nothing, mark: Mark { line: 1, column: 1 } });
    }
    match shape {
        Shape::Leaf(leaf) if leaf.is_text() => {
            Ok(Node { value: Value::Text(value.to_owned()), mark: Mark { line: 1, column: 1 } })
        }
        _ => parse(&place.source, value).map_err(|error| Error { line: 0, column: 0, ..error }),
    }
}

fn every_variable() -> Vec<String> {
    let top = ROOT.fields().iter();
    top.flat_map(|field| {
        let name = format!("{PREFIX}{}", shouted(field.key));
        let below = field.shape.fields().iter().map(|it| format!("{name}{DOT}{}", shouted(it.key))).collect::<Vec<_>>();
        std::iter::once(name).chain(below)
    })
    .collect()
}

/// `localAsn` as `LOCAL_ASN`.
fn shouted(key: &str) -> String {
    let mut out = String::new();
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}
