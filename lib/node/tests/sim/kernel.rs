//! A kernel in memory. It behaves as Linux does where it matters: creates are exclusive, replaces need something to
//! replace, a route needs the nexthop object that it names, and what is taken away takes what leans on it along.

use std::collections::{BTreeMap, BTreeSet};

use model::kernel::{Hop, Key, Refusal, Value, Via, Write};

pub(super) fn write_one(kernel: &mut BTreeMap<Key, Value>, write: &Write) -> Result<(), Refusal> {
    let refuse = |errno: i32, message: &str| Err(Refusal { errno, message: message.to_owned() });
    let missing = |kernel: &BTreeMap<Key, Value>, value: &Value| match value {
        Value::Route { via: Via::Hops(hops), .. } => {
            let object = match &hops[..] {
                [hop] => Key::Nexthop(hop.clone()),
                _ => Key::NexthopGroup(hops.clone()),
            };
            !kernel.contains_key(&object)
        }
        _ => false,
    };
    match write {
        Write::Create(key, value) | Write::Replace(key, value) => {
            let exclusive = matches!(write, Write::Create(..)) && !matches!(key, Key::Sysctl(_));
            if exclusive && kernel.contains_key(key) {
                return refuse(17, "File exists");
            }
            if matches!(write, Write::Replace(..)) && !kernel.contains_key(key) {
                return refuse(2, "No such file or directory");
            }
            if missing(kernel, value) {
                return refuse(2, "Nexthop id does not exist");
            }
            kernel.insert(key.clone(), value.clone());
            Ok(())
        }
        Write::Delete(key) => {
            kernel.remove(key);
            let gone: BTreeSet<Hop> = match key {
                Key::Nexthop(hop) => BTreeSet::from([hop.clone()]),
                Key::Link(device) => {
                    kernel.retain(|k, _| !matches!(k, Key::Fdb(d, _) | Key::Neighbour(d, _) if d == device));
                    let on = |k: &Key| match k {
                        Key::Nexthop(hop) if hop.device == *device => Some(hop.clone()),
                        _ => None,
                    };
                    kernel.keys().filter_map(on).collect()
                }
                _ => BTreeSet::new(),
            };
            kernel.retain(|k, v| match (k, v) {
                (Key::Nexthop(hop), _) => !gone.contains(hop),
                (_, Value::Route { via: Via::Hops(hops), .. }) => !hops.iter().any(|hop| gone.contains(hop)),
                _ => true,
            });
            Ok(())
        }
    }
}
