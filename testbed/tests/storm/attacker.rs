//! A router that says what it likes, on a connection of its own.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use testbed::lab::Lab;

use super::nonsense;

/// Runs a function on a thread in the network namespace of a node.
pub fn inside<T: Send>(lab: &Lab, node: &str, work: impl FnOnce() -> T + Send) -> T {
    let namespace = fs::File::open(format!("/proc/{}/ns/net", lab.keeper(node).unwrap().pid)).unwrap();
    let thread = move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(thread).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// NOTIFICATION with code and subcode.
    Told(u8, u8),
    /// The connection ended without one.
    Closed,
}

/// A session that was Established.
pub struct Session {
    stream: TcpStream,
    inbox: Vec<u8>,
}

/// A connection from one of the node's addresses; `std` cannot choose the source, so socket options do it.
pub fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with};
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    bind(&socket, &SocketAddr::new(from, 0))?;
    connect(&socket, &to)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Session {
    /// Opens a session with the daemon; refused ones are an error.
    pub fn open(from: IpAddr, to: SocketAddr) -> std::io::Result<Session> {
        let mut session = Session { stream: connect(from, to)?, inbox: Vec::new() };
        session.stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        session.stream.write_all(&nonsense::open())?;
        let mut opened = false;
        loop {
            match session.next()? {
                Some((1, _)) => {
                    opened = true;
                    session.stream.write_all(&nonsense::keepalive())?;
                }
                Some((4, _)) if opened => return Ok(session),
                Some((3, body)) => return Err(std::io::Error::other(format!("NOTIFICATION {body:?}"))),
                Some(_) => {}
                None => return Err(std::io::Error::other("no answer")),
            }
        }
    }

    pub fn send(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(octets)
    }

    /// What has come meanwhile says that the session is over.
    pub fn is_over(&mut self, wait: Duration) -> Option<Over> {
        let deadline = Instant::now() + wait;
        let _ = self.stream.set_read_timeout(Some(wait.max(Duration::from_millis(1))));
        loop {
            match self.next() {
                Ok(Some((3, body))) if body.len() >= 2 => return Some(Over::Told(body[0], body[1])),
                Ok(Some(_)) if Instant::now() < deadline => {}
                Ok(_) => return None,
                Err(_) => return Some(Over::Closed),
            }
        }
    }

    /// The next message: type and body. `None` when none comes in time.
    fn next(&mut self) -> std::io::Result<Option<(u8, Vec<u8>)>> {
        let mut buffer = [0; 65536];
        loop {
            if self.inbox.len() >= 19 {
                let length = usize::from(u16::from_be_bytes([self.inbox[16], self.inbox[17]])).max(19);
                if self.inbox.len() >= length {
                    let message: Vec<u8> = self.inbox.drain(..length).collect();
                    return Ok(Some((message[18], message[19..].to_vec())));
                }
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.inbox.extend_from_slice(&buffer[..length]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }
}
