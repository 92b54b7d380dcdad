use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use model::Owner;
use netlink_packet_core::{NetlinkBuffer, NlasIterator};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::socket::DATAGRAM;

/// `NFNLGRP_NFTABLES`.
const NOTICES: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`, upper half of a message type.
const NFTABLES: u16 = 10;
/// `NFT_MSG_NEWGEN`: attribute 1 is a number there.
const NEW_GENERATION: u16 = 15;
/// Name of the table, in messages about tables, chains, rules, sets, elements, objects and flowtables alike.
const TABLE: u16 = 1;
/// `NFPROTO_INET`.
const INET: u8 = 1;
/// Datagrams in one [`NftWatch::read`], so that a busy neighbour does not keep us from our work.
const AT_ONCE: u32 = 1000;

/// Notices of nftables, in the network namespace of the thread that opened it.
///
/// Wait for the descriptor to become readable, then [`NftWatch::read`]. Our own writes are noticed too.
#[derive(Debug)]
pub struct NftWatch {
    socket: netlink_sys::Socket,
}

impl NftWatch {
    /// Notices from now on.
    pub fn open() -> io::Result<NftWatch> {
        let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.add_membership(NOTICES)?;
        socket.set_non_blocking(true)?;
        Ok(NftWatch { socket })
    }

    /// Takes what has come, without waiting. True if our table was touched, or notices were lost so that it may have been.
    pub fn read(&mut self) -> io::Result<bool> {
        let mut touched = false;
        let mut bytes = Vec::with_capacity(DATAGRAM);
        for _ in 0..AT_ONCE {
            bytes.clear();
            match self.socket.recv(&mut bytes, 0) {
                Ok(_) => touched |= is_about_us(&bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => touched = true,
                Err(error) => return Err(error),
            }
        }
        Ok(touched)
    }
}

impl AsFd for NftWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for NftWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Not by the codec library: a notice about a table of another shape than ours must not fail.
fn is_about_us(mut datagram: &[u8]) -> bool {
    while let Ok(message) = NetlinkBuffer::new_checked(datagram) {
        if message.message_type() >> 8 == NFTABLES
            && message.message_type() & 0xff != NEW_GENERATION
            && names_our_table(message.payload())
        {
            return true;
        }
        datagram = datagram.get((message.length() as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

/// `payload` begins with a `struct nfgenmsg`: family, version, two octets more.
fn names_our_table(payload: &[u8]) -> bool {
    let Some((&[family, ..], attributes)) = payload.split_first_chunk::<4>() else { return false };
    let names = |value: &[u8]| value.strip_suffix(&[0]).unwrap_or(value) == Owner::NFT_TABLE.as_bytes();
    family == INET
        && NlasIterator::new(attributes)
            .flatten()
            .any(|attribute| attribute.kind() == TABLE && names(attribute.value()))
}
