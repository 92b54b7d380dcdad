//! Sysctls below /proc/sys.
//!
//! What lies below /proc/sys/net is that of the network namespace of the thread that opens it, whatever /proc is mounted.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use model::kernel::Refusal;

/// Value of `path`, which is as below /proc/sys: `net/ipv4/ip_forward`. Without the newline at its end; `None` if there is
/// no such sysctl (the kernel lacks it, or its device has gone).
pub fn read(path: &str) -> Result<Option<Arc<str>>, Refusal> {
    match fs::read_to_string(file(path)?) {
        Ok(text) => Ok(Some(text.trim_end().into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refusal(path, &error, &format!("cannot read sysctl {path}"))),
    }
}

/// Writes `value`. The kernel may keep it in another spelling, or clamp it: read back.
pub fn write(path: &str, value: &str) -> Result<(), Refusal> {
    let written = file(path).map(|file| {
        // One write(2): the kernel takes a value whole or not at all. Not created, not truncated.
        OpenOptions::new().write(true).open(file).and_then(|mut file| file.write_all(value.as_bytes()))
    })?;
    written.map_err(|error| refusal(path, &error, &format!("cannot set sysctl {path} to `{value}`")))
}

/// The file, if the path stays below /proc/sys.
fn file(path: &str) -> Result<PathBuf, Refusal> {
    let clean = !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if !clean {
        let message = format!("`{path}` is not a sysctl: expected a path below /proc/sys such as net/ipv4/ip_forward");
        return Err(Refusal { errno: libc::EINVAL, message });
    }
    Ok(Path::new("/proc/sys").join(path))
}

fn refusal(path: &str, error: &io::Error, doing: &str) -> Refusal {
    let errno = error.raw_os_error().unwrap_or_default();
    let why = match errno {
        libc::ENOENT if !Path::new("/proc/sys/net").exists() => {
            "/proc/sys is not there: mount procfs on /proc".to_owned()
        }
        libc::ENOENT => match device(path) {
            Some(device) => format!("there is no such file; has {device} gone?"),
            None => "this kernel does not have it".to_owned(),
        },
        libc::EROFS => {
            "/proc/sys is mounted read-only (container runtimes do that): run privileged, or set it on the host \
                        with sysctl -w before the daemon starts"
                .to_owned()
        }
        libc::EACCES | libc::EPERM => {
            "no permission: CAP_NET_ADMIN in this network namespace is needed, or root".to_owned()
        }
        libc::EINVAL => "the kernel does not take this value".to_owned(),
        _ => io::Error::from_raw_os_error(errno).to_string(),
    };
    Refusal { errno, message: format!("{doing}: {why}") }
}

/// The device in `net/ipv4/conf/DEVICE/…` and the like.
fn device(path: &str) -> Option<&str> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["net", "ipv4" | "ipv6", "conf" | "neigh", device, _] => Some(device),
        _ => None,
    }
}
