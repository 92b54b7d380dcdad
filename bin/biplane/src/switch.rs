//! `biplane mode switch`: says the wish, and waits until the whole cluster has followed it.

use std::time::Duration;

use model::{NodeSet, Plane, StateName};
use status::client::Client;
use status::doc::{Doc, ModeDoc, NodeDoc, Status};
use status::{Operation, Query};
use tokio::time::Instant;

use crate::arguments::SwitchArgs;
use crate::failure::Failure;
use crate::output::{age, count, joined, print};
use crate::view;

/// How often the daemon is asked while waiting.
const POLL: Duration = Duration::from_millis(100);

pub(crate) async fn run(client: &Client, args: &SwitchArgs) -> Result<(), Failure> {
    if args.dry_run {
        return rehearse(client, args).await;
    }
    let began = Instant::now();
    let said = client.operate(&Operation::Switch(args.to.plane())).await?;
    eprintln!("biplane: {said}");
    if !args.wait {
        return Ok(());
    }
    let plane = wait(client, args, began + args.timeout).await?;
    print(&format!("the cluster is steady on {plane} after {:.1} s\n", began.elapsed().as_secs_f64()))?;
    Ok(())
}

async fn wait(client: &Client, args: &SwitchArgs, deadline: Instant) -> Result<Plane, Failure> {
    let mut said = String::new();
    loop {
        let words = match client.query(&Query::Mode).await.map(|document| document.body) {
            Ok(Doc::Mode(mode)) => match missing(&mode, args.to.plane()) {
                None => return Ok(mode.wish),
                Some(words) => words,
            },
            Ok(_) => return Err(Failure::Strange("no mode in the daemon's answer".to_owned())),
            // The switch outlives this daemon's restart, and so does the wait for it.
            Err(error) if error.exit_code() >= 3 => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        if words != said {
            eprintln!("biplane: {words}");
            said.clone_from(&words);
        }
        if Instant::now() >= deadline {
            let after = age(args.timeout.as_secs_f64());
            let advice = "the switch goes on by itself; see `biplane mode show`";
            return Err(Failure::TimedOut(format!("not done after {after}: {words}; {advice}")));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What is still to happen until the whole cluster, as far as it is known here, is steady on `plane` (or, if `None`,
/// on what the configuration says); `None` when nothing is.
fn missing(mode: &ModeDoc, plane: Option<Plane>) -> Option<String> {
    let target = plane.unwrap_or(mode.config_mode);
    if mode.wish != target || (plane.is_none() && mode.cluster_wish.is_some()) {
        return Some(match &mode.cluster_wish {
            Some(wish) if Some(wish.mode) == plane => {
                format!("{} keeps to {}, as its configuration was changed after the wish", mode.node, mode.wish)
            }
            _ => format!("{} has not heard the wish yet", mode.node),
        });
    }
    if mode.state != StateName::Steady {
        let way = mode.from.map_or_else(|| target.to_string(), |from| format!("{from}→{target}"));
        let waiting = mode.waiting.first().map(|it| format!(": {}", it.what)).unwrap_or_default();
        let to = &mode.destinations;
        let there = if target == Plane::Overlay { to.overlay } else { to.native };
        return Some(format!(
            "{} {} {way}, {there} of {} destinations by {target}{waiting}",
            mode.node, mode.state, to.total
        ));
    }
    let late = mode.nodes.iter().filter(|it| {
        it.live != Some(false)
            && (it.state.is_some_and(|it| it != StateName::Steady) || it.wish.is_some_and(|it| it != target))
    });
    let late: Vec<String> = late
        .map(|it| match &it.waiting {
            Some(waiting) => format!("{} ({waiting})", it.node),
            None => it.node.to_string(),
        })
        .collect();
    if !late.is_empty() {
        return Some(format!("waiting for {}", joined(late)));
    }
    let Some(digest) = &mode.digest else { return Some("no digest of the cluster was seen yet".to_owned()) };
    let (new, old) = match target {
        Plane::Overlay => (&digest.vxlan, &digest.bgp),
        Plane::Native => (&digest.bgp, &digest.vxlan),
    };
    if !holds_all(&new.stands, digest.nodes) {
        return Some(format!("{target} stands on {} yet", view::mode::nodes(&new.stands)));
    }
    // With fallback the other plane stays, and may carry.
    let gone = old.sends.is_empty(digest.nodes) && old.stands.is_empty(digest.nodes);
    if !gone && !mode.fallback {
        return Some(format!("{} still stands on {}", target.other(), view::mode::nodes(&old.stands)));
    }
    None
}

fn holds_all(set: &NodeSet, nodes: usize) -> bool {
    match set {
        NodeSet::Only(these) => these.len() >= nodes,
        NodeSet::AllBut(these) => these.is_empty(),
    }
}

/// Says what a switch would do, and what is in its way as far as this node can tell.
async fn rehearse(client: &Client, args: &SwitchArgs) -> Result<(), Failure> {
    let (Doc::Mode(mode), Doc::Status(status)) =
        (client.query(&Query::Mode).await?.body, client.query(&Query::Status).await?.body)
    else {
        return Err(Failure::Strange("no mode or status in the daemon's answer".to_owned()));
    };
    let target = args.to.plane().unwrap_or(mode.config_mode);
    let mut out = String::new();
    if mode.wish == target && mode.state == StateName::Steady {
        out.push_str(&format!(
            "{target} is wished already and {} is steady on it: nothing would change here\n",
            mode.node
        ));
    } else {
        let nodes = mode.digest.as_ref().map_or(mode.nodes.len(), |digest| digest.nodes);
        out.push_str(&format!("would switch {} to {target}, live:\n", count(nodes, "node")));
        out.push_str(&format!("  1. {target} is stood up beside {} on every node\n", target.other()));
        out.push_str(&format!("  2. {} destinations of this node move one by one\n", mode.destinations.total));
        let last = if mode.fallback { "stays as the fallback" } else { "is taken down once no node sends over it" };
        out.push_str(&format!("  3. {} {last}\n", target.other()));
    }
    print(&out)?;
    let mut obstacles = obstacles(&mode, &status, target);
    if target == Plane::Native && status.destinations.total > 0 && !has_peers(client).await? {
        obstacles.push("no BGP peer is configured and bgp.mesh gives none: no route would be learnt".to_owned());
    }
    for obstacle in &obstacles {
        eprintln!("biplane: in the way: {obstacle}");
    }
    match obstacles.len() {
        0 => Ok(()),
        number => {
            Err(Failure::Unwell(format!("{} in the way; a switch would wait for that", count(number, "obstacle"))))
        }
    }
}

/// Would there be anybody to learn routes from? Peers are listed only while the native plane stands.
async fn has_peers(client: &Client) -> Result<bool, Failure> {
    let (Doc::Config(doc), Doc::NodeList(nodes)) =
        (client.query(&Query::Config).await?.body, client.query(&Query::Nodes).await?.body)
    else {
        return Err(Failure::Strange("no configuration or nodes in the daemon's answer".to_owned()));
    };
    let bgp = &doc.config.bgp;
    let meshed = |node: &NodeDoc| !node.own && node.bgp.as_ref().is_some_and(|bgp| bgp.mesh);
    Ok(!bgp.peers.is_empty() || (bgp.mesh && nodes.items.iter().any(meshed)))
}

fn obstacles(mode: &ModeDoc, status: &Status, target: Plane) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(error) = &status.store.error {
        found.push(format!("the store is down: {error}"));
    }
    if mode.coordinator.is_none() {
        found.push("no coordinator is known, so nobody writes the digest that opens the gates".to_owned());
    }
    if mode.state != StateName::Steady && mode.wish != target {
        found.push(format!("a switch to {} is under way ({}); it would turn back", mode.wish, mode.state));
    }
    found.extend(
        mode.nodes
            .iter()
            .filter(|it| it.live == Some(false))
            .map(|it| format!("the daemon of {} does not run", it.node)),
    );
    found.extend(status.failures.iter().map(|it| format!("the kernel refuses {}: {}", it.key, it.error)));
    found
}
