//! When the kernel of a namespace gets a route, by its own notices.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use super::space::Space;

/// RTMGRP_IPV4_ROUTE of linux/rtnetlink.h.
const IPV4_ROUTES: u32 = 0x40;
/// RTM_NEWROUTE.
const NEW_ROUTE: u16 = 24;

/// A socket that hears of IPv4 routes.
pub(crate) struct Notices(OwnedFd);

impl Notices {
    pub(crate) fn of(space: &Space) -> Result<Notices> {
        space.inside(|| {
            let socket = socket_with(
                AddressFamily::NETLINK,
                SocketType::RAW,
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
                // NETLINK_ROUTE is 0.
                None,
            )
            .context("netlink")?;
            bind(&socket, &SocketAddrNetlink::new(0, IPV4_ROUTES)).context("netlink")?;
            Ok(Notices(socket))
        })
    }

    /// Waits until the kernel tells of a new route to a /24; when it did.
    pub(crate) fn wait(&self, network: Ipv4Addr, limit: Duration) -> Result<Instant> {
        let deadline = Instant::now() + limit;
        let mut buffer = [0; 65536];
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => {
                    let at = Instant::now();
                    if is_told(&buffer[..length.min(buffer.len())], network) {
                        return Ok(at);
                    }
                }
                Err(rustix::io::Errno::AGAIN) => {
                    let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
                    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 }))?;
                }
                Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if Instant::now() > deadline {
                bail!("the kernel got no route to {network}/24 within {} s", limit.as_secs());
            }
        }
    }
}

/// One of the messages is a new route with this destination.
fn is_told(mut octets: &[u8], network: Ipv4Addr) -> bool {
    while let [l0, l1, l2, l3, k0, k1, ..] = octets {
        let length = u32::from_ne_bytes([*l0, *l1, *l2, *l3]) as usize;
        let Some((message, rest)) = octets.split_at_checked(length.next_multiple_of(4).min(octets.len())) else {
            break;
        };
        if length < 16 {
            break;
        }
        // RTA_DST is attribute 1, eight octets with its header.
        let wanted = [&8u16.to_ne_bytes()[..], &1u16.to_ne_bytes(), &network.octets()].concat();
        if u16::from_ne_bytes([*k0, *k1]) == NEW_ROUTE && message.windows(8).any(|window| window == wanted) {
            return true;
        }
        octets = rest;
    }
    false
}
