use std::collections::BTreeMap;

use model::kernel::{Device, Foreign, Key, Value, Via};

use super::Reconcile;

fn device(name: &str) -> Device {
    Device::new(name).unwrap()
}

fn route(n: u8) -> Key {
    Key::Route(format!("10.{n}.0.0/16").parse().unwrap())
}

fn value(n: u8) -> Value {
    let gateway = format!("192.0.2.{n}").parse().unwrap();
    Value::Route { via: Via::hop(Some(gateway), device("eth0")), src: None }
}

fn held(reconcile: &Reconcile) -> BTreeMap<Key, Value> {
    reconcile.tracker().actual_iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Every way in which three keys can be believed, read back and spoken of in between, in slices of every size.
#[test]
fn a_read_back_in_slices_says_the_same_as_at_once() {
    // A key is believed or read back as absent, as one value, or as another; a notice may say nothing.
    let states = [None, Some(1), Some(2)];
    for case in 0..9_u32.pow(3) {
        let state = |at: u32| [case / 9_u32.pow(at) % 3, case / 9_u32.pow(at) / 3 % 3].map(|n| states[n as usize]);
        for slice in 1..=4 {
            for (told, saying) in (0..3_u8).flat_map(|at| [None, Some(None), Some(Some(3))].map(|saying| (at, saying)))
            {
                let mut reconcile = Reconcile::new(device("biplane.vxlan"));
                for at in 0..3_u8 {
                    reconcile.found(route(at), state(u32::from(at))[0].map(value));
                }
                reconcile.expect_read_back();
                let read = (0..3_u8).filter_map(|at| Some((route(at), value(state(u32::from(at))[1]?))));
                let mut expected: BTreeMap<Key, Value> = read.clone().collect();
                // Told in the order of the dump or not.
                reconcile.read_back(read.rev().collect(), Vec::new());
                assert!(reconcile.busy() && reconcile.has_work());
                let mut done = reconcile.take_in(slice);
                if let (None, Some(saying)) = (done, saying) {
                    reconcile.found(route(told), saying.map(value));
                    match saying {
                        Some(n) => expected.insert(route(told), value(n)),
                        None => expected.remove(&route(told)),
                    };
                }
                for _ in 0..8 {
                    done = done.or_else(|| reconcile.take_in(slice));
                }
                assert!(done.is_some() && !reconcile.busy() && !reconcile.has_work());
                assert_eq!(held(&reconcile), expected, "case {case}, slice {slice}, {told} told {saying:?}");
            }
        }
    }
}

#[test]
fn what_differs_is_counted_and_told_and_the_list_of_foreign_objects_stays() {
    let mut reconcile = Reconcile::new(device("biplane.vxlan"));
    reconcile.want(Key::Link(device("biplane.vxlan")), Some(Value::There));
    reconcile.found(route(1), Some(value(1)));
    reconcile.found(route(2), Some(value(1)));
    reconcile.take_changed();
    reconcile.expect_read_back();
    let key = Key::Link(device("biplane.vxlan"));
    let foreign = vec![Foreign { key: key.clone(), what: "another".to_owned() }];
    reconcile.read_back(vec![(key.clone(), Value::There), (route(2), value(1))], foreign);
    assert_eq!(reconcile.take_in(100), Some(2));
    let changed: Vec<Key> = reconcile.take_changed().into_iter().map(|changed| changed.key).collect();
    assert_eq!(changed, [key.clone(), route(1)]);
    assert!(reconcile.foreign().contains_key(&key));
}
