//! What segments are signed with: TCP MD5 (RFC 2385) or TCP-AO (RFC 5925), put on sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};

use model::Prefix;
use socket2::{Domain, Socket, Type};

use crate::key::{KEY_MAX, Key};
use crate::keychain::{Algorithm, AoKey, Keychain};
use crate::options::{Plain, md5_words, set_md5, set_option, storage};

/// With what segments are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// TCP MD5.
    Md5(Key),
    /// TCP-AO.
    Ao(Keychain),
}

impl Auth {
    /// What to call it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Auth::Md5(_) => "TCP MD5",
            Auth::Ao(_) => "TCP-AO",
        }
    }
}

/// What a socket is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Listening,
    /// About to connect.
    Dialing,
    Connected,
}

/// Makes `now` what segments from and to `remotes` are signed with, where it was `before`. On a listening socket it holds for
/// connections to come, on others from the next segment on. The error is in words.
///
/// A connection cannot go from the one kind to the other, nor get or lose TCP-AO.
pub(crate) fn set(
    socket: BorrowedFd<'_>,
    on: On,
    remotes: Prefix,
    before: Option<&Auth>,
    now: Option<&Auth>,
) -> Result<(), String> {
    let (before, now) = match (before, now) {
        (None | Some(Auth::Md5(_)), None) => return set_md5(socket, remotes, None).map_err(|e| md5_words(&e)),
        (None | Some(Auth::Md5(_)), Some(Auth::Md5(key))) => {
            return set_md5(socket, remotes, Some(key)).map_err(|error| md5_words(&error));
        }
        (Some(Auth::Ao(chain)), other @ (None | Some(Auth::Md5(_)))) => {
            if on == On::Connected {
                return Err("a connection cannot lose its TCP-AO: it is made anew".to_owned());
            }
            chain
                .keys()
                .iter()
                .try_for_each(|key| delete(socket, on, remotes, key, chain))
                .map_err(|e| ao_words(&e))?;
            let Some(Auth::Md5(key)) = other else { return Ok(()) };
            return set_md5(socket, remotes, Some(key)).map_err(|error| md5_words(&error));
        }
        (before, Some(Auth::Ao(chain))) => (before, chain),
    };
    if matches!(before, Some(Auth::Md5(_))) {
        set_md5(socket, remotes, None).map_err(|error| md5_words(&error))?;
    }
    for (nth, key) in now.keys().iter().enumerate() {
        match add(socket, on, remotes, key, nth == 0) {
            // It is there already.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            result => result.map_err(|error| ao_words(&error))?,
        }
    }
    if on == On::Connected
        && let Some(preferred) = now.keys().first()
    {
        // The peer goes over to it once it knows it, and by its own wish so do we.
        let info = AoInfo { flags: SET_RNEXT, reserved: 0, current: 0, rnext: preferred.recv_id, counters: [0; 5] };
        set_option(socket, libc::IPPROTO_TCP, TCP_AO_INFO, &info).map_err(|error| ao_words(&error))?;
    }
    let Some(Auth::Ao(before)) = before else { return Ok(()) };
    let gone = before.keys().iter().filter(|key| !now.keys().contains(key));
    gone.into_iter().try_for_each(|key| delete(socket, on, remotes, key, now)).map_err(|error| ao_words(&error))
}

/// Does this kernel have TCP-AO? `Err` says in words what is missing.
pub fn ao_supported() -> Result<(), String> {
    let probe = AoKey { send_id: 1, recv_id: 1, algorithm: Algorithm::HmacSha1, secret: b"probe".to_vec() };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(|error| error.to_string())?;
    let to = Prefix::host(IpAddr::V4(Ipv4Addr::LOCALHOST));
    add(socket.as_fd(), On::Dialing, to, &probe, true).map_err(|error| ao_words(&error))
}

fn ao_words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => {
            "this kernel has no TCP-AO: it needs Linux 6.7 or newer with CONFIG_TCP_AO=y; take tcpAoFile out of the \
             configuration (passwordFile, TCP MD5, is the older kind), or change the kernel"
                .to_owned()
        }
        Some(libc::EISCONN) => "the peer has connected without TCP-AO".to_owned(),
        Some(libc::ENOMEM) => "no room for the TCP-AO key in the socket: raise net.core.optmem_max".to_owned(),
        Some(libc::ENOENT) => "the kernel does not have the algorithm of a TCP-AO key".to_owned(),
        Some(libc::EKEYREJECTED) => "a TCP MD5 key of another peer or range is in the way of TCP-AO".to_owned(),
        _ => format!("cannot set the TCP-AO key: {error}"),
    }
}

/// linux/tcp.h, since Linux 6.7.
const TCP_AO_ADD_KEY: libc::c_int = 38;
const TCP_AO_DEL_KEY: libc::c_int = 39;
const TCP_AO_INFO: libc::c_int = 40;
/// Bits of `flags`, which is a bit field there.
const SET_CURRENT: u32 = 1_u32.rotate_left(if cfg!(target_endian = "big") { 31 } else { 0 });
const SET_RNEXT: u32 = 2_u32.rotate_left(if cfg!(target_endian = "big") { 29 } else { 0 });

/// `struct tcp_ao_add`.
#[repr(C, align(8))]
struct AoAdd {
    address: [u8; 128],
    algorithm: [u8; 64],
    device: i32,
    flags: u32,
    reserved: u16,
    prefix: u8,
    send_id: u8,
    recv_id: u8,
    mac_length: u8,
    key_flags: u8,
    key_length: u8,
    key: [u8; KEY_MAX],
}

/// `struct tcp_ao_del`.
#[repr(C, align(8))]
struct AoDel {
    address: [u8; 128],
    device: i32,
    flags: u32,
    reserved: u16,
    prefix: u8,
    send_id: u8,
    recv_id: u8,
    current: u8,
    rnext: u8,
    key_flags: u8,
}

/// `struct tcp_ao_info_opt`.
#[repr(C, align(8))]
struct AoInfo {
    flags: u32,
    reserved: u16,
    current: u8,
    rnext: u8,
    counters: [u64; 5],
}

impl Plain for AoAdd {}
impl Plain for AoDel {}
impl Plain for AoInfo {}

fn add(socket: BorrowedFd<'_>, on: On, remotes: Prefix, key: &AoKey, preferred: bool) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, TCP_AO_ADD_KEY, &adding(on, remotes, key, preferred))
}

fn adding(on: On, remotes: Prefix, key: &AoKey, preferred: bool) -> AoAdd {
    let mut algorithm = [0; 64];
    let name = key.algorithm.kernel().as_bytes();
    algorithm[..name.len()].copy_from_slice(name);
    let mut secret = [0; KEY_MAX];
    secret[..key.secret.len()].copy_from_slice(&key.secret);
    AoAdd {
        address: storage(remotes),
        algorithm,
        device: 0,
        // A listening socket has no connection of which a key could be the current one.
        flags: if preferred && on == On::Dialing { SET_CURRENT | SET_RNEXT } else { 0 },
        reserved: 0,
        prefix: remotes.len(),
        send_id: key.send_id,
        recv_id: key.recv_id,
        mac_length: key.algorithm.mac(),
        key_flags: 0,
        key_length: key.secret.len() as u8,
        key: secret,
    }
}

/// Takes a key away; a connection that uses it goes on with the preferred one of `chain`.
fn delete(socket: BorrowedFd<'_>, on: On, remotes: Prefix, key: &AoKey, chain: &Keychain) -> io::Result<()> {
    let next = chain.keys().first().filter(|next| on == On::Connected && *next != key);
    let deleting = AoDel {
        address: storage(remotes),
        device: 0,
        flags: if next.is_some() { SET_CURRENT | SET_RNEXT } else { 0 },
        reserved: 0,
        prefix: remotes.len(),
        send_id: key.send_id,
        recv_id: key.recv_id,
        current: next.map_or(0, |next| next.send_id),
        rnext: next.map_or(0, |next| next.recv_id),
        key_flags: 0,
    };
    match set_option(socket, libc::IPPROTO_TCP, TCP_AO_DEL_KEY, &deleting) {
        // Taking away what is not there.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOPROTOOPT)) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use model::Family;

    use super::*;

    /// As linux/tcp.h lays them out.
    ///
    /// Checklist: 88
    #[test]
    fn structures_lie_as_the_kernel_reads_them() {
        assert_eq!((size_of::<AoAdd>(), size_of::<AoDel>(), size_of::<AoInfo>()), (288, 144, 48));
        let offsets = [
            (offset_of!(AoAdd, algorithm), 128),
            (offset_of!(AoAdd, device), 192),
            (offset_of!(AoAdd, flags), 196),
            (offset_of!(AoAdd, prefix), 202),
            (offset_of!(AoAdd, key_length), 207),
            (offset_of!(AoAdd, key), 208),
            (offset_of!(AoDel, device), 128),
            (offset_of!(AoDel, flags), 132),
            (offset_of!(AoDel, prefix), 138),
            (offset_of!(AoDel, key_flags), 143),
            (offset_of!(AoInfo, current), 6),
            (offset_of!(AoInfo, counters), 8),
        ];
        for (ours, theirs) in offsets {
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn a_key_is_told_as_it_is() {
        let chain = Keychain::parse("7 9 aes-128-cmac-96 secret").unwrap();
        let to: Prefix = "192.0.2.0/24".parse().unwrap();
        let told = adding(On::Dialing, to, &chain.keys()[0], true);
        assert_eq!((told.prefix, told.send_id, told.recv_id, told.mac_length, told.key_length), (24, 7, 9, 12, 6));
        assert_eq!((&told.algorithm[..13], &told.key[..7]), (&b"cmac(aes128)\0"[..], &b"secret\0"[..]));
        assert_eq!((told.flags, &told.address[4..8]), (SET_CURRENT | SET_RNEXT, &[192, 0, 2, 0][..]));
        assert_eq!(adding(On::Listening, to, &chain.keys()[0], true).flags, 0);
        assert_eq!(storage("2001:db8::/32".parse().unwrap())[8..12], [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(Family::V6.bits(), 128);
    }
}
