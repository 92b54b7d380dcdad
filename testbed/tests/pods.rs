//! Pods as a container runtime makes and removes them: ADD, CHECK and DEL of the reference plugins. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;
use std::time::Duration;

use testbed::lab::deploy::Options;
use testbed::lab::{Interrupt, Lab, Settings};
use testbed::pods;

struct Bench {
    lab: Lab,
    _labs: tempfile::TempDir,
}

impl Bench {
    fn deploy() -> Bench {
        let labs = tempfile::tempdir().unwrap();
        let settings = Settings {
            labs: labs.path().join("labs"),
            program: vec![env!("CARGO_BIN_EXE_biplane-lab").into()],
            path: Vec::new(),
        };
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/static.clab.yml");
        let lab = Lab::of(&settings, &file).unwrap();
        lab.deploy(Options { strict: true }, &Interrupt::default(), &|_| {}).unwrap();
        Bench { lab, _labs: labs }
    }

    fn start(&self) -> Vec<testbed::lab::state::Place> {
        pods::start(&self.lab, Duration::from_secs(20), &Interrupt::default()).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.lab.destroy();
    }
}

#[test]
fn pods_come_are_checked_and_go_without_a_trace() {
    let bench = Bench::deploy();
    let before = bench.lab.shell("n2", "ls /sys/class/net").unwrap();
    let first = bench.start();
    assert_eq!(first.len(), 3);
    assert!(first.iter().all(|pod| pod.addresses.len() == 2), "{first:?}");
    pods::check(&bench.lab).unwrap();

    // CHECK must be able to fail: the pod has lost what the plugins gave it.
    bench.lab.shell("n2", "ip -n pod1 route delete default").unwrap();
    let error = format!("{:#}", pods::check(&bench.lab).unwrap_err());
    assert!(error.contains("pod n2/pod1") && error.contains("CHECK"), "{error}");

    assert_eq!(pods::stop(&bench.lab), [""; 0]);
    assert_eq!(bench.lab.shell("n2", "ip netns list").unwrap(), "");
    let after = bench.lab.shell("n2", "ls /sys/class/net").unwrap();
    // The bridge stays, as with every runtime; the pods' ends have gone.
    assert_eq!(after.replace("biplane0\n", ""), before.replace("biplane0\n", ""));
    let claims = "cd /var/lib/cni/networks/static && ls | grep -v -e last_reserved -e lock || true";
    assert_eq!(bench.lab.shell("n2", claims).unwrap(), "", "DEL gives the addresses back");

    assert_eq!(bench.start().len(), 3, "the same names again");
    pods::check(&bench.lab).unwrap();
}

#[test]
fn a_pod_that_cannot_be_connected_leaves_nothing_behind() {
    let bench = Bench::deploy();
    // A bridge plugin refuses a device of that name that is no bridge.
    bench.lab.shell("n1", "ip link add biplane0 type veth peer name beside").unwrap();
    let error = pods::start(&bench.lab, Duration::from_secs(20), &Interrupt::default()).unwrap_err();
    let words = format!("{error:#}");
    assert!(words.contains("pod n1/pod1") && words.contains("ADD"), "{words}");
    assert_eq!(bench.lab.shell("n1", "ip netns list").unwrap(), "");
    bench.lab.shell("n1", "ip link delete biplane0").unwrap();
    assert_eq!(bench.start().len(), 3, "once the cause has gone");
}
