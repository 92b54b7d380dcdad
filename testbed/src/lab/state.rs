//! The folder of a lab, and the lab that it describes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::Settings;
use super::process::Process;
use crate::topology::{Node, Topology};

/// The fabric's place among the nodes: no node name starts with a dot.
pub const FABRIC: &str = ".fabric";

/// A deployed lab.
#[derive(Clone, Debug)]
pub struct Lab {
    /// Its topology when it was deployed.
    pub topology: Topology,
    pub(super) settings: Settings,
}

/// The right to change a lab; the file goes with it, and the folder of all labs with the last one.
pub(super) struct Lock {
    _file: File,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        if let Some(labs) = self.path.parent() {
            // Fails while it holds anything.
            let _ = fs::remove_dir(labs);
        }
    }
}

/// What a keeper has written about itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) keeper: Process,
}

/// A pod of a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Its name: the node's, with `/` and the pod's if it is a pod.
    pub name: String,
    /// The node that it is on.
    pub node: String,
    /// The pod's network namespace by name inside the node; none if the node itself is the place.
    pub pod: Option<String>,
    /// Its addresses, at most one per family.
    pub addresses: Vec<std::net::IpAddr>,
    /// Octets.
    pub mtu: u32,
}

impl Lab {
    /// A lab by its topology file, deployed or not.
    pub fn of(settings: &Settings, file: &Path) -> Result<Lab> {
        Ok(Lab { topology: settings.read(file)?, settings: settings.clone() })
    }

    /// A lab of this topology.
    pub fn new(settings: &Settings, topology: Topology) -> Lab {
        Lab { topology, settings: settings.clone() }
    }

    /// A deployed lab, or words that it is not and what to do.
    pub fn running(settings: &Settings, file: &Path) -> Result<Lab> {
        let lab = Lab::of(settings, file)?;
        let text = fs::read_to_string(lab.folder().join("lab.json")).with_context(|| {
            format!(
                "lab {:?} is not deployed (no {}): run `biplane lab deploy -t {}`",
                lab.topology.name,
                lab.folder().join("lab.json").display(),
                file.display()
            )
        })?;
        // What runs is what was deployed, not what the file says by now.
        let topology = serde_json::from_str(&text).context("the lab's own record")?;
        Ok(Lab { topology, settings: settings.clone() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.topology.name
    }

    /// Its folder; `__clabDir__` in the topology.
    pub fn folder(&self) -> PathBuf {
        self.settings.labs.join(&self.topology.name)
    }

    /// The folder of a node; `__clabNodeDir__` in the topology.
    pub fn node_folder(&self, node: &str) -> PathBuf {
        self.folder().join("nodes").join(node)
    }

    /// The node of that name, or words with the names that there are.
    pub fn node(&self, name: &str) -> Result<&Node> {
        match self.topology.node(name) {
            Some(node) => Ok(node),
            None => {
                let names: Vec<&str> = self.topology.nodes.iter().map(|n| n.name.as_str()).collect();
                bail!("lab {:?} has no node {name:?}: it has {}", self.name(), names.join(", "))
            }
        }
    }

    /// The living keeper of a node.
    pub fn keeper(&self, node: &str) -> Option<Process> {
        let text = fs::read_to_string(self.node_folder(node).join("keeper.json")).ok()?;
        let record: Record = serde_json::from_str(&text).ok()?;
        record.keeper.is_alive().then_some(record.keeper)
    }

    /// The words that start this program's hidden commands.
    pub(crate) fn program(&self) -> &[std::ffi::OsString] {
        &self.settings.program
    }

    /// A path inside a node, as seen from here.
    pub fn path_in(&self, node: &str, path: &Path) -> Result<PathBuf> {
        let keeper = self.keeper(node).with_context(|| format!("node {node:?} does not run"))?;
        let relative = path.strip_prefix("/").unwrap_or(path);
        Ok(PathBuf::from(format!("/proc/{}/root", keeper.pid)).join(relative))
    }

    /// Keeps others from deploying or destroying the same lab at the same time; falls with the process.
    pub(super) fn lock(&self) -> Result<Lock> {
        fs::create_dir_all(&self.settings.labs)
            .with_context(|| format!("cannot make {}; labs need root", self.settings.labs.display()))?;
        // Beside the folder: the lock must outlive its removal.
        let path = self.settings.labs.join(format!(".{}.lock", self.name()));
        loop {
            let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    bail!("lab {:?} is being deployed or destroyed by another process: wait for it", self.name())
                }
                Err(errno) => {
                    return Err(io::Error::from(errno)).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
            // Whoever had it before may have removed it between our opening and our locking: then it locks nothing.
            let ours = file.metadata()?.ino();
            if fs::metadata(&path).is_ok_and(|m| m.ino() == ours) {
                return Ok(Lock { _file: file, path });
            }
        }
    }

    /// Writes one of the lab's own files, whole.
    pub(crate) fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.folder().join(name);
        let fresh = path.with_extension("fresh");
        fs::write(&fresh, serde_json::to_vec_pretty(value)?)
            .and_then(|()| fs::rename(&fresh, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads one of the lab's own files, if it is there.
    pub(crate) fn load<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(&fs::read_to_string(self.folder().join(name)).ok()?).ok()
    }
}
