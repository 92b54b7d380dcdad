//! What is asked of the kernel thread, and what it says.

use model::Prefix;
use model::kernel::{Foreign, Hop, Key, LinkInfo, Refusal, SysctlPath, Value, Write};
use serde::{Deserialize, Serialize};

/// What of the kernel matters, besides what carries our mark.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interest {
    /// Routes of others inside these are reported.
    pub pools: Vec<Prefix>,
    /// Sysctls whose text is read.
    pub sysctls: Vec<SysctlPath>,
}

/// All of ours that the kernel holds, what stands beside it, and the links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadBack {
    /// Objects of ours.
    pub ours: Vec<(Key, Value)>,
    /// Objects of others on our keys or in our way.
    pub foreign: Vec<Foreign>,
    /// Every link of the namespace.
    pub links: Vec<LinkInfo>,
}

/// What the worker thread is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// Read everything back.
    ReadBack(Interest),
    /// Write, in this order.
    Write(Vec<Write>),
    /// Make sure that the link layer addresses of these gateways are known.
    Resolve(Vec<Hop>),
}

/// What the worker thread says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// Answer to [`Command::ReadBack`].
    ReadBack {
        /// Objects of ours.
        ours: Vec<(Key, Value)>,
        /// Objects of others.
        foreign: Vec<Foreign>,
        /// Every link.
        links: Vec<LinkInfo>,
    },
    /// The other answer to [`Command::ReadBack`].
    ReadBackFailed(String),
    /// Answer to [`Command::Write`]: every write once, in the order given.
    Wrote(Vec<(Write, Result<(), Refusal>)>),
    /// An object of ours came, changed or went (`None`), whoever did it.
    Changed(Key, Option<Value>),
    /// Someone else's object came on one of our keys or into our way.
    Foreign(Foreign),
    /// Links or their addresses changed: all of them.
    Links(Vec<LinkInfo>),
    /// Notices were lost, or the kernel may have changed objects without telling; why, in words.
    ReadBackNeeded(String),
    /// Answer to [`Command::Resolve`].
    Resolved(Vec<(Hop, bool)>),
}
