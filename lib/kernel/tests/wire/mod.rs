//! Frames on a device, octet by octet: captured, taken apart, made and sent.
#![allow(unsafe_code, unreachable_pub, dead_code)]

use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

const ALL: u16 = 0x0003;
const UDP: u8 = 17;

/// A door to one device of the namespace.
pub struct Wire {
    socket: Socket,
}

impl Wire {
    /// Every frame that comes in by the device from now on can be received, and frames can be sent.
    pub fn on(device: &str) -> Wire {
        let shown = crate::netns::run(&format!("ip -o link show {device}"));
        let index: i32 = shown.split(':').next().unwrap().parse().unwrap();
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ALL.to_be())))).unwrap();
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: `sockaddr_ll` is plain data and smaller than the storage, which is zeroed.
        let address = unsafe {
            let link = storage.view_as::<libc::sockaddr_ll>();
            link.sll_family = libc::AF_PACKET as u16;
            link.sll_protocol = ALL.to_be();
            link.sll_ifindex = index;
            SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t)
        };
        socket.bind(&address).unwrap();
        Wire { socket }
    }

    pub fn send(&self, frame: &[u8]) {
        assert_eq!(self.socket.send(frame).unwrap(), frame.len());
    }

    /// The next VXLAN frames that were sent to the device's other end, `count` of them, within 5 s. Frames that are no UDP
    /// to `port`, and other machines' chatter, are passed over.
    pub fn vxlan_frames(&self, port: u16, count: usize) -> Vec<Frame> {
        let end = Instant::now() + Duration::from_secs(5);
        let mut found = Vec::new();
        let mut octets = [MaybeUninit::uninit(); 9216];
        while found.len() < count {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).unwrap();
            let length = match self.socket.recv(&mut octets) {
                Ok(length) => length,
                Err(error) => panic!("{} of {count} frames: {error}", found.len()),
            };
            // SAFETY: so many octets were written.
            let frame = unsafe { octets[..length].assume_init_ref() };
            found.extend(Frame::read(frame).filter(|frame| frame.udp.to == port));
        }
        found
    }
}

/// An IPv4 UDP datagram with a VXLAN header in it, taken apart.
#[derive(Clone, Debug)]
pub struct Frame {
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    /// Do not fragment, more fragments, fragment offset.
    pub fragments: u16,
    pub udp: Udp,
    /// The eight octets of the header.
    pub vxlan: [u8; 8],
    /// The inner Ethernet frame.
    pub inner: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Udp {
    pub from: u16,
    pub to: u16,
    pub checksum: u16,
    pub payload: Vec<u8>,
    /// Does the checksum fit, or is there none?
    pub right: bool,
}

impl Frame {
    fn read(frame: &[u8]) -> Option<Frame> {
        let (from, to, fragments, udp) = udp_in(frame)?;
        let (vxlan, inner) = udp.payload.split_first_chunk::<8>()?;
        Some(Frame { from, to, fragments, vxlan: *vxlan, inner: inner.to_vec(), udp })
    }

    /// The UDP datagram inside.
    pub fn inner_udp(&self) -> Option<(Ipv4Addr, Ipv4Addr, Udp)> {
        let (from, to, _, udp) = udp_in(&self.inner)?;
        Some((from, to, udp))
    }
}

fn udp_in(frame: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, u16, Udp)> {
    let packet = frame.strip_prefix(frame.get(..12)?)?.strip_prefix(&[8, 0])?;
    let header = usize::from(packet.first()? & 15) * 4;
    if packet.get(9)? != &UDP {
        return None;
    }
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
    let (from, to) = (address(12)?, address(16)?);
    let word = |bytes: &[u8], at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let udp = packet.get(header..usize::from(word(packet, 2)?))?;
    let checksum = word(udp, 6)?;
    let right = checksum == 0 || sum(&[&pseudo(from, to, udp.len()), udp]) == 0xffff;
    let udp = Udp { from: word(udp, 0)?, to: word(udp, 2)?, checksum, payload: udp.get(8..)?.to_vec(), right };
    Some((from, to, word(packet, 6)?, udp))
}

fn pseudo(from: Ipv4Addr, to: Ipv4Addr, length: usize) -> Vec<u8> {
    [&from.octets()[..], &to.octets(), &[0, UDP], &(length as u16).to_be_bytes()].concat()
}

/// Ones' complement sum; each part but the last has an even length.
fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u64 = words.map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |low| u64::from(*low))).sum();
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// How the checksum of a datagram is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    Right,
    Zero,
    Wrong,
}

/// An Ethernet frame with an IPv4 UDP datagram.
pub fn datagram(
    macs: ([u8; 6], [u8; 6]),
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    checksum: Checksum,
    payload: &[u8],
) -> Vec<u8> {
    let length = 8 + payload.len();
    let mut udp =
        [&from.1.to_be_bytes()[..], &to.1.to_be_bytes(), &(length as u16).to_be_bytes(), &[0, 0], payload].concat();
    if checksum != Checksum::Zero {
        let right = !sum(&[&pseudo(from.0, to.0, length), &udp]);
        let right = if right == 0 { 0xffff } else { right };
        let written = if checksum == Checksum::Wrong { right ^ 0x0101 } else { right };
        udp[6..8].copy_from_slice(&written.to_be_bytes());
    }
    let mut ip = [&[0x45, 0][..], &((20 + length) as u16).to_be_bytes(), &[0, 0, 0, 0, 64, UDP, 0, 0]].concat();
    ip.extend(from.0.octets());
    ip.extend(to.0.octets());
    let header = !sum(&[&ip]);
    ip[10..12].copy_from_slice(&header.to_be_bytes());
    [&ethernet(macs, 0x0800)[..], &ip, &udp].concat()
}

/// An ARP request: who has `target`, tell `sender`.
pub fn arp_request(mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let head = ethernet((mac, [0xff; 6]), 0x0806);
    [&head[..], &[0, 1, 8, 0, 6, 4, 0, 1], &mac, &sender.octets(), &[0; 6], &target.octets()].concat()
}

fn ethernet((from, to): ([u8; 6], [u8; 6]), kind: u16) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes()].concat()
}

/// A VXLAN header (RFC 7348 section 5) in front of an inner frame.
pub fn vxlan_payload(header: [u8; 8], inner: &[u8]) -> Vec<u8> {
    [&header[..], inner].concat()
}

pub fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}
