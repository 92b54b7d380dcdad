//! The directory when its writer dies between any two system calls.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use alloc::{Acquire, AcquireError, Claim, ClaimStore, Created, Step};
use model::node::BgpReach;
use model::{Asn, ClusterPool, MacAddr, NodeName, PlaneSet, PodCidr, Reach, Uid, Vtep};
use proptest::prelude::*;

use super::disk::Disk;
use super::mirror::{Due, Mirror};
use super::record::Place;

pub(crate) fn claim(cidr: &str, node: &str) -> Claim {
    let underlay = "192.0.2.1".parse().unwrap();
    Claim {
        pod_cidr: cidr.parse().unwrap(),
        node: node.parse().unwrap(),
        uid: Uid(format!("uid-{node}").into()),
        reach: Reach {
            underlay: vec![underlay],
            vtep: Vtep { underlay, mac: MacAddr([2, 0, 0, 0, 0, 1]), gateway: "fe80::1".parse().unwrap() },
            bgp: BgpReach { asn: Asn(64512), port: 179, mesh: true, reflection: None },
            planes: PlaneSet::BOTH,
        },
    }
}

const NODES: usize = 6;

#[derive(Clone, Debug)]
enum Move {
    Acquire,
    Release,
    /// Ends the quarantines, as if each were over.
    Tidy,
}

struct Shop<'a> {
    dir: &'a Path,
    pool: ClusterPool,
    holders: BTreeMap<PodCidr, NodeName>,
    quarantined: BTreeSet<PodCidr>,
    /// What the move under way may do: end this hold, end any quarantine.
    releasing: Option<PodCidr>,
    tidying: bool,
}

impl Shop<'_> {
    fn node(nth: usize) -> NodeName {
        format!("n{nth}").parse().unwrap()
    }

    /// A daemon that starts, makes one move and dies: after `writes` system calls that write, if that is said.
    fn play(&mut self, nth: usize, what: &Move, writes: Option<u32>) {
        let node = Shop::node(nth);
        let mut disk = Disk::open(self.dir, &node, None).unwrap();
        // As the daemon does when it has its lock.
        disk.discard_prepared();
        disk.writes_left.set(writes);
        self.tidying = matches!(what, Move::Tidy);
        match what {
            Move::Acquire => {
                let Claim { uid, reach, .. } = claim("10.0.0.0/24", node.as_str());
                let mut acquire = Acquire::new(self.pool, node, uid, reach);
                loop {
                    match acquire.step(&mut disk) {
                        Ok(Step::Again) => {}
                        Ok(Step::Held(_)) | Err(AcquireError::Full { .. }) => break,
                        Err(AcquireError::Store(trouble)) => {
                            assert!(writes.is_some(), "{trouble}");
                            break;
                        }
                    }
                }
            }
            Move::Release => {
                let held = self.holders.iter().find(|(_, holder)| **holder == node).map(|(cidr, _)| *cidr);
                self.releasing = held;
                let released = held.map(|cidr| disk.release(&cidr, &node));
                assert!(writes.is_some() || released.is_none_or(|released| released.is_ok()));
            }
            Move::Tidy => self.tidy(&disk, writes),
        }
        drop(disk);
        self.check();
        self.releasing = None;
    }

    fn tidy(&self, disk: &Disk, writes: Option<u32>) {
        let mut mirror = Mirror::default();
        mirror.read_all(disk, true, &mut |_| {}).unwrap();
        for (_, due) in mirror.freed(Duration::ZERO, disk.boot_id()) {
            let done = match due {
                Due::FinishRelease(cidr) => disk.finish_release(&cidr),
                Due::EndQuarantine(cidr, seen) => disk.end_quarantine(&cidr, Duration::ZERO, seen),
            };
            assert!(writes.is_some() || done.is_ok());
        }
    }

    /// What must hold after every death.
    fn check(&mut self) {
        let mut disk = Disk::open(self.dir, &"onlooker".parse().unwrap(), None).unwrap();
        let list = disk.list().unwrap();
        // Both ways of reading agree, and no file is half.
        let mut mirror = Mirror::default();
        mirror.read_all(&disk, true, &mut |_| {}).unwrap();
        assert_eq!((&mirror.snapshot().claims, &mirror.snapshot().quarantined), (&list.claims, &list.quarantined));
        assert_eq!(mirror.next_complaint(), None, "a file that cannot be read");
        for (cidr, holder) in &self.holders {
            match list.claims.get(cidr) {
                Some(claim) => assert_eq!(claim.node, *holder, "{cidr} changed hands"),
                None => {
                    assert_eq!(self.releasing, Some(*cidr), "{cidr} was lost by {holder}");
                    assert!(list.quarantined.contains(cidr), "{cidr} went free without quarantine");
                }
            }
        }
        for cidr in &self.quarantined {
            assert!(self.tidying || list.quarantined.contains(cidr), "the quarantine of {cidr} ended early");
        }
        for cidr in &list.quarantined {
            let known = self.quarantined.contains(cidr) || self.releasing == Some(*cidr);
            assert!(known && !list.claims.contains_key(cidr), "{cidr} is in quarantine and nobody freed it");
        }
        self.holders = list.claims.into_iter().map(|(cidr, claim)| (cidr, claim.node)).collect();
        self.quarantined = list.quarantined;
    }

    /// Nobody dies any more.
    fn settle(&mut self) {
        self.play(0, &Move::Tidy, None);
        // What was freed but not moved was moved, and is over the next time.
        self.play(0, &Move::Tidy, None);
        assert_eq!(self.quarantined, BTreeSet::new(), "for ever out of use");
        (0..NODES).for_each(|nth| self.play(nth, &Move::Acquire, None));
        let nodes: BTreeSet<&NodeName> = self.holders.values().collect();
        assert_eq!((self.holders.len(), nodes.len()), (NODES, NODES), "{:?}", self.holders);
        let left = std::fs::read_dir(self.dir.join("tmp")).unwrap().count();
        assert_eq!(left, 0, "files of the dead are never cleaned up");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_writer_may_die_between_any_two_system_calls(
        moves in prop::collection::vec(
            (
                0..NODES,
                prop_oneof![3 => Just(Move::Acquire), 3 => Just(Move::Release), 1 => Just(Move::Tidy)],
                prop_oneof![1 => Just(None), 2 => (0_u32..14).prop_map(Some)],
            ),
            60,
        )
    ) {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut shop = Shop {
            dir: dir.path(),
            pool: ClusterPool::new("10.244.0.0/24".parse().unwrap(), 27).unwrap(),
            holders: BTreeMap::new(),
            quarantined: BTreeSet::new(),
            releasing: None,
            tidying: false,
        };
        for (nth, what, writes) in &moves {
            shop.play(*nth, what, *writes);
        }
        shop.settle();
    }
}

#[test]
fn a_temporary_file_that_is_linked_elsewhere_is_never_written_into() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(dir.path(), &"n1".parse().unwrap(), None).unwrap();
    let held = claim("10.1.0.0/24", "n1");
    assert_eq!(disk.create(&held).unwrap(), Created::Created);
    // What a death between link and unlink leaves, where the file system knows no rename without replacing.
    std::fs::hard_link(dir.path().join("claims/10.1.0.0_24"), dir.path().join("tmp/n1")).unwrap();
    let before = std::fs::read(dir.path().join("claims/10.1.0.0_24")).unwrap();
    disk.prepare(b"something else").unwrap();
    assert_eq!(std::fs::read(dir.path().join("claims/10.1.0.0_24")).unwrap(), before);
}

#[test]
fn another_store_in_the_place_of_the_known_one_is_not_taken_for_it() {
    let parent = tempfile::tempdir().unwrap();
    let node: NodeName = "n1".parse().unwrap();
    let (path, other) = (parent.path().join("store"), parent.path().join("other"));
    let known = Disk::open(&path, &node, None).unwrap().id().to_owned();
    assert_eq!(Disk::open(&path, &node, Some(&known)).unwrap().id(), known);
    let strange = Disk::open(&other, &node, None).unwrap().id().to_owned();
    assert_ne!(known, strange);
    let words = Disk::open(&other, &node, Some(&known)).unwrap_err().to_string();
    assert!(words.contains(&known) && words.contains(&strange) && words.contains("restart the daemon"), "{words}");
    std::fs::remove_file(other.join("store.id")).unwrap();
    let words = Disk::open(&other, &node, Some(&known)).unwrap_err().to_string();
    assert!(words.contains("not the store it was"), "{words}");
}

#[test]
fn a_lock_held_for_too_long_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = Disk::open(dir.path(), &"n1".parse().unwrap(), None).unwrap();
    let two = Disk::open(dir.path(), &"n2".parse().unwrap(), None).unwrap();
    let lock = two.lock_store().unwrap();
    let words = one.create(&claim("10.1.0.0/24", "n1")).unwrap_err().to_string();
    assert!(words.contains("store.lock") && words.contains("fuser"), "{words}");
    drop(lock);
    assert_eq!(one.create(&claim("10.1.0.0/24", "n1")).unwrap(), Created::Created);
}

#[test]
fn a_write_in_the_same_tick_of_the_clock_is_seen() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let disk = Disk::open(dir.path(), &"n1".parse().unwrap(), None).unwrap();
    let mut mirror = Mirror::default();
    let path = dir.path().join("claims/10.1.0.0_24");
    for nth in 0..200 {
        // In place and of one size: only a look inside tells.
        let written = claim("10.1.0.0/24", if nth % 2 == 0 { "n1" } else { "n2" });
        std::fs::write(&path, serde_json::to_vec(&written).unwrap()).unwrap();
        mirror.read_all(&disk, true, &mut |_| {}).unwrap();
        assert_eq!(mirror.snapshot().claims.get(&written.pod_cidr), Some(&written), "write {nth}");
    }
    assert_eq!(disk.names(Place::Claims).unwrap(), ["10.1.0.0_24"]);
}
