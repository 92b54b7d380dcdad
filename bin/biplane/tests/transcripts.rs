//! What people type and what they read: the transcripts in `tests/transcripts`, played against a daemon made of one
//! sample of each document. `BLESS=1` writes down what was said.
//!
//! A transcript is a list of commands. `$ biplane …` is a command, `? 2` its exit code if it is not 0, then its
//! stdout, then its stderr with `! ` before each line. `file NAME` begins a file, whose lines are indented by two
//! spaces. `$DIR` is the directory of the files, `$SOCKET` the daemon's socket. `#` begins a comment.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../../../lib/status/tests/samples/mod.rs"]
mod samples;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::StateName;
use status::doc::{Doc, ModeDoc};
use status::{Answer, Call, EventKind, MonitorEvent, Operation, Query, Request};
use tokio::sync::{broadcast, mpsc};

#[test]
fn offline() {
    play("offline", None);
}

#[test]
fn config_validate() {
    play("validate", None);
}

#[test]
fn reading() {
    let folder = tempfile::tempdir().unwrap();
    play("reading", Some(&daemon(folder.path(), samples::all())));
}

#[test]
fn a_node_that_is_well() {
    let folder = tempfile::tempdir().unwrap();
    play("well", Some(&daemon(folder.path(), samples::all().into_iter().map(healed).collect())));
}

/// Lines end when the daemon does not: the reader has read enough.
#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let socket = daemon(folder.path(), samples::all());
    let mut child =
        biplane(folder.path(), Some(&socket)).args(["config", "schema"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn switch_waits_for_every_node() {
    let folder = tempfile::tempdir().unwrap();
    let socket = daemon(folder.path(), samples::all());
    // This daemon's mode moves on with every look at it.
    let output = biplane(folder.path(), Some(&socket)).args(["mode", "switch", "bgp", "--wait"]).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{err}");
    assert!(out.starts_with("the cluster is steady on bgp after ") && out.ends_with(" s\n"), "{out}");
    let steps = [
        "biplane: switching to bgp",
        "biplane: n1 flipping vxlan→bgp, 1 of 3 destinations by bgp: node n3 does not stand on bgp",
        "biplane: waiting for n1 (node n3 does not stand on bgp)",
        "biplane: bgp stands on all but n3 yet",
        "biplane: vxlan still stands on all but n3",
    ];
    assert_eq!(err.lines().collect::<Vec<_>>(), steps);
}

#[test]
fn switch_gives_up_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let socket = daemon(folder.path(), samples::all());
    let args = ["mode", "switch", "vxlan", "--wait", "--timeout", "0s"];
    let output = biplane(folder.path(), Some(&socket)).args(args).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{err}");
    assert!(
        err.contains("not done after 0s: n1 has not heard the wish yet") && err.contains("see `biplane mode show`"),
        "{err}"
    );
}

#[test]
fn monitor_prints_a_line_an_event() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let socket = daemon(folder.path(), samples::all());
    for (format, wanted) in [
        ("table", "2026-05-04T12:00:00.250Z   info    mode     steady on vxlan"),
        ("jsonl", r#"{"time":"2026-05-04T12:00:00.250Z","kind":"mode","level":"info","text":"steady on vxlan"}"#),
    ] {
        let args = ["monitor", "mode", "-o", format];
        let mut child = biplane(folder.path(), Some(&socket)).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(line.trim_end(), wanted);
    }
}

/// A daemon on a thread of its own, which ends with the test. Gives its socket.
fn daemon(folder: &Path, docs: Vec<Doc>) -> PathBuf {
    let socket = folder.join("s");
    let at = socket.clone();
    let (up, is_up) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (calls, mut called) = mpsc::channel::<Call>(16);
            let (monitor, _) = broadcast::channel::<MonitorEvent>(16);
            let server = status::UnixServer::bind(&at).unwrap();
            up.send(()).unwrap();
            let events = monitor.clone();
            let mut looks = 0;
            let answers = async move {
                while let Some(Call { request, answer }) = called.recv().await {
                    let _ = answer.send(reply(&docs, &request, &mut looks));
                }
            };
            let news = async move {
                loop {
                    let _ = events.send(samples::event(EventKind::Mode, "steady on vxlan"));
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            };
            tokio::join!(server.run(calls, monitor), answers, news);
        });
    });
    is_up.recv().unwrap();
    socket
}

fn reply(docs: &[Doc], request: &Request, looks: &mut usize) -> Answer {
    let query = match request {
        Request::Operate(Operation::Switch(plane)) => {
            *looks = 1;
            return Answer::Said(
                plane.map_or("taking the wish back".to_owned(), |plane| format!("switching to {plane}")),
            );
        }
        Request::Operate(Operation::BgpReset { peer: Some(peer), .. }) if peer.to_string() != "192.0.2.2" => {
            return Answer::Refused(format!("no peer {peer}; there are 192.0.2.2, 2001:db8::ff"));
        }
        Request::Operate(operation) => return Answer::Said(format!("{operation:?}")),
        Request::Query(query) => query,
    };
    let kind = query.kind();
    let Some(doc) = docs.iter().find(|doc| doc.kind() == kind) else {
        return Answer::Doc(Box::new(docs.first().unwrap().clone()));
    };
    let mut doc = doc.clone();
    match (&mut doc, query) {
        (Doc::Mode(mode), _) if *looks > 0 => {
            move_on(mode, *looks);
            *looks += 1;
        }
        (Doc::BgpRouteList(routes), Query::BgpRoutes { direction, peer, prefix, .. }) => {
            routes.direction = *direction;
            routes.truncated &= peer.is_none() && prefix.is_none();
            routes.items.retain(|it| prefix.is_none_or(|prefix| it.prefix == prefix));
            routes.items.retain(|it| peer.is_none() || it.peer == *peer);
        }
        (Doc::RouteExplain(found), Query::RouteExplain { address }) if found.address != *address => {
            found.address = *address;
            found.verdict = status::doc::ExplainVerdict::Unclaimed;
            found.summary = format!("no node claims a pod CIDR of pool 10.244.0.0/16 that holds {address}");
            (found.claim, found.carry, found.overlay, found.bgp_prefix) = (None, None, None, None);
            found.routes.clear();
            found.hops.clear();
            found.paths.clear();
            found.problems.clear();
        }
        (Doc::BgpRouteList(routes), Query::BgpWhy { prefix, direction, peer }) => {
            if peer.as_ref().is_some_and(|peer| peer.to_string() == "192.0.2.7") {
                return Answer::Refused("no peer 192.0.2.7; there are 192.0.2.2, 2001:db8::ff".to_owned());
            }
            routes.direction = *direction;
            routes.truncated = false;
            routes.items.retain(|it| it.prefix == *prefix && (peer.is_none() || it.peer == *peer));
            let wide = "10.244.0.0/20".parse().unwrap();
            routes.around = Some(wide).filter(|wide: &model::Prefix| wide.covers(prefix) && routes.items.is_empty());
            for it in routes.items.iter_mut().filter(|_| *direction == status::doc::RouteDirection::Out) {
                it.verdict = Some(status::doc::RouteVerdict::Withheld);
                it.step = Some("back".to_owned());
                it.why = "not announced: it came from there".to_owned();
            }
        }
        _ => {}
    }
    doc.into()
}

/// The sample stands amid a switch; each look finds it further.
fn move_on(mode: &mut ModeDoc, looks: usize) {
    use model::NodeSet;
    let digest = mode.digest.as_mut().unwrap();
    if looks > 1 {
        mode.state = StateName::Steady;
    }
    if looks > 2 {
        mode.nodes.clear();
    }
    if looks > 3 {
        digest.bgp.stands = NodeSet::AllBut([].into());
    }
    if looks > 4 {
        digest.vxlan.stands = NodeSet::NONE;
        digest.vxlan.sends = NodeSet::NONE;
    }
}

/// The sample of a node on which nothing is wrong.
fn healed(doc: Doc) -> Doc {
    match doc {
        Doc::Status(mut status) => {
            status.ready = true;
            status.state = StateName::Steady;
            status.waiting.clear();
            status.conditions.clear();
            status.failures.clear();
            status.foreign.clear();
            status.destinations.unreachable = 0;
            status.store.error = None;
            status.store.up = true;
            status.config.error = None;
            status.config.successful = true;
            Doc::Status(status)
        }
        Doc::Ipam(mut ipam) => {
            ipam.problems.clear();
            Doc::Ipam(ipam)
        }
        Doc::RouteList(mut routes) => {
            routes.items.clear();
            routes.ok = routes.total;
            Doc::RouteList(routes)
        }
        Doc::RouteExplain(mut found) => {
            found.problems.clear();
            found.routes.pop();
            Doc::RouteExplain(found)
        }
        Doc::Vxlan(mut vxlan) => {
            vxlan.link = None;
            Doc::Vxlan(vxlan)
        }
        other => other,
    }
}

fn biplane(folder: &Path, socket: Option<&Path>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_biplane"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BIPLANE_")) {
        command.env_remove(name);
    }
    command.env_remove("COLUMNS").env("NO_COLOR", "1").current_dir(folder).stdin(Stdio::null());
    if let Some(socket) = socket {
        command.env("BIPLANE_API__SOCKET", socket);
    }
    command
}

fn play(name: &str, socket: Option<&Path>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/transcripts/{name}.txt"));
    let text = fs::read_to_string(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut played = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(file) = line.strip_prefix("file ") {
            played += &format!("{line}\n");
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let mut content = String::new();
            while let Some(line) = lines.next_if(|line| line.starts_with("  ")) {
                content += &format!("{}\n", line.strip_prefix("  ").unwrap());
                played += &format!("{line}\n");
            }
            fs::write(file, content).unwrap();
        } else if let Some(words) = line.strip_prefix("$ ") {
            played += &format!("{line}\n{}\n", say(words, folder.path(), socket));
            while lines
                .next_if(|line| !line.starts_with("$ ") && !line.starts_with('#') && !line.starts_with("file "))
                .is_some()
            {}
        } else {
            played += &format!("{line}\n");
        }
    }
    let played = format!("{}\n", played.trim_end());
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, played).unwrap();
        return;
    }
    for (nth, (said, wanted)) in played.lines().zip(text.lines()).enumerate() {
        assert_eq!(said, wanted, "{}:{} (BLESS=1 writes down what is said)", path.display(), nth + 1);
    }
    assert_eq!(played.lines().count(), text.lines().count(), "{}", path.display());
}

fn say(words: &str, folder: &Path, socket: Option<&Path>) -> String {
    let mut command = biplane(folder, socket);
    let (mut words, mut named) = (words.split_whitespace().peekable(), false);
    // Variables before the command, as in a shell.
    while let Some((name, value)) =
        words.next_if(|word| word.contains('=') && !named).and_then(|word| word.split_once('='))
    {
        command.env(name, value);
    }
    named |= words.next() == Some("biplane");
    assert!(named, "a command of a transcript begins with `biplane`");
    let output = command.args(words).output().unwrap();
    let clean = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let text = socket.map_or(text.clone(), |socket| text.replace(socket.to_str().unwrap(), "$SOCKET"));
        text.replace(folder.to_str().unwrap(), "$DIR")
    };
    let mut said = String::new();
    if output.status.code() != Some(0) {
        said += &format!("? {}\n", output.status.code().unwrap());
    }
    said += &clean(&output.stdout);
    said.extend(clean(&output.stderr).lines().map(|line| format!("! {line}\n")));
    said
}
