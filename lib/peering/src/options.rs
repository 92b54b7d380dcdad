//! Socket options: all of them that a BGP connection wants, and TCP MD5, the one that no library offers.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, SockRef, Socket, Type};

use crate::conn::UNSENT;
use crate::key::{KEY_MAX, Key};

/// DSCP CS6, "network control" (RFC 4271 appendix E: IP precedence 110).
const NETWORK_CONTROL: u32 = 0xc0;

/// Options of every connection. None of them is worth losing the connection for.
pub(crate) fn tune(socket: &SockRef<'_>, family: &IpAddr) {
    // Messages are written whole; waiting for more of them only delays withdrawals.
    let _ = socket.set_tcp_nodelay(true);
    // Else the kernel would take megabytes for a peer that reads nothing, and nobody would notice.
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    let _ = match family {
        IpAddr::V4(_) => socket.set_tos_v4(NETWORK_CONTROL),
        IpAddr::V6(_) => socket.set_tclass_v6(NETWORK_CONTROL),
    };
}

/// Does this kernel have TCP MD5? `Err` says in words what is missing.
pub fn md5_supported() -> Result<(), String> {
    let probe = Key::new(*b"probe").map_err(|error| error.to_string())?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(|error| error.to_string())?;
    set_md5(socket.as_fd(), IpAddr::V4(Ipv4Addr::LOCALHOST), Some(&probe)).map_err(|error| md5_words(&error))
}

/// Why a key could not be set, with the cure.
pub(crate) fn md5_words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => {
            "this kernel has no TCP MD5: it needs CONFIG_TCP_MD5SIG=y; take the key out of the configuration, or change the kernel".to_owned()
        }
        Some(libc::ENOMEM) => {
            "no room for the TCP MD5 key in the socket: raise net.core.optmem_max (some 200 bytes a peer)".to_owned()
        }
        Some(libc::EPERM | libc::ENOTSUP) => format!("the kernel refuses TCP MD5 (in FIPS mode it does): {error}"),
        _ => format!("cannot set the TCP MD5 key: {error}"),
    }
}

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct Md5Sig {
    /// A `struct sockaddr_storage`; the port is ignored.
    address: [u8; 128],
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    device: i32,
    key: [u8; KEY_MAX],
}

/// Sets the key for segments from and to `remote`, or takes it away. On a listening socket it holds for the connections
/// to come: segments of `remote` without the right signature are dropped without an answer.
pub(crate) fn set_md5(socket: BorrowedFd<'_>, remote: IpAddr, key: Option<&Key>) -> io::Result<()> {
    let mut signature =
        Md5Sig { address: [0; 128], flags: 0, prefix_length: 0, key_length: 0, device: 0, key: [0; KEY_MAX] };
    let (family, at) = match remote {
        IpAddr::V4(_) => (libc::AF_INET, 4),
        // The flow label lies before the address.
        IpAddr::V6(_) => (libc::AF_INET6, 8),
    };
    let octets: &[u8] = match &remote {
        IpAddr::V4(v4) => &v4.octets(),
        IpAddr::V6(v6) => &v6.octets(),
    };
    signature.address[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    signature.address[at..at + octets.len()].copy_from_slice(octets);
    if let Some(key) = key {
        let bytes = key.bytes();
        signature.key_length = bytes.len() as u16;
        signature.key[..bytes.len()].copy_from_slice(bytes);
    }
    match set_option(socket, &signature) {
        // Taking away what is not there, or what this kernel never had.
        Err(error) if key.is_none() && matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOPROTOOPT)) => Ok(()),
        result => result,
    }
}

#[allow(unsafe_code)]
fn set_option(socket: BorrowedFd<'_>, signature: &Md5Sig) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed; the pointer and the length are those of one live,
    // initialised `repr(C)` value without padding, which the kernel only reads, and not beyond the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MD5SIG,
            std::ptr::from_ref(signature).cast(),
            size_of::<Md5Sig>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
