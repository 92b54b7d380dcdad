//! Transmit checksum offload of a device, as `ethtool -K DEVICE tx on|off` sets it.
//!
//! Some network cards, and some kernels before 5.7 behind masquerade, get the checksums inside a tunnel wrong. With the
//! offload off on the VXLAN device the kernel makes them itself, before the frame is wrapped up, at four fifths of the TCP
//! throughput: never a default.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use model::kernel::{Device, Refusal};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// `SIOCETHTOOL`.
const ETHTOOL: u64 = 0x8946;
/// `ETHTOOL_GTXCSUM` and `ETHTOOL_STXCSUM`.
const GET: u32 = 0x16;
const SET: u32 = 0x17;

/// `struct ethtool_value`.
#[repr(C)]
struct Request {
    command: u32,
    value: u32,
}

/// `struct ifreq` with a pointer in its union, which has 24 octets.
#[repr(C)]
struct Interface<'a> {
    name: [u8; 16],
    request: &'a mut Request,
    rest: [u8; 24 - size_of::<usize>()],
}

/// Is it on?
pub(crate) fn tx_checksum(device: &Device) -> Result<bool, Refusal> {
    ask(device, GET, 0).map(|value| value != 0)
}

/// Switches it.
pub(crate) fn set_tx_checksum(device: &Device, on: bool) -> Result<(), Refusal> {
    ask(device, SET, on.into()).map(drop)
}

fn ask(device: &Device, command: u32, value: u32) -> Result<u32, Refusal> {
    let refused = |error: std::io::Error| {
        let errno = error.raw_os_error().unwrap_or_default();
        let doing = if command == GET { "read" } else { "set" };
        Refusal { errno, message: format!("cannot {doing} transmit checksum offload of {device}: {error}") }
    };
    // Any socket is a door to the devices of its namespace.
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(|errno| refused(errno.into()))?;
    let mut request = Request { command, value };
    let mut name = [0; 16];
    // A name has at most 15 octets.
    name.iter_mut().zip(device.as_str().bytes()).for_each(|(to, octet)| *to = octet);
    call(socket.as_fd(), name, &mut request).map_err(refused)?;
    Ok(request.value)
}

#[allow(unsafe_code)]
fn call(socket: BorrowedFd<'_>, name: [u8; 16], request: &mut Request) -> std::io::Result<()> {
    let mut interface = Interface { name, request, rest: [0; 24 - size_of::<usize>()] };
    // SAFETY: the descriptor is open for as long as it is borrowed; the pointer is that of one live, initialised value of
    // the size of `struct ifreq`, whose own pointer is that of a live `struct ethtool_value`; both commands read and write
    // these two and nothing beyond the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), ETHTOOL as _, std::ptr::from_mut(&mut interface)) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
