//! Where the cluster's state is kept: claims, phases, the digest, the wish, and who coordinates.
//!
//! A store runs on its own; the daemon tells it [`Command`]s and is told [`Event`]s. It never decides anything: which
//! pod CIDR to claim, what to publish and what a loss of the store means is up to the caller.
//!
//! What a caller may rely on:
//! - [`Event::Listed`] comes before any other news of the content and before any [`Event::Done`]; it is complete.
//!   Only [`Event::Down`], [`Event::Warn`] and [`Event::Fatal`] may come before the first one.
//! - After [`Event::Down`] there comes another `Listed` that replaces everything, and [`Event::Up`] right behind it.
//! - Between two `Listed`, changes come one by one, each in full, none twice. A claim that is freed is told as gone
//!   first and as quarantined right after it.
//! - What a command has changed, or what made its answer [`Outcome::Taken`], has been told before its `Done`.
//! - [`Event::Coordinator`]`(true)` comes only after `Listed`, and at any time at most one daemon has it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use alloc::Claim;
use model::config::StoreConfig;
use model::{Digest, NodeName, NodePhase, PodCidr, Uid, Wish};
use serde::{Deserialize, Serialize};

/// What a store tells the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// Everything there is; replaces all that was told before.
    Listed(Snapshot),
    /// A claim is new or other than it was, or gone (`None`).
    Claim(PodCidr, Option<Claim>),
    /// A pod CIDR that nobody holds went into (true) or out of (false) the quarantine. One whose record cannot be read
    /// counts as quarantined too.
    Quarantined(PodCidr, bool),
    /// A node's phase record is new or other than it was, or gone.
    Phase(NodeName, Option<NodePhase>),
    /// The digest is another.
    Digest(Option<Digest>),
    /// The cluster's wish is another.
    Wish(Option<Wish>),
    /// This daemon coordinates from now on, or no longer.
    Coordinator(bool),
    /// The nodes whose daemon runs; told only to the coordinator, right after it became one and on changes.
    Live(BTreeSet<NodeName>),
    /// A command was carried out, or never will be. One that was overtaken by a later command about the same thing is
    /// not answered.
    Done(Command, Result<Outcome, String>),
    /// The store cannot be read or written: what, where and the cure. Told again when the reason changes. Commands
    /// are kept meanwhile.
    Down(String),
    /// The store can be read and written again.
    Up,
    /// Something in the store is not as it should be, and was left out: what, where and the cure.
    Warn(String),
    /// This daemon must not run, for example because another live one has its node name. The store has stopped.
    Fatal(String),
}

/// All of the store's content at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Claims by pod CIDR.
    pub claims: BTreeMap<PodCidr, Claim>,
    /// Pod CIDRs that nobody holds and nobody may claim yet.
    pub quarantined: BTreeSet<PodCidr>,
    /// Phase records by node.
    pub phases: BTreeMap<NodeName, NodePhase>,
    /// The digest, if there is one.
    pub digest: Option<Digest>,
    /// The cluster's wish, if one was spoken.
    pub wish: Option<Wish>,
    /// Counts up with what this store has told; its steps mean nothing.
    pub revision: u64,
}

/// What the daemon wants of a store. Kept and tried again while the store is down; of several about the same thing
/// (a pod CIDR, the phase, the digest) that could not be carried out yet, the last one counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// Claim a pod CIDR if it is free. [`Outcome::Done`] also when this node holds it already.
    Create(Claim),
    /// Write a claim of this node anew. [`Outcome::Taken`] if this node does not hold it any more.
    Update(Claim),
    /// Free a claim of this node. [`Outcome::Taken`] if it is another node's; nothing is changed then.
    Release(PodCidr),
    /// Publish this node's phase.
    Phase(NodePhase),
    /// Publish the digest; only the coordinator may.
    Digest(Digest),
    /// Speak or take back the cluster's wish. [`Outcome::Taken`] if there is another of the same or a later generation.
    Wish(Option<Wish>),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// As wanted, and it survives a crash.
    Done,
    /// Somebody else was there first.
    Taken,
}

/// Why a store could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the store: {what}: {source}")]
pub struct Error {
    what: &'static str,
    source: io::Error,
}

/// A running store. Dropping it carries out what can be carried out at once, frees this node's locks and waits for the end.
#[derive(Debug)]
pub struct Store {
    files: files::Handle,
}

/// Starts the store of `config` for this daemon. `events` is called from the store's own thread, in order; while it
/// does not return, the store waits.
///
/// A store that cannot be reached is no error here, but an [`Event::Down`]. Errors: no thread or descriptor to be had.
pub fn spawn(
    config: &StoreConfig,
    node: NodeName,
    uid: Uid,
    events: impl Fn(Event) + Send + Sync + 'static,
) -> Result<Store, Error> {
    match config {
        StoreConfig::Files { path, quarantine } => {
            let identity = files::Identity { node, uid };
            let files = files::spawn(path.clone(), *quarantine, identity, Box::new(events))?;
            Ok(Store { files })
        }
    }
}

impl Store {
    /// Gives a command; never waits. After [`Event::Fatal`] it goes nowhere.
    pub fn send(&self, command: Command) {
        self.files.send(command);
    }
}

mod files;
