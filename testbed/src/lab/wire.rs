//! Veth pairs and bridges, made straight in the namespaces that they belong to.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use model::MacAddr;

use super::process::Process;
use super::state::{FABRIC, Lab};
use crate::topology::links::HOST;
use crate::topology::{End, Kind};

/// The kernel's bound, octets.
const LONGEST_NAME: usize = 15;

/// A device name, and the name that was asked for if that is too long for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// As in the kernel.
    pub name: String,
    /// Alternative name.
    pub also: Option<String>,
}

impl Device {
    /// The device of a link's end.
    pub fn of(end: &End) -> Device {
        if end.interface.len() <= LONGEST_NAME {
            return Device { name: end.interface.clone(), also: None };
        }
        let digest = fnv(format!("{}:{}", end.node, end.interface).as_bytes());
        Device { name: format!("clab-{:08x}", digest as u32), also: Some(end.interface.clone()) }
    }
}

/// `aa:c1:ab:…` as containerlab gives them, the rest from lab, node and interface: the same in every run.
pub fn mac(lab: &str, end: &End) -> MacAddr {
    let digest = fnv(format!("{lab}/{}:{}", end.node, end.interface).as_bytes()).to_be_bytes();
    end.mac.unwrap_or(MacAddr([0xaa, 0xc1, 0xab, digest[5], digest[6], digest[7]]))
}

impl Lab {
    /// Makes every bridge and every link. All or, on an error, what the next `destroy` removes.
    pub(super) fn wire(&self) -> Result<()> {
        let mut fabric = String::new();
        for node in self.topology.nodes.iter().filter(|n| n.kind == Kind::Bridge) {
            // No querier and no spanning tree in a lab: frames pass from the first moment.
            fabric += &format!("link add {0} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n", node.name);
            fabric += &format!("link set dev {0} mtu 65535 up\n", node.name);
        }
        self.batch(FABRIC, &fabric)?;

        let mut pairs = String::new();
        let mut ups: BTreeMap<&str, String> = BTreeMap::new();
        for link in &self.topology.links {
            let [a, b] = &link.ends;
            let half = |end: &End| -> Result<String> {
                let namespace = match self.namespace(end) {
                    Some(node) => format!(" netns {}", self.living(node)?.pid),
                    None => String::new(),
                };
                Ok(format!(
                    "name {} mtu {} address {}{namespace}",
                    Device::of(end).name,
                    link.mtu,
                    mac(self.name(), end)
                ))
            };
            pairs += &format!("link add {} type veth peer {}\n", half(a)?, half(b)?);
            for end in &link.ends {
                let device = Device::of(end);
                let commands = ups.entry(self.namespace(end).unwrap_or(HOST)).or_default();
                if let Some(also) = device.also {
                    *commands += &format!("link property add dev {} altname {also}\n", device.name);
                }
                if self.is_bridge(&end.node) {
                    *commands += &format!("link set dev {} master {}\n", device.name, end.node);
                }
                *commands += &format!("link set dev {} up\n", device.name);
            }
        }
        self.batch(HOST, &pairs)?;
        ups.iter().try_for_each(|(namespace, commands)| self.batch(namespace, commands))
    }

    fn is_bridge(&self, node: &str) -> bool {
        self.topology.node(node).is_some_and(|n| n.kind == Kind::Bridge)
    }

    /// The keeper whose namespace the end lies in; none for the host's.
    fn namespace<'a>(&self, end: &'a End) -> Option<&'a str> {
        match end.node.as_str() {
            HOST => None,
            node if self.is_bridge(node) => Some(FABRIC),
            node => Some(node),
        }
    }

    fn living(&self, node: &str) -> Result<Process> {
        self.keeper(node).with_context(|| format!("the keeper of {node:?} has ended"))
    }

    fn batch(&self, namespace: &str, commands: &str) -> Result<()> {
        if commands.is_empty() {
            return Ok(());
        }
        let mut command = if namespace == HOST {
            Command::new("ip")
        } else {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/proc/{}/ns/net", self.living(namespace)?.pid)).arg("ip");
            command
        };
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run ip (package iproute2)")?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(commands.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            // `Command failed -:3`: the third line of what was given.
            let line = words.split("-:").nth(1).and_then(|r| r.split_whitespace().next()).and_then(|n| n.parse().ok());
            let which = line.and_then(|n: usize| commands.lines().nth(n.checked_sub(1)?)).unwrap_or("");
            bail!("ip {which}: {}", words.trim().replace('\n', "; "));
        }
        Ok(())
    }
}

/// FNV-1a, mixed once more so that the low octets differ for names that differ in their last character only.
fn fnv(octets: &[u8]) -> u64 {
    let hash = octets.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, o| (h ^ u64::from(*o)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn end(node: &str, interface: &str) -> End {
        End { node: node.into(), interface: interface.into(), mac: None }
    }

    #[test]
    fn a_long_name_becomes_an_alternative_one() {
        assert_eq!(Device::of(&end("a", "eth1")), Device { name: "eth1".into(), also: None });
        let device = Device::of(&end("a", "a-name-that-is-too-long"));
        assert!(device.name.len() == 13 && device.name.starts_with("clab-"), "{device:?}");
        assert_eq!(device.also.as_deref(), Some("a-name-that-is-too-long"));
        assert_ne!(device.name, Device::of(&end("b", "a-name-that-is-too-long")).name);
    }

    #[test]
    fn addresses_of_a_lab_differ_and_come_back() {
        let ends: Vec<End> =
            (0..50).flat_map(|n| (0..4).map(move |i| end(&format!("n{n}"), &format!("eth{i}")))).collect();
        let macs: HashSet<MacAddr> = ends.iter().map(|e| mac("lab", e)).collect();
        assert_eq!(macs.len(), ends.len());
        assert!(macs.iter().all(|m| m.0[..3] == [0xaa, 0xc1, 0xab]));
        assert_eq!(mac("lab", &ends[7]), mac("lab", &ends[7]));
    }
}
