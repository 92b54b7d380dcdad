//! The end of a lab, however far it came and whatever happened to it.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Result};

use super::process::working_at;
use super::state::Lab;
use super::wire::{Device, mac};
use super::{Interrupt, poll};
use crate::topology::links::HOST;

impl Lab {
    /// Ends the lab and removes all that is its own; a lab that is not there is no error. True if there was anything.
    pub fn destroy(&self) -> Result<bool> {
        let _lock = self.lock()?;
        self.clean()
    }

    pub(super) fn clean(&self) -> Result<bool> {
        let folder = self.folder();
        let mut found = folder.exists();
        // A keeper may start another moment after we looked: once more until nobody is left.
        for _ in 0..10 {
            let mut keepers = working_at(&folder);
            keepers.extend(self.recorded());
            if keepers.is_empty() {
                break;
            }
            found = true;
            for keeper in &keepers {
                keeper.end().with_context(|| format!("ending process {}", keeper.pid))?;
            }
        }
        self.wait_for_host_links();
        match fs::remove_dir_all(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot remove {}", folder.display())),
        }
        Ok(found)
    }

    /// The kernel takes a namespace apart a moment after its last process: until then the ends of its links that lie in
    /// the host's namespace are still there. Only ours are waited for, known by their MAC.
    fn wait_for_host_links(&self) {
        for end in self.topology.links.iter().flat_map(|l| &l.ends).filter(|e| e.node == HOST) {
            let path = format!("/sys/class/net/{}/address", Device::of(end).name);
            let own = mac(self.name(), end).to_string();
            let _ = poll(Duration::from_secs(5), &Interrupt::default(), || {
                fs::read_to_string(&path).map_or(true, |address| address.trim() != own).then_some(())
            });
        }
    }

    /// Keepers by their own records, in case one was started with other arguments.
    fn recorded(&self) -> Vec<super::process::Process> {
        let entries = fs::read_dir(self.folder().join("nodes")).into_iter().flatten().flatten();
        entries.filter_map(|entry| self.keeper(entry.file_name().to_str()?)).collect()
    }
}
