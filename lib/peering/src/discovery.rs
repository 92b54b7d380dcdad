//! Finding the router at the other end of a link by its advertisements, and being found by ours (RFC 4861).
//!
//! Two ends without addresses meet like that: each advertises itself from its link-local address. One task and one socket
//! for each device. Nothing is heard on devices that nobody asked for, least of all on those of pods.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use model::kernel::Device;
use socket2::{Domain, MaybeUninitSlice, MsgHdrMut, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep, sleep_until};

use crate::advertisement::{self, ADVERTISEMENT, Message, SOLICITATION};
use crate::bfd_socket::{each_control, initialised, number};
use crate::event::Event;
use crate::peering::Shared;

/// After a failure (a device without a link-local address, no rights) it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// A link-local address that is being checked for a twin is none yet (RFC 4862 section 5.4): some 1 to 2 s.
const TENTATIVE: Duration = Duration::from_millis(100);
/// Between two advertisements to all (FRR's interval below BGP; RFC 4861 section 6.2.1 wants at most 1800 s).
const ADVERTISE: Duration = Duration::from_secs(10);
/// Between the first ones, and at least between any two to all (`MIN_DELAY_BETWEEN_RAS`).
const ADVERTISE_FIRST: Duration = Duration::from_secs(3);
/// `MAX_INITIAL_RTR_ADVERTISEMENTS`
const FIRST_ADVERTISEMENTS: u32 = 3;
/// `RTR_SOLICITATION_INTERVAL` and `MAX_RTR_SOLICITATIONS`
const SOLICIT: (Duration, u32) = (Duration::from_secs(4), 3);
/// An advertisement that says nothing new is told so often at most: that the router is still there.
const STILL_THERE: Duration = Duration::from_secs(5);
/// One that says something new is told so often at most, and a solicitation answered: whoever floods the link must not
/// keep the daemon busy.
const NEWS: Duration = Duration::from_millis(200);
/// Most messages looked at before another task has its turn.
const AT_ONCE: usize = 64;
/// Longest message that is looked at: any on an Ethernet fits.
const LONGEST: usize = 1500;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Advertises, solicits and listens on a device until the task is aborted.
pub(crate) async fn discover(shared: Arc<Shared>, device: Device, index: u32) {
    let mut said = None;
    loop {
        let Err(error) = meet(&shared, &device, index, &mut said).await;
        let words = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                format!("router advertisements on {device}: {error}: the daemon needs the capability NET_RAW")
            }
            Some(libc::EADDRNOTAVAIL) => format!(
                "router advertisements on {device}: it has no IPv6 link-local address: set \
                 net.ipv6.conf.{device}.disable_ipv6 to 0, or give it one"
            ),
            _ => format!("router advertisements on {device}: {error}"),
        };
        if said.as_ref() != Some(&words) {
            said = Some(words.clone());
            shared.say(Event::DiscoveryFailed { device: device.clone(), error: words });
        }
        sleep(RETRY).await;
    }
}

/// Until something fails. `said` is forgotten once it works.
async fn meet(
    shared: &Shared,
    device: &Device,
    index: u32,
    said: &mut Option<String>,
) -> Result<std::convert::Infallible, io::Error> {
    let own = own_address(index).await?;
    let socket = watch(open(device, index)?)?;
    let all_nodes = SocketAddrV6::new(ALL_NODES, 0, 0, index);
    let all_routers = SocketAddrV6::new(ALL_ROUTERS, 0, 0, index);
    let (mut advertise, mut advertised) = (Instant::now(), 0_u32);
    let (mut solicit, mut solicited) = (Instant::now(), 0_u32);
    let mut heard: Option<(Ipv6Addr, Instant)> = None;
    let mut answered: Option<Instant> = None;
    loop {
        let now = Instant::now();
        if advertise <= now {
            send(socket.get_ref(), &advertisement::advertisement(), all_nodes)?;
            *said = None;
            advertised = advertised.saturating_add(1);
            advertise =
                now + if advertised < FIRST_ADVERTISEMENTS { ADVERTISE_FIRST } else { spread(index, advertised) };
        }
        if heard.is_none() && solicited < SOLICIT.1 && solicit <= now {
            send(socket.get_ref(), &advertisement::solicitation(), all_routers)?;
            solicited += 1;
            solicit = now + SOLICIT.0;
        }
        let next = match heard.is_none() && solicited < SOLICIT.1 {
            true => advertise.min(solicit),
            false => advertise,
        };
        let mut ready = tokio::select! {
            ready = socket.readable() => ready?,
            () = sleep_until(next) => continue,
        };
        for _ in 0..AT_ONCE {
            let Ok(received) = ready.try_io(|socket| receive(socket.get_ref())) else { break };
            let Some((message, source)) = received?.filter(|(_, source)| *source != own) else { continue };
            let now = Instant::now();
            match message {
                Message::Advertisement => {
                    let due = heard.is_none_or(|(known, at)| {
                        now.duration_since(at) >= if known == source { STILL_THERE } else { NEWS }
                    });
                    if due {
                        heard = Some((source, now));
                        shared.say(Event::Neighbour { device: device.clone(), address: source });
                    }
                }
                // To the asker alone, if it can be sent to: that needs no waiting (RFC 4861 section 6.2.6).
                Message::Solicitation if source.is_unicast_link_local() => {
                    if answered.is_none_or(|at| now.duration_since(at) >= NEWS) {
                        answered = Some(now);
                        let to = SocketAddrV6::new(source, 0, 0, index);
                        send(socket.get_ref(), &advertisement::advertisement(), to)?;
                    }
                }
                Message::Solicitation => advertise = advertise.min(now + ADVERTISE_FIRST),
            }
        }
        tokio::task::yield_now().await;
    }
}

/// 75 to 100 % of the interval, so that many devices do not all speak at once.
fn spread(index: u32, turn: u32) -> Duration {
    let mixed = index.wrapping_mul(0x9e37_79b9) ^ turn.wrapping_mul(0x85eb_ca6b);
    ADVERTISE * (75 + mixed % 26) / 100
}

/// Our link-local address on the device, once it may be used. The kernel says which one it would send from: connecting a
/// UDP socket only looks that up.
async fn own_address(index: u32) -> io::Result<Ipv6Addr> {
    let look = || {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        socket.connect(SocketAddrV6::new(ALL_NODES, 9, 0, index))?;
        match socket.local_addr()? {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => Ok(*v6.ip()),
            _ => Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL)),
        }
    };
    // Duplicate address detection takes a second or two after a link has come up.
    for _ in 0..30 {
        match look() {
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => sleep(TENTATIVE).await,
            result => return result,
        }
    }
    look()
}

/// A raw ICMPv6 socket that hears the two messages on one device, and speaks with the hop limit that proves that it is on
/// the link.
fn open(device: &Device, index: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW.nonblocking(), Some(Protocol::ICMPV6))?;
    // Before it is bound to the device it would hear pods' links, too.
    filter(&socket, &[])?;
    socket.bind_device(Some(device.as_str().as_bytes()))?;
    socket.set_multicast_if_v6(index)?;
    socket.set_multicast_hops_v6(255)?;
    socket.set_unicast_hops_v6(255)?;
    socket.set_multicast_loop_v6(false)?;
    socket.set_recv_hoplimit_v6(true)?;
    socket.join_multicast_v6(&ALL_ROUTERS, index)?;
    filter(&socket, &[SOLICITATION, ADVERTISEMENT])?;
    Ok(socket)
}

#[allow(unsafe_code)]
fn watch(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: a `Socket` owns its descriptor, which stays the same and open until the socket is dropped, and that happens
    // together with the `AsyncFd` that it is moved into.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.map_err(io::Error::from)
}

fn send(socket: &Socket, octets: &[u8], to: SocketAddrV6) -> io::Result<()> {
    match socket.send_to(octets, &to.into()) {
        Ok(_) => Ok(()),
        // A full queue: the next one will go.
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
        // Whoever asked has gone.
        Err(error) if !to.ip().is_multicast() && error.raw_os_error() != Some(libc::ENODEV) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The next message that waits, and where it comes from; `None` for one that is to be dropped.
fn receive(socket: &Socket) -> io::Result<Option<(Message, Ipv6Addr)>> {
    let mut octets = [MaybeUninit::new(0); LONGEST];
    let mut control = [MaybeUninit::new(0); 256];
    let mut source = SockAddr::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    let (length, control_length) = loop {
        let mut slices = [MaybeUninitSlice::new(&mut octets)];
        let mut head = MsgHdrMut::new().with_addr(&mut source).with_buffers(&mut slices).with_control(&mut control);
        match socket.recvmsg(&mut head, 0) {
            Ok(length) => break (length, head.control_len()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    // Unknown is as good as wrong.
    let mut hop_limit = 0;
    each_control(initialised(control.get(..control_length).unwrap_or_default()), |level, kind, data| {
        if (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) {
            hop_limit = number(data).and_then(|limit| u8::try_from(limit).ok()).unwrap_or(0);
        }
    });
    let Some(source) = source.as_socket_ipv6().map(|source| *source.ip()) else { return Ok(None) };
    let octets = initialised(octets.get(..length).unwrap_or_default());
    Ok(advertisement::read(octets, &source, hop_limit).map(|message| (message, source)))
}

/// `struct icmp6_filter` of RFC 3542 section 3.2: a bit for each type that is kept away.
fn filter(socket: &Socket, wanted: &[u8]) -> io::Result<()> {
    let mut blocked = [u32::MAX; 8];
    for kind in wanted {
        blocked[usize::from(kind >> 5)] &= !(1 << (kind & 31));
    }
    set_filter(std::os::fd::AsFd::as_fd(socket), &blocked)
}

/// `ICMPV6_FILTER` of linux/icmpv6.h.
const ICMPV6_FILTER: libc::c_int = 1;

#[allow(unsafe_code)]
fn set_filter(socket: BorrowedFd<'_>, blocked: &[u32; 8]) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed; the kernel reads the eight words, and not beyond the
    // call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_ICMPV6,
            ICMPV6_FILTER,
            blocked.as_ptr().cast(),
            size_of_val(blocked) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
