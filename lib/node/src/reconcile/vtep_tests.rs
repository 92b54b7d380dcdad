//! Whoever is to be let in is let in before anybody is shut out.

use super::*;
use model::Vni;
use model::kernel::VtepFilter;

fn vtep(n: u32) -> (Key, Value) {
    (Key::Vtep(IpAddr::from(n.to_be_bytes())), Value::There)
}

fn filter() -> (Key, Value) {
    (Key::VtepFilter, Value::VtepFilter(VtepFilter { vni: Vni::new(178).unwrap(), port: 4789 }))
}

fn wrote(reconcile: &mut Reconcile, batch: Vec<Write>, refused: Option<&Key>) {
    let verdict = |write: &Write| match refused == Some(write.key()) {
        true => Err(Refusal { errno: 12, message: "no memory".to_owned() }),
        false => Ok(()),
    };
    let results = batch.into_iter().map(|write| (write.clone(), verdict(&write))).collect();
    reconcile.handle_wrote(Moment::ZERO, results);
}

fn keys(batch: &[Write]) -> Vec<Key> {
    batch.iter().map(|write| write.key().clone()).collect()
}

#[test]
fn the_filter_waits_for_every_element_and_elements_for_their_table() {
    let mut reconcile = Reconcile::new(Device::new("biplane.vxlan").unwrap());
    let count = BATCH as u32 + 500;
    reconcile.want(Key::VtepTable, Some(Value::There));
    for (key, value) in (1..=count).map(vtep).chain([filter()]) {
        reconcile.want(key, Some(value));
    }
    let first = reconcile.poll_batch(Moment::ZERO, false).unwrap();
    assert_eq!(keys(&first), [Key::VtepTable]);
    assert_eq!(reconcile.poll_batch(Moment::ZERO, false), None);
    wrote(&mut reconcile, first, None);
    // Two batches are under way; the filter is in neither, though there is room in the second.
    let one = reconcile.poll_batch(Moment::ZERO, false).unwrap();
    let two = reconcile.poll_batch(Moment::ZERO, false).unwrap();
    assert_eq!((one.len(), two.len()), (BATCH, 500));
    // Nor while one that was refused is tried again.
    let refused = vtep(7).0;
    wrote(&mut reconcile, one, Some(&refused));
    wrote(&mut reconcile, two, None);
    assert_eq!(reconcile.poll_batch(Moment::ZERO, true), None);
    let again = reconcile.poll_batch(reconcile.poll_timeout().unwrap(), true).unwrap();
    assert_eq!(keys(&again), [refused]);
    wrote(&mut reconcile, again, None);
    let last = reconcile.poll_batch(Moment::ZERO, true).unwrap();
    assert_eq!(keys(&last), [Key::VtepFilter]);
    wrote(&mut reconcile, last, None);
    assert_eq!(reconcile.poll_batch(Moment::ZERO, true), None);

    // A node more is let in, one that went is not any more, and the filter stands all the while.
    reconcile.want(vtep(count + 1).0, Some(Value::There));
    reconcile.want(vtep(1).0, None);
    let more = reconcile.poll_batch(Moment::ZERO, true).unwrap();
    assert_eq!(more, [Write::Create(vtep(count + 1).0, Value::There)]);
    wrote(&mut reconcile, more, None);
    let less = reconcile.poll_batch(Moment::ZERO, true).unwrap();
    assert_eq!(less, [Write::Delete(vtep(1).0)]);
    wrote(&mut reconcile, less, None);

    // The whole goes from the filter to the table.
    for key in [Key::VtepTable, Key::VtepFilter].into_iter().chain((2..=count + 1).map(|n| vtep(n).0)) {
        reconcile.want(key, None);
    }
    let mut gone = Vec::new();
    while let Some(batch) = reconcile.poll_batch(Moment::ZERO, true) {
        gone.extend(keys(&batch));
        wrote(&mut reconcile, batch, None);
    }
    assert_eq!(
        (gone.first(), gone.last(), gone.len()),
        (Some(&Key::VtepFilter), Some(&Key::VtepTable), count as usize + 2)
    );
}

#[test]
fn what_a_restarted_daemon_finds_stays_until_it_knows_who_is_wanted() {
    let mut reconcile = Reconcile::new(Device::new("biplane.vxlan").unwrap());
    let there = [(Key::VtepTable, Value::There), vtep(1), vtep(2), filter()];
    reconcile.read_back(there.to_vec(), vec![]);
    assert_eq!(reconcile.take_in(10), Some(4));
    reconcile.want(Key::VtepTable, Some(Value::There));
    assert_eq!(reconcile.poll_batch(Moment::ZERO, true), None, "nobody has said yet who is wanted");
    reconcile.want(vtep(2).0, Some(Value::There));
    assert_eq!(reconcile.poll_batch(Moment::ZERO, true), None, "nor whether that is all");
    reconcile.want(Key::VtepFilter, Some(filter().1));
    let batch = reconcile.poll_batch(Moment::ZERO, true).unwrap();
    assert_eq!(batch, [Write::Delete(vtep(1).0)]);
}
