//! Commands that read: what is asked, what is kept of the answer, and whether it is well.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::time::Duration;

use model::{NodeName, PeerId, Prefix, StateName};
use serde_json::Value;
use status::Query;
use status::client::{Client, ClientError};
use status::doc::{BgpRoutes, Doc, Document, RouteDirection};

use crate::failure::Failure;
use crate::output::{OutputArgs, colour, count, print};
use crate::view;

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Status { brief: bool },
    Nodes,
    Node(NodeName),
    Mode,
    Pools,
    Blocks { node: Option<NodeName>, ip: Option<IpAddr> },
    IpamCheck,
    Peers,
    Peer(PeerId),
    Bfd,
    Routes { direction: RouteDirection, peer: Option<PeerId>, limit: usize },
    Why { prefix: Prefix, direction: RouteDirection, peer: Option<PeerId> },
    Vxlan,
    Fdb,
    Neigh,
    RouteList { node: Option<NodeName>, diff: bool },
    Explain(IpAddr),
    Config { origin: bool },
}

/// How often a watched document is asked for.
const WATCH: Duration = Duration::from_secs(1);

/// Shows it; with `--watch` again whenever it changes, until interrupted.
pub(crate) async fn run(client: &Client, look: &Look, args: &OutputArgs) -> Result<(), Failure> {
    let document = fetch(client, look).await?;
    if !args.watch {
        show(&document, look, args)?;
        return verdict(&document, look);
    }
    let terminal = std::io::stdout().is_terminal();
    let mut shown: Option<Value> = None;
    let mut away = false;
    let mut next = Ok(document);
    loop {
        match next {
            Ok(document) => {
                let now = lasting(&document);
                // Ages move on a terminal; elsewhere only news are worth a line.
                if terminal || shown.as_ref() != Some(&now) {
                    if terminal {
                        print("\x1b[H\x1b[2J")?;
                    }
                    show(&document, look, args)?;
                    shown = Some(now);
                }
                away = false;
            }
            Err(Failure::Client(error)) if !matches!(error, ClientError::BadRequest(_) | ClientError::Refused(_)) => {
                if !away {
                    eprintln!("biplane: {error}; watching on");
                }
                away = true;
            }
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(WATCH).await;
        next = fetch(client, look).await;
    }
}

fn show(document: &Document, look: &Look, args: &OutputArgs) -> Result<(), Failure> {
    let page = view::page(document, look)?;
    if let Doc::BgpRouteList(BgpRoutes { truncated: true, items, .. }) = &document.body {
        eprintln!(
            "biplane: only the first {} paths are shown; ask for more with --limit, or narrow it down",
            items.len()
        );
    }
    Ok(print(&page.render(args, colour())?)?)
}

/// Asks, and keeps what was asked for.
pub(crate) async fn fetch(client: &Client, look: &Look) -> Result<Document, Failure> {
    let query = match look {
        Look::Status { .. } => Query::Status,
        Look::Nodes | Look::Node(_) => Query::Nodes,
        Look::Mode => Query::Mode,
        Look::Pools | Look::Blocks { .. } | Look::IpamCheck => Query::Ipam,
        Look::Peers | Look::Peer(_) => Query::BgpPeers,
        Look::Bfd => Query::Bfd,
        Look::Routes { direction, peer, limit } => {
            Query::BgpRoutes { direction: *direction, peer: peer.clone(), prefix: None, limit: *limit }
        }
        Look::Why { prefix, direction, peer } => {
            Query::BgpWhy { prefix: *prefix, direction: *direction, peer: peer.clone() }
        }
        Look::Vxlan | Look::Fdb | Look::Neigh => Query::Vxlan,
        Look::RouteList { diff, .. } => Query::Routes { diff: *diff },
        Look::Explain(address) => Query::RouteExplain { address: *address },
        Look::Config { .. } => Query::Config,
    };
    let mut document = client.query(&query).await?;
    match (&mut document.body, look) {
        (Doc::Ipam(ipam), Look::Blocks { node, ip }) => {
            ipam.blocks.retain(|it| node.is_none() || it.node == *node);
            ipam.blocks.retain(|it| ip.is_none_or(|ip| it.pod_cidr.0.holds(&ip)));
        }
        (Doc::RouteList(routes), Look::RouteList { node: Some(node), .. }) => {
            routes.items.retain(|it| it.node.as_ref() == Some(node));
        }
        (Doc::BgpRouteList(found), Look::Why { prefix, direction, peer }) if found.items.is_empty() => {
            let up = match client.query(&Query::BgpPeers).await?.body {
                Doc::BgpPeerList(peers) => view::bgp::notes(&peers).into_iter().next(),
                _ => None,
            };
            return Err(Failure::NotFound(no_path(prefix, *direction, peer.as_ref(), found.around, up)));
        }
        (Doc::BgpRouteList(found), Look::Routes { peer: Some(peer), .. }) if found.items.is_empty() => {
            if let Doc::BgpPeerList(peers) = client.query(&Query::BgpPeers).await?.body
                && peers.items.iter().all(|it| it.address != *peer)
            {
                return Err(view::bgp::missing(&peers, peer));
            }
        }
        _ => {}
    }
    Ok(document)
}

/// Nothing is known of a prefix: where it was looked for, and what to look at next.
fn no_path(
    prefix: &Prefix,
    direction: RouteDirection,
    peer: Option<&PeerId>,
    around: Option<Prefix>,
    note: Option<String>,
) -> String {
    let who = match (direction, peer) {
        (RouteDirection::In, Some(peer)) => format!("{peer} announces none"),
        _ => "no peer announces it and we do not either".to_owned(),
    };
    let around = around.map(|around| format!(", but there are paths of {around} around it")).unwrap_or_default();
    let next = match note {
        Some(note) => note,
        None if around.is_empty() => "`biplane bgp peers` shows who is up".to_owned(),
        None => "ask for that one".to_owned(),
    };
    format!("no path of {prefix}: {who}{around}; {next}")
}

/// Is the thing looked at well? What there is to say about it goes to stderr.
fn verdict(document: &Document, look: &Look) -> Result<(), Failure> {
    match (&document.body, look) {
        (Doc::Status(status), _) if !status.ready => {
            let why = status.conditions.iter().find(|it| it.name == "Ready" && !it.message.is_empty());
            let why = why.map(|it| it.message.as_str()).or(status.waiting.first().map(|it| it.what.as_str()));
            Err(Failure::Unwell(format!(
                "{} is not ready{}",
                status.node,
                why.map(|it| format!(": {it}")).unwrap_or_default()
            )))
        }
        (Doc::Ipam(ipam), Look::IpamCheck) => match ipam.problems.len() {
            0 => {
                let (pools, blocks) = (count(ipam.pools.len(), "pool"), count(ipam.blocks.len(), "pod CIDR"));
                eprintln!("biplane: {pools}, {blocks}: nothing is wrong");
                Ok(())
            }
            number => Err(Failure::Unwell(count(number, "problem"))),
        },
        (Doc::Ipam(ipam), Look::Blocks { node, ip }) if ipam.blocks.is_empty() => {
            let what = match (node, ip) {
                (Some(node), _) => format!("node {node} holds no pod CIDR; `biplane node list` shows the nodes"),
                (_, Some(ip)) => {
                    let pool = ipam.pools.iter().find(|pool| pool.cidr.holds(ip));
                    let pool = pool.map_or_else(
                        || "no pool holds it; `biplane ipam show` lists them".to_owned(),
                        |pool| format!("it lies in a free slice of the pool {}", pool.cidr),
                    );
                    format!("no pod CIDR holds {ip}: {pool}")
                }
                _ => "no pod CIDR is claimed or in quarantine".to_owned(),
            };
            Err(Failure::NotFound(what))
        }
        (Doc::RouteList(routes), Look::RouteList { diff: true, .. }) => match routes.items.len() {
            0 => {
                eprintln!("biplane: all {} routes are as wanted", routes.ok);
                Ok(())
            }
            number => Err(Failure::Unwell(format!("{number} of {} routes are not as wanted", routes.total))),
        },
        (Doc::RouteList(routes), Look::RouteList { node: Some(node), .. }) if routes.items.is_empty() => {
            Err(Failure::NotFound(format!("no route leads to a node {node}; `biplane node list` shows the nodes")))
        }
        (Doc::RouteExplain(found), _) if !found.verdict.is_well() => Err(Failure::Unwell(found.summary.clone())),
        (Doc::RouteExplain(found), _) if !found.problems.is_empty() => {
            Err(Failure::Unwell(format!("{} in the way of {}", count(found.problems.len(), "problem"), found.address)))
        }
        _ => {
            if let (Doc::BgpPeerList(peers), Look::Peers | Look::Peer(_)) = (&document.body, look) {
                for note in view::bgp::notes(peers) {
                    eprintln!("biplane: {note}");
                }
            }
            if let Doc::BfdSessionList(sessions) = &document.body
                && let Some(trouble) = &sessions.trouble
            {
                eprintln!("biplane: {trouble}");
            }
            if let Some(words) = nothing(document, look) {
                eprintln!("biplane: {words}");
            }
            Ok(())
        }
    }
}

/// What is said of a list with nothing in it, which is no failure.
fn nothing(document: &Document, look: &Look) -> Option<&'static str> {
    Some(match (&document.body, look) {
        // What else there is to say of a plane that does not stand has been said.
        (Doc::BgpPeerList(peers), Look::Peers) if peers.items.is_empty() && view::bgp::notes(peers).is_empty() => {
            "no peers: bgp.peers of the configuration is empty, and bgp.mesh is off or no other node is known"
        }
        (Doc::BfdSessionList(sessions), _) if sessions.items.is_empty() => {
            "no sessions: name a profile in `bfd` of a peer or in bgp.meshBfd, and let bgp stand on this node"
        }
        (Doc::BgpRouteList(routes), _) if routes.items.is_empty() => "no paths; `biplane bgp peers` shows who is up",
        (Doc::Vxlan(vxlan), Look::Fdb) if vxlan.fdb.is_empty() => {
            "no entries: `biplane vxlan show` tells if the overlay stands"
        }
        (Doc::Vxlan(vxlan), Look::Neigh) if vxlan.neighbours.is_empty() => {
            "no entries: `biplane vxlan show` tells if the overlay stands"
        }
        (Doc::RouteList(routes), _) if routes.items.is_empty() => {
            "no routes: this node has no pod CIDR and knows no other"
        }
        _ => return None,
    })
}

/// Waits until the node is ready and its switch steady.
pub(crate) async fn wait_ready(client: &Client, timeout: Duration) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + timeout;
    let mut said = String::new();
    loop {
        let words = match fetch(client, &Look::Status { brief: true }).await {
            Ok(Document { body: Doc::Status(status), .. }) => {
                let steady = status.state == StateName::Steady;
                if status.ready && steady {
                    return Ok(());
                }
                let first = status.waiting.first().map(|it| it.what.clone());
                let what = if steady { "not ready".to_owned() } else { status.state.to_string() };
                first.map_or(what.clone(), |it| format!("{what}: {it}"))
            }
            Ok(_) => return Err(Failure::Strange("no status in the daemon's answer".to_owned())),
            Err(Failure::Client(error)) if error.exit_code() >= 3 => error.to_string(),
            Err(failure) => return Err(failure),
        };
        if words != said {
            eprintln!("biplane: {words}");
            said.clone_from(&words);
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(Failure::TimedOut(format!(
                "not ready after {}: {words}",
                crate::output::age(timeout.as_secs_f64())
            )));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// The document without what moves by itself: ages and counts of messages.
fn lasting(document: &Document) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|key, _| {
                    !key.ends_with("Seconds") && !key.ends_with("SecondsAgo") && !key.starts_with("messages")
                });
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(document).unwrap_or_default();
    strip(&mut value);
    value
}
