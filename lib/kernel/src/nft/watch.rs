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

/// Tables of ours that notices spoke of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// The masquerade table.
    pub masquerade: bool,
    /// The table of VTEPs.
    pub vteps: bool,
}

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

    /// Takes what has come, without waiting, and tells which of our tables were touched, or may have been as notices were
    /// lost. What the socket with number `but` wrote is passed over.
    pub fn read(&mut self, but: Option<u32>) -> io::Result<Touched> {
        let mut touched = Touched::default();
        let mut bytes = Vec::with_capacity(DATAGRAM);
        for _ in 0..AT_ONCE {
            bytes.clear();
            match self.socket.recv(&mut bytes, 0) {
                Ok(_) => touched.note(&bytes, but),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    touched = Touched { masquerade: true, vteps: true }
                }
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

impl Touched {
    /// Not by the codec library: a notice about a table of another shape than ours must not fail.
    fn note(&mut self, mut datagram: &[u8], but: Option<u32>) {
        while let Ok(message) = NetlinkBuffer::new_checked(datagram) {
            if message.message_type() >> 8 == NFTABLES
                && message.message_type() & 0xff != NEW_GENERATION
                && but.is_none_or(|port| port != message.port_number())
            {
                self.masquerade |= names_table(message.payload(), Owner::NFT_TABLE);
                self.vteps |= names_table(message.payload(), Owner::NFT_VTEP_TABLE);
            }
            datagram = datagram.get((message.length() as usize).next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// `payload` begins with a `struct nfgenmsg`: family, version, two octets more.
fn names_table(payload: &[u8], table: &str) -> bool {
    let Some((&[family, ..], attributes)) = payload.split_first_chunk::<4>() else { return false };
    let names = |value: &[u8]| value.strip_suffix(&[0]).unwrap_or(value) == table.as_bytes();
    family == INET
        && NlasIterator::new(attributes)
            .flatten()
            .any(|attribute| attribute.kind() == TABLE && names(attribute.value()))
}
