//! UPDATEs that were just packed: peers that are told the same, and negotiated the same, share the octets.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use model::Family;
use wire::{EncodeError, Negotiated};

use crate::adj_rib_out::PathKey;
use crate::export::Export;

/// Announcements by what is in them.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    made: BTreeMap<Key, (Arc<Export>, Vec<Bytes>)>,
    /// Octets held.
    octets: usize,
}

/// All that the octets depend on. An export is known by its place, as long as [`Packed::made`] holds it there.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    export: usize,
    codec: Codec,
    paths: Vec<PathKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Codec {
    four_octet_as: bool,
    ibgp: bool,
    max_message: usize,
    extended_next_hop: bool,
    accept_as_sets: bool,
    /// By family.
    add_path: [bool; 2],
}

impl Packed {
    /// So much is kept at most.
    const MOST: usize = 1024 * 1024;

    /// [`wire::encode_announce`] of paths of one family.
    pub(crate) fn announce(
        &mut self,
        export: &Arc<Export>,
        paths: Vec<PathKey>,
        codec: &Negotiated,
    ) -> Result<Vec<Bytes>, EncodeError> {
        let key = Key {
            export: Arc::as_ptr(export).addr(),
            codec: Codec {
                four_octet_as: codec.four_octet_as,
                ibgp: codec.ibgp,
                max_message: codec.max_message,
                extended_next_hop: codec.extended_next_hop_send,
                accept_as_sets: codec.accept_as_sets,
                add_path: Family::BOTH.map(|family| codec.add_path_send.contains(&family)),
            },
            paths,
        };
        if let Some((_, updates)) = self.made.get(&key) {
            return Ok(updates.clone());
        }
        let updates = wire::encode_announce(&key.paths, export.next_hop, export.link_local, &export.attributes, codec)?;
        let octets: usize = updates.iter().map(Bytes::len).sum();
        if self.octets + octets > Self::MOST {
            self.clear();
        }
        self.octets += octets;
        self.made.insert(key, (export.clone(), updates.clone()));
        Ok(updates)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.made.clear();
        self.octets = 0;
    }
}
