//! Several paths for a prefix in one session (RFC 7911): what we offer, and what comes of both offers.

use std::collections::BTreeSet;

use model::Family;
use serde::{Deserialize, Serialize};
use wire::{AddPathMode, Capability};

/// What we would do with several paths for a prefix; the peer has to want the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddPath {
    /// Most paths of a prefix that we tell; 0: only the best, without a path identifier.
    pub send: u8,
    /// We take several in.
    pub receive: bool,
}

impl AddPath {
    /// Capability 69, for both families; none when there is nothing to offer.
    pub(crate) fn capability(self) -> Option<Capability> {
        let mode = match (self.send > 0, self.receive) {
            (true, true) => AddPathMode::Both,
            (true, false) => AddPathMode::Send,
            (false, true) => AddPathMode::Receive,
            (false, false) => return None,
        };
        Some(Capability::AddPath(Family::BOTH.map(|family| (family, mode)).to_vec()))
    }

    /// Families that we send, and that we receive, with path identifiers. The first word of the peer on a family counts.
    pub(crate) fn agree(
        self,
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
        (those(self.send > 0, AddPathMode::receives), those(self.receive, AddPathMode::sends))
    }
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
        assert_eq!(ours.agree(&both, &theirs(AddPathMode::Receive)), (v4.clone(), BTreeSet::new()));
        assert_eq!(ours.agree(&both, &theirs(AddPathMode::Both)), (v4.clone(), BTreeSet::new()));
        assert_eq!(ours.agree(&both, &theirs(AddPathMode::Send)), (BTreeSet::new(), BTreeSet::new()));
        let receiver = AddPath { send: 0, receive: true };
        assert_eq!(receiver.agree(&both, &theirs(AddPathMode::Send)), (BTreeSet::new(), v4));
        assert_eq!(receiver.agree(&BTreeSet::from([Family::V6]), &theirs(AddPathMode::Send)).1, BTreeSet::new());
        assert_eq!(receiver.agree(&both, &[]), (BTreeSet::new(), BTreeSet::new()));
        assert_eq!(AddPath::default().capability(), None);
    }
}
