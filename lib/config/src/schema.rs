//! The JSON schema of the file (draft 2020-12), for editors.

use model::PeerAs;
use serde_json::{Map, Value as Json, json};

use crate::document::{built_in, peer_built_in, range_built_in};
use crate::keys::{ROOT, Shape};
use crate::leaf::Leaf;

/// The schema of the configuration file, from the table of keys that [`crate::load`] checks by.
pub fn schema() -> Json {
    let mut schema = shape(&ROOT, &built_in());
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Biplane configuration");
    schema
}

fn shape(it: &Shape, default: &Json) -> Json {
    match it {
        Shape::Leaf(kind) => leaf(*kind),
        Shape::List(item) => {
            let has = |key: &str| item.fields().iter().any(|field| field.key == key);
            let default = match (has("asn"), has("range")) {
                (true, false) => peer_built_in(),
                (true, true) => range_built_in(),
                _ => Json::Null,
            };
            json!({ "type": ["array", "null"], "items": shape(item, &default) })
        }
        Shape::Some(item) => json!({ "anyOf": [shape(item, &Json::Null), list(item)] }),
        Shape::Map(item) => json!({
            "type": ["object", "null"],
            "propertyNames": { "pattern": NAME },
            "additionalProperties": shape(item, &Json::Null),
        }),
        Shape::Or(kind, other) => json!({ "anyOf": [leaf(*kind), shape(other, &Json::Null)] }),
        Shape::Section { fields, short } => {
            let mut properties = Map::new();
            for field in *fields {
                let value = &default[field.key];
                let mut property = shape(&field.shape, value);
                property["description"] = json!(field.doc);
                if !field.required && !matches!(value, Json::Null | Json::Object(_)) {
                    property["default"] = value.clone();
                }
                properties.insert(field.key.to_owned(), property);
            }
            let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.key).collect();
            let short =
                short.and_then(|short| fields.iter().find(|field| field.key == short)).map(|field| &field.shape);
            let is_bool = matches!(short, Some(Shape::Leaf(Leaf::Bool)));
            let types = if is_bool { json!(["object", "boolean", "null"]) } else { json!(["object", "null"]) };
            let whole =
                json!({ "type": types, "additionalProperties": false, "required": required, "properties": properties });
            match short {
                Some(short) if !is_bool => json!({ "anyOf": [whole, shape(short, &Json::Null)] }),
                _ => whole,
            }
        }
    }
}

fn list(item: &Shape) -> Json {
    json!({ "type": "array", "items": shape(item, &Json::Null) })
}

fn leaf(kind: Leaf) -> Json {
    match kind {
        Leaf::Bool => json!({ "type": "boolean" }),
        Leaf::Int { min, max, .. } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Leaf::HoldTime => {
            json!({ "type": "integer", "anyOf": [{ "const": 0 }, { "minimum": 3, "maximum": 65535 }] })
        }
        Leaf::Asn => json!({
            "type": "integer", "minimum": 1, "maximum": u32::MAX - 1, "not": { "enum": [23456, 65535] },
        }),
        Leaf::PeerAs => json!({ "anyOf": [{ "enum": PeerAs::WORDS.map(|(word, _)| word) }, leaf(Leaf::Asn)] }),
        Leaf::Interface => json!({ "type": "string", "minLength": 1, "maxLength": 15 }),
        Leaf::Word(words) => json!({ "enum": words }),
        Leaf::NodeName => json!({ "type": "string", "pattern": NODE_NAME, "maxLength": 253 }),
        Leaf::Address => address(),
        Leaf::Addresses => json!({
            "anyOf": [address(), { "type": "array", "items": address(), "minItems": 1, "maxItems": 2 }],
        }),
        Leaf::RouterId => json!({ "type": "string", "format": "ipv4" }),
        Leaf::Prefix => json!({ "type": "string", "pattern": "^[0-9a-fA-F:.]+/[0-9]{1,3}$" }),
        Leaf::Socket => json!({ "type": "string", "pattern": ":[0-9]{1,5}$" }),
        Leaf::Path | Leaf::KeyFile => json!({ "type": "string", "pattern": "^/" }),
        Leaf::Text => json!({ "type": "string" }),
        Leaf::Name => json!({ "type": "string", "pattern": NAME }),
        Leaf::BfdProfile => json!({ "anyOf": [{ "type": "boolean" }, { "type": "string", "pattern": NAME }] }),
        Leaf::Hosts => json!({ "type": "string", "pattern": "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$" }),
        Leaf::Community { .. } => {
            json!({ "type": "string", "pattern": "^([0-9]{1,5}|[*]):([0-9]{1,5}|[*])$|^[a-z-]+$" })
        }
        Leaf::LargeCommunity { .. } => {
            json!({ "type": "string", "pattern": "^(([0-9]{1,10}|[*]):){2}([0-9]{1,10}|[*])$" })
        }
        Leaf::NextHop => json!({ "anyOf": [{ "enum": ["self", "keep"] }, address()] }),
    }
}

const NAME: &str = "^[A-Za-z0-9_-]{1,63}$";
const NODE_NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

fn address() -> Json {
    json!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
}
