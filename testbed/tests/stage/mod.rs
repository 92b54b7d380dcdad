//! A lab for one test, with the real daemon and command line in it.
#![allow(dead_code, unreachable_pub)]

#[path = "../recordings/mod.rs"]
pub mod recordings;

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::Plane;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use testbed::cluster::Cluster;
use testbed::lab::deploy::Options;
use testbed::lab::{Interrupt, Lab, Output, Settings};

/// What does not come about within this never will, even on a loaded machine.
pub const LONG: Duration = Duration::from_secs(60);

/// A deployed lab; it goes when this is dropped, after the ends of its daemons' logs were shown if the test has failed.
pub struct Stage {
    pub lab: Lab,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// A topology of this repository.
    pub fn of(topology: &str) -> Stage {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies").join(format!("{topology}.clab.yml"));
        Stage::deploy(tempfile::tempdir().unwrap(), &file)
    }

    /// A topology by its text, with more files beside it.
    pub fn written(name: &str, topology: &str, files: &[(&str, &str)]) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            fs::write(folder.path().join(path), text).unwrap();
        }
        let file = folder.path().join(format!("{name}.clab.yml"));
        fs::write(&file, topology).unwrap();
        Stage::deploy(folder, &file)
    }

    fn deploy(folder: tempfile::TempDir, file: &Path) -> Stage {
        let settings = Settings {
            labs: folder.path().join("labs"),
            program: vec![env!("CARGO_BIN_EXE_biplane-lab").into()],
            path: recordings::path(folder.path(), binaries()),
        };
        let lab = Lab::of(&settings, file).unwrap();
        lab.deploy(Options { strict: true }, &Interrupt::default(), &|line| println!("{line}")).unwrap();
        Stage { lab, _folder: folder }
    }

    /// Runs a shell command on a node, to its end.
    pub fn run(&self, node: &str, text: &str) -> Output {
        let words = ["sh", "-c", text].map(String::from);
        self.lab.exec(self.lab.node(node).unwrap(), None, &words).unwrap()
    }

    /// [`Stage::run`] that must end well; what it printed.
    pub fn good(&self, node: &str, text: &str) -> String {
        self.lab.shell(node, text).unwrap()
    }

    /// `biplane … -o json` on a node.
    pub fn ask(&self, node: &str, words: &str) -> Value {
        let output = self.run(node, &format!("biplane {words} -o json"));
        serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("{node}: biplane {words}: {error}: {}", output.stderr))
    }

    /// Waits until every daemon is steady on a plane.
    pub fn steady(&self, plane: Plane) {
        Cluster::of(&self.lab).await_steady(plane, LONG, &Interrupt::default()).unwrap();
    }

    /// The whole cluster moves, by the command line.
    pub fn switch(&self, node: &str, plane: Plane) {
        self.good(node, &format!("biplane mode switch {} --wait", plane.mode()));
        self.steady(plane);
    }

    /// Starts the daemon of a node in the background, as the topologies do.
    pub fn start_daemon(&self, node: &str, more: &str) {
        self.good(node, &format!("biplaned {more} </dev/null >>/var/log/biplaned.log 2>&1 &"));
    }

    /// The daemon's log.
    pub fn log(&self, node: &str) -> String {
        self.run(node, "cat /var/log/biplaned.log").stdout
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.lab.topology.nodes {
                if self.lab.keeper(&node.name).is_some() {
                    let log = self.run(&node.name, "tail -n 25 /var/log/biplaned.log").stdout;
                    eprintln!("{}, end of its daemon's log:\n{log}", node.name);
                }
            }
        }
        self.lab.destroy().unwrap();
    }
}

/// Asks again and again until it gives something.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "after {} s still not: {what}", LONG.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a function on a thread in the network namespace of a node.
pub fn inside<T: Send + 'static>(
    stage: &Stage,
    node: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let namespace = fs::File::open(format!("/proc/{}/ns/net", stage.lab.keeper(node).unwrap().pid)).unwrap();
    std::thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    })
}

/// Where `biplaned` and `biplane` were built; `make test` says it.
fn binaries() -> PathBuf {
    let folder = std::env::var_os("BIPLANE_BIN_DIR").map(PathBuf::from);
    let folder = folder.expect("BIPLANE_BIN_DIR is not set: `make test` builds the binaries and sets it");
    for program in ["biplaned", "biplane"] {
        assert!(folder.join(program).is_file(), "{}: run `cargo build -p {program}`", folder.join(program).display());
    }
    fs::canonicalize(folder).unwrap()
}
