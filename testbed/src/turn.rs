//! Runs that count packets take turns: two labs at once on a small machine would starve each other's probers.

use std::fs::File;
use std::io;
use std::path::PathBuf;

/// The right to load the machine, until it is dropped or the process ends.
#[derive(Debug)]
#[must_use = "the turn ends when this is dropped"]
pub struct Turn {
    _file: File,
}

/// Waits for the turn, whichever process or thread of this machine has it.
///
/// # Errors
/// The file beneath the machine's folder for temporary files cannot be made or locked.
pub fn take() -> io::Result<Turn> {
    let file = File::create(path())?;
    file.lock()?;
    Ok(Turn { _file: file })
}

/// One fixed name, so that it holds between processes as well.
fn path() -> PathBuf {
    std::env::temp_dir().join("biplane-lab.turn")
}
