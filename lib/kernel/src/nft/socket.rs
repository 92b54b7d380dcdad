//! Questions and transactions on a netfilter netlink socket.

use std::io;
use std::time::Duration;

use model::kernel::Refusal;
use netlink_packet_core::{
    DefaultNla, ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage,
    NetlinkPayload, NlasIterator,
};
use netlink_packet_netfilter::nftables::{GenAttribute, GenMessage, NfTablesMessage};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use netlink_sys::{SocketAddr, protocols::NETLINK_NETFILTER};
use rustix::net::sockopt::{Timeout, set_socket_send_buffer_size_force, set_socket_timeout};

use super::refusal;

/// `NFNL_SUBSYS_NFTABLES`, in the header of a batch.
const NFTABLES: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN` and its attribute `NFNL_BATCH_GENID`.
const BATCH_BEGIN: u8 = 16;
const BATCH_GENERATION: u16 = 1;
/// `NLMSG_MIN_TYPE`: what is below speaks of the conversation itself.
const FIRST_ANSWER: u16 = 16;
/// `NLMSGERR_ATTR_MSG`.
const ERROR_TEXT: u16 = 1;
/// Above what the kernel puts into one datagram of a dump.
pub(super) const DATAGRAM: usize = 64 * 1024;
/// The kernel answers at once; this is for a kernel that never does.
const ANSWER: Duration = Duration::from_secs(5);

/// A socket in the network namespace of the thread that opened it.
pub(super) struct Socket {
    socket: netlink_sys::Socket,
    /// What it reads and writes, in words.
    subject: Subject,
    sequence: u32,
    port: u32,
}

/// What a socket is for, as errors name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    /// With its article.
    pub(super) words: &'static str,
    /// Kernel modules that `ENOENT` may mean the lack of.
    pub(super) modules: &'static str,
}

/// Answers of the kernel; `None` for one that this library cannot read.
type Answers = Vec<Option<NfTablesMessage>>;

impl Socket {
    pub(super) fn open(subject: Subject) -> Result<Socket, Refusal> {
        let open = || {
            let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER)?;
            let port = socket.bind_auto()?.port_number();
            set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER))?;
            // Only for better words in errors; the payload of a failed batch must not come back whole.
            let _ = socket.set_ext_ack(true);
            let _ = socket.set_cap_ack(true);
            Ok(Socket { socket, subject, sequence: 0, port })
        };
        open().map_err(|error| refused(&error, "open a netfilter socket for", subject, None))
    }

    /// Our end's number: notices of what was written through this socket carry it.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// One question about one object.
    pub(super) fn ask(&mut self, question: NfTablesMessage) -> Result<Answers, Refusal> {
        let family = NetfilterProtoFamily::Inet;
        self.question(family, question, NLM_F_REQUEST | NLM_F_ACK)
    }

    /// A question about many objects.
    pub(super) fn dump(&mut self, question: NfTablesMessage) -> Result<Answers, Refusal> {
        self.question(NetfilterProtoFamily::Inet, question, NLM_F_REQUEST | NLM_F_DUMP)
    }

    /// A question about very many objects: the answers as they came, behind their `struct nfgenmsg`. The codec library puts
    /// the whole message into words for each element that it reads, in case that the next one is wrong.
    pub(super) fn dump_octets(&mut self, question: NfTablesMessage) -> Result<Vec<Vec<u8>>, Refusal> {
        let doing = "read";
        let mut bytes = Vec::new();
        let family = header(NetfilterProtoFamily::Inet, 0);
        let asked = self.push(&mut bytes, family, question, NLM_F_REQUEST | NLM_F_DUMP);
        self.send(&bytes, doing)?;
        let mut answers = Vec::new();
        loop {
            for heard in self.receive(doing, true)? {
                match heard {
                    Heard::Octets(sequence, octets) if sequence == asked => answers.push(octets),
                    Heard::End { sequence, error } if sequence == asked => return error.map(|()| answers),
                    _ => {}
                }
            }
        }
    }

    /// Number of the ruleset, all tables of the namespace together; each transaction makes another.
    pub(super) fn generation(&mut self) -> Result<u32, Refusal> {
        let question = NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() });
        let answers = self.question(NetfilterProtoFamily::Unspec, question, NLM_F_REQUEST | NLM_F_ACK)?;
        let id = answers.iter().flatten().find_map(|answer| match answer {
            NfTablesMessage::NewGen(generation) => generation.attributes.iter().find_map(|attribute| match attribute {
                GenAttribute::Id(id) => Some(*id),
                _ => None,
            }),
            _ => None,
        });
        id.ok_or_else(|| refusal(libc::EPROTO, "nftables: the kernel tells no generation".to_owned()))
    }

    /// All of the messages or none; `ERESTART` if the ruleset is no longer of that generation, where one is named.
    pub(super) fn commit(
        &mut self,
        generation: Option<u32>,
        messages: Vec<(NfTablesMessage, u16)>,
    ) -> Result<(), Refusal> {
        let mut bytes = Vec::new();
        let generation = generation.map(|number| DefaultNla::new(BATCH_GENERATION, number.to_be_bytes().to_vec()));
        let begin = ControlMessage::Other { message_type: BATCH_BEGIN, attributes: generation.into_iter().collect() };
        self.push(&mut bytes, header(NetfilterProtoFamily::Unspec, NFTABLES), begin, NLM_F_REQUEST);
        let first = self.sequence;
        let count = messages.len();
        let mut last = first;
        for (at, (message, flags)) in messages.into_iter().enumerate() {
            // One acknowledgement, of the last message, is enough: errors come in any case.
            let ack = if at + 1 == count { NLM_F_ACK } else { 0 };
            let flags = NLM_F_REQUEST | flags | ack;
            last = self.push(&mut bytes, header(NetfilterProtoFamily::Inet, 0), message, flags);
        }
        let end = header(NetfilterProtoFamily::Unspec, NFTABLES);
        self.push(&mut bytes, end, ControlMessage::BatchEnd, NLM_F_REQUEST);
        // A batch must fit the send buffer, or it is refused with EMSGSIZE. Twice: the kernel counts its own overhead.
        let _ = set_socket_send_buffer_size_force(&self.socket, (bytes.len() * 2).max(256 * 1024));
        let doing = "write";
        self.send(&bytes, doing)?;
        let mut result = Ok(());
        loop {
            for heard in self.receive(doing, false)? {
                let Heard::End { sequence, error } = heard else { continue };
                if let (true, Err(refusal)) = (result.is_ok(), error) {
                    result = Err(refusal);
                }
                // An error of the batch itself (permission, generation) names its beginning, and nothing follows.
                if sequence == last || sequence == first {
                    return result;
                }
            }
        }
    }

    fn question(
        &mut self,
        family: NetfilterProtoFamily,
        question: NfTablesMessage,
        flags: u16,
    ) -> Result<Answers, Refusal> {
        let doing = "read";
        let mut bytes = Vec::new();
        let asked = self.push(&mut bytes, header(family, 0), question, flags);
        self.send(&bytes, doing)?;
        let mut answers = Vec::new();
        loop {
            for heard in self.receive(doing, false)? {
                match heard {
                    Heard::Answer(sequence, answer) if sequence == asked => answers.push(answer.map(|boxed| *boxed)),
                    Heard::End { sequence, error } if sequence == asked => return error.map(|()| answers),
                    // Of a question before, which ended in an error.
                    Heard::Answer(..) | Heard::Octets(..) | Heard::End { .. } => {}
                }
            }
        }
    }

    /// Appends a message; its sequence number.
    fn push(
        &mut self,
        bytes: &mut Vec<u8>,
        header: NetfilterHeader,
        inner: impl Into<NetfilterMessageInner>,
        flags: u16,
    ) -> u32 {
        self.sequence += 1;
        let mut message = NetlinkMessage::from(NetfilterMessage::new(header, inner));
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let at = bytes.len();
        bytes.resize(at + message.buffer_len().next_multiple_of(4), 0);
        if let Some(room) = bytes.get_mut(at..) {
            message.serialize(room);
        }
        self.sequence
    }

    fn send(&self, bytes: &[u8], doing: &str) -> Result<(), Refusal> {
        let kernel = SocketAddr::new(0, 0);
        self.socket.send_to(bytes, &kernel, 0).map(|_| ()).map_err(|error| refused(&error, doing, self.subject, None))
    }

    /// The messages of one datagram; answers are taken apart unless `octets` are wanted.
    fn receive(&self, doing: &str, octets: bool) -> Result<Vec<Heard>, Refusal> {
        let mut bytes = Vec::with_capacity(DATAGRAM);
        self.socket.recv(&mut bytes, 0).map_err(|error| refused(&error, doing, self.subject, None))?;
        let mut rest = bytes.as_slice();
        let mut heard = Vec::new();
        while let Ok(buffer) = NetlinkBuffer::new_checked(rest) {
            let length = buffer.length() as usize;
            let sequence = buffer.sequence_number();
            let interrupted = buffer.flags() & NLM_F_DUMP_INTR != 0;
            if octets && buffer.message_type() >= FIRST_ANSWER {
                heard.push(Heard::Octets(sequence, buffer.payload().get(4..).unwrap_or_default().to_vec()));
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                continue;
            }
            heard.push(match NetlinkMessage::<NetfilterMessage>::deserialize(rest).map(|message| message.payload) {
                Ok(NetlinkPayload::Error(error)) => Heard::End { sequence, error: result(&error, doing, self.subject) },
                Ok(NetlinkPayload::Done(_)) if interrupted => {
                    let words = format!("cannot {doing} {}: it changed", self.subject.words);
                    Heard::End { sequence, error: Err(refusal(libc::EINTR, words)) }
                }
                Ok(NetlinkPayload::Done(_)) => Heard::End { sequence, error: Ok(()) },
                Ok(NetlinkPayload::InnerMessage(message)) => Heard::Answer(
                    sequence,
                    match message.inner {
                        NetfilterMessageInner::NfTables(answer) => Some(Box::new(answer)),
                        _ => None,
                    },
                ),
                _ => Heard::Answer(sequence, None),
            });
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(heard)
    }
}

enum Heard {
    Answer(u32, Option<Box<NfTablesMessage>>),
    Octets(u32, Vec<u8>),
    End { sequence: u32, error: Result<(), Refusal> },
}

fn header(family: NetfilterProtoFamily, resource: u16) -> NetfilterHeader {
    NetfilterHeader::new(family, 0, resource)
}

fn result(error: &ErrorMessage, doing: &str, subject: Subject) -> Result<(), Refusal> {
    match error.code {
        None => Ok(()),
        Some(code) => {
            let text = error.header.get(16..).and_then(error_text);
            Err(refused(&io::Error::from_raw_os_error(code.get().saturating_abs()), doing, subject, text))
        }
    }
}

/// The kernel's own words behind the header of the refused message.
fn error_text(attributes: &[u8]) -> Option<String> {
    NlasIterator::new(attributes)
        .flatten()
        .find(|attribute| attribute.kind() == ERROR_TEXT)
        .map(|attribute| String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned())
}

fn refused(error: &io::Error, doing: &str, subject: Subject, text: Option<String>) -> Refusal {
    let errno = error.raw_os_error().unwrap_or_default();
    let said = text.unwrap_or_else(|| error.to_string().split(" (os error").next().unwrap_or_default().to_owned());
    let cure = match errno {
        libc::EPERM | libc::EACCES => "; CAP_NET_ADMIN is needed in this network namespace".to_owned(),
        libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::EINVAL | libc::EAFNOSUPPORT => {
            "; does this kernel have nf_tables (modprobe nf_tables)?".to_owned()
        }
        libc::ENOENT => format!("; are the modules {} there (modprobe)?", subject.modules),
        _ => String::new(),
    };
    refusal(errno, format!("cannot {doing} {}: {said}{cure}", subject.words))
}
