//! One netlink socket: batches out, answers in by sequence number, dumps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use model::kernel::Refusal;
use netlink_sys::{Socket as Raw, SocketAddr, protocols};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{SockFilter, SockRef};

use crate::message::{Batch, HEADER, Message, align, attributes, messages, text, u32_at};
use crate::uapi::{RTM_DELROUTE, RTM_NEWROUTE};
use crate::{Error, OpenError};

/// Receive buffer, octets: notices of 10,000 changed objects, or the answers to a batch, fit several times.
const RECEIVE_BUFFER: usize = 16 << 20;
/// Largest datagram taken in: the kernel makes dumps of at most 32 KiB, single answers of a link with many virtual
/// functions can be longer.
const DATAGRAM: usize = 256 << 10;
/// What one answer may take of the receive buffer, octets, bookkeeping of the kernel included.
const ANSWER_COST: usize = 2048;
/// The kernel answers inside the send; an answer that is not there by now does not come.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
const SEND_TRIES: u32 = 10;
const DUMP_TRIES: u32 = 10;

/// `NLM_F_CAPPED` and `NLM_F_ACK_TLVS`: shape of an answer.
const CAPPED: u16 = 0x100;
const ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`.
const ACK_TEXT: u16 = 1;

/// What a dump hands out.
pub(crate) enum Step<'a, 'b> {
    /// Forget what came so far: the table changed meanwhile.
    Restart,
    /// One object.
    Item(&'a Message<'b>),
}

/// A socket of `NETLINK_ROUTE`.
pub(crate) struct Socket {
    raw: Raw,
    buffer: Vec<u8>,
    sequence: u32,
    in_flight: usize,
    port: u32,
}

impl Socket {
    /// Opens and binds in the network namespace of the calling thread; `groups` are multicast groups to join.
    pub(crate) fn open(groups: &[u32]) -> Result<Socket, OpenError> {
        let failed = |doing| move |error| OpenError::Socket { doing, error };
        let mut raw = Raw::new(protocols::NETLINK_ROUTE).map_err(failed("open"))?;
        // Force needs CAP_NET_ADMIN; without it the limit of the host (net.core.rmem_max) holds.
        if sockopt::set_socket_recv_buffer_size_force(&raw, RECEIVE_BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&raw, RECEIVE_BUFFER)
                .map_err(|error| OpenError::Socket { doing: "size the receive buffer", error: error.into() })?;
        }
        let room = sockopt::socket_recv_buffer_size(&raw).unwrap_or(ANSWER_COST);
        raw.set_ext_ack(true).map_err(failed("ask for extended answers"))?;
        raw.set_cap_ack(true).map_err(failed("ask for short answers"))?;
        raw.set_netlink_get_strict_chk(true).map_err(failed("ask for strict dumps (Linux 4.20 or newer)"))?;
        let port = raw.bind_auto().map_err(failed("bind"))?.port_number();
        for group in groups {
            raw.add_membership(*group).map_err(failed("join a group of notices"))?;
        }
        raw.set_non_blocking(true).map_err(failed("set non-blocking"))?;
        let in_flight = (room / ANSWER_COST).clamp(16, 1024);
        Ok(Socket { raw, buffer: vec![0; DATAGRAM], sequence: 1, in_flight, port })
    }

    /// Our end's number: notices of what was written through this socket carry it.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Takes in no notices of routes that were written through the socket with this number.
    pub(crate) fn pass_over_routes_of(&self, port: u32) -> io::Result<()> {
        // Classic BPF loads in network order, netlink is in the host's: the constants are turned.
        let load = |size: u32, offset: u32| SockFilter::new((libc::BPF_LD | size | libc::BPF_ABS) as u16, 0, 0, offset);
        let equal =
            |value, yes, no| SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, yes, no, value);
        let give = |octets| SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, octets);
        let filter = [
            // nlmsg_type
            load(libc::BPF_H, 4),
            equal(u32::from(RTM_NEWROUTE.to_be()), 1, 0),
            equal(u32::from(RTM_DELROUTE.to_be()), 0, 2),
            // nlmsg_pid
            load(libc::BPF_W, 12),
            equal(port.to_be(), 1, 0),
            give(u32::MAX),
            give(0),
        ];
        SockRef::from(&self.raw).attach_filter(&filter)
    }

    /// Most messages that one batch may hold, so that all answers fit the receive buffer.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// A sequence number for the next message; consecutive.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Takes in one datagram; `None` if there is none. `ENOBUFS` means that notices were lost.
    pub(crate) fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            let mut room = &mut self.buffer[..];
            match self.raw.recv(&mut room, libc::MSG_TRUNC) {
                Ok(length) => return self.buffer.get(..length).map(Some).ok_or_else(too_long),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a batch whose messages have consecutive sequence numbers; returns what the kernel said to each.
    ///
    /// The kernel handles the messages in order and answers every refusal, so that only the last message asks for an
    /// answer in any case: once that is here, those before it that were not refused are done. All answers fit the receive
    /// buffer (see [`Socket::in_flight`]); if one is lost all the same the kernel says `ENOBUFS`, and no message that is
    /// not answered counts as done.
    pub(crate) fn exchange(&mut self, batch: &mut Batch) -> Vec<Result<(), Refusal>> {
        batch.ask_answer_to_last();
        let Some(first) = messages(batch.bytes()).next().map(|message| message.sequence) else { return Vec::new() };
        let mut answers = vec![None; batch.count()];
        let silence = match self.exchange_raw(batch, first, &mut answers) {
            Ok(true) => Ok(()),
            Ok(false) => Err(no_answer()),
            Err(error) => Err(refusal_of(&error)),
        };
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| silence.clone())).collect()
    }

    /// The same for a batch of one.
    pub(crate) fn exchange_one(&mut self, batch: &mut Batch) -> Result<(), Refusal> {
        self.exchange(batch).pop().unwrap_or_else(|| Err(no_answer()))
    }

    /// `true` once the last message is answered.
    fn exchange_raw(
        &mut self,
        batch: &Batch,
        first: u32,
        answers: &mut [Option<Result<(), Refusal>>],
    ) -> io::Result<bool> {
        self.send(batch.bytes())?;
        while answers.last().is_some_and(Option::is_none) {
            let Some(datagram) = self.receive()? else {
                if !self.wait(ANSWER_WAIT)? {
                    return Ok(false);
                }
                continue;
            };
            for message in messages(datagram).filter(|message| i32::from(message.kind) == libc::NLMSG_ERROR) {
                let place = message.sequence.wrapping_sub(first) as usize;
                if let Some(answer) = answers.get_mut(place) {
                    *answer = Some(verdict(&message));
                }
            }
        }
        Ok(true)
    }

    /// Sends one request and hands out what comes back until the kernel says how it went: `Ok` or a refusal.
    pub(crate) fn ask(&mut self, batch: &Batch, mut item: impl FnMut(&Message<'_>)) -> Result<(), Refusal> {
        let Some(sequence) = messages(batch.bytes()).next().map(|message| message.sequence) else { return Ok(()) };
        let io = |error: io::Error| refusal_of(&error);
        self.send(batch.bytes()).map_err(io)?;
        loop {
            let Some(datagram) = self.receive().map_err(io)? else {
                if !self.wait(ANSWER_WAIT).map_err(io)? {
                    return Err(no_answer());
                }
                continue;
            };
            for message in messages(datagram).filter(|message| message.sequence == sequence) {
                if i32::from(message.kind) == libc::NLMSG_ERROR {
                    return verdict(&message);
                }
                item(&message);
            }
        }
    }

    /// Dumps one table: `request` builds the message, `take` gets each object. A dump during which the table changed is
    /// done again from the start.
    pub(crate) fn dump(
        &mut self,
        what: &'static str,
        request: impl Fn(&mut Batch, u16, u32),
        mut take: impl FnMut(Step<'_, '_>),
    ) -> Result<(), Error> {
        for attempt in 0..DUMP_TRIES {
            if attempt > 0 {
                // A table that changes in bursts is left alone for a moment, longer each time.
                std::thread::sleep(Duration::from_millis(1 << attempt.min(6)));
                take(Step::Restart);
            }
            let sequence = self.next_sequence();
            let mut batch = Batch::default();
            request(&mut batch, libc::NLM_F_DUMP as u16, sequence);
            self.send(batch.bytes()).map_err(|error| Error::Io { doing: what, error })?;
            if self.take_dump(what, sequence, &mut |message: &Message<'_>| take(Step::Item(message)))? {
                return Ok(());
            }
        }
        Err(Error::Interrupted(what, DUMP_TRIES))
    }

    /// `false` if the dump was interrupted by a change of the table.
    fn take_dump(
        &mut self,
        what: &'static str,
        sequence: u32,
        item: &mut impl FnMut(&Message<'_>),
    ) -> Result<bool, Error> {
        let mut whole = true;
        loop {
            let datagram = match self.receive() {
                Ok(Some(datagram)) => datagram,
                Ok(None) => match self.wait(ANSWER_WAIT) {
                    Ok(true) => continue,
                    Ok(false) => return Err(Error::Io { doing: what, error: io::ErrorKind::TimedOut.into() }),
                    Err(error) => return Err(Error::Io { doing: what, error }),
                },
                Err(error) => return Err(Error::Io { doing: what, error }),
            };
            for message in messages(datagram).filter(|message| message.sequence == sequence) {
                whole &= i32::from(message.flags) & libc::NLM_F_DUMP_INTR == 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => {
                        let code = u32_at(message.payload, 0).map_or(0, u32::cast_signed);
                        return match code {
                            0.. => Ok(whole),
                            _ if code == -libc::EINTR || code == -libc::EAGAIN => Ok(false),
                            _ => Err(Error::Io { doing: what, error: io::Error::from_raw_os_error(-code) }),
                        };
                    }
                    libc::NLMSG_ERROR => match verdict(&message) {
                        Ok(()) => return Ok(whole),
                        Err(refusal) if refusal.errno == libc::EBUSY => return Ok(false),
                        Err(refusal) => {
                            return Err(Error::Io { doing: what, error: io::Error::from_raw_os_error(refusal.errno) });
                        }
                    },
                    _ => item(&message),
                }
            }
        }
    }

    /// The kernel runs short of memory for a moment: `ENOBUFS` or `ENOMEM` on send is tried again.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.discard_stale()?;
        let mut pause = Duration::from_millis(1);
        for attempt in 1.. {
            match self.raw.send_to(bytes, &SocketAddr::new(0, 0), 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN) if attempt < SEND_TRIES => {
                        std::thread::sleep(pause);
                        pause *= 2;
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Answers that came after we had given up waiting would stand before the new ones.
    fn discard_stale(&mut self) -> io::Result<()> {
        loop {
            match self.receive() {
                Ok(None) => return Ok(()),
                Ok(Some(_)) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn wait(&self, at_most: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(at_most).map_err(|_| io::ErrorKind::InvalidInput)?;
        loop {
            match poll(&mut [PollFd::new(&self.raw, PollFlags::IN)], Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.raw.as_fd()
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

fn no_answer() -> Refusal {
    Refusal { errno: libc::ETIMEDOUT, message: "the kernel did not answer".to_owned() }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "datagram of the kernel is longer than 256 KiB")
}

/// `struct nlmsgerr`: negative errno, header of the request, then attributes with the kernel's words.
fn verdict(message: &Message<'_>) -> Result<(), Refusal> {
    let code = u32_at(message.payload, 0).map_or(-libc::EBADMSG, u32::cast_signed);
    if code == 0 {
        return Ok(());
    }
    let words = (message.flags & ACK_TLVS != 0).then(|| {
        let request = match message.flags & CAPPED {
            0 => u32_at(message.payload, 4).and_then(|length| usize::try_from(length).ok()).map_or(HEADER, align),
            _ => HEADER,
        };
        let tail = message.payload.get(4 + request..).unwrap_or_default();
        attributes(tail).find(|(kind, _)| *kind == ACK_TEXT).and_then(|(_, value)| text(value)).map(str::to_owned)
    });
    let errno = code.saturating_neg();
    let message = match words.flatten() {
        Some(words) if !words.is_empty() => words,
        _ => errno_text(errno),
    };
    Err(Refusal { errno, message })
}

/// A refusal from an error of the socket itself.
pub(crate) fn refusal_of(error: &io::Error) -> Refusal {
    match error.raw_os_error() {
        Some(errno) => Refusal { errno, message: errno_text(errno) },
        None => Refusal { errno: 0, message: error.to_string() },
    }
}

/// The errno's text alone; the standard library adds "(os error 17)", and [`Refusal`] says the number itself.
pub(crate) fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.rfind(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
