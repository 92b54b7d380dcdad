//! Several paths for a prefix in one session (RFC 7911): what we offer, and what comes of both offers.

use std::collections::BTreeSet;

use model::{AddPath, Family};
use wire::{AddPathMode, Capability};

/// Capability 69, for both families; none when there is nothing to offer.
pub(crate) fn capability(ours: AddPath) -> Option<Capability> {
    let mode = match (ours.send > 0, ours.receive) {
        (true, true) => AddPathMode::Both,
        (true, false) => AddPathMode::Send,
        (false, true) => AddPathMode::Receive,
        (false, false) => return None,
    };
    Some(Capability::AddPath(Family::BOTH.map(|family| (family, mode)).to_vec()))
}

/// Families that we send, and that we receive, with path identifiers. The first word of the peer on a family counts.
pub(crate) fn agree(
    ours: AddPath,
    families: &BTreeSet<Family>,
    theirs: &[Capability],
) -> (BTreeSet<Family>, BTreeSet<Family>) {
    let said = |family: Family| {
        let lists = theirs.iter().filter_map(|capability| match capability {
            Capability::AddPath(list) => Some(list),
            _ => None,
        });
        lists.flatten().find(|(about, _)| *about == family).map(|(_, mode)| *mode)
    };
    let those = |wanted: bool, can: fn(AddPathMode) -> bool| {
        families.iter().copied().filter(|family| wanted && said(*family).is_some_and(can)).collect()
    };
    (those(ours.send > 0, AddPathMode::receives), those(ours.receive, AddPathMode::sends))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checklist: 75
    #[test]
    fn one_sends_what_the_other_receives_per_family() {
        let both = BTreeSet::from(Family::BOTH);
        let ours = AddPath { send: 4, receive: false };
        let v4 = BTreeSet::from([Family::V4]);
        let theirs = |mode| vec![Capability::AddPath(vec![(Family::V4, mode)])];
        assert_eq!(agree(ours, &both, &theirs(AddPathMode::Receive)), (v4.clone(), BTreeSet::new()));
        assert_eq!(agree(ours, &both, &theirs(AddPathMode::Both)), (v4.clone(), BTreeSet::new()));
        assert_eq!(agree(ours, &both, &theirs(AddPathMode::Send)), (BTreeSet::new(), BTreeSet::new()));
        let receiver = AddPath { send: 0, receive: true };
        assert_eq!(agree(receiver, &both, &theirs(AddPathMode::Send)), (BTreeSet::new(), v4));
        assert_eq!(agree(receiver, &BTreeSet::from([Family::V6]), &theirs(AddPathMode::Send)).1, BTreeSet::new());
        assert_eq!(agree(receiver, &both, &[]), (BTreeSet::new(), BTreeSet::new()));
        assert_eq!(capability(AddPath::default()), None);
    }
}
