//! Runs of a lab's daemons kept as recordings, when `BIPLANE_RECORDINGS` names the folder for them: `make recordings`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use testbed::lab::Lab;

/// Where recordings are to be kept, if they are.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os("BIPLANE_RECORDINGS").map(PathBuf::from)
}

/// Folders of programs for the PATH of a lab's nodes: while recording, one with a `biplaned` that records stands before the
/// one with the real programs.
pub fn path(into: &Path, real: PathBuf) -> Vec<PathBuf> {
    if folder().is_none() {
        return vec![real];
    }
    let folder = into.join("recording");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("biplaned");
    // A daemon that is started again has a recording of its own; names are in the order of starting.
    let file = "/var/log/biplaned.$(date +%s%N).jsonl";
    fs::write(&program, format!("#!/bin/sh\nexec {}/biplaned --record {file} \"$@\"\n", real.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    vec![folder, real]
}

/// Copies the recordings of these nodes out of their lab, compressed: `LAB-NODE-LIFE.jsonl.gz`.
pub fn keep(lab: &Lab, nodes: &[&str]) {
    let Some(folder) = folder() else { return };
    fs::create_dir_all(&folder).unwrap();
    for node in nodes {
        let files = lab.shell(node, "ls /var/log/biplaned.*.jsonl").unwrap();
        for (life, file) in files.split_whitespace().enumerate() {
            let mut zip = lab.command(lab.node(node).unwrap(), "gzip").unwrap();
            let output = zip.args(["-9nc", file]).output().unwrap();
            assert!(output.status.success(), "{node}: {}", String::from_utf8_lossy(&output.stderr));
            fs::write(folder.join(format!("{}-{node}-{}.jsonl.gz", lab.name(), life + 1)), output.stdout).unwrap();
        }
    }
}
