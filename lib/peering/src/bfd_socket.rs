//! UDP sockets of BFD: one that hears per port and family, and one that speaks per session.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use bfd::{Arrival, Hops, Packet, SessionKey};
use model::Family;
use model::kernel::Device;
use socket2::{Domain, MaybeUninitSlice, MsgHdrMut, Protocol, SockAddr, SockFilter, Socket, Type};

/// DSCP CS6, "network control".
const NETWORK_CONTROL: u32 = 0xc0;
/// What is sent, and expected, on a single hop (RFC 5881 section 5).
const TTL: u32 = 255;
/// Octets that wait for a thread that is late: thousands of packets.
const BACKLOG: usize = 1 << 20;
/// First and number of the source ports (RFC 5881 section 4).
const PORTS: (u16, u16) = (49152, 16384);
/// Longest packet that is looked at: any with an authentication section fits.
const LONGEST: usize = 256;

/// Hears one port in one family.
#[derive(Debug)]
pub(crate) struct Ear {
    socket: Socket,
    hops: Hops,
    any: IpAddr,
}

impl Ear {
    pub(crate) fn open(hops: Hops, family: Family) -> io::Result<Ear> {
        let any = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = udp(family)?;
        let on: libc::c_int = 1;
        match family {
            Family::V4 => {
                set_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_RECVTTL, on)?;
                set_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_PKTINFO, on)?;
            }
            Family::V6 => {
                socket.set_only_v6(true)?;
                socket.set_recv_hoplimit_v6(true)?;
                set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, on)?;
            }
        }
        let _ = socket.set_recv_buffer_size(BACKLOG);
        socket.bind(&SocketAddr::new(any, hops.port()).into())?;
        Ok(Ear { socket, hops, any })
    }

    /// The next packet that waits: what is known of it, the index of its device, and its octets.
    pub(crate) fn hear(&self, buffer: &mut Vec<u8>) -> io::Result<Option<(Arrival, u32)>> {
        let mut octets = [MaybeUninit::new(0); LONGEST];
        let mut control = [MaybeUninit::new(0); 256];
        let mut source = SockAddr::from(SocketAddr::new(self.any, 0));
        let (length, control_length) = loop {
            let mut slices = [MaybeUninitSlice::new(&mut octets)];
            let mut head = MsgHdrMut::new().with_addr(&mut source).with_buffers(&mut slices).with_control(&mut control);
            match self.socket.recvmsg(&mut head, 0) {
                Ok(length) => break (length, head.control_len()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        buffer.clear();
        buffer.extend_from_slice(initialised(octets.get(..length).unwrap_or_default()));
        let control = initialised(control.get(..control_length).unwrap_or_default());
        let mut arrival = Arrival {
            source: source.as_socket().map_or(self.any, |source| source.ip()),
            destination: self.any,
            device: None,
            // Unknown is as good as wrong.
            ttl: 0,
            hops: self.hops,
        };
        let mut index = 0;
        each_control(control, |level, kind, data| match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                arrival.ttl = number(data).and_then(|ttl| u8::try_from(ttl).ok()).unwrap_or(0);
            }
            // struct in_pktinfo: index, the local address that was chosen, the address in the header.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                index = number(data).unwrap_or(0);
                if let Some([a, b, c, d]) = data.get(8..12) {
                    arrival.destination = IpAddr::from([*a, *b, *c, *d]);
                }
            }
            // struct in6_pktinfo: address, index.
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let Some((address, rest)) = data.split_first_chunk::<16>() {
                    arrival.destination = IpAddr::from(*address);
                    index = number(rest).unwrap_or(0);
                }
            }
            _ => {}
        });
        Ok(Some((arrival, index)))
    }
}

impl AsFd for Ear {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Speaks for one session, from a source port of its own.
#[derive(Debug)]
pub(crate) struct Mouth {
    socket: Socket,
    to: SockAddr,
}

impl Mouth {
    /// `port` says where the search for a free source port begins, and is moved on.
    pub(crate) fn open(session: &SessionKey, port: &mut u16) -> io::Result<Mouth> {
        let family = Family::of(&session.peer);
        let socket = udp(family)?;
        match family {
            Family::V4 => {
                socket.set_ttl_v4(TTL)?;
                let _ = socket.set_tos_v4(NETWORK_CONTROL);
            }
            Family::V6 => {
                socket.set_only_v6(true)?;
                socket.set_unicast_hops_v6(TTL)?;
                let _ = socket.set_tclass_v6(NETWORK_CONTROL);
            }
        }
        // Answers go to the well-known port; what comes here is nobody's.
        let _ = socket.attach_filter(&[SockFilter::new(0x06, 0, 0, 0)]);
        if let Some(device) = &session.device {
            socket.bind_device(Some(device.as_str().as_bytes()))?;
        }
        let index = match &session.device {
            Some(device) => index_of(socket.as_fd(), device)?,
            None => 0,
        };
        let scoped = |address: IpAddr, port: u16| match address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => std::net::SocketAddrV6::new(v6, port, 0, index).into(),
            _ => SocketAddr::new(address, port),
        };
        let local = session.local.unwrap_or(match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        });
        for _ in 0..PORTS.1 {
            *port = (*port + 1) % PORTS.1;
            match socket.bind(&scoped(local, PORTS.0 + *port).into()) {
                Ok(()) => {
                    return Ok(Mouth { socket, to: scoped(session.peer, session.hops.port()).into() });
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(ErrorKind::AddrInUse.into())
    }

    pub(crate) fn say(&self, octets: &[u8; Packet::LENGTH]) -> io::Result<()> {
        match self.socket.send_to(octets, &self.to) {
            // A full queue of the device: the next packet comes soon.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            result => result.map(|_| ()),
        }
    }
}

/// The name of a device, if it is there still.
pub(crate) fn name_of(socket: BorrowedFd<'_>, index: u32) -> Option<Device> {
    rustix::net::netdevice::index_to_name(socket, index).ok().and_then(|name| Device::new(&name))
}

fn index_of(socket: BorrowedFd<'_>, device: &Device) -> io::Result<u32> {
    Ok(rustix::net::netdevice::name_to_index(socket, device.as_str())?)
}

fn udp(family: Family) -> io::Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

pub(crate) fn number(data: &[u8]) -> Option<u32> {
    data.first_chunk::<4>().map(|octets| u32::from_ne_bytes(*octets))
}

/// Walks control messages as cmsg(3) lays them out: a length with the head, level, type, data; each begins at a multiple
/// of the word's size.
pub(crate) fn each_control(mut octets: &[u8], mut each: impl FnMut(libc::c_int, libc::c_int, &[u8])) {
    const WORD: usize = size_of::<usize>();
    const HEAD: usize = WORD + 8;
    while let Some((length, rest)) = octets.split_first_chunk::<WORD>() {
        let length = usize::from_ne_bytes(*length);
        let (Some(level), Some(kind)) = (number(rest), rest.get(4..).and_then(number)) else { return };
        let Some(data) = octets.get(HEAD..length) else { return };
        each(level.cast_signed(), kind.cast_signed(), data);
        octets = octets.get(length.next_multiple_of(WORD)..).unwrap_or_default();
    }
}

#[allow(unsafe_code)]
pub(crate) fn initialised(octets: &[MaybeUninit<u8>]) -> &[u8] {
    // SAFETY: both arrays that come here begin as `MaybeUninit::new(0)`; the kernel only writes octets over octets.
    unsafe { octets.assume_init_ref() }
}

#[allow(unsafe_code)]
fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed; the kernel reads one integer, and not beyond the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_are_walked_and_broken_ones_end_the_walk() {
        let message = |length: usize, level: i32, kind: i32, data: &[u8]| {
            let mut octets = length.to_ne_bytes().to_vec();
            octets.extend_from_slice(&level.to_ne_bytes());
            octets.extend_from_slice(&kind.to_ne_bytes());
            octets.extend_from_slice(data);
            octets.resize(octets.len().next_multiple_of(8), 0);
            octets
        };
        let seen = |octets: &[u8]| {
            let mut seen = Vec::new();
            each_control(octets, |level, kind, data| seen.push((level, kind, data.to_vec())));
            seen
        };
        let head = size_of::<usize>() + 8;
        let mut two = message(head + 4, 0, 2, &[1, 2, 3, 4]);
        two.extend(message(head + 12, 41, 52, &[9; 12]));
        assert_eq!(seen(&two), [(0, 2, vec![1, 2, 3, 4]), (41, 52, vec![9; 12])]);
        for wrong in [0, 1, head - 1, head + 5, usize::MAX] {
            assert!(seen(&message(wrong, 0, 2, &[])).is_empty(), "{wrong}");
        }
        assert!(seen(&[0; 7]).is_empty());
    }
}
