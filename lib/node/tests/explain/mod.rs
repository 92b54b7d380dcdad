//! `biplane route explain` and `bgp routes --why` on whole daemons: what they say is what the kernels hold.

use std::time::Duration;

use model::Plane;
use model::config::Config;
use model::kernel::{Device, Foreign, Key, Value, Via};
use status::Query;
use status::doc::{BgpRoutes, Doc, ExplainDoc, ExplainVerdict, ObjectState, RouteDirection, RouteVerdict};

use crate::sim::World;
use crate::{MINUTE, settled};

fn ask(world: &World, node: usize, query: &Query) -> Result<Doc, String> {
    let core = world.nodes[node].core.as_ref().unwrap();
    match core.query(world.now, jiff::Timestamp::UNIX_EPOCH, query, &Default::default()) {
        status::Answer::Doc(doc) => Ok(*doc),
        status::Answer::Refused(why) => Err(why),
        status::Answer::Said(words) => panic!("{words}"),
    }
}

fn explain(world: &World, node: usize, address: &str) -> ExplainDoc {
    match ask(world, node, &Query::RouteExplain { address: address.parse().unwrap() }) {
        Ok(Doc::RouteExplain(found)) => *found,
        other => panic!("{other:?}"),
    }
}

fn why(
    world: &World,
    node: usize,
    text: &str,
    direction: RouteDirection,
    peer: Option<&str>,
) -> Result<BgpRoutes, String> {
    let (prefix, peer) = (text.parse().unwrap(), peer.map(|peer| peer.parse().unwrap()));
    match ask(world, node, &Query::BgpWhy { prefix, direction, peer })? {
        Doc::BgpRouteList(routes) => Ok(routes),
        other => panic!("{other:?}"),
    }
}

/// An address among the pods of another node, of each family, with the pod CIDR.
fn pods_of(world: &World, seen_from: usize, node: usize) -> Vec<(String, String)> {
    let name = world.nodes[node].name.to_string();
    let Ok(Doc::NodeList(nodes)) = ask(world, seen_from, &Query::Nodes) else { panic!() };
    let node = nodes.items.into_iter().find(|it| it.name.to_string() == name).unwrap();
    let cidrs = node.pod_cidrs.iter().map(|it| it.pod_cidr);
    cidrs.map(|cidr| (cidr.first_pod().unwrap().to_string(), cidr.to_string())).collect()
}

#[test]
fn a_pods_address_is_explained_on_either_plane() {
    let mut world = World::new(3, 3, |_| {});
    settled(&mut world, Plane::Overlay);
    for (address, cidr) in pods_of(&world, 0, 1) {
        let found = explain(&world, 0, &address);
        assert_eq!(found.verdict, ExplainVerdict::Carried, "{found:#?}");
        assert_eq!(found.summary, format!("{address} goes to node n1 by vxlan"));
        assert_eq!(found.problems, Vec::<String>::new());
        assert_eq!(found.claim.as_ref().unwrap().pod_cidr.to_string(), cidr);
        let carry = found.carry.as_ref().unwrap();
        assert_eq!((carry.plane, carry.preferred, carry.fallback), (Some(Plane::Overlay), Plane::Overlay, false));
        assert!(carry.planes[0].usable && !carry.planes[1].usable, "{carry:?}");
        assert_eq!(carry.planes[1].why.as_deref(), Some("the native plane does not stand here"));
        let overlay = found.overlay.as_ref().unwrap();
        assert_eq!(
            overlay.fdb.as_ref().map(|it| (it.dst, it.state)),
            Some(("10.0.0.2".parse().unwrap(), ObjectState::Ok))
        );
        assert_eq!(overlay.neighbour.as_ref().map(|it| it.state), Some(ObjectState::Ok));
        assert!(found.paths.is_empty());
    }
    world.switch(0, Plane::Native);
    settled(&mut world, Plane::Native);
    for (address, cidr) in pods_of(&world, 0, 1) {
        let found = explain(&world, 0, &address);
        assert_eq!(found.summary, format!("{address} goes to node n1 by bgp"));
        assert_eq!((found.overlay.is_none(), found.problems.len()), (true, 0));
        assert_eq!(found.hops.len(), 1);
        assert_eq!(found.hops[0].device.as_str(), "eth0");
        assert_eq!(found.bgp_prefix.map(|prefix| prefix.to_string()), Some(cidr));
        assert_eq!(found.paths[0].why, "best: the only path");
    }
}

#[test]
fn addresses_that_lead_nowhere_are_explained_too() {
    let mut world = World::new(4, 2, |_| {});
    settled(&mut world, Plane::Overlay);
    let own = pods_of(&world, 0, 0).remove(0).0;
    let verdict = |address: &str| {
        let found = explain(&world, 0, address);
        (found.verdict, found.summary)
    };
    assert_eq!(verdict("10.0.0.1"), (ExplainVerdict::Local, "10.0.0.1 is an address of this host, on eth0".into()));
    assert_eq!(verdict(&own).0, ExplainVerdict::Own);
    let (free, words) = verdict("10.244.255.9");
    assert_eq!(free, ExplainVerdict::Unclaimed);
    assert!(words.starts_with("no node claims a pod CIDR of pool 10.244.0.0/16 that holds 10.244.255.9; "), "{words}");
    for address in ["192.0.2.9", "2001:db8::9"] {
        let (outside, words) = verdict(address);
        assert_eq!(outside, ExplainVerdict::Outside);
        assert!(words.contains(&format!("{address} is in no pool, and no route of ours leads there")), "{words}");
    }
    assert_eq!(verdict("224.0.0.5").0, ExplainVerdict::Outside);
}

#[test]
fn a_kernel_that_is_not_as_wanted_is_told_of() {
    let mut world = World::new(5, 2, |_| {});
    settled(&mut world, Plane::Overlay);
    let (address, cidr) = pods_of(&world, 0, 1).remove(0);
    let prefix: model::Prefix = cidr.parse().unwrap();
    // Somebody bends our route; before it is set right again, the answer says what the kernel really has.
    let eth0 = Device::new("eth0").unwrap();
    let bent = Value::Route { via: Via::hop(Some("10.0.0.9".parse().unwrap()), eth0), src: None };
    let changed = kernel::Event::Changed(Key::Route(prefix), Some(bent));
    world.hold_writes(0, true);
    world.say(0, node::Event::Kernel(changed));
    let found = explain(&world, 0, &address);
    assert_eq!(found.routes[0].state, ObjectState::Differs);
    assert_eq!(found.routes[0].actual.as_deref(), Some("via 10.0.0.9 dev eth0"));
    assert!(found.problems[0].contains("the kernel has via 10.0.0.9 dev eth0"), "{:?}", found.problems);
    world.hold_writes(0, false);
    world.run_for(MINUTE);
    assert_eq!(explain(&world, 0, &address).problems, Vec::<String>::new(), "it is repaired");
    // A wider route of somebody else's is in nobody's way.
    let wide = Foreign { key: Key::Route("10.244.0.0/16".parse().unwrap()), what: "protocol static".to_owned() };
    world.say(0, node::Event::Kernel(kernel::Event::Foreign(wide)));
    let found = explain(&world, 0, &address);
    assert_eq!((found.verdict, found.routes.len(), found.problems.len()), (ExplainVerdict::Carried, 2, 0));
    // A more specific route of somebody else's takes the packets.
    let inside = model::Prefix::new(prefix.address(), prefix.len() + 1).unwrap();
    let what = "protocol static, metric 0, via 10.0.0.77 dev eth0".to_owned();
    let foreign = Foreign { key: Key::Route(inside), what };
    world.say(0, node::Event::Kernel(kernel::Event::Foreign(foreign)));
    let found = explain(&world, 0, &address);
    assert_eq!(found.verdict, ExplainVerdict::Foreign);
    assert!(found.summary.contains("a route that is not ours takes it: "), "{}", found.summary);
    assert_eq!(found.routes.len(), 3);
}

/// The peer's session and what it tells are gone: native is no longer usable, and the answer says for what reason.
#[test]
fn the_fallback_and_its_reason_are_explained() {
    let mut world = World::new(6, 2, |config| {
        config.mode = Plane::Native;
        config.fallback = true;
        config.bgp.graceful_restart.enabled = false;
        config.bgp.stale_time = Some(Duration::from_secs(1));
    });
    world.run_until(5 * MINUTE, |world| world.all_on(Plane::Native));
    world.run_for(MINUTE);
    let (address, cidr) = pods_of(&world, 0, 1).remove(0);
    let peer = "10.0.0.2";
    let routes = why(&world, 0, &cidr, RouteDirection::In, Some(peer)).unwrap();
    assert_eq!((routes.items.len(), routes.items[0].verdict), (1, Some(RouteVerdict::Best)));
    let own = pods_of(&world, 0, 0).remove(0).1;
    let told = why(&world, 0, &own, RouteDirection::Out, Some(peer)).unwrap();
    assert_eq!((told.items[0].verdict, told.items[0].why.as_str()), (Some(RouteVerdict::Announced), "announced"));
    let back = why(&world, 0, &cidr, RouteDirection::Out, Some(peer)).unwrap();
    assert_eq!((back.items[0].verdict, back.items[0].step.as_deref()), (Some(RouteVerdict::Withheld), Some("back")));
    let error = why(&world, 0, &own, RouteDirection::Out, Some("10.0.0.77")).unwrap_err();
    assert_eq!(error, "no peer 10.0.0.77; there are 10.0.0.2");
    let nothing = why(&world, 0, "10.244.200.128/25", RouteDirection::Local, None).unwrap();
    assert_eq!((nothing.items.len(), nothing.around), (0, None));
    let down = status::Operation::BgpPeer { peer: peer.parse().unwrap(), up: false, text: String::new() };
    world.say(0, node::Event::Operator(77, down));
    world.run_for(MINUTE);
    let found = explain(&world, 0, &address);
    let carry = found.carry.as_ref().unwrap();
    assert_eq!((found.verdict, carry.plane, carry.fallback), (ExplainVerdict::Carried, Some(Plane::Overlay), true));
    let words = format!("{address} goes to node n1 by vxlan, as the fallback: ");
    assert!(found.summary.starts_with(&words), "{}", found.summary);
    assert!(carry.why.is_some() && !carry.planes[1].usable, "{carry:?}");
}

/// Two routers' worth of daemons, each a plain iBGP peer of the other: what one is not told, it does not even refuse.
fn with_service(config: &mut Config) {
    config.mode = Plane::Native;
    config.bgp.mesh = false;
    let text = "mode: bgp\npools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]\nbgp:\n  peers: [{address: 10.0.0.1, asn: 64512}, \
                {address: 10.0.0.2, asn: 64512}]\n  originate: [{prefix: 198.51.100.7/32, suppressed: true}]\n";
    let source = config::Source { name: "f".to_owned(), text: config::Text::Yaml(text.to_owned()) };
    let loaded = config::load(&[source]).unwrap().config;
    config.bgp.originate = loaded.bgp.originate;
    config.bgp.peers = loaded.bgp.peers;
    config.bgp.peers.retain(|peer| peer.address.is_none_or(|address| !config.node.addresses.contains(&address)));
}

/// Nothing is announced before it is said that it can be forwarded; what no longer can is withdrawn; a restarted daemon
/// waits for the word again; and the run replays.
#[test]
fn a_service_is_announced_only_while_it_can_be_forwarded() {
    let mut world = World::recorded_with(8, 2, with_service);
    world.run_until(5 * MINUTE, |world| world.all_on(Plane::Native));
    const SERVICE: &str = "198.51.100.7/32";
    // Whatever node 0 tells is at least refused there, as it is no slice.
    let heard = |world: &World| why(world, 1, SERVICE, RouteDirection::In, Some("10.0.0.1")).unwrap().items.len();
    let said = |world: &World| why(world, 0, SERVICE, RouteDirection::Out, Some("10.0.0.2")).unwrap().items.remove(0);
    world.run_for(MINUTE);
    assert_eq!(heard(&world), 0);
    assert_eq!(said(&world).step.as_deref(), Some("heldBack"));
    let advertise = |on| node::Event::Advertise { prefix: SERVICE.parse().unwrap(), on };
    let operate = |on| node::Event::Operator(7, status::Operation::Advertise { prefix: SERVICE.parse().unwrap(), on });
    for (tell, on) in
        [(advertise(true), true), (advertise(false), false), (operate(true), true), (operate(false), false)]
    {
        world.say(0, tell);
        world.run_for(MINUTE);
        assert_eq!(heard(&world), usize::from(on));
        assert_eq!(said(&world).verdict == Some(RouteVerdict::Announced), on);
    }
    world.say(0, operate(true));
    world.run_for(MINUTE);
    // Another configuration changes nothing about it; without the prefix it goes, and a prefix that comes anew is held.
    world.configure(0, |config| config.bgp.originate[0].med = Some(7));
    world.run_for(MINUTE);
    assert_eq!(heard(&world), 1);
    world.kill(0);
    world.start(0);
    world.run_until(5 * MINUTE, |world| world.all_on(Plane::Native));
    world.run_for(5 * MINUTE);
    assert_eq!(heard(&world), 0, "the new process has not been told yet");
    for node in &world.nodes {
        for tape in &node.tapes {
            assert_eq!(node::record::replay(&tape.bytes()[..]).unwrap().1, None);
        }
    }
}
