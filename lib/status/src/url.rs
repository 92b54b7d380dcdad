//! A query as a URL, written by the client and read by the server.

use std::fmt::Display;
use std::str::FromStr;

use model::PeerId;

use crate::{Query, doc::RouteDirection};

/// Path of the operations.
pub(crate) const OPERATIONS: &str = "/v1/operations";
/// Path of the stream of events.
pub(crate) const MONITOR: &str = "/v1/monitor";
/// Paths of the documents, in the order of [`Query`].
pub(crate) const DOCUMENTS: [&str; 14] = [
    "/v1/status",
    "/v1/nodes",
    "/v1/mode",
    "/v1/ipam",
    "/v1/bgp/peers",
    "/v1/bgp/routes",
    "/v1/bgp/why",
    "/v1/vxlan",
    "/v1/routes",
    "/v1/routes/explain",
    "/v1/config",
    "/v1/metrics",
    "/v1/ready",
    "/v1/bgp/bfd",
];

/// The query as path and parameters. Addresses and prefixes need no percent-encoding in a query (RFC 3986 section 3.4).
pub(crate) fn write(query: &Query) -> String {
    let path = path(query);
    match query {
        Query::BgpRoutes { direction, peer, prefix, limit } => {
            let mut url = format!("{path}?direction={direction}&limit={limit}");
            add(&mut url, "peer", peer.as_ref());
            add(&mut url, "prefix", prefix.as_ref());
            url
        }
        Query::BgpWhy { prefix, direction, peer } => {
            let mut url = format!("{path}?prefix={prefix}&direction={direction}");
            add(&mut url, "peer", peer.as_ref());
            url
        }
        Query::Routes { diff: true } => format!("{path}?diff=true"),
        Query::RouteExplain { address } => format!("{path}?address={address}"),
        _ => path.to_owned(),
    }
}

/// One more parameter, if it is there.
fn add(url: &mut String, name: &str, value: Option<&impl Display>) {
    if let Some(value) = value {
        // A percent sign stands for itself only when encoded (RFC 3986 section 2.4).
        url.push_str(&format!("&{name}={}", value.to_string().replace('%', "%25")));
    }
}

const fn path(query: &Query) -> &'static str {
    let place = match query {
        Query::Status => 0,
        Query::Nodes => 1,
        Query::Mode => 2,
        Query::Ipam => 3,
        Query::BgpPeers => 4,
        Query::BgpRoutes { .. } => 5,
        Query::BgpWhy { .. } => 6,
        Query::Vxlan => 7,
        Query::Routes { .. } => 8,
        Query::RouteExplain { .. } => 9,
        Query::Config => 10,
        Query::Metrics => 11,
        Query::Ready => 12,
        Query::Bfd => 13,
    };
    DOCUMENTS[place]
}

/// Reads path and parameters. `None`: no document has this path. `Err` says what is wrong with the parameters.
pub(crate) fn read(path: &str, parameters: &[(String, String)]) -> Option<Result<Query, String>> {
    let place = DOCUMENTS.iter().position(|document| *document == path)?;
    let known: &[&str] = match place {
        5 => &["direction", "peer", "prefix", "limit"],
        6 => &["prefix", "direction", "peer"],
        8 => &["diff"],
        9 => &["address"],
        _ => &[],
    };
    Some(check(path, known, parameters).and_then(|()| {
        Ok(match place {
            0 => Query::Status,
            1 => Query::Nodes,
            2 => Query::Mode,
            3 => Query::Ipam,
            4 => Query::BgpPeers,
            5 => Query::BgpRoutes {
                direction: parameter(parameters, "direction")?.unwrap_or_default(),
                peer: parameter(parameters, "peer")?,
                prefix: parameter(parameters, "prefix")?,
                limit: limit(parameter(parameters, "limit")?)?,
            },
            6 => why(parameters)?,
            7 => Query::Vxlan,
            8 => Query::Routes { diff: parameter(parameters, "diff")?.unwrap_or(false) },
            9 => Query::RouteExplain {
                address: parameter(parameters, "address")?
                    .ok_or("parameter `address` is missing: the way to where?")?,
            },
            10 => Query::Config,
            11 => Query::Metrics,
            12 => Query::Ready,
            _ => Query::Bfd,
        })
    }))
}

/// Refuses what nobody reads: a misspelled filter that is ignored answers another question than was asked.
pub(crate) fn check(path: &str, known: &[&str], parameters: &[(String, String)]) -> Result<(), String> {
    for (i, (name, _)) in parameters.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let expected = match known {
                [] => "none".to_owned(),
                known => known.join(", "),
            };
            return Err(format!("unknown parameter `{name}` of {path}: expected {expected}"));
        }
        if parameters[..i].iter().any(|(earlier, _)| earlier == name) {
            return Err(format!("parameter `{name}` of {path} is given twice"));
        }
    }
    Ok(())
}

/// One parameter, if it is there.
pub(crate) fn parameter<T: FromStr<Err: Display>>(
    parameters: &[(String, String)],
    name: &str,
) -> Result<Option<T>, String> {
    let Some((_, value)) = parameters.iter().find(|(n, _)| n == name) else { return Ok(None) };
    value.parse().map(Some).map_err(|error| format!("parameter `{name}`: cannot read `{value}`: {error}"))
}

fn why(parameters: &[(String, String)]) -> Result<Query, String> {
    let direction = parameter(parameters, "direction")?.unwrap_or_default();
    let peer: Option<PeerId> = parameter(parameters, "peer")?;
    match (parameter(parameters, "prefix")?, direction) {
        (None, _) => Err("parameter `prefix` is missing: whose paths?".to_owned()),
        (_, RouteDirection::Out) if peer.is_none() => Err("parameter `peer` is missing: who is told?".to_owned()),
        (Some(prefix), direction) => Ok(Query::BgpWhy { prefix, direction, peer }),
    }
}

fn limit(asked: Option<usize>) -> Result<usize, String> {
    match asked {
        None => Ok(Query::DEFAULT_ROUTES),
        Some(limit) if (1..=Query::MAX_ROUTES).contains(&limit) => Ok(limit),
        Some(limit) => Err(format!("parameter `limit`: {limit} is out of range: expected 1 to {}", Query::MAX_ROUTES)),
    }
}

impl Display for RouteDirection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            RouteDirection::Local => "local",
            RouteDirection::In => "in",
            RouteDirection::Out => "out",
        })
    }
}

impl FromStr for RouteDirection {
    type Err = String;

    fn from_str(text: &str) -> Result<RouteDirection, String> {
        match text {
            "local" => Ok(RouteDirection::Local),
            "in" => Ok(RouteDirection::In),
            "out" => Ok(RouteDirection::Out),
            _ => Err("expected local, in or out".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Option<Result<Query, String>> {
        let (path, rest) = url.split_once('?').unwrap_or((url, ""));
        let pairs = rest.split('&').filter_map(|pair| pair.split_once('='));
        read(path, &pairs.map(|(n, v)| (n.to_owned(), v.replace("%25", "%"))).collect::<Vec<_>>())
    }

    #[test]
    fn every_query_survives_its_url() {
        let routes = |direction, peer: Option<&str>, prefix: Option<&str>, limit| Query::BgpRoutes {
            direction,
            peer: peer.map(|p| p.parse().unwrap()),
            prefix: prefix.map(|p| p.parse().unwrap()),
            limit,
        };
        let all = [
            Query::Status,
            Query::Nodes,
            Query::Mode,
            Query::Ipam,
            Query::BgpPeers,
            routes(RouteDirection::Local, None, None, 1),
            routes(RouteDirection::In, Some("fd00::1"), Some("10.244.1.0/24"), 1000),
            routes(RouteDirection::In, Some("fe80::1%eth0"), None, 1000),
            routes(RouteDirection::Out, Some("192.0.2.1"), Some("fd00:10::/64"), Query::MAX_ROUTES),
            Query::BgpWhy {
                prefix: "fd00:10::/64".parse().unwrap(),
                direction: RouteDirection::Out,
                peer: Some("fe80::1%eth0".parse().unwrap()),
            },
            Query::BgpWhy { prefix: "10.244.1.0/24".parse().unwrap(), direction: RouteDirection::Local, peer: None },
            Query::Vxlan,
            Query::Routes { diff: false },
            Query::Routes { diff: true },
            Query::RouteExplain { address: "10.244.2.7".parse().unwrap() },
            Query::RouteExplain { address: "fd00:10:244:2::7".parse().unwrap() },
            Query::Config,
            Query::Metrics,
            Query::Ready,
            Query::Bfd,
        ];
        for query in all {
            assert_eq!(parse(&write(&query)), Some(Ok(query)));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert_eq!(parse("/v1/peers"), None);
        for (url, words) in [
            ("/v1/status?x=1", "unknown parameter `x` of /v1/status: expected none"),
            ("/v1/bgp/routes?limit=0", "parameter `limit`: 0 is out of range: expected 1 to 100000"),
            (
                "/v1/bgp/routes?peers=1",
                "unknown parameter `peers` of /v1/bgp/routes: expected direction, peer, prefix, limit",
            ),
            ("/v1/bgp/why?peer=192.0.2.1", "parameter `prefix` is missing: whose paths?"),
            ("/v1/bgp/why?prefix=10.0.0.0/8&direction=out", "parameter `peer` is missing: who is told?"),
            ("/v1/routes/explain", "parameter `address` is missing: the way to where?"),
            ("/v1/bgp/routes?direction=up", "parameter `direction`: cannot read `up`: expected local, in or out"),
            ("/v1/bgp/routes?limit=1&limit=2", "parameter `limit` of /v1/bgp/routes is given twice"),
            (
                "/v1/bgp/routes?prefix=10.1.2.3/16",
                "parameter `prefix`: cannot read `10.1.2.3/16`: `10.1.2.3/16` has bits set behind its length: did you mean 10.1.0.0/16?",
            ),
        ] {
            assert_eq!(parse(url), Some(Err(words.to_owned())), "{url}");
        }
    }
}
