//! Names and contents of the store's files.
//!
//! | Place | Name | Content |
//! |---|---|---|
//! | `claims/` | pod CIDR, `/` as `_` | a claim; with `released` in it, a freed one on its way to `quarantine/` |
//! | `quarantine/` | the same | a freed claim with the time of its release |
//! | `phases/` | node, `.json` | a phase record |
//! | the store itself | `digest.json`, `wish.json` | digest and wish |

use std::time::Duration;

use alloc::Claim;
use model::{Digest, NodeName, NodePhase, PodCidr, Wish};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The directories whose content is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Claims,
    Quarantine,
    Phases,
    /// The store's own directory: only digest and wish count in it.
    Root,
}

impl Place {
    pub(crate) const ALL: [Place; 4] = [Place::Claims, Place::Quarantine, Place::Phases, Place::Root];

    /// Name of the directory below the store; empty for the store itself.
    pub(crate) const fn directory(self) -> &'static str {
        match self {
            Place::Claims => "claims",
            Place::Quarantine => "quarantine",
            Place::Phases => "phases",
            Place::Root => "",
        }
    }
}

pub(crate) const DIGEST: &str = "digest.json";
pub(crate) const WISH: &str = "wish.json";

/// What a file name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Slot(PodCidr),
    Phase(NodeName),
    Digest,
    Wish,
}

impl Key {
    /// `None` for a name that cannot be one of ours. Only the canonical spelling of a pod CIDR is one.
    pub(crate) fn of(place: Place, name: &str) -> Option<Key> {
        match place {
            Place::Claims | Place::Quarantine => {
                let cidr: PodCidr = name.replacen('_', "/", 1).parse().ok()?;
                (slot_name(&cidr) == name).then_some(Key::Slot(cidr))
            }
            Place::Phases => name.strip_suffix(".json")?.parse().ok().map(Key::Phase),
            Place::Root => match name {
                DIGEST => Some(Key::Digest),
                WISH => Some(Key::Wish),
                _ => None,
            },
        }
    }
}

pub(crate) fn slot_name(cidr: &PodCidr) -> String {
    cidr.to_string().replace('/', "_")
}

pub(crate) fn phase_name(node: &NodeName) -> String {
    format!("{node}.json")
}

/// A claim file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClaimFile {
    #[serde(flatten)]
    pub(crate) claim: Claim,
    /// Set by the release: from then on nobody holds it, wherever the file lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) released: Option<Released>,
}

/// When a claim was freed, on two clocks: the wall clock may jump, the boot clock starts over with the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Released {
    /// Milliseconds since 1970.
    pub(crate) unix_millis: u64,
    /// Milliseconds since the machine was booted.
    pub(crate) boot_millis: u64,
    /// Of which boot.
    pub(crate) boot_id: String,
}

impl Released {
    pub(crate) fn now(boot_id: &str) -> Released {
        let millis = |clock| {
            let time = clock_gettime(clock);
            let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
            seconds.saturating_mul(1000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000)
        };
        Released {
            unix_millis: millis(ClockId::Realtime),
            boot_millis: millis(ClockId::Boottime),
            boot_id: boot_id.to_owned(),
        }
    }

    /// How long ago at least, as of `now`; both are cut to whole milliseconds. After a reboot only the wall clock tells; a release that lies ahead counts as just
    /// now, so that a jump of the clock prolongs the quarantine and never shortens one of this boot.
    pub(crate) fn age(&self, now: &Released) -> Duration {
        let millis = if self.boot_id == now.boot_id {
            now.boot_millis.saturating_sub(self.boot_millis)
        } else {
            now.unix_millis.saturating_sub(self.unix_millis)
        };
        Duration::from_millis(millis.saturating_sub(1))
    }
}

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Held(Claim),
    Freed(Released),
    Phase(NodePhase),
    Digest(Digest),
    Wish(Wish),
}

impl Record {
    /// The words of the error name no path.
    pub(crate) fn parse(place: Place, key: &Key, content: &[u8]) -> Result<Record, String> {
        fn json<'a, T: Deserialize<'a>>(content: &'a [u8]) -> Result<T, String> {
            if content.is_empty() {
                return Err("it is empty".to_owned());
            }
            serde_json::from_slice(content).map_err(|error| error.to_string())
        }
        match key {
            Key::Slot(cidr) => {
                let file: ClaimFile = json(content)?;
                if file.claim.pod_cidr != *cidr {
                    return Err(format!("it speaks of {}", file.claim.pod_cidr));
                }
                match (file.released, place) {
                    (Some(released), _) => Ok(Record::Freed(released)),
                    (None, Place::Quarantine) => Err("it does not say when it was released".to_owned()),
                    (None, _) => Ok(Record::Held(file.claim)),
                }
            }
            Key::Phase(node) => {
                let phase: NodePhase = json(content)?;
                if phase.node != *node {
                    return Err(format!("it speaks of node {}", phase.node));
                }
                Ok(Record::Phase(phase))
            }
            Key::Digest => json(content).map(Record::Digest),
            Key::Wish => json(content).map(Record::Wish),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back_and_only_canonical_ones_count() {
        for text in ["10.244.3.0/24", "fd00:10:244:1::/64", "::/0"] {
            let cidr: PodCidr = text.parse().unwrap();
            assert_eq!(Key::of(Place::Claims, &slot_name(&cidr)), Some(Key::Slot(cidr)), "{text}");
        }
        for name in ["10.244.3.1_24", "fd00:0:0::_64", "FD00::_64", "10.1.0.0", ".10.1.0.0_16.swp", "10.1.0.0_16~", ""]
        {
            assert_eq!(Key::of(Place::Claims, name), None, "{name}");
        }
        assert_eq!(Key::of(Place::Phases, "n1.json"), Some(Key::Phase("n1".parse().unwrap())));
        assert_eq!(Key::of(Place::Phases, "N1.json"), None);
        assert_eq!(Key::of(Place::Root, "store.lock"), None);
    }

    #[test]
    fn a_release_is_timed_by_the_boot_clock_while_it_lasts() {
        let at = |unix: u64, boot: u64, id: &str| Released { unix_millis: unix, boot_millis: boot, boot_id: id.into() };
        let released = at(1_000_000, 5_000, "a");
        // The wall clock jumped an hour ahead, or back.
        assert_eq!(released.age(&at(4_600_000, 7_000, "a")), Duration::from_millis(1_999));
        assert_eq!(released.age(&at(1_000, 7_000, "a")), Duration::from_millis(1_999));
        // After a reboot.
        assert_eq!(released.age(&at(1_003_000, 10, "b")), Duration::from_millis(2_999));
        assert_eq!(released.age(&at(1_000, 10, "b")), Duration::ZERO);
    }
}
