//! What both servers share: connections, bounded in number and in idle time.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

/// Connections at once; further ones wait in the kernel's backlog, so that no client can use up the daemon's files.
const CONNECTIONS: usize = 256;
/// How long a client may take for a request's head, and leave a connection idle.
const HEAD: Duration = Duration::from_secs(15);
/// After a failed accept, which fails again at once when the process is out of files.
const BREATH: Duration = Duration::from_millis(200);

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another daemon serves this socket.
    #[error(
        "another biplaned{} serves {path}: stop it first, or give this one another `api.socket`",
        pid.map_or_else(String::new, |pid| format!(" (pid {pid})")), path = path.display()
    )]
    Live {
        /// The socket.
        path: PathBuf,
        /// Its process, if it has told.
        pid: Option<u32>,
    },
    /// Something else is in the socket's place; it is left alone.
    #[error("{} exists and is no socket: remove it, or set another `api.socket`", .0.display())]
    NoSocket(PathBuf),
    /// sockaddr_un holds 107 bytes of path.
    #[error("`api.socket` {} is too long: at most {most} bytes", path.display())]
    TooLong {
        /// The socket.
        path: PathBuf,
        /// Most bytes that fit, with what is needed while it is made.
        most: usize,
    },
    /// The socket cannot be made.
    #[error("cannot make the socket {path}: {step}: {error}", path = path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        step: String,
        /// The system's words.
        error: io::Error,
    },
    /// HTTP cannot listen.
    #[error("cannot serve metrics on {address}: {error}: free the port, or set another `metrics.listen`")]
    Listen {
        /// `metrics.listen`.
        address: SocketAddr,
        /// The system's words.
        error: io::Error,
    },
}

/// Where connections come from.
pub(crate) trait Accept {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The next one. Safe to drop half-way.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for tokio::net::UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn next(&self) -> io::Result<Self::Stream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Accept for tokio::net::TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn next(&self) -> io::Result<Self::Stream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Serves until dropped; dropping it ends all connections.
pub(crate) async fn serve<A: Accept>(listener: &A, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
            continue;
        }
        match listener.next().await {
            Ok(stream) => {
                let service = TowerToHyperService::new(router.clone());
                connections.spawn(async move {
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEAD)
                        .serve_connection(TokioIo::new(stream), service);
                    if let Err(error) = connection.await {
                        tracing::debug!("a client's connection ended: {error}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}
