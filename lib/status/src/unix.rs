//! The unix-socket API that the command line speaks.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::{Query as Parameters, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::UnixListener;
use tokio::sync::{broadcast, mpsc};

use crate::ask::{self, WordsKind};
use crate::serve::{self, ServeError};
use crate::{Call, MonitorEvent, Operation, Request, monitor, url};

/// Makes the socket and serves until dropped. See [`UnixServer::bind`].
pub async fn serve_unix(
    path: &Path,
    calls: mpsc::Sender<Call>,
    monitor: broadcast::Sender<MonitorEvent>,
) -> Result<(), ServeError> {
    UnixServer::bind(path)?.run(calls, monitor).await;
    Ok(())
}

/// The socket, listening: clients may connect from now on and are answered once [`UnixServer::run`] runs.
#[derive(Debug)]
pub struct UnixServer {
    path: PathBuf,
    listener: UnixListener,
    inode: Option<(u64, u64)>,
    /// Locked as long as the daemon lives, by the kernel's word: also `kill -9` unlocks it.
    _lock: File,
}

/// Bytes of path that `sockaddr_un` holds, less the terminating zero.
const SUN_PATH: usize = 107;

impl UnixServer {
    /// Makes the socket, mode 0600, and its directory if absent. A socket that a killed daemon left behind is replaced;
    /// one that is served, and anything else in its place, is refused. Must be called inside a tokio runtime.
    pub fn bind(path: &Path) -> Result<UnixServer, ServeError> {
        let failed = |step: &str| {
            let (path, step) = (path.to_owned(), step.to_owned());
            move |error| ServeError::Socket { path, step, error }
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let cradle = parent.join(format!(".biplane-{}", std::process::id()));
        let newborn = cradle.join("s");
        let longest = path.as_os_str().len().max(newborn.as_os_str().as_bytes().len());
        if longest > SUN_PATH {
            let most = SUN_PATH - (longest - path.as_os_str().len());
            return Err(ServeError::TooLong { path: path.to_owned(), most });
        }
        fs::create_dir_all(parent).map_err(failed("making its directory"))?;
        let lock = lock(path)?;
        refuse_living(path)?;
        // Made in a directory that nobody else may enter and moved when its mode is right, so that there is no moment
        // in which it can be reached by others, or in which an old client finds nothing.
        let _ = fs::remove_dir_all(&cradle);
        DirBuilder::new().mode(0o700).create(&cradle).map_err(failed("making a directory beside it"))?;
        let made = UnixListener::bind(&newborn).and_then(|listener| {
            fs::set_permissions(&newborn, Permissions::from_mode(0o600))?;
            fs::rename(&newborn, path)?;
            Ok(listener)
        });
        let _ = fs::remove_dir_all(&cradle);
        let listener = made.map_err(failed("binding it"))?;
        Ok(UnixServer { inode: inode(path), path: path.to_owned(), listener, _lock: lock })
    }

    /// Serves until dropped; then the socket is removed.
    pub async fn run(self, calls: mpsc::Sender<Call>, monitor: broadcast::Sender<MonitorEvent>) {
        serve::serve(&self.listener, router(calls, monitor)).await;
    }
}

impl Drop for UnixServer {
    fn drop(&mut self) {
        if self.inode.is_some() && inode(&self.path) == self.inode {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Two daemons that start at once must not both find the socket stale: the one that gets the lock goes on.
fn lock(path: &Path) -> Result<File, ServeError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |error| ServeError::Socket {
        path: path.to_owned(),
        step: format!("locking {}", Path::new(&name).display()),
        error,
    };
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&name)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            return Err(ServeError::Live { path: path.to_owned(), pid: pid.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let told = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    told.map_err(failed)?;
    Ok(file)
}

/// Only a socket that nobody serves may be replaced, whoever made it.
fn refuse_living(path: &Path) -> Result<(), ServeError> {
    let failed =
        |step: &str, error: io::Error| ServeError::Socket { path: path.to_owned(), step: step.to_owned(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("looking at what is there", error)),
        Ok(meta) if !meta.file_type().is_socket() => return Err(ServeError::NoSocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ServeError::Live { path: path.to_owned(), pid: None }),
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(()),
        // Not a stream socket, or not ours to reach: not made by us.
        Err(error) => Err(failed("somebody else's socket is there: connecting to it", error)),
    }
}

#[derive(Clone)]
struct Doors {
    calls: mpsc::Sender<Call>,
    monitor: broadcast::Sender<MonitorEvent>,
}

fn router(calls: mpsc::Sender<Call>, monitor: broadcast::Sender<MonitorEvent>) -> Router {
    let mut router = Router::new()
        .route(url::OPERATIONS, post(handle_operation))
        .route(url::MONITOR, get(handle_monitor))
        .fallback(handle_unknown);
    for path in url::DOCUMENTS {
        router = router.route(path, get(handle_query));
    }
    // Reaches only the routes that are there already.
    router.method_not_allowed_fallback(handle_method).with_state(Doors { calls, monitor })
}

async fn handle_query(
    State(doors): State<Doors>,
    uri: Uri,
    Parameters(parameters): Parameters<Vec<(String, String)>>,
) -> Response {
    match url::read(uri.path(), &parameters) {
        Some(Ok(query)) => ask::respond(ask::ask(&doors.calls, Request::Query(query)).await),
        Some(Err(words)) => ask::words(WordsKind::BadRequest, words),
        None => handle_unknown(uri).await,
    }
}

async fn handle_operation(State(doors): State<Doors>, body: bytes::Bytes) -> Response {
    match serde_json::from_slice::<Operation>(&body) {
        Ok(operation) => ask::respond(ask::ask(&doors.calls, Request::Operate(operation)).await),
        Err(error) => ask::words(
            WordsKind::BadRequest,
            format!(
                "cannot read the operation: {error}: expected {{\"switch\": \"bgp\"}}, {{\"bgpReset\": {{\"peer\": \
                 null, \"soft\": true}}}} or \"reload\""
            ),
        ),
    }
}

async fn handle_monitor(
    State(doors): State<Doors>,
    Parameters(parameters): Parameters<Vec<(String, String)>>,
) -> Response {
    match monitor::Wanted::read(&parameters) {
        Ok(wanted) => monitor::stream(doors.monitor.subscribe(), wanted),
        Err(words) => ask::words(WordsKind::BadRequest, words),
    }
}

async fn handle_unknown(uri: Uri) -> Response {
    let paths = url::DOCUMENTS.join(", ");
    let words =
        format!("no document at {}: expected one of {paths}, {}, {}", uri.path(), url::MONITOR, url::OPERATIONS);
    (StatusCode::NOT_FOUND, ask::words(WordsKind::BadRequest, words)).into_response()
}

async fn handle_method(uri: Uri) -> Response {
    let method = if uri.path() == url::OPERATIONS { "POST" } else { "GET" };
    (StatusCode::METHOD_NOT_ALLOWED, ask::words(WordsKind::BadRequest, format!("{} takes {method} only", uri.path())))
        .into_response()
}
