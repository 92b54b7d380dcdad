//! Socket options: all of them that a BGP connection wants; by hand those that no library offers, TCP MD5 and the least TTL.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use model::{Family, Prefix, Transport};
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

/// TTL or hop limit with which listening sockets answer: a peer that guards itself by RFC 5082 takes nothing less, and
/// the answer comes before it is known whose connection it is.
pub(crate) const LISTEN_TTL: u8 = 255;

/// Makes packets of a socket travel so.
pub(crate) fn travel(socket: BorrowedFd<'_>, family: &IpAddr, transport: &Transport) -> io::Result<()> {
    // -1 is the kernel's own choice, 0 asks for nothing.
    let ttl = transport.ttl.map_or(-1, libc::c_int::from);
    let least = libc::c_int::from(transport.least_ttl.unwrap_or(0));
    let (level, send, take) = match family {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TTL, libc::IP_MINTTL),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, libc::IPV6_MINHOPCOUNT),
    };
    set_option(socket, level, send, &ttl)?;
    set_option(socket, level, take, &least)
}

/// Does this kernel have TCP MD5? `Err` says in words what is missing.
pub fn md5_supported() -> Result<(), String> {
    let probe = Key::new(*b"probe").map_err(|error| error.to_string())?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(|error| error.to_string())?;
    set_md5(socket.as_fd(), Prefix::host(Ipv4Addr::LOCALHOST.into()), Some(&probe)).map_err(|error| md5_words(&error))
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

/// `TCP_MD5SIG_FLAG_PREFIX` of linux/tcp.h.
const FLAG_PREFIX: u8 = 1;

/// Sets the key for segments from and to `remotes`, or takes it away; of several the most specific counts. On a listening
/// socket it holds for the connections to come: segments of `remotes` without the right signature are dropped without an
/// answer. On a connection it holds from the next segment on.
pub(crate) fn set_md5(socket: BorrowedFd<'_>, remotes: Prefix, key: Option<&Key>) -> io::Result<()> {
    let mut signature =
        Md5Sig { address: [0; 128], flags: 0, prefix_length: 0, key_length: 0, device: 0, key: [0; KEY_MAX] };
    signature.address = storage(remotes);
    let mut name = libc::TCP_MD5SIG;
    if remotes.len() != remotes.family().bits() {
        name = libc::TCP_MD5SIG_EXT;
        signature.flags = FLAG_PREFIX;
        signature.prefix_length = remotes.len();
    }
    if let Some(key) = key {
        let bytes = key.bytes();
        signature.key_length = bytes.len() as u16;
        signature.key[..bytes.len()].copy_from_slice(bytes);
    }
    match set_option(socket, libc::IPPROTO_TCP, name, &signature) {
        // Taking away what is not there, or what this kernel never had.
        Err(error) if key.is_none() && matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOPROTOOPT)) => Ok(()),
        result => result,
    }
}

/// The address of `remotes` as a `struct sockaddr_storage` without a port.
pub(crate) fn storage(remotes: Prefix) -> [u8; 128] {
    let (family, at) = match remotes.family() {
        Family::V4 => (libc::AF_INET, 4),
        // The flow label lies before the address.
        Family::V6 => (libc::AF_INET6, 8),
    };
    let octets: &[u8] = match &remotes.address() {
        IpAddr::V4(v4) => &v4.octets(),
        IpAddr::V6(v6) => &v6.octets(),
    };
    let mut storage = [0; 128];
    storage[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    storage[at..at + octets.len()].copy_from_slice(octets);
    storage
}

/// What the kernel may read as it lies in memory: `repr(C)` or a primitive, without padding.
pub(crate) trait Plain {}
impl Plain for libc::c_int {}
impl Plain for Md5Sig {}

#[allow(unsafe_code)]
pub(crate) fn set_option<T: Plain>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed; the pointer and the length are those of one live,
    // initialised value without padding (`Plain`), which the kernel only reads, and not beyond the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
