//! A lab that runs, or what is left of one.
//!
//! Each node is a *keeper*: PID 1 of its own PID namespace, which also owns the node's network, mount, UTS and IPC
//! namespaces ([`keeper`]). Bridges live in one more keeper's namespace, the *fabric*. Nothing of a lab exists outside
//! of these namespaces but its folder (`/run/biplane-lab/<lab>`) and the far ends of `host` links, which go with their
//! near ends. So destroying a lab is ending its keepers by PID and removing its folder, whatever crashed before.

pub mod deploy;
pub mod destroy;
pub mod enter;
pub mod inspect;
pub mod keeper;
pub mod process;
pub mod state;
pub mod wire;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use enter::Output;
pub use state::Lab;

use crate::topology::{Surroundings, Topology};

/// What labs depend on besides their topology.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where labs keep their state: one folder per lab.
    pub labs: PathBuf,
    /// The words that start this program's hidden commands, as `["/usr/bin/biplane", "lab"]`.
    pub program: Vec<OsString>,
    /// Folders put before the usual ones in the PATH of nodes: where `biplaned` is.
    pub path: Vec<PathBuf>,
}

impl Settings {
    /// Where labs keep their state by default.
    pub const LABS: &str = "/run/biplane-lab";

    /// Settings for the running program, which is `biplane` or this crate's own `biplane-lab`.
    pub fn of_this_program(labs: PathBuf) -> std::io::Result<Settings> {
        let exe = std::env::current_exe()?;
        let folder = exe.parent().map(PathBuf::from).unwrap_or_default();
        let mut program = vec![exe.clone().into_os_string()];
        if exe.file_stem().is_none_or(|stem| stem != "biplane-lab") {
            program.push("lab".into());
        }
        let mut path = vec![folder];
        path.extend(std::env::var_os("BIPLANE_BIN_DIR").map(PathBuf::from));
        Ok(Settings { labs, program, path })
    }

    /// Reads a topology file with this process's environment.
    pub fn read(&self, file: &std::path::Path) -> Result<Topology, crate::topology::Fault> {
        let variable = |name: &str| std::env::var(name).ok();
        Topology::read(file, &Surroundings { labs: &self.labs, variable: &variable })
    }
}

/// Set by the first Ctrl-C; everything that waits looks at it.
#[derive(Debug, Default)]
pub struct Interrupt(AtomicBool);

impl Interrupt {
    /// Says that the user wants an end.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// The user wants an end.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Asks `probe` again and again until it gives something; `None` when `limit` is over or the user wants an end.
pub fn poll<T>(limit: Duration, interrupt: &Interrupt, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= deadline || interrupt.is_raised() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
