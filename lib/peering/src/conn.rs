//! One connection: a task that dials if need be, then reads and writes until either side ends it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::pending;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use model::{Prefix, Transport};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::auth::{self, Auth, On};
use crate::event::Event;
use crate::options;
use crate::peering::Shared;
use crate::scope;
use crate::words::words;

/// A dial without an answer is given up after this.
pub const DIAL: Duration = Duration::from_secs(10);
/// What was sent before a close with flush is written within this, or dropped.
pub const FLUSH: Duration = Duration::from_secs(5);
/// Bytes that the kernel takes for a peer beyond what the peer's window lets out.
pub const UNSENT: u32 = 128 * 1024;
/// After our FIN, what still comes is read and dropped for this long: closing on unread bytes would send an RST, which
/// makes the peer forget the NOTIFICATION that it has not read yet.
const LINGER: Duration = Duration::from_secs(2);
/// Most bytes in one event.
const CHUNK: usize = 64 * 1024;

/// What the task of a connection is told.
pub(crate) enum Order {
    Send(Bytes),
    Close {
        flush: bool,
    },
    /// The key for this remote is another one now, or none: a dial with the old one is in vain, a connection goes on with
    /// the new one.
    Rekey {
        before: Option<Auth>,
        now: Option<Auth>,
    },
    /// Packets travel otherwise.
    Travel(Transport),
}

/// A dial of ours from beginning to end.
pub(crate) async fn dial(
    shared: Arc<Shared>,
    conn: u64,
    remote: SocketAddr,
    local: Option<IpAddr>,
    transport: Transport,
    key: Option<Auth>,
    mut orders: UnboundedReceiver<Order>,
) {
    let mut queue = VecDeque::new();
    let mut travels = None;
    let up = {
        let mut connecting = pin!(timeout(DIAL, connect(remote, local, &transport, key.as_ref())));
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Send(bytes)) => queue.push_back(bytes),
                    Some(Order::Close { .. }) | None => break Err("given up before it was up".to_owned()),
                    Some(Order::Rekey { .. }) => break Err("given up: the key has changed".to_owned()),
                    Some(Order::Travel(other)) => travels = Some(other),
                },
                result = &mut connecting => break match result {
                    Ok(result) => result,
                    Err(_) => Err(match &key {
                        Some(key) => format!("no answer in {} s: is the {} key the same on both sides?", DIAL.as_secs(), key.word()),
                        None => format!("no answer in {} s", DIAL.as_secs()),
                    }),
                },
            }
        }
    };
    match up {
        Ok((stream, local)) => {
            if let Some(transport) = travels {
                let _ = options::travel(stream.as_fd(), &remote.ip(), &transport);
            }
            shared.say(Event::Dialed { conn, local });
            serve(shared, conn, remote.ip(), stream, orders, queue).await;
        }
        Err(error) => {
            shared.forget(conn);
            shared.say(Event::DialFailed { conn, error });
        }
    }
}

async fn connect(
    remote: SocketAddr,
    local: Option<IpAddr>,
    transport: &Transport,
    key: Option<&Auth>,
) -> Result<(TcpStream, SocketAddr), String> {
    let io = |error: io::Error| words(&error);
    let remote = scope::on_device(remote, transport.device.as_ref())?;
    let socket = match remote {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(io)?;
    options::tune(&SockRef::from(&socket), &remote.ip());
    options::travel(socket.as_fd(), &remote.ip(), transport).map_err(io)?;
    if let Some(key) = key {
        auth::set(socket.as_fd(), On::Dialing, Prefix::host(remote.ip()), None, Some(key))?;
    }
    if let Some(local) = local {
        let source = match (local, remote) {
            // A link-local source needs the scope of its link.
            (IpAddr::V6(source), SocketAddr::V6(to)) => std::net::SocketAddrV6::new(source, 0, 0, to.scope_id()).into(),
            _ => SocketAddr::new(local, 0),
        };
        socket.bind(source).map_err(|error| format!("cannot dial from {local}: {}", words(&error)))?;
    }
    let stream = socket.connect(remote).await.map_err(io)?;
    let local = scope::bare(stream.local_addr().map_err(io)?);
    Ok((stream, local))
}

/// A connection that is up, until it is no more.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    conn: u64,
    remote: IpAddr,
    stream: TcpStream,
    mut orders: UnboundedReceiver<Order>,
    mut queue: VecDeque<Bytes>,
) {
    let end = {
        let mut reading = pin!(read(&shared, conn, &stream));
        let mut writing = pin!(write(&shared, (conn, remote), &stream, &mut orders, &mut queue));
        tokio::select! {
            error = &mut reading => End::Closed(error),
            end = &mut writing => {
                if let End::Closed(_) = end {
                    // The peer may have told why (a NOTIFICATION) before it closed: that is still to be read.
                    let _ = timeout(FLUSH, &mut reading).await;
                }
                end
            }
        }
    };
    let (error, linger) = match end {
        End::Closed(error) => (error, false),
        End::Close { flush: false } => (None, false),
        End::Close { flush: true } => match timeout(FLUSH, flush(&stream, &mut queue)).await {
            Ok(Ok(())) => (None, true),
            Ok(Err(error)) => (Some(words(&error)), false),
            Err(_) => (Some(format!("the peer took no bytes for {} s", FLUSH.as_secs())), false),
        },
    };
    if linger {
        let _ = SockRef::from(&stream).shutdown(Shutdown::Write);
    }
    shared.forget(conn);
    shared.say(Event::Closed { conn, error });
    if linger {
        let _ = timeout(LINGER, discard(&stream)).await;
    }
}

enum End {
    /// By the peer, or broken.
    Closed(Option<String>),
    /// By command.
    Close { flush: bool },
}

/// Reads and tells until the peer closes (`None`) or the connection breaks.
async fn read(shared: &Shared, conn: u64, stream: &TcpStream) -> Option<String> {
    let credit = Arc::new(Semaphore::new(1));
    loop {
        let permit = credit.clone().acquire_owned().await.ok()?;
        let bytes = loop {
            if let Err(error) = stream.readable().await {
                return Some(words(&error));
            }
            match read_some(stream) {
                Ok(bytes) => break bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Some(words(&error)),
            }
        };
        if bytes.is_empty() {
            return None;
        }
        let bytes = Bytes::from_owner(Chunk { bytes, _credit: permit });
        shared.say(Event::Bytes { conn, bytes });
    }
}

/// Bytes with the credit of their connection, which goes back when they are dropped.
struct Chunk {
    bytes: Vec<u8>,
    _credit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// One buffer serves all connections of a thread: an idle one costs none, and none is cleared for a read.
fn read_some(stream: &TcpStream) -> io::Result<Vec<u8>> {
    thread_local! {
        static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
    }
    BUFFER.with_borrow_mut(|buffer| {
        let length = stream.try_read(buffer)?;
        Ok(buffer.get(..length).unwrap_or_default().to_vec())
    })
}

/// Takes orders and writes until a close is ordered or the connection breaks; leaves in `queue` what is not written.
async fn write(
    shared: &Shared,
    (conn, remote): (u64, IpAddr),
    stream: &TcpStream,
    orders: &mut UnboundedReceiver<Order>,
    queue: &mut VecDeque<Bytes>,
) -> End {
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Send(bytes)) => queue.push_back(bytes),
                Some(Order::Close { flush }) => return End::Close { flush },
                Some(Order::Rekey { before, now }) => {
                    let (before, now) = (before.as_ref(), now.as_ref());
                    if let Err(words) = auth::set(stream.as_fd(), On::Connected, Prefix::host(remote), before, now) {
                        return End::Closed(Some(words));
                    }
                }
                Some(Order::Travel(transport)) => {
                    if let Err(error) = options::travel(stream.as_fd(), &remote, &transport) {
                        return End::Closed(Some(words(&error)));
                    }
                }
                None => return End::Close { flush: false },
            },
            ready = stream.writable(), if !queue.is_empty() => {
                if let Err(error) = ready.and_then(|()| write_some(stream, queue)) {
                    return End::Closed(Some(words(&error)));
                }
                if queue.is_empty() {
                    shared.say(Event::Drained(conn));
                }
            }
        }
    }
}

/// Writes what the kernel takes now.
fn write_some(stream: &TcpStream, queue: &mut VecDeque<Bytes>) -> io::Result<()> {
    let slices: Vec<IoSlice<'_>> = queue.iter().take(64).map(|bytes| IoSlice::new(bytes)).collect();
    let mut written = match stream.try_write_vectored(&slices) {
        Ok(written) => written,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    };
    while let Some(front) = queue.front_mut() {
        if front.len() > written {
            front.advance(written);
            break;
        }
        written -= front.len();
        queue.pop_front();
    }
    Ok(())
}

/// Writes all of `queue`. Reads meanwhile, so that a peer which writes before it reads does not block us.
async fn flush(stream: &TcpStream, queue: &mut VecDeque<Bytes>) -> io::Result<()> {
    let discarding = async {
        discard(stream).await;
        pending::<()>().await
    };
    let writing = async {
        while !queue.is_empty() {
            stream.writable().await?;
            write_some(stream, queue)?;
        }
        Ok(())
    };
    tokio::select! {
        result = writing => result,
        () = discarding => Ok(()),
    }
}

/// Reads and drops until the peer has closed too, or the connection breaks.
async fn discard(stream: &TcpStream) {
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match read_some(stream) {
            Ok(bytes) if !bytes.is_empty() => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}
