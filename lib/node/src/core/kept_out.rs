//! Next hops that the kernel refuses: no reason to go on sending by a way that the peer has taken back.

use model::kernel::{Key, Via};

use super::Core;

/// Refused so often, an object is not merely early.
const TRIES: u32 = 3;

impl Core {
    /// After the kernel's answers: whoever waits for an object that is kept out by now is looked at again.
    pub(super) fn note_kept_out(&mut self, refused: Vec<Key>) {
        for key in refused {
            let attempts = self.reconcile.failures().get(&key).map(|failure| failure.attempts);
            if attempts == Some(TRIES) {
                self.destinations.wake(&key);
            }
        }
    }

    /// Of several hops, those that the kernel takes; all of them if it takes none.
    pub(super) fn without_kept_out(&self, via: Via) -> Via {
        let Via::Hops(hops) = &via else { return via };
        if self.reconcile.failures().is_empty() {
            return via;
        }
        let good = hops.iter().filter(|hop| !self.is_object_kept_out(&Key::Nexthop((*hop).clone())));
        Via::hops(good.cloned().collect()).unwrap_or(via)
    }

    /// Does the kernel refuse what a route over these hops would name?
    pub(super) fn is_kept_out(&self, via: &Via) -> bool {
        !self.reconcile.failures().is_empty() && plan::objects(via).iter().any(|key| self.is_object_kept_out(key))
    }

    fn is_object_kept_out(&self, key: &Key) -> bool {
        self.reconcile.failures().get(key).is_some_and(|failure| failure.attempts >= TRIES)
    }
}
