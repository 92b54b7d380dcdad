//! Runs of a lab's daemons kept as recordings, when `BIPLANE_RECORDINGS` names the folder for them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use testbed::lab::Lab;

const FILE: &str = "/var/log/biplaned.jsonl";

/// Where recordings are to be kept, if they are.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os("BIPLANE_RECORDINGS").map(PathBuf::from)
}

/// A folder with a `biplaned` that records, to be put before the one with the real program in the PATH of nodes.
pub fn recording_program(into: &Path, real: &Path) -> PathBuf {
    let folder = into.join("recording");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("biplaned");
    fs::write(&program, format!("#!/bin/sh\nexec {}/biplaned --record {FILE} \"$@\"\n", real.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Copies the recording of a node out of its lab, compressed.
pub fn keep(lab: &Lab, node: &str, folder: &Path) {
    let mut zip = lab.command(lab.node(node).unwrap(), "gzip").unwrap();
    let output = zip.args(["-9nc", FILE]).output().unwrap();
    assert!(output.status.success(), "{node}: {}", String::from_utf8_lossy(&output.stderr));
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(format!("{}-{node}.jsonl.gz", lab.name())), output.stdout).unwrap();
}
