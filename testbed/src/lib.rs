//! Labs: ordinary containerlab topology files realised with namespaces, real processes and counted packets.
//!
//! - [`topology`] reads `*.clab.yml`.
//! - [`lab`] realises one: a network, mount, PID, UTS and IPC namespace per node, held by a keeper process; veth pairs;
//!   the commands of `exec`. Everything of a lab hangs on its keepers: when they end, the kernel removes the rest.
//! - [`pods`] connects pods as a container runtime would; [`places`] lists where probes can run.
//! - [`cluster`] asks the daemons and the kernels what stands.
//! - [`probes`] runs a prober per pod and joins what they count.
//! - [`turn`] keeps runs that count packets from running at the same time.
//! - [`demo`] is `make demo`.
//! - [`bench`] is `biplane lab bench`: what large tables cost.
//! - [`replay`] is `biplane lab replay`: full tables, generated or of an MRT file.
//! - [`cli`] is `biplane lab`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod bench;
pub mod cli;
pub mod cluster;
pub mod demo;
pub mod lab;
pub mod places;
pub mod pods;
pub mod probes;
pub mod replay;
pub mod report;
pub mod topology;
pub mod turn;
