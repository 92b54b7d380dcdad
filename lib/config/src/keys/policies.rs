//! The table's part on policies.

use super::{Field, Shape, field, leaf, needed, section};
use crate::leaf::Leaf;

const LENGTH: Leaf = Leaf::Int { min: 0, max: 128, unit: "" };
const METRIC: Leaf = Leaf::Int { min: 0, max: u32::MAX as u64, unit: "" };

const RANGES: Shape = Shape::List(&Shape::Section { fields: RANGE, short: Some("prefix") });

pub(super) const PREFIX_SETS: Shape = Shape::Map(&RANGES);

const RANGE: &[Field] = &[
    needed("prefix", Leaf::Prefix, "Whatever matches lies in here; without `ge` and `le` it is this prefix alone."),
    leaf("ge", LENGTH, "Shortest length that matches; the longest is then the family's."),
    leaf("le", LENGTH, "Longest length that matches; the shortest is then the prefix's own."),
];

pub(super) const POLICIES: Shape = Shape::Map(&Shape::Section { fields: POLICY, short: None });

const POLICY: &[Field] = &[
    field("rules", Shape::List(&Shape::Section { fields: RULE, short: None }), "Rules, looked at in order."),
    leaf("default", Leaf::Word(&["accept", "reject"]), "What becomes of a route that no rule decides about; reject."),
];

const RULE: &[Field] = &[
    leaf("name", Leaf::Name, "Name, in `--why` and in tests; its place in the policy if absent."),
    section(
        "match",
        MATCH,
        "What is asked of a route; all of it must hold. A rule that asks nothing matches every route.",
    ),
    section("set", SET, "What is changed on a route that matches."),
    needed("then", Leaf::Word(&["accept", "reject", "next"]), "What follows: a verdict, or a look at the next rule."),
];

const MATCH: &[Field] = &[
    field(
        "prefixes",
        Shape::Or(Leaf::Name, &RANGES),
        "The prefix is one of a set of `bgp.prefixSets` (or of `podCidrs`: every slice of every pool), or of this list.",
    ),
    field(
        "communities",
        Shape::Section { fields: COMMUNITY_MATCH, short: Some("any") },
        "Communities: `65001:100`, `65001:*`, or by name; a list alone is `any`.",
    ),
    field(
        "largeCommunities",
        Shape::Section { fields: LARGE_COMMUNITY_MATCH, short: Some("any") },
        "Large communities: `65001:1:2`, `65001:*:*`; a list alone is `any`.",
    ),
    section("asPath", AS_PATH, "The AS_PATH."),
    section("neighbour", NEIGHBOUR, "The other end of the session."),
    field(
        "origin",
        Shape::Some(&Shape::Leaf(Leaf::Word(model::policy::RouteOrigin::WORDS))),
        "Where the route comes from.",
    ),
    leaf("family", Leaf::Word(&["ipv4", "ipv6"]), "Family of the prefix."),
    field(
        "nextHop",
        Shape::Some(&Shape::Leaf(Leaf::Hosts)),
        "The next hop lies in one of these; own routes have none.",
    ),
];

const fn patterns(leaf: &'static Shape) -> Shape {
    Shape::Some(leaf)
}

pub(super) const COMMUNITY: Shape = Shape::Leaf(Leaf::Community { exact: true });
const COMMUNITIES: Shape = Shape::Leaf(Leaf::Community { exact: false });
pub(super) const LARGE_COMMUNITY: Shape = Shape::Leaf(Leaf::LargeCommunity { exact: true });
const LARGE_COMMUNITIES: Shape = Shape::Leaf(Leaf::LargeCommunity { exact: false });
const ANY: &str = "At least one of these is there.";
const ALL: &str = "Each of these is there.";
const NONE: &str = "None of these is there.";
const ADD: &str = "Put there, once each.";
const REMOVE: &str = "Taken away.";
const REPLACE: &str = "All that were there go, and these come.";

const COMMUNITY_MATCH: &[Field] = &[
    field("any", patterns(&COMMUNITIES), ANY),
    field("all", patterns(&COMMUNITIES), ALL),
    field("none", patterns(&COMMUNITIES), NONE),
];

const LARGE_COMMUNITY_MATCH: &[Field] = &[
    field("any", patterns(&LARGE_COMMUNITIES), ANY),
    field("all", patterns(&LARGE_COMMUNITIES), ALL),
    field("none", patterns(&LARGE_COMMUNITIES), NONE),
];

const AS_PATH: &[Field] = &[
    field("contains", Shape::Some(&Shape::Leaf(Leaf::Asn)), "One of these ASes is on it."),
    field("origin", Shape::Some(&Shape::Leaf(Leaf::Asn)), "One of these is its last AS: where the prefix comes from."),
    field("neighbour", Shape::Some(&Shape::Leaf(Leaf::Asn)), "One of these is its first AS: who told us."),
    section("length", COUNT, "Number of ASes on it; a set counts one."),
];

const COUNT: &[Field] = &[
    leaf("ge", Leaf::Int { min: 0, max: 100_000, unit: "" }, "At least."),
    leaf("le", Leaf::Int { min: 0, max: 100_000, unit: "" }, "At most."),
];

const NEIGHBOUR: &[Field] = &[
    field("address", Shape::Some(&Shape::Leaf(Leaf::Address)), "It has one of these addresses."),
    field("asn", Shape::Some(&Shape::Leaf(Leaf::Asn)), "It is in one of these ASes."),
];

const SET: &[Field] = &[
    leaf("localPref", METRIC, "LOCAL_PREF; higher is better."),
    leaf("med", METRIC, "MULTI_EXIT_DISC; lower is better."),
    field(
        "communities",
        Shape::Section { fields: COMMUNITY_CHANGE, short: Some("add") },
        "Changes to the communities: replace, then remove, then add; a list alone is `add`.",
    ),
    field(
        "largeCommunities",
        Shape::Section { fields: LARGE_COMMUNITY_CHANGE, short: Some("add") },
        "Changes to the large communities: replace, then remove, then add; a list alone is `add`.",
    ),
    field("prepend", Shape::Section { fields: PREPEND, short: Some("times") }, "ASes put in front of the AS_PATH."),
    leaf("nextHop", Leaf::NextHop, "Next hop: self (exports only), keep, or an address."),
];

const COMMUNITY_CHANGE: &[Field] = &[
    field("add", patterns(&COMMUNITY), ADD),
    field("remove", patterns(&COMMUNITIES), REMOVE),
    field("replace", patterns(&COMMUNITY), REPLACE),
];

const LARGE_COMMUNITY_CHANGE: &[Field] = &[
    field("add", patterns(&LARGE_COMMUNITY), ADD),
    field("remove", patterns(&LARGE_COMMUNITIES), REMOVE),
    field("replace", patterns(&LARGE_COMMUNITY), REPLACE),
];

const PREPEND: &[Field] = &[
    leaf("asn", Leaf::Asn, "Which AS; our own on export, the peer's on import, if absent."),
    leaf(
        "times",
        Leaf::Int { min: 1, max: model::policy::Prepend::MOST as u64, unit: "" },
        "How often; once if absent.",
    ),
];
