//! `biplane config show`.

use serde_json::Value;
use status::doc::ConfigDoc;

use crate::failure::Failure;
use crate::output::{Body, Table, cell};

/// The settings as a file that gives them again.
pub(super) fn text(config: &ConfigDoc) -> Result<Body, Failure> {
    let document = config::document(&config.config);
    serde_saphyr::to_string(&document).map(Body::Text).map_err(|error| Failure::Strange(error.to_string()))
}

pub(super) fn origins(config: &ConfigDoc) -> Body {
    let mut table = Table::new(&["KEY", "VALUE", "ORIGIN"], &[]);
    let document = config::document(&config.config);
    walk(String::new(), &document, &mut |key, value| {
        let origin = config.origins.get(&key).map_or(config::BUILT_IN, String::as_str);
        let value = match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        table.rows.push(vec![cell(&key), cell(value), cell(origin)]);
    });
    Body::Table(table)
}

/// Every value by its dotted key; a list of scalars is one value where its origin is.
fn walk(key: String, value: &Value, each: &mut impl FnMut(String, &Value)) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                walk(if key.is_empty() { name.clone() } else { format!("{key}.{name}") }, value, each);
            }
        }
        Value::Array(items) if !items.is_empty() && key != "node.address" => {
            items.iter().enumerate().for_each(|(at, item)| walk(format!("{key}[{at}]"), item, each));
        }
        _ => each(key, value),
    }
}
