use std::collections::BTreeSet;

use model::Moment;
use model::kernel::{Device, Hop, Key, Value, Via, Write};

use super::{BATCH, Reconcile};

fn hop() -> Hop {
    Hop { gateway: Some("192.0.2.1".parse().unwrap()), device: Device::new("eth0").unwrap() }
}

fn route(n: usize) -> Key {
    Key::Route(format!("10.{}.{}.0/24", n / 256, n % 256).parse().unwrap())
}

fn done(reconcile: &mut Reconcile, batch: Vec<Write>) {
    reconcile.handle_wrote(Moment::ZERO, batch.into_iter().map(|write| (write, Ok(()))).collect());
}

#[test]
fn two_batches_are_under_way_and_none_holds_a_key_of_the_other() {
    let now = Moment::ZERO;
    let count = 3 * BATCH - 1;
    let mut reconcile = Reconcile::new(Device::new("biplane.vxlan").unwrap());
    let value = Value::Route { via: Via::hop(hop().gateway, hop().device), src: None };
    reconcile.want(Key::Nexthop(hop()), Some(Value::There));
    for n in 0..count {
        reconcile.want(route(n), Some(value.clone()));
    }
    let first = reconcile.poll_batch(now, true).unwrap();
    let second = reconcile.poll_batch(now, true).unwrap();
    assert_eq!(reconcile.poll_batch(now, true), None);
    assert_eq!(first[0].key(), &Key::Nexthop(hop()), "what is leaned on comes first");
    let mut keys: BTreeSet<Key> = first.iter().chain(&second).map(|write| write.key().clone()).collect();
    assert_eq!(keys.len(), 2 * BATCH);

    // What is wanted no more while it is on its way in is taken away only when nothing is made any more.
    reconcile.want(route(0), None);
    done(&mut reconcile, first);
    let third = reconcile.poll_batch(now, true).unwrap();
    assert!(third.iter().all(|write| matches!(write, Write::Create(..)) && keys.insert(write.key().clone())));
    assert_eq!(keys.len(), count + 1);
    assert_eq!(reconcile.poll_batch(now, true), None);
    done(&mut reconcile, second);
    assert_eq!(reconcile.poll_batch(now, true), None);
    done(&mut reconcile, third);
    let delete = reconcile.poll_batch(now, true).unwrap();
    assert_eq!(delete, [Write::Delete(route(0))]);

    // And nothing is made while something is taken away.
    reconcile.want(route(count), Some(value));
    assert_eq!(reconcile.poll_batch(now, true), None);
    done(&mut reconcile, delete);
    assert!(matches!(reconcile.poll_batch(now, true).as_deref(), Some([Write::Create(..)])));
    assert_eq!(reconcile.tracker().pending(), (1, 0));
}
