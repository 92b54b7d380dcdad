//! Servers and client over real sockets, with a core that answers from samples.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod samples;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::Plane;
use status::doc::{Doc, Document, Ready, RouteDirection};
use status::{
    Answer, Call, Client, ClientError, EventKind, HttpServer, MonitorEvent, MonitorLine, Operation, Query, Request,
    ServeError, UnixServer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than anything here takes when all is well.
const LIMIT: Duration = Duration::from_secs(20);

struct Daemon {
    socket: PathBuf,
    events: broadcast::Sender<MonitorEvent>,
    server: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn start(answer: impl FnMut(Request) -> Option<Answer> + Send + 'static) -> Daemon {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/biplane.sock");
        let (events, _) = broadcast::channel(64);
        let server = UnixServer::bind(&socket).unwrap();
        let server = tokio::spawn(server.run(core(answer), events.clone()));
        Daemon { socket, events, server, _directory: directory }
    }

    fn client(&self) -> Client {
        Client::new(&self.socket)
    }
}

/// A core; `None` leaves the call unanswered for ever.
fn core(mut answer: impl FnMut(Request) -> Option<Answer> + Send + 'static) -> mpsc::Sender<Call> {
    let (calls, mut taken) = mpsc::channel::<Call>(8);
    tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some(call) = taken.recv().await {
            match answer(call.request) {
                Some(answer) => drop(call.answer.send(answer)),
                None => unanswered.push(call.answer),
            }
        }
    });
    calls
}

fn from_samples(request: Request) -> Option<Answer> {
    let Request::Query(query) = request else { return Some(Answer::Refused("no operations here".into())) };
    let kind = query.kind();
    samples::all().into_iter().find(|doc| doc.kind() == kind).map(Answer::from)
}

fn every_query() -> Vec<Query> {
    vec![
        Query::Status,
        Query::Nodes,
        Query::Mode,
        Query::Ipam,
        Query::BgpPeers,
        Query::BgpRoutes {
            direction: RouteDirection::In,
            peer: Some("2001:db8::1".parse().unwrap()),
            prefix: Some("10.244.1.0/24".parse().unwrap()),
            limit: 7,
        },
        Query::Vxlan,
        Query::Routes { diff: true },
        Query::RouteExplain { address: "fd00:10:244:2::7".parse().unwrap() },
        Query::Config,
        Query::Metrics,
        Query::Ready,
        // Answered by a document that has been seen.
        Query::BgpWhy {
            prefix: "10.244.1.0/24".parse().unwrap(),
            direction: RouteDirection::Out,
            peer: Some("fe80::1%eth0".parse().unwrap()),
        },
    ]
}

#[tokio::test]
async fn every_document_gets_through_whole() {
    let (asked, mut seen) = mpsc::unbounded_channel();
    let daemon = Daemon::start(move |request| {
        asked.send(request.clone()).unwrap();
        from_samples(request)
    });
    for query in every_query() {
        let Some(Answer::Doc(doc)) = from_samples(Request::Query(query.clone())) else { panic!("{query:?}") };
        let document = daemon.client().query(&query).await.unwrap();
        assert_eq!(document, Document::from(*doc));
        assert_eq!(seen.recv().await, Some(Request::Query(query)), "the core is asked what the client asked");
    }
}

#[tokio::test]
async fn operations_are_said_or_refused() {
    let daemon = Daemon::start(|request| {
        Some(match request {
            Request::Operate(Operation::Switch(Some(Plane::Native))) => Answer::Said("switching to bgp".into()),
            other => Answer::Refused(format!("{other:?}")),
        })
    });
    let client = daemon.client();
    assert_eq!(client.operate(&Operation::Switch(Some(Plane::Native))).await.unwrap(), "switching to bgp");
    let reset = Operation::BgpReset { peer: Some("192.0.2.9".parse().unwrap()), soft: true, hard: false };
    for operation in [Operation::Switch(None), Operation::Switch(Some(Plane::Overlay)), reset, Operation::Reload] {
        let error = client.operate(&operation).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{:?}", Request::Operate(operation)));
        assert_eq!(error.exit_code(), 1);
    }
    let error = client.query(&Query::Status).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(_)), "{error}");
}

#[tokio::test]
async fn a_question_that_is_no_good_is_told_what_is_expected() {
    let daemon = Daemon::start(from_samples);
    let cases = [
        ("GET /v1/stats", 404, "no document at /v1/stats: expected one of /v1/status, "),
        ("GET /v1/status?wait=1", 400, "unknown parameter `wait` of /v1/status: expected none"),
        ("GET /v1/bgp/routes?prefix=10.0.0.0%2F8&peer=x", 400, "parameter `peer`: cannot read `x`"),
        ("GET /v1/monitor?kinds=bgp,rout", 400, "unknown kind of event `rout`: expected one of bgp, route,"),
        ("GET /v1/monitor?format=xml", 400, "expected jsonl, text or sse"),
        ("GET /v1/operations", 405, "/v1/operations takes POST only"),
        ("POST /v1/status", 405, "/v1/status takes GET only"),
        ("POST /v1/operations", 400, "cannot read the operation: "),
    ];
    for (line, status, words) in cases {
        let answer = raw(&daemon.socket, line).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        assert!(answer.contains(words) && answer.contains(r#""kind":"BadRequest""#), "{line}: {answer}");
    }
}

async fn raw(socket: &Path, line: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let head = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn a_core_that_does_not_answer_is_told_apart_from_one_that_went() {
    let stuck = Daemon::start(|_| None);
    let error = stuck.client().query(&Query::Status).await.unwrap_err();
    assert!(error.to_string().contains("core did not answer within 5 s"), "{error}");
    assert_eq!(error.exit_code(), 3);
    let error = stuck.client().patience(Duration::from_millis(50)).query(&Query::Status).await.unwrap_err();
    assert!(matches!(error, ClientError::Late { .. }), "{error}");
    assert_eq!(error.exit_code(), 4);

    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let (calls, taken) = mpsc::channel(1);
    drop(taken);
    tokio::spawn(UnixServer::bind(&socket).unwrap().run(calls, broadcast::channel(1).0));
    let error = Client::new(&socket).query(&Query::Status).await.unwrap_err();
    assert!(error.to_string().ends_with("cannot answer: the daemon is stopping"), "{error}");
}

#[tokio::test]
async fn an_absent_daemon_is_told_with_place_and_cure() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("b.sock");
    let error = Client::new(&socket).query(&Query::Status).await.unwrap_err();
    assert!(matches!(error, ClientError::Absent(_)), "{error}");
    let words = error.to_string();
    assert!(words.contains(socket.to_str().unwrap()) && words.contains("systemctl start biplaned"), "{words}");

    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let error = Client::new(&socket).query(&Query::Status).await.unwrap_err();
    assert!(matches!(error, ClientError::Dead(_)) && error.exit_code() == 3, "{error}");
}

#[tokio::test]
async fn a_daemon_of_another_version_or_none_at_all_is_not_misread() {
    let directory = tempfile::tempdir().unwrap();
    for (name, body, words) in [
        ("v2", r#"{"apiVersion":"biplane.dev/v2","kind":"Status"}"#, "it speaks biplane.dev/v2"),
        ("kind", r#"{"apiVersion":"biplane.dev/v1","kind":"Sonnet"}"#, "unknown variant `Sonnet`"),
        ("other", "hello", "cannot understand the daemon"),
    ] {
        let socket = directory.path().join(name);
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let error = Client::new(&socket).query(&Query::Status).await.unwrap_err();
        assert!(matches!(error, ClientError::Strange { .. }) && error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn the_socket_is_private_and_goes_with_its_server() {
    let daemon = Daemon::start(from_samples);
    let mode = std::fs::metadata(&daemon.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let beside: Vec<_> = std::fs::read_dir(daemon.socket.parent().unwrap()).unwrap().collect();
    assert_eq!(beside.len(), 2, "the socket and its lock only: {beside:?}");
    daemon.server.abort();
    let _ = daemon.server.await;
    assert!(!daemon.socket.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_a_live_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("b.sock");
    // What a killed daemon leaves: a socket file that nobody serves, and a lock file that nobody holds.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    std::fs::write(directory.path().join("b.sock.lock"), "999999\n").unwrap();
    let first = UnixServer::bind(&socket).unwrap();

    match UnixServer::bind(&socket).unwrap_err() {
        error @ ServeError::Live { pid, .. } => {
            assert_eq!(pid, Some(std::process::id()));
            let words = error.to_string();
            assert!(words.contains(socket.to_str().unwrap()) && words.contains("stop it first"), "{words}");
        }
        other => panic!("{other}"),
    }
    let task = tokio::spawn(first.run(core(from_samples), broadcast::channel(1).0));
    assert!(Client::new(&socket).query(&Query::Ready).await.is_ok(), "the refused one has broken nothing");
    task.abort();
    let _ = task.await;
    drop(UnixServer::bind(&socket).unwrap());
}

#[tokio::test]
async fn somebody_elses_socket_or_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("theirs.sock");
    let theirs = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(matches!(UnixServer::bind(&socket), Err(ServeError::Live { pid: None, .. })));
    drop(theirs);

    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let error = UnixServer::bind(&file).unwrap_err();
    assert!(matches!(error, ServeError::NoSocket(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");

    let long = directory.path().join("x".repeat(120));
    let error = UnixServer::bind(&long).unwrap_err();
    assert!(matches!(error, ServeError::TooLong { .. }), "{error}");
    let error = UnixServer::bind(&file.join("below/b.sock")).unwrap_err();
    assert!(error.to_string().contains("making its directory"), "{error}");
}

#[tokio::test]
async fn a_server_leaves_a_successors_socket_alone() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("b.sock");
    let old = UnixServer::bind(&socket).unwrap();
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "another").unwrap();
    drop(old);
    assert!(socket.exists());
}

#[tokio::test]
async fn events_are_streamed_by_kind_until_the_daemon_stops() {
    let daemon = Daemon::start(from_samples);
    let mut all = daemon.client().monitor(&[]).await.unwrap();
    let mut some = daemon.client().monitor(&[EventKind::Bgp, EventKind::Mode]).await.unwrap();
    let events = EventKind::ALL.map(|kind| samples::event(kind, "x"));
    for event in &events {
        daemon.events.send(event.clone()).unwrap();
    }
    for event in &events {
        assert_eq!(next(&mut all).await, Some(MonitorLine::Event(event.clone())));
    }
    for kind in [EventKind::Bgp, EventKind::Mode] {
        assert_eq!(next(&mut some).await, Some(MonitorLine::Event(samples::event(kind, "x"))));
    }
    daemon.server.abort();
    let ended = timeout(LIMIT, all.next()).await.unwrap();
    assert!(matches!(ended, Ok(None) | Err(ClientError::Broken { .. })), "{ended:?}");
}

async fn next(monitor: &mut status::Monitor) -> Option<MonitorLine> {
    timeout(LIMIT, monitor.next()).await.expect("an event in time").unwrap()
}

#[tokio::test]
async fn events_for_people_and_for_browsers() {
    let daemon = Daemon::start(from_samples);
    for (format, expected) in [
        ("text", "2026-05-04T12:00:00.250Z info  bgp    up\n"),
        (
            "sse",
            "data: {\"time\":\"2026-05-04T12:00:00.250Z\",\"kind\":\"bgp\",\"level\":\"info\",\"text\":\"up\"}\n\n",
        ),
    ] {
        let mut stream = UnixStream::connect(&daemon.socket).await.unwrap();
        let head = format!("GET /v1/monitor?format={format} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut got = String::new();
        let mut sent = false;
        let reading = async {
            while !got.contains(expected) {
                let mut piece = [0; 4096];
                let n = stream.read(&mut piece).await.unwrap();
                assert!(n > 0, "ended");
                got.push_str(std::str::from_utf8(&piece[..n]).unwrap());
                if !sent && got.contains("\r\n\r\n") {
                    daemon.events.send(samples::event(EventKind::Bgp, "up")).unwrap();
                    sent = true;
                }
            }
        };
        let in_time = timeout(LIMIT, reading).await.is_ok();
        assert!(in_time, "no `{expected}` in `{got}`");
    }
}

#[tokio::test]
async fn a_slow_reader_misses_events_and_is_told_how_many() {
    const ROUNDS: usize = 1000;
    const EACH: usize = 32;
    let daemon = Daemon::start(from_samples);
    let mut slow = UnixStream::connect(&daemon.socket).await.unwrap();
    slow.write_all(b"GET /v1/monitor HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    slow.read_exact(&mut head).await.unwrap();
    let mut fast = daemon.client().monitor(&[]).await.unwrap();

    let text = "x".repeat(1000);
    for _ in 0..ROUNDS {
        for _ in 0..EACH {
            daemon.events.send(samples::event(EventKind::Route, &text)).unwrap();
        }
        for _ in 0..EACH {
            let line = next(&mut fast).await;
            assert!(matches!(line, Some(MonitorLine::Event(_))), "the fast reader misses nothing: {line:?}");
        }
    }

    // All that was kept for the slow reader, then the word on what was not.
    let (mut events, mut missed, mut bytes) = (0, 0, Vec::new());
    let line = |text: &str| serde_json::from_str::<MonitorLine>(text).ok();
    while events + missed < ROUNDS * EACH {
        let mut piece = vec![0; 65536];
        let n = timeout(LIMIT, slow.read(&mut piece)).await.expect("in time").unwrap();
        assert!(n > 0, "ended after {events} events and {missed} missed");
        bytes.extend_from_slice(&piece[..n]);
        while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
            let text: Vec<u8> = bytes.drain(..end + 2).collect();
            match line(std::str::from_utf8(&text).unwrap().trim()) {
                Some(MonitorLine::Event(_)) => events += 1,
                Some(MonitorLine::Missed { missed: n }) => missed += usize::try_from(n).unwrap(),
                None => {}
            }
        }
    }
    assert_eq!(events + missed, ROUNDS * EACH, "every event is either seen or counted as missed");
    // A socket's and a connection's buffers: well below the 35 MB that were sent.
    assert!(events < 4000, "{events} events were kept for a reader that did not read");
}

#[tokio::test]
async fn http_tells_the_truth() {
    let (turn, turned) = tokio::sync::watch::channel(false);
    let calls = core(move |request| match request {
        Request::Query(Query::Ready) => {
            let ready = *turned.borrow();
            let reasons = if ready { vec![] } else { vec!["no claim".into(), "store down".into()] };
            Some(Doc::Ready(Ready { ready, reasons }).into())
        }
        other => from_samples(other),
    });
    let server = HttpServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run(calls));

    let answer = get(address, "/readyz").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\nnot ready: no claim\nnot ready: store down\n"),
        "{answer}"
    );
    assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200 "), "not ready is not dead");
    turn.send(true).unwrap();
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200 "));
    let answer = get(address, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("\nbiplane_mode{mode=\"bgp\"} 1\n"), "{answer}");
    assert!(get(address, "/v1/status").await.starts_with("HTTP/1.1 404 "), "the API is on the unix socket only");

    let error = HttpServer::bind(address).unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("metrics.listen"), "{error}");
}

#[tokio::test]
async fn a_stuck_core_is_not_alive() {
    let server = HttpServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run(core(|_| None)));
    let (livez, readyz, metrics) =
        tokio::join!(get(address, "/livez"), get(address, "/readyz"), get(address, "/metrics"));
    for answer in [livez, readyz, metrics] {
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("did not answer within 5 s"), "{answer}");
    }
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}
