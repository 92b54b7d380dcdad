//! What no single key can tell: keys that must fit each other.

use model::config::{BgpListenConfig, BgpPeerConfig, BgpSessionConfig, Config};
use model::reflection::selects;
use model::{ClusterPool, Family, PeerAs, Plane};

use crate::keys::{ROOT, Shape};
use crate::layer::{Item, Walk, expected};

/// Longest path of a unix socket: `sun_path` of unix(7) without its final zero.
const SOCKET_PATH: usize = 107;

/// Checks `config`, made of `root`, which knows the places. `main` stands for the place of what is missing.
pub(crate) fn check(walk: &mut Walk, root: &Item, config: &Config, main: &str) -> Vec<String> {
    required(walk, root, main);
    pools(walk, root, config);
    node(walk, root, config);
    bgp(walk, root, config);
    originate(walk, root, config);
    bfd(walk, root, config);
    ranges(walk, root, config);
    socket(walk, root, config);
    mtus(walk, root, config);
    crate::policies::check(walk, root, config);
    let mut warnings = warnings(config);
    warnings.extend(crate::policies::warnings(config));
    warnings
}

fn socket(walk: &mut Walk, root: &Item, config: &Config) {
    let octets = config.api.socket.as_os_str().len();
    if let Some(item) = root.key("api").and_then(|it| it.key("socket"))
        && octets > SOCKET_PATH
    {
        walk.refuse("api.socket", &item.place, &format!("a path of {octets} octets; expected at most {SOCKET_PATH}"));
    }
}

fn required(walk: &mut Walk, root: &Item, main: &str) {
    let place = crate::layer::Place { source: main.to_owned(), mark: None };
    for field in ROOT.fields().iter().filter(|field| field.required) {
        let failed = walk.failed.iter().any(|key| key.split(['.', '[']).next() == Some(field.key));
        if failed {
            continue;
        }
        let wanted = match field.shape {
            Shape::List(_) => "at least one, for example `pools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]`".to_owned(),
            ref shape => expected(shape),
        };
        match root.key(field.key) {
            None => walk.refuse(field.key, &place, &format!("is missing; expected {wanted}")),
            Some(item) if matches!(&item.what, crate::layer::What::List(list) if list.is_empty()) => {
                walk.refuse(field.key, &item.place, &format!("is empty; expected {wanted}"));
            }
            Some(_) => {}
        }
    }
}

fn pools(walk: &mut Walk, root: &Item, config: &Config) {
    let Some(list) = root.key("pools") else { return };
    for (nth, pool) in config.pools.iter().enumerate() {
        let Some((at, item)) = list.nth(nth) else { continue };
        let place = |key: &str| item.key(key).unwrap_or(item).place.clone();
        if let Err(error) = ClusterPool::new(pool.cidr, pool.node_len) {
            let place = place("nodePrefix");
            walk.failed.insert(format!("pools[{at}].nodePrefix"));
            walk.errors.push(place.error(format!("pools[{at}]: {error}")));
        }
        for (before, other) in
            config.pools.iter().enumerate().take(nth).filter(|(_, other)| other.cidr.overlaps(&pool.cidr))
        {
            let Some((before, it)) = list.nth(before) else { continue };
            let there = it.key("cidr").unwrap_or(it).place.origin();
            let said = format!(
                "{} overlaps {} of pools[{before}] ({there}); expected pools that share no address",
                pool.cidr, other.cidr
            );
            walk.refuse(&format!("pools[{at}].cidr"), &place("cidr"), &said);
        }
    }
}

fn node(walk: &mut Walk, root: &Item, config: &Config) {
    let Some(item) = root.key("node").and_then(|it| it.key("address")) else { return };
    for address in &config.node.addresses {
        if let Some(pool) = config.pools.iter().find(|pool| pool.cidr.holds(address)) {
            let said =
                format!("{address} lies in the pool {}; expected an address of the network below the pods", pool.cidr);
            walk.refuse("node.address", &item.place, &said);
        }
    }
}

fn bgp(walk: &mut Walk, root: &Item, config: &Config) {
    let Some(list) = root.key("bgp").and_then(|it| it.key("peers")) else { return };
    for (nth, peer) in config.bgp.peers.iter().enumerate() {
        let Some((at, item)) = list.nth(nth) else { continue };
        let key = format!("bgp.peers[{at}]");
        let place = |key: &str| item.key(key).unwrap_or(item).place.clone();
        let BgpPeerConfig { address, interface, local_address, .. } = peer;
        let same = |other: &BgpPeerConfig| (&other.address, &other.interface) == (address, interface);
        let before = config.bgp.peers.iter().take(nth).position(same);
        if let Some((before, it)) = before.and_then(|before| list.nth(before)) {
            let there = it.place.origin();
            let (word, who) = match (address, interface) {
                (Some(address), _) => ("address", address.to_string()),
                (None, Some(interface)) => ("interface", interface.to_string()),
                (None, None) => continue,
            };
            let said = format!("{who} is bgp.peers[{before}] too ({there}); expected each {word} once");
            walk.refuse(&format!("{key}.{word}"), &place(word), &said);
        }
        match (address, interface) {
            (None, None) => {
                let said = "is missing; expected the address of the peer, or `interface`: the one that it is behind";
                walk.refuse(&format!("{key}.address"), &item.place, said);
            }
            (Some(_), Some(interface)) => {
                let said = format!(
                    "{interface} beside an address; expected one of the two: behind an interface the peer is found by its \
                     router advertisements"
                );
                walk.refuse(&format!("{key}.interface"), &place("interface"), &said);
            }
            (None, Some(_)) => behind_interface(walk, item, &key, peer),
            (Some(_), None) => {}
        }
        if let Some(address) = address.filter(|address| config.node.addresses.contains(address)) {
            let said = format!("{address} is this node's own node.address; expected the address of another speaker");
            walk.refuse(&format!("{key}.address"), &place("address"), &said);
        }
        session(walk, item, &key, &peer.session, &[peer.asn], config);
        if let Some(address) = address
            && let Some(range) = most_specific(config, |range| range.range.holds(address))
            && let Some(said) = keyed_otherwise(&address.to_string(), &peer.session, range, config)
        {
            walk.refuse(&format!("{key}.address"), &place("address"), &said);
        }
        if let (Some(local), Some(address)) = (local_address, address) {
            if Family::of(local) != Family::of(address) {
                let said = format!("{local} cannot reach {address}; expected an {} address", Family::of(address));
                walk.refuse(&format!("{key}.localAddress"), &place("localAddress"), &said);
            } else if local == address {
                let said = format!("{local} is the peer's own address; expected one of this node");
                walk.refuse(&format!("{key}.localAddress"), &place("localAddress"), &said);
            }
        }
    }
}

/// A prefix that attracts what belongs to another node, or that can never be announced.
fn originate(walk: &mut Walk, root: &Item, config: &Config) {
    let Some(list) = root.key("bgp").and_then(|it| it.key("originate")) else { return };
    for (nth, wanted) in config.bgp.originate.iter().enumerate() {
        let Some((at, item)) = list.nth(nth) else { continue };
        let key = format!("bgp.originate[{at}]");
        let place = |key: &str| item.key(key).unwrap_or(item).place.clone();
        let prefix = wanted.prefix;
        let earlier = config.bgp.originate.iter().take(nth).position(|other| other.prefix == prefix);
        if let Some((before, it)) = earlier.and_then(|before| list.nth(before)) {
            let there = it.place.origin();
            let said = format!("{prefix} is bgp.originate[{before}] too ({there}); expected each prefix once");
            walk.refuse(&format!("{key}.prefix"), &place("prefix"), &said);
        }
        let holds_slices = |pool: &ClusterPool| {
            prefix.covers(&pool.cidr) || (pool.cidr.covers(&prefix) && prefix.len() <= pool.node_len)
        };
        let holds = config.pools.iter().any(holds_slices);
        for (name, on) in [("aggregate", wanted.aggregate), ("summaryOnly", wanted.summary_only)] {
            if on && !holds {
                let said = format!("no pod CIDR can lie inside {prefix}; expected a prefix around slices of a pool");
                walk.refuse(&format!("{key}.{name}"), &place(name), &said);
            }
        }
        let pool = config.pools.iter().find(|pool| pool.cidr.covers(&prefix));
        if let Some(pool) = pool.filter(|_| !wanted.aggregate) {
            let cure = match holds {
                true => {
                    "expected `aggregate: true` beside it, so that it is announced only while a pod CIDR of this node is inside"
                }
                false => "expected a prefix outside the pools: pod CIDRs are announced by themselves",
            };
            let said = format!("{prefix} lies in the pool {}, where pods of other nodes may be; {cure}", pool.cidr);
            walk.refuse(&format!("{key}.prefix"), &place("prefix"), &said);
        }
    }
}

/// What a peer behind an interface cannot have: its address, and with it our own, is found at run time.
fn behind_interface(walk: &mut Walk, item: &Item, key: &str, peer: &BgpPeerConfig) {
    if let (Some(at), Some(local)) = (item.key("localAddress"), peer.local_address) {
        let said = format!("{local} beside an interface; expected none: the session runs between link-local addresses");
        walk.refuse(&format!("{key}.localAddress"), &at.place, &said);
    }
    if let Some(at) = item.key("tcpAoFile") {
        let said = "not possible behind an interface, as the kernel keeps TCP-AO keys by address; expected `address` instead \
                    of `interface`";
        walk.refuse(&format!("{key}.tcpAoFile"), &at.place, said);
    }
    if let Some(at) = item.key("passwordFile") {
        let said = "not possible behind an interface, as the kernel keeps TCP MD5 keys by address; expected `address` \
                    instead of `interface`";
        walk.refuse(&format!("{key}.passwordFile"), &at.place, said);
    }
}

/// BFD profiles that are named must be there.
fn bfd(walk: &mut Walk, root: &Item, config: &Config) {
    let Some(bgp) = root.key("bgp") else { return };
    let mesh =
        config.bgp.mesh_bfd.iter().filter_map(|name| Some(("bgp.meshBfd".to_owned(), bgp.key("meshBfd")?, name)));
    let peers = config.bgp.peers.iter().enumerate().filter_map(|(nth, peer)| {
        let (at, item) = bgp.key("peers")?.nth(nth)?;
        Some((format!("bgp.peers[{at}].bfd"), item.key("bfd")?, peer.session.bfd.as_ref()?))
    });
    let ranges = config.bgp.listen.iter().enumerate().filter_map(|(nth, range)| {
        let (at, item) = bgp.key("listen")?.nth(nth)?;
        Some((format!("bgp.listen[{at}].bfd"), item.key("bfd")?, range.session.bfd.as_ref()?))
    });
    for (key, item, name) in mesh.chain(peers).chain(ranges) {
        // One that was refused has been told of already.
        let refused = walk.failed.iter().any(|failed| failed.starts_with("bgp.bfdProfiles"));
        if config.bgp.bfd_profile(name).is_none() && !refused {
            let place = "bgp.bfdProfiles (default is built in)";
            let said = crate::policies::unknown("BFD profile", name, place, config.bgp.bfd_profiles.keys());
            walk.refuse(&key, &item.place.clone(), &said);
        }
    }
}

fn ranges(walk: &mut Walk, root: &Item, config: &Config) {
    let Some(list) = root.key("bgp").and_then(|it| it.key("listen")) else { return };
    for (nth, range) in config.bgp.listen.iter().enumerate() {
        let Some((at, item)) = list.nth(nth) else { continue };
        let key = format!("bgp.listen[{at}]");
        let place = |key: &str| item.key(key).unwrap_or(item).place.clone();
        if let Some(before) = config.bgp.listen.iter().take(nth).position(|other| other.range == range.range) {
            let Some((before, it)) = list.nth(before) else { continue };
            let there = it.place.origin();
            let said = format!("{} is bgp.listen[{before}] too ({there}); expected each range once", range.range);
            walk.refuse(&format!("{key}.range"), &place("range"), &said);
        }
        if range.asns.is_empty() {
            let said = "an empty list; expected the AS number of the peers, or all that they may have";
            walk.refuse(&format!("{key}.asn"), &place("asn"), said);
        }
        session(walk, item, &key, &range.session, &range.asns, config);
        let around = most_specific(config, |other| other.range != range.range && other.range.covers(&range.range));
        if let Some(said) =
            around.and_then(|around| keyed_otherwise(&range.range.to_string(), &range.session, around, config))
        {
            walk.refuse(&format!("{key}.range"), &place("range"), &said);
        }
    }
}

/// What can be said of sessions, with a peer of one of these AS numbers.
fn session(walk: &mut Walk, item: &Item, key: &str, said: &BgpSessionConfig, asns: &[PeerAs], config: &Config) {
    let place = |key: &str| item.key(key).unwrap_or(item).place.clone();
    let own = config.bgp.local_asn;
    if said.role.is_some() && asns.iter().any(|asn| !asn.is_external(own)) {
        let words =
            format!("AS {own} is our own; expected a peer of another AS, as RFC 9234 knows no roles inside one");
        walk.refuse(&format!("{key}.role"), &place("role"), &words);
    }
    if said.role_strict && said.role.is_none() {
        let list = key.split('[').next().unwrap_or_default();
        let words = format!("true without a role; expected {list}[].role beside it: what this node is to the peer");
        walk.refuse(&format!("{key}.roleStrict"), &place("roleStrict"), &words);
    }
    if let (Some(far), Some(hops)) = (said.multihop, said.ttl_security) {
        let words = format!(
            "{far} beside ttlSecurity {hops}; expected one of them: ttlSecurity alone, with the number of hops, if the \
             peer is set to it as well, else multihop alone"
        );
        walk.refuse(&format!("{key}.multihop"), &place("multihop"), &words);
    }
    if said.password_file.is_some() && said.tcp_ao_file.is_some() {
        let words = "beside passwordFile; expected one of them, as a connection has TCP-AO or TCP MD5 (RFC 5925 section \
                     1): take out what the peer does not use";
        walk.refuse(&format!("{key}.tcpAoFile"), &place("tcpAoFile"), words);
    }
}

/// The most specific of the ranges that `holds` says.
fn most_specific(config: &Config, holds: impl Fn(&BgpListenConfig) -> bool) -> Option<&BgpListenConfig> {
    config.bgp.listen.iter().filter(|range| holds(range)).max_by_key(|range| range.range.len())
}

/// The kernel asks everybody in a range with a key for one of that kind: who has none, or one of the other kind, could
/// not connect.
fn keyed_otherwise(who: &str, said: &BgpSessionConfig, around: &BgpListenConfig, config: &Config) -> Option<String> {
    let here = |said: &BgpSessionConfig| selects(&said.nodes, &config.node.labels);
    let kind = |said: &BgpSessionConfig| match (&said.password_file, &said.tcp_ao_file) {
        (Some(_), _) => Some("passwordFile"),
        (_, Some(_)) => Some("tcpAoFile"),
        _ => None,
    };
    let wanted = kind(&around.session)?;
    if kind(said) == Some(wanted) || !here(said) || !here(&around.session) {
        return None;
    }
    Some(format!(
        "{who} lies in the range {}, where the kernel takes nobody without the key of bgp.listen[].{wanted}; expected a \
         {wanted} here too, or a range that leaves {who} out",
        around.range
    ))
}

/// IPv6 needs links of 1280 octets (RFC 8200, section 5).
fn mtus(walk: &mut Walk, root: &Item, config: &Config) {
    if config.pools.iter().all(|pool| pool.family() == Family::V4) {
        return;
    }
    for (section, mtu) in [("vxlan", config.vxlan.mtu), ("cni", config.cni.mtu)] {
        let item = root.key(section).and_then(|it| it.key("mtu"));
        if let (Some(item), Some(mtu @ ..1280)) = (item, mtu) {
            let said = format!("{mtu}; expected 1280 or more, as a pool is IPv6");
            walk.refuse(&format!("{section}.mtu"), &item.place, &said);
        }
    }
}

fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let alone = config.bgp.peers.is_empty() && config.bgp.listen.is_empty();
    if config.mode == Plane::Native && !config.bgp.mesh && alone {
        warnings
            .push("mode is bgp, but bgp.mesh is false and bgp.peers is empty: no route will ever be learnt".to_owned());
    }
    let used = |name: &String| {
        config.bgp.mesh_bfd.as_ref() == Some(name)
            || config.bgp.peers.iter().any(|it| it.session.bfd.as_ref() == Some(name))
            || config.bgp.listen.iter().any(|it| it.session.bfd.as_ref() == Some(name))
    };
    warnings.extend(
        config.bgp.bfd_profiles.keys().filter(|name| !used(name)).map(|name| {
            format!("bgp.bfdProfiles.{name} is used by no peer: name it in `bfd` of one, or in bgp.meshBfd")
        }),
    );
    for (at, range) in config.bgp.listen.iter().enumerate() {
        if let Some(pool) = config.pools.iter().find(|pool| pool.cidr.overlaps(&range.range)) {
            warnings.push(format!(
                "bgp.listen[{at}].range {} overlaps the pool {}: pods may become BGP peers of their node",
                range.range, pool.cidr
            ));
        }
    }
    if let (Some(link), Some(pods)) = (config.vxlan.mtu, config.cni.mtu)
        && pods > link
    {
        warnings.push(format!(
            "cni.mtu {pods} is larger than vxlan.mtu {link}: the overlay will fragment or drop full-size packets"
        ));
    }
    warnings
}
