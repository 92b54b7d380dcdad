//! The conflist for the reference CNI plugins, installed so that a runtime never reads half of it.
//!
//! The daemon installs it only once the node can carry pods: a runtime takes the file's presence for readiness.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use model::config::{CniConfig, CniPlugin};
use model::{Family, Owner, PodCidr};
use serde_json::{Value, json};

/// Sorts before the files of most others: runtimes take the first by name.
pub const FILE: &str = "10-biplane.conflist";

/// Why a conflist could not be installed or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {error}; is cni.confDir right and writable?", path = path.display())]
pub struct Error {
    what: &'static str,
    path: PathBuf,
    #[source]
    error: io::Error,
}

/// The network of this node's pods: `bridge` or `ptp` with `host-local` addresses of `pod_cidrs`, then `portmap`.
///
/// Addresses begin at [`PodCidr::first_pod`]: the ones before are network, gateway and node. A pod gets one address
/// a family. `mtu` is the pods' MTU in octets, unless `config.mtu` says another. The plugins never masquerade: that is
/// the daemon's, which knows the pools. With the bridge only the first IPv4 pod CIDR is used, as the plugin refuses
/// a second IPv4 gateway address on its bridge.
pub fn conflist(config: &CniConfig, pod_cidrs: &[PodCidr], mtu: u32) -> Value {
    let sets: Vec<Vec<Value>> = Family::BOTH.iter().map(|f| ranges(config.plugin, pod_cidrs, *f)).collect();
    let routes: Vec<Value> = Family::BOTH
        .iter()
        .zip(&sets)
        .filter(|(_, set)| !set.is_empty())
        .map(|(family, _)| json!({ "dst": if *family == Family::V4 { "0.0.0.0/0" } else { "::/0" } }))
        .collect();
    let sets: Vec<Vec<Value>> = sets.into_iter().filter(|set| !set.is_empty()).collect();
    let mut plugin = match config.plugin {
        CniPlugin::Bridge => {
            json!({ "type": "bridge", "bridge": Owner::POD_BRIDGE, "isGateway": true, "hairpinMode": true })
        }
        CniPlugin::Ptp => json!({ "type": "ptp" }),
    };
    plugin["ipMasq"] = json!(false);
    plugin["mtu"] = json!(config.mtu.unwrap_or(mtu));
    plugin["ipam"] = json!({ "type": "host-local", "ranges": sets, "routes": routes });
    json!({
        "cniVersion": "1.0.0",
        "name": "biplane",
        "plugins": [plugin, { "type": "portmap", "capabilities": { "portMappings": true } }],
    })
}

fn ranges(plugin: CniPlugin, pod_cidrs: &[PodCidr], family: Family) -> Vec<Value> {
    let most = if plugin == CniPlugin::Bridge && family == Family::V4 { 1 } else { usize::MAX };
    let range = |cidr: &PodCidr| {
        let (first, gateway) = (cidr.first_pod()?, cidr.gateway()?);
        Some(json!({ "subnet": cidr, "rangeStart": first, "gateway": gateway }))
    };
    pod_cidrs.iter().filter(|cidr| cidr.family() == family).filter_map(range).take(most).collect()
}

/// Writes [`FILE`] into `config.conf_dir` (made if absent): whole, synced, then renamed into place.
///
/// `Ok(true)` when the file changed; `Ok(false)` when it said the same already, or when there is no directory to
/// write to or no pod CIDR to write about.
///
/// # Errors
/// The directory or the file cannot be written.
pub fn install(config: &CniConfig, pod_cidrs: &[PodCidr], mtu: u32) -> Result<bool, Error> {
    let Some(folder) = config.conf_dir.as_deref().filter(|_| !pod_cidrs.is_empty()) else { return Ok(false) };
    let wanted = conflist(config, pod_cidrs, mtu);
    let path = folder.join(FILE);
    let there = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    if there.as_ref() == Some(&wanted) {
        return Ok(false);
    }
    write(folder, &path, &format!("{wanted:#}\n")).map(|()| true).map_err(|error| Error { what: "write", path, error })
}

/// The temporary name begins with a dot and does not end as runtimes want it, so that none takes it for a conflist.
fn write(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let temporary = folder.join(format!(".{FILE}.tmp"));
    let outcome = File::create(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path))
        .and_then(|()| File::open(folder)?.sync_all());
    if outcome.is_err() {
        // A full disk leaves half a file: it must not lie about.
        let _ = std::fs::remove_file(&temporary);
    }
    outcome
}

/// Removes [`FILE`], so that the runtime starts no more pods here. `Ok(true)` when it was there.
///
/// # Errors
/// The file is there and cannot be removed.
pub fn remove(config: &CniConfig) -> Result<bool, Error> {
    let Some(folder) = config.conf_dir.as_deref() else { return Ok(false) };
    let path = folder.join(FILE);
    match std::fs::remove_file(&path).and_then(|()| File::open(folder)?.sync_all()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error { what: "remove", path, error }),
    }
}
