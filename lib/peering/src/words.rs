//! Errors of the operating system as an operator reads them.

use std::fs;
use std::io;
use std::io::ErrorKind;

/// The error in words, without Rust's "(os error 111)".
pub(crate) fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused: nothing listens there".to_owned(),
        ErrorKind::ConnectionReset => "connection reset by the peer".to_owned(),
        ErrorKind::BrokenPipe => "the peer has closed the connection".to_owned(),
        ErrorKind::TimedOut => "timed out: the peer's host does not answer".to_owned(),
        ErrorKind::AddrNotAvailable => "the local address is not on this host".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
    }
}

/// Why `port` cannot be listened on, with the cure.
pub(crate) fn listen_words(port: u16, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            let holder = holder(port).unwrap_or_else(|| "a process that cannot be seen from here".to_owned());
            format!("port {port} is taken by {holder}: stop it, or set bgp.port to another port")
        }
        ErrorKind::PermissionDenied => {
            format!("port {port} may not be listened on: run as root, or give CAP_NET_BIND_SERVICE")
        }
        _ => format!("port {port} cannot be listened on: {}", words(error)),
    }
}

/// Name and number of the process that listens on a TCP port in this network namespace.
fn holder(port: u16) -> Option<String> {
    let sockets: Vec<String> = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| {
            table
                .lines()
                .filter_map(|line| listening_inode(line, port))
                .map(|inode| format!("socket:[{inode}]"))
                .collect::<Vec<_>>()
        })
        .collect();
    let held = |pid: &str| {
        fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|descriptors| {
            descriptors.flatten().any(|descriptor| {
                fs::read_link(descriptor.path())
                    .is_ok_and(|to| sockets.iter().any(|socket| to.as_os_str() == &**socket))
            })
        })
    };
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().into_string().ok().filter(|name| name.bytes().all(|b| b.is_ascii_digit()))?;
        held(&pid).then(|| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{} (pid {pid})", name.trim_end())
        })
    })
}

/// The inode column of a line of /proc/net/tcp, if that socket listens (state 0A) on `port`.
fn listening_inode(line: &str, port: u16) -> Option<&str> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (_, given) = columns.get(1)?.rsplit_once(':')?;
    let listens = *columns.get(3)? == "0A" && u16::from_str_radix(given, 16) == Ok(port);
    listens.then(|| columns.get(9).copied()).flatten()
}
