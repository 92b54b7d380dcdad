//! The command line's end of the unix socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::ask::{Words, WordsKind};
use crate::doc::{API_VERSION, Document};
use crate::{EventKind, MonitorLine, Operation, Query, monitor, url};

/// A daemon's socket. Connects anew for each request.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    patience: Duration,
}

/// Why there is no answer, what was looked for and where, and the cure.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket.
    #[error(
        "no daemon here: there is no socket {path}: start biplaned (`systemctl start biplaned`), or name its \
         `api.socket` with --socket", path = .0.display()
    )]
    Absent(PathBuf),
    /// A socket that nobody serves.
    #[error(
        "no daemon here: nobody serves the socket {path}: biplaned was killed; see why (`journalctl -u biplaned`) \
         and start it again", path = .0.display()
    )]
    Dead(PathBuf),
    /// Not allowed.
    #[error("not allowed to use the socket {path}: run this as root (`sudo biplane …`)", path = .0.display())]
    Denied(PathBuf),
    /// Any other trouble with the connection.
    #[error("cannot talk to the daemon on {path}: {error}", path = path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// The system's words.
        error: String,
    },
    /// The daemon answers that it cannot.
    #[error("the daemon on {path} cannot answer: {message}", path = path.display())]
    Unavailable {
        /// The socket.
        path: PathBuf,
        /// Its words.
        message: String,
    },
    /// No answer in time.
    #[error(
        "no answer from the daemon on {path} within {} s: it is stuck, or the machine is overloaded; see its log",
        after.as_secs(), path = path.display()
    )]
    Late {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        after: Duration,
    },
    /// An answer that cannot be understood.
    #[error(
        "cannot understand the daemon on {path}: {what}: use a `biplane` of the daemon's version \
         (`biplane version` prints both)", path = path.display()
    )]
    Strange {
        /// The socket.
        path: PathBuf,
        /// What was strange.
        what: String,
    },
    /// The daemon says no, and why.
    #[error("{0}")]
    Refused(String),
    /// The question was no good.
    #[error("{0}")]
    BadRequest(String),
}

impl ClientError {
    /// Exit code of the command line: 1 refused, 2 a question that is no good, 3 cannot reach the daemon, 4 no answer in time.
    pub const fn exit_code(&self) -> u8 {
        match self {
            ClientError::Refused(_) => 1,
            ClientError::BadRequest(_) => 2,
            ClientError::Late { .. } => 4,
            _ => 3,
        }
    }
}

/// Longer than the daemon's own patience with its core, so that its words get here.
const PATIENCE: Duration = Duration::from_secs(10);

impl Client {
    /// A client of the daemon behind this socket; connects only when asked something.
    pub fn new(path: impl Into<PathBuf>) -> Client {
        Client { path: path.into(), patience: PATIENCE }
    }

    /// The same with another patience; default 10 s.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Client {
        Client { patience, ..self }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks for a document.
    pub async fn query(&self, query: &Query) -> Result<Document, ClientError> {
        let body = self.exchange(Method::GET, &url::write(query), Bytes::new()).await?;
        let document: Document = self.parse(&body)?;
        Ok(document)
    }

    /// Orders something; what the daemon says to it.
    pub async fn operate(&self, operation: &Operation) -> Result<String, ClientError> {
        let order = serde_json::to_vec(operation).map_err(|error| ClientError::BadRequest(error.to_string()))?;
        let body = self.exchange(Method::POST, url::OPERATIONS, order.into()).await?;
        self.parse::<Words>(&body).map(|words| words.message)
    }

    /// Follows the events of these kinds, of all if empty, from now on.
    pub async fn monitor(&self, kinds: &[EventKind]) -> Result<Monitor, ClientError> {
        let target = match kinds {
            [] => url::MONITOR.to_owned(),
            kinds => format!("{}?kinds={}", url::MONITOR, monitor::write_kinds(kinds)),
        };
        let (response, connection) = self.within(self.send(Method::GET, &target, Bytes::new())).await?;
        if response.status() != StatusCode::OK {
            let status = response.status();
            return Err(self.trouble(status, &self.within(self.body(response)).await?));
        }
        Ok(Monitor { client: self.clone(), body: response.into_body(), buffer: Vec::new(), _connection: connection })
    }

    async fn exchange(&self, method: Method, target: &str, order: Bytes) -> Result<Bytes, ClientError> {
        self.within(async {
            let (response, _connection) = self.send(method, target, order).await?;
            let status = response.status();
            let body = self.body(response).await?;
            if status == StatusCode::OK { Ok(body) } else { Err(self.trouble(status, &body)) }
        })
        .await
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        let late = || ClientError::Late { path: self.path.clone(), after: self.patience };
        timeout(self.patience, work).await.unwrap_or_else(|_| Err(late()))
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        order: Bytes,
    ) -> Result<(Response<Incoming>, JoinSet<()>), ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => ClientError::Absent(self.path.clone()),
            ErrorKind::ConnectionRefused => ClientError::Dead(self.path.clone()),
            ErrorKind::PermissionDenied => ClientError::Denied(self.path.clone()),
            _ => self.broken(error),
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(e))?;
        // A set, as dropping one ends its tasks: the connection lives as long as its response is read.
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its error is also that of the request or of the body.
            let _ = connection.await;
        });
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "biplane")
            .header("content-type", "application/json")
            .body(Full::new(order))
            .map_err(|error| ClientError::BadRequest(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(|e| self.broken(e))?;
        Ok((response, driver))
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        response.into_body().collect().await.map(http_body_util::Collected::to_bytes).map_err(|e| self.broken(e))
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            api_version: String,
        }
        let Version { api_version } = self.json(body)?;
        if api_version != API_VERSION {
            return Err(self.strange(format!("it speaks {api_version}, and this program {API_VERSION}")));
        }
        self.json(body)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.strange(error.to_string()))
    }

    fn trouble(&self, status: StatusCode, body: &[u8]) -> ClientError {
        match self.parse::<Words>(body) {
            Ok(Words { kind: WordsKind::Refused, message, .. }) => ClientError::Refused(message),
            Ok(Words { kind: WordsKind::BadRequest, message, .. }) => ClientError::BadRequest(message),
            Ok(Words { message, .. }) => ClientError::Unavailable { path: self.path.clone(), message },
            Err(_) => self.strange(format!("it answered with HTTP status {status}")),
        }
    }

    fn broken(&self, error: impl std::error::Error) -> ClientError {
        let mut words = error.to_string();
        let mut source = error.source();
        while let Some(deeper) = source {
            words = format!("{words}: {deeper}");
            source = deeper.source();
        }
        ClientError::Broken { path: self.path.clone(), error: words }
    }

    fn strange(&self, what: String) -> ClientError {
        ClientError::Strange { path: self.path.clone(), what }
    }
}

/// Events as they happen.
#[derive(Debug)]
pub struct Monitor {
    client: Client,
    body: Incoming,
    buffer: Vec<u8>,
    _connection: JoinSet<()>,
}

impl Monitor {
    /// The next line; `None` when the daemon has ended the stream. Waits as long as nothing happens.
    pub async fn next(&mut self) -> Result<Option<MonitorLine>, ClientError> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let text = line.trim_ascii();
                if !text.is_empty() {
                    return self.client.json(text).map(Some);
                }
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.client.broken(error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(data.chunk());
                    }
                }
            }
        }
    }
}
