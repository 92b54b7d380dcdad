//! The process that a node is: PID 1 of its namespaces.
//!
//! `unshare` starts it in fresh namespaces; it makes the node's root and then does nothing but collect the processes
//! whose parents have ended. The root is an overlay of the host's root with the node's changes in memory: a node sees
//! every program of the host and writes what it likes, and the host never sees a change. Lifetime: when the keeper ends,
//! the kernel ends every process of its PID namespace, and with the last one go mounts, links and addresses.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::mount::{mount, mount_bind, mount_bind_recursive, mount_change, mount_remount, unmount};
use rustix::process::{WaitOptions, pivot_root, setsid, wait};
use serde::{Deserialize, Serialize};

use super::process::Process;
use super::state::Record;
use crate::topology::Bind;

/// What a keeper is told on its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Orders {
    pub(crate) hostname: String,
    pub(crate) binds: Vec<Bind>,
    pub(crate) tmpfs: Vec<PathBuf>,
    pub(crate) sysctls: BTreeMap<String, String>,
}

/// The answer when the node is there.
pub(crate) const READY: &str = "ready";

/// Becomes a keeper; `at` is the node's folder. Returns only on failure.
pub fn run(at: &Path) -> Result<()> {
    // /proc is still the one of whoever runs the lab: this is our PID as they know it. Written before anything else,
    // so that `destroy` finds a keeper that hangs or fails later.
    let pid: u32 = fs::read_link("/proc/self")?.to_string_lossy().parse().context("/proc/self")?;
    if pid == std::process::id() {
        bail!("a keeper is started by `lab deploy`, in namespaces of its own");
    }
    let keeper = Process::of(pid).context("own start time")?;
    fs::write(at.join("keeper.json"), serde_json::to_vec(&Record { keeper })?)?;
    // A hang-up of the terminal ends the session's processes, and a lab is to outlive the terminal.
    setsid().context("setsid")?;

    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let orders: Orders = serde_json::from_str(&text).context("the keeper's orders")?;
    make_root(&at.join("root"), &orders).context("making the node's root")?;
    rustix::system::sethostname(orders.hostname.as_bytes()).context("sethostname")?;
    write_hosts(&orders.hostname);
    loopback_up()?;
    for (name, value) in &orders.sysctls {
        write_sysctl(name, value)?;
    }
    println!("{READY}");
    io::stdout().flush()?;
    collect()
}

/// An overlay of `/`, the other file systems of the host the same way, and fresh kernel file systems.
fn make_root(base: &Path, orders: &Orders) -> Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).context("private mounts")?;
    let others = other_mounts(&fs::read_to_string("/proc/self/mountinfo")?, base);
    mount("lab", base, "tmpfs", MountFlags::empty(), c"mode=0755").context("tmpfs for the node's changes")?;
    let root = base.join("root");
    fs::create_dir_all(&root)?;
    overlay(Path::new("/"), &root, &base.join("layers/root"))
        .context("overlay file system on /; the kernel must have overlayfs (CONFIG_OVERLAY_FS) for labs")?;
    for (index, point) in others.iter().enumerate() {
        let target = inside(&root, point);
        // A file system that cannot be a lower layer is shown read-only; one that cannot be shown is not there.
        if target.is_dir() && overlay(point, &target, &base.join(format!("layers/{index}"))).is_err() {
            let _ = bind(point, &target, true);
        }
    }
    mount_bind_recursive("/dev", inside(&root, Path::new("/dev"))).context("/dev")?;
    mount("proc", inside(&root, Path::new("/proc")), "proc", MountFlags::empty(), None).context("/proc")?;
    // A sysfs shows the devices of the network namespace that it was mounted in.
    mount("sysfs", inside(&root, Path::new("/sys")), "sysfs", MountFlags::empty(), None).context("/sys")?;
    let memory = [PathBuf::from("/run")];
    for path in memory.iter().chain(&orders.tmpfs) {
        let target = inside(&root, path);
        fs::create_dir_all(&target).with_context(|| format!("directory {}", path.display()))?;
        mount("lab", &target, "tmpfs", MountFlags::empty(), c"mode=0755")
            .with_context(|| format!("tmpfs on {}", path.display()))?;
    }
    for order in &orders.binds {
        let target = inside(&root, &order.target);
        make_target(&order.source, &target)
            .and_then(|()| bind(&order.source, &target, order.read_only))
            .with_context(|| format!("bind {} on {}", order.source.display(), order.target.display()))?;
    }
    std::env::set_current_dir(&root)?;
    // The old root ends up under the new one and is let go at once; nothing of the host is reachable by path then.
    pivot_root(".", ".").context("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).context("letting go of the host's root")?;
    std::env::set_current_dir("/")?;
    Ok(())
}

fn overlay(lower: &Path, target: &Path, layers: &Path) -> Result<()> {
    let (upper, work) = (layers.join("upper"), layers.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let escape = |path: &Path| path.display().to_string().replace('\\', "\\\\").replace(',', "\\,").replace(':', "\\:");
    let options = format!("lowerdir={},upperdir={},workdir={}", escape(lower), escape(&upper), escape(&work));
    mount("overlay", target, "overlay", MountFlags::empty(), Some(std::ffi::CString::new(options)?.as_c_str()))?;
    Ok(())
}

fn bind(source: &Path, target: &Path, read_only: bool) -> Result<()> {
    mount_bind(source, target)?;
    if read_only {
        mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, "")?;
    }
    Ok(())
}

/// A bind of a file needs a file to be mounted on, one of a directory a directory; both go to the node's own layer.
fn make_target(source: &Path, target: &Path) -> Result<()> {
    if source.is_dir() {
        fs::create_dir_all(target)?;
    } else if !target.exists() {
        fs::create_dir_all(target.parent().context("no parent")?)?;
        fs::write(target, b"")?;
    }
    Ok(())
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Mount points of the host that a node should see besides `/`: real directories elsewhere than in the kernel's own file
/// systems and than in /run, which is empty in a node.
fn other_mounts(mountinfo: &str, base: &Path) -> Vec<PathBuf> {
    let hidden = ["/proc", "/sys", "/dev", "/run", "/var/run"];
    let mut points: Vec<PathBuf> = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescape(point)))
        .filter(|point| point != Path::new("/") && !base.starts_with(point) && !point.starts_with(base))
        .filter(|point| hidden.iter().all(|h| !point.starts_with(h)))
        .collect();
    points.sort();
    points.dedup();
    points
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

/// Best effort: a host without these files has a node without them.
fn write_hosts(name: &str) {
    let _ = fs::write("/etc/hostname", format!("{name}\n"));
    let _ = fs::write("/etc/hosts", format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {name}\n"));
}

fn loopback_up() -> Result<()> {
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("cannot run ip (iproute2)")?;
    if !status.success() {
        bail!("ip link set lo up: {status}");
    }
    Ok(())
}

/// /proc/sys/net shows the network namespace of whoever opens it: the node's.
fn write_sysctl(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(sysctl_path(name));
    fs::write(&path, value).with_context(|| format!("sysctl {name}={value} ({})", path.display()))
}

/// Dots separate, and a name with slashes is taken as it is: `net/ipv4/conf/eth0.100/rp_filter`.
fn sysctl_path(name: &str) -> String {
    if name.contains('/') { name.to_string() } else { name.replace('.', "/") }
}

/// What is left for PID 1. A quarter of a second of a zombie hurts nobody.
fn collect() -> Result<()> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => std::thread::sleep(Duration::from_millis(250)),
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_to_show_are_the_real_ones() {
        let info = "22 27 0:21 / /proc rw - proc proc rw\n27 1 254:0 / / rw - ext4 /dev/vda rw\n\
                    30 27 8:2 / /home\\040of/a rw - ext4 /dev/b rw\n31 27 8:3 / /srv rw - ext4 /dev/c rw\n\
                    33 27 8:3 / /run/lock rw - tmpfs none rw\n32 27 0:3 / /var/x/root rw - tmpfs t rw\n";
        let found = other_mounts(info, Path::new("/var/x/root"));
        assert_eq!(found, [PathBuf::from("/home of/a"), PathBuf::from("/srv")]);
    }

    #[test]
    fn sysctl_names_with_dots_in_a_device() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(sysctl_path("net/ipv4/conf/eth0.100/rp_filter"), "net/ipv4/conf/eth0.100/rp_filter");
    }
}
