//! The conflist's words, and how it gets into its place.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;

use cni::{FILE, conflist, install, remove};
use model::PodCidr;
use model::config::{CniConfig, CniPlugin};
use serde_json::json;

fn config(plugin: CniPlugin, folder: Option<&Path>) -> CniConfig {
    CniConfig { conf_dir: folder.map(Path::to_owned), plugin, mtu: None }
}

fn cidrs(texts: &[&str]) -> Vec<PodCidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn words_of_a_bridge() {
    let wanted = json!({
        "cniVersion": "1.0.0",
        "name": "biplane",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "biplane0",
                "isGateway": true,
                "hairpinMode": true,
                "ipMasq": false,
                "mtu": 1450,
                "ipam": {
                    "type": "host-local",
                    "ranges": [
                        [{ "subnet": "10.244.3.0/24", "rangeStart": "10.244.3.3", "gateway": "10.244.3.1" }],
                        [{ "subnet": "fd44:0:0:3::/64", "rangeStart": "fd44:0:0:3::3", "gateway": "fd44:0:0:3::1" }],
                    ],
                    "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    let cidrs = cidrs(&["fd44:0:0:3::/64", "10.244.3.0/24"]);
    assert_eq!(conflist(&config(CniPlugin::Bridge, None), &cidrs, 1450), wanted);
}

#[test]
fn one_family_alone_has_one_range_and_one_route() {
    let list = conflist(&config(CniPlugin::Ptp, None), &cidrs(&["fd44:0:0:3::/64"]), 1400);
    let ipam = &list["plugins"][0]["ipam"];
    assert_eq!(ipam["ranges"].as_array().unwrap().len(), 1);
    assert_eq!(ipam["routes"], json!([{ "dst": "::/0" }]));
    assert_eq!((list["plugins"][0]["type"].as_str(), list["plugins"][0].get("bridge")), (Some("ptp"), None));
}

#[test]
fn more_pod_cidrs_of_a_family_are_one_set() {
    let cidrs = cidrs(&["10.244.3.0/24", "10.244.9.0/24"]);
    let sizes = |plugin| {
        let list = conflist(&config(plugin, None), &cidrs, 1400);
        let sets = list["plugins"][0]["ipam"]["ranges"].as_array().unwrap().clone();
        sets.iter().map(|set| set.as_array().unwrap().len()).collect::<Vec<_>>()
    };
    assert_eq!(sizes(CniPlugin::Ptp), [2]);
    assert_eq!(sizes(CniPlugin::Bridge), [1], "the bridge plugin refuses a second IPv4 gateway");
}

#[test]
fn mtu_of_the_configuration_wins() {
    let config = CniConfig { mtu: Some(1300), ..config(CniPlugin::Bridge, None) };
    assert_eq!(conflist(&config, &cidrs(&["10.244.3.0/24"]), 1450)["plugins"][0]["mtu"], json!(1300));
}

#[test]
fn installed_once_changed_when_different_removed_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(CniPlugin::Bridge, Some(&folder.path().join("a/b")));
    let path = folder.path().join("a/b").join(FILE);
    let cidrs = cidrs(&["10.244.3.0/24"]);
    assert!(!install(&config, &[], 1450).unwrap(), "nothing to say without a pod CIDR");
    assert!(install(&config, &cidrs, 1450).unwrap());
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let first = inode(&path);
    assert!(!install(&config, &cidrs, 1450).unwrap());
    assert_eq!(inode(&path), first, "an equal file is left as it is");
    assert!(install(&config, &cidrs, 1400).unwrap());
    std::fs::write(&path, "{ half of").unwrap();
    assert!(install(&config, &cidrs, 1400).unwrap(), "a broken file is replaced");
    let names: Vec<_> =
        std::fs::read_dir(folder.path().join("a/b")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, [FILE], "nothing else lies about");
    assert!(remove(&config).unwrap());
    assert!(!remove(&config).unwrap());
    assert!(!path.exists());
}

#[test]
fn refusals_name_the_path_and_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = install(&config(CniPlugin::Bridge, Some(&file)), &cidrs(&["10.244.3.0/24"]), 1450).unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with(&format!("cannot write {}/{FILE}: ", file.display())), "{said}");
    assert!(said.ends_with("is cni.confDir right and writable?"), "{said}");
}
