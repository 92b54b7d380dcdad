//! Documents as pages: which columns and which names they have.

mod bfd;
pub(crate) mod bgp;
mod config;
mod explain;
mod forwarding;
mod ipam;
pub(crate) mod mode;
mod node;
mod status;

use ::status::doc::{Doc, Document};

use crate::failure::Failure;
use crate::look::Look;
use crate::output::{Body, Page, Single, Table, erased::Json};

/// The page of a document, as this look wants it.
///
/// # Errors
/// The thing looked for is not in the document; what there is instead.
pub(crate) fn page<'a>(document: &'a Document, look: &Look) -> Result<Page<'a>, Failure> {
    Ok(match (&document.body, look) {
        (Doc::Status(status), Look::Status { brief: true }) => {
            one(document, status::name(status), status::brief(status))
        }
        (Doc::Status(status), _) => one(document, status::name(status), status::full(status)),
        (Doc::NodeList(nodes), Look::Node(name)) => {
            let node = nodes.items.iter().find(|node| node.name == *name).ok_or_else(|| node::missing(nodes, name))?;
            one(Single::new("Node", node), node::name(node), node::sheet(node))
        }
        (Doc::NodeList(nodes), _) => many(document, &nodes.items, node::name, node::table(nodes)),
        (Doc::Mode(mode), _) => one(document, format!("mode/{}", mode.wish), mode::sheet(mode)),
        (Doc::Ipam(ipam), Look::IpamCheck) => {
            many(document, &ipam.problems, |it| it.subject.clone(), ipam::problems(ipam))
        }
        (Doc::Ipam(ipam), Look::Blocks { .. }) => {
            many(document, &ipam.blocks, |it| format!("podcidr/{}", it.pod_cidr), ipam::blocks(ipam))
        }
        (Doc::Ipam(ipam), _) => many(document, &ipam.pools, |it| format!("pool/{}", it.cidr), ipam::pools(ipam)),
        (Doc::BgpPeerList(peers), Look::Peer(address)) => {
            let peer = peers.items.iter().find(|peer| peer.address == *address);
            let peer = peer.ok_or_else(|| bgp::missing(peers, address))?;
            one(Single::new("BgpPeer", peer), bgp::name(peer), bgp::sheet(peer))
        }
        (Doc::BgpPeerList(peers), _) => many(document, &peers.items, bgp::name, bgp::peers(peers)),
        (Doc::BfdSessionList(sessions), _) => {
            many(document, &sessions.items, |it| format!("bfd/{}", it.address), bfd::sessions(sessions))
        }
        (Doc::BgpRouteList(routes), _) => {
            many(document, &routes.items, |it| it.prefix.to_string(), bgp::routes(routes))
        }
        (Doc::Vxlan(vxlan), Look::Fdb) => {
            many(document, &vxlan.fdb, |it| format!("fdb/{}", it.mac), forwarding::fdb(vxlan))
        }
        (Doc::Vxlan(vxlan), Look::Neigh) => {
            many(document, &vxlan.neighbours, |it| format!("neighbour/{}", it.ip), forwarding::neighbours(vxlan))
        }
        (Doc::Vxlan(vxlan), _) => {
            let names = vxlan.link.iter().map(|link| format!("link/{}", link.device)).collect();
            Page { names, ..one(document, String::new(), forwarding::link(vxlan)) }
        }
        (Doc::RouteList(routes), _) => {
            many(document, &routes.items, |it| format!("route/{}", it.prefix), forwarding::routes(routes))
        }
        (Doc::RouteExplain(found), _) => one(document, format!("address/{}", found.address), explain::sheet(found)),
        (Doc::Config(config), Look::Config { origin: true }) => {
            let mut page = one(document, "config".to_owned(), config::origins(config));
            page.names = config.origins.keys().cloned().collect();
            page
        }
        (Doc::Config(config), _) => one(document, "config".to_owned(), config::text(config)?),
        (other, _) => {
            return Err(Failure::Strange(format!("the daemon answered with a document of kind {}", other.kind())));
        }
    })
}

fn one<'a>(whole: impl Json + Copy + 'a, name: String, body: Body) -> Page<'a> {
    Page { whole: Box::new(whole), items: vec![Box::new(whole)], names: vec![name], body }
}

fn many<'a, T: serde::Serialize>(
    document: &'a Document,
    items: &'a [T],
    name: impl Fn(&T) -> String,
    table: Table,
) -> Page<'a> {
    Page {
        whole: Box::new(document),
        items: items.iter().map(|item| Box::new(item) as Box<dyn Json + 'a>).collect(),
        names: items.iter().map(name).collect(),
        body: Body::Table(table),
    }
}
