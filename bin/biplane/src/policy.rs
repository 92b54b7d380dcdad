//! `biplane bgp policy test`: what a policy of the configuration file makes of a route, without a daemon.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bgp::{Policy, Refusal, RouteView};
use clap::{Args, ValueEnum};
use model::config::Config;
use model::policy::{CommunityPattern, LargeCommunityPattern, NextHopChange, RouteOrigin, Verdict};
use model::{Asn, Prefix};
use node::settings::Settings;
use serde::{Deserialize, Serialize};
use wire::{AsPath, Attributes, Segment};

use crate::failure::Failure;
use crate::output::{self, Body, Cell, OutputArgs, Page, Sheet, Table, cell, colour, list, maybe, print};

#[derive(Debug, Args)]
pub(crate) struct PolicyTestArgs {
    /// Name of the policy
    #[arg(required_unless_present = "cases", requires = "prefix")]
    policy: Option<String>,
    /// Prefix of the route
    #[arg(long, value_name = "PREFIX", requires = "policy")]
    prefix: Option<Prefix>,
    /// Its AS_PATH, nearest first: "65001 65002 {65003 65004}"
    #[arg(long, value_name = "ASES", value_parser = as_path)]
    as_path: Option<AsPath>,
    /// A community of it, as 65001:100 or by name; may be given more than once
    #[arg(long, value_name = "COMMUNITY")]
    community: Vec<CommunityPattern>,
    /// A large community of it, as 65001:1:2; may be given more than once
    #[arg(long, value_name = "COMMUNITY")]
    large_community: Vec<LargeCommunityPattern>,
    /// The other end of the session
    #[arg(long, value_name = "ADDRESS", visible_alias = "neighbor")]
    neighbour: Option<IpAddr>,
    /// AS of the other end; that of the peer with this address, or the first of the AS_PATH, if absent
    #[arg(long, value_name = "ASN", visible_alias = "neighbor-asn")]
    neighbour_asn: Option<u32>,
    /// Its next hop
    #[arg(long, value_name = "ADDRESS")]
    next_hop: Option<IpAddr>,
    /// Its MED
    #[arg(long, value_name = "NUMBER")]
    med: Option<u32>,
    /// Its LOCAL_PREF
    #[arg(long, value_name = "NUMBER")]
    local_pref: Option<u32>,
    /// Where it comes from
    #[arg(long, value_enum, default_value_t = Origin::Learned)]
    origin: Origin,
    /// Which way it goes; by default the way for which peers use the policy
    #[arg(long, value_enum, value_name = "WAY")]
    direction: Option<Direction>,
    /// File of cases with what is expected of each, instead of one route
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policy", "prefix"])]
    cases: Option<PathBuf>,
    /// The configuration; `-` for the standard input
    #[arg(long, value_name = "FILE", default_value = Settings::FILE)]
    config: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Origin {
    #[default]
    Learned,
    Pod,
    Originated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Import,
    Export,
}

/// One route to ask about, from flags or from a file of cases.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: Option<String>,
    policy: String,
    prefix: Prefix,
    as_path: Option<String>,
    #[serde(default)]
    communities: Vec<CommunityPattern>,
    #[serde(default)]
    large_communities: Vec<LargeCommunityPattern>,
    neighbour: Option<IpAddr>,
    neighbour_asn: Option<u32>,
    next_hop: Option<IpAddr>,
    med: Option<u32>,
    local_pref: Option<u32>,
    #[serde(default)]
    origin: Origin,
    direction: Option<Direction>,
    expect: Option<Expect>,
}

/// What a case asks of the outcome; what is not given is not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expect {
    verdict: Option<Verdict>,
    /// Name or place of the rule, or `default`.
    rule: Option<String>,
    as_path: Option<String>,
    communities: Option<Vec<CommunityPattern>>,
    large_communities: Option<Vec<LargeCommunityPattern>>,
    med: Option<u32>,
    local_pref: Option<u32>,
    next_hop: Option<NextHopChange>,
}

/// What came of a case.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tested {
    name: String,
    policy: String,
    prefix: Prefix,
    direction: Direction,
    verdict: Verdict,
    /// Name of the rule that decided, its place if it has none, or `default`.
    rule: String,
    /// Why the speaker refuses a route that the policy accepts; `null` if it does not.
    refusal: Option<String>,
    before: Shown,
    /// `null` for a rejected route.
    after: Option<Shown>,
    /// In words, how the outcome is not what was expected.
    failures: Vec<String>,
}

/// Attributes as people write them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    next_hop: Option<String>,
    as_path: String,
    local_pref: Option<u32>,
    med: Option<u32>,
    communities: Vec<String>,
    large_communities: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Items<'a> {
    items: &'a [Tested],
}

pub(crate) fn test(args: PolicyTestArgs) -> Result<(), Failure> {
    let loaded = Settings::of(&args.config).load().map_err(Failure::Unwell)?;
    let policies = bgp::policies(&loaded.config.bgp, &loaded.config.pools);
    let (cases, single) = match &args.cases {
        Some(file) => (read(file)?, false),
        None => (vec![of_flags(&args)], true),
    };
    let tested = cases.iter().map(|case| run(case, &loaded.config, &policies)).collect::<Result<Vec<_>, _>>()?;
    show(&tested, single, &args.output)?;
    let failed = tested.iter().filter(|it| !it.failures.is_empty()).count();
    match (single, failed) {
        (true, _) if tested.iter().any(|it| it.verdict == Verdict::Reject) => {
            Err(Failure::Unwell(tested.iter().map(|it| format!("{} is rejected: {}", it.prefix, why(it))).collect()))
        }
        (false, failed @ 1..) => {
            Err(Failure::Unwell(format!("{} of {} not as expected", failed, output::count(tested.len(), "case"))))
        }
        _ => Ok(()),
    }
}

fn why(tested: &Tested) -> String {
    match &tested.refusal {
        Some(refusal) => refusal.clone(),
        None => format!("policy {}, {}", tested.policy, rule_words(&tested.rule)),
    }
}

fn rule_words(rule: &str) -> String {
    if rule == "default" { rule.to_owned() } else { format!("rule {rule}") }
}

fn of_flags(args: &PolicyTestArgs) -> Case {
    Case {
        name: None,
        policy: args.policy.clone().unwrap_or_default(),
        // clap asks for it with the policy.
        prefix: args.prefix.unwrap_or_else(|| Prefix::host(IpAddr::from([0; 4]))),
        as_path: args.as_path.as_ref().map(AsPath::to_string),
        communities: args.community.clone(),
        large_communities: args.large_community.clone(),
        neighbour: args.neighbour,
        neighbour_asn: args.neighbour_asn,
        next_hop: args.next_hop,
        med: args.med,
        local_pref: args.local_pref,
        origin: args.origin,
        direction: args.direction,
        expect: None,
    }
}

fn read(file: &Path) -> Result<Vec<Case>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Unwell(format!("cannot read {}: {error}", file.display())))?;
    parse(&text).map_err(|error| Failure::Unwell(format!("{}: {error}", file.display())))
}

/// A list of cases; each must say what it expects.
fn parse(text: &str) -> Result<Vec<Case>, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    let cases: Vec<Case> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.without_snippet().to_string())?;
    if cases.is_empty() {
        return Err("no cases; expected a list, for example \
                    `[{policy: from-tor, prefix: 0.0.0.0/0, expect: {verdict: accept}}]`"
            .to_owned());
    }
    match cases.iter().position(|case| case.expect.is_none()) {
        Some(at) => Err(format!("case {} has no `expect`: say at least `expect: {{verdict: accept}}`", at + 1)),
        None => Ok(cases),
    }
}

fn run(case: &Case, config: &Config, policies: &BTreeMap<String, Arc<Policy>>) -> Result<Tested, Failure> {
    let name = case.name.clone().unwrap_or_else(|| format!("{} {}", case.policy, case.prefix));
    let Some(policy) = policies.get(&case.policy) else {
        let known: Vec<&str> = policies.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        return Err(Failure::NotFound(format!(
            "no policy `{}` in bgp.policies of the configuration: {known}",
            case.policy
        )));
    };
    let exact = |what: String| Failure::Unwell(format!("{name}: {what} is a pattern; a route has exact ones"));
    let communities = case.communities.iter().map(|it| it.exact().ok_or_else(|| exact(it.to_string())));
    let large = case.large_communities.iter().map(|it| it.exact().ok_or_else(|| exact(it.to_string())));
    let path = as_path(case.as_path.as_deref().unwrap_or_default())
        .map_err(|error| Failure::Unwell(format!("{name}: {error}")))?;
    let attributes = Attributes {
        communities: communities.collect::<Result<_, _>>()?,
        large_communities: large.collect::<Result<_, _>>()?,
        med: case.med,
        local_pref: case.local_pref,
        as_path: path,
        ..Attributes::default()
    };
    let direction = case.direction.unwrap_or_else(|| used_for(config, &case.policy));
    let neighbour = case.neighbour.unwrap_or(IpAddr::from([0; 4]));
    let known = config.bgp.peers.iter().find(|peer| peer.address == Some(neighbour));
    let known = known.and_then(|peer| peer.asn.number(config.bgp.local_asn));
    let asn = case.neighbour_asn.map(Asn).or(known).or(attributes.as_path.first()).unwrap_or(config.bgp.local_asn);
    let route = RouteView {
        prefix: case.prefix,
        attributes: &attributes,
        next_hop: case.next_hop.or(case.neighbour.filter(|_| case.origin == Origin::Learned)),
        neighbour,
        neighbour_asn: asn,
        origin: match case.origin {
            Origin::Learned => RouteOrigin::Learned,
            Origin::Pod => RouteOrigin::Pod,
            Origin::Originated => RouteOrigin::Originated,
        },
        prepend: if direction == Direction::Import { asn } else { config.bgp.local_asn },
    };
    let outcome = policy.evaluate(&route);
    let refusal = Some(outcome.named)
        .filter(|_| outcome.is_accepted() && direction == Direction::Import)
        .and_then(|named| Refusal::unnamed(&case.prefix, named, &config.service_cidrs));
    let verdict = if refusal.is_some() { Verdict::Reject } else { outcome.verdict };
    let rules = &config.bgp.policies.get(&case.policy).map(|it| it.rules.as_slice()).unwrap_or_default();
    let rule = match outcome.rule {
        Some(at) => rules.get(at).and_then(|rule| rule.name.clone()).unwrap_or_else(|| (at + 1).to_string()),
        None => "default".to_owned(),
    };
    let before = shown(&attributes, route.next_hop.map(|hop| hop.to_string()));
    let hop = outcome.next_hop.map(|hop| hop.to_string()).or(before.next_hop.clone());
    let after = (verdict == Verdict::Accept).then(|| shown(&outcome.attributes, hop));
    let mut tested = Tested {
        name,
        policy: case.policy.clone(),
        prefix: case.prefix,
        direction,
        verdict,
        rule,
        refusal: refusal.map(|refusal| refusal.to_string()),
        before,
        after,
        failures: Vec::new(),
    };
    tested.failures = case.expect.as_ref().map(|expect| failures(expect, &tested)).unwrap_or_default();
    Ok(tested)
}

/// The way for which peers use a policy; import if both or neither.
fn used_for(config: &Config, policy: &str) -> Direction {
    let bgp = &config.bgp;
    let is = |name: &Option<String>| name.as_deref() == Some(policy);
    let import = is(&bgp.mesh_import) || bgp.peers.iter().any(|peer| is(&peer.session.import));
    let export = is(&bgp.mesh_export) || bgp.peers.iter().any(|peer| is(&peer.session.export));
    if export && !import { Direction::Export } else { Direction::Import }
}

fn shown(attributes: &Attributes, next_hop: Option<String>) -> Shown {
    let community = |number: &u32| {
        CommunityPattern { high: Some((number >> 16) as u16), low: Some((number & 0xffff) as u16) }.to_string()
    };
    Shown {
        next_hop,
        as_path: attributes.as_path.to_string(),
        local_pref: attributes.local_pref,
        med: attributes.med,
        communities: attributes.communities.iter().map(community).collect(),
        large_communities: attributes.large_communities.iter().map(|[a, b, c]| format!("{a}:{b}:{c}")).collect(),
    }
}

fn failures(expect: &Expect, tested: &Tested) -> Vec<String> {
    let mut failures = Vec::new();
    let mut check = |what: &str, wanted: Option<String>, got: String| {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != got) {
            failures.push(format!("{what}: want {}, got {}", or_none(&wanted), or_none(&got)));
        }
    };
    check("verdict", expect.verdict.map(|it| it.to_string()), tested.verdict.to_string());
    check("rule", expect.rule.clone(), tested.rule.clone());
    let words = |it: Option<u32>| it.map(|it| it.to_string()).unwrap_or_default();
    let after = tested.after.as_ref();
    let sorted = |mut texts: Vec<String>| {
        texts.sort();
        texts.join(",")
    };
    let texts = |patterns: &[CommunityPattern]| sorted(patterns.iter().map(ToString::to_string).collect());
    let large = |patterns: &[LargeCommunityPattern]| sorted(patterns.iter().map(ToString::to_string).collect());
    check("asPath", expect.as_path.clone(), after.map(|it| it.as_path.clone()).unwrap_or_default());
    check("localPref", expect.local_pref.map(|it| it.to_string()), words(after.and_then(|it| it.local_pref)));
    check("med", expect.med.map(|it| it.to_string()), words(after.and_then(|it| it.med)));
    let got = after.map(|it| sorted(it.communities.clone())).unwrap_or_default();
    check("communities", expect.communities.as_deref().map(texts), got);
    let got = after.map(|it| sorted(it.large_communities.clone())).unwrap_or_default();
    check("largeCommunities", expect.large_communities.as_deref().map(large), got);
    let got = after.and_then(|it| it.next_hop.clone()).unwrap_or_default();
    check("nextHop", expect.next_hop.map(|it| it.to_string()), got);
    failures
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// `65001 65002 {65003 65004}`, commas are spaces.
fn as_path(text: &str) -> Result<AsPath, String> {
    let wrong =
        |word: &str| format!("`{word}` in the AS path; expected AS numbers, sets in braces: 65001 65002 {{65003}}");
    let spaced = text.replace(',', " ").replace('{', " { ").replace('}', " } ");
    let (mut segments, mut ases, mut in_set) = (Vec::new(), Vec::new(), false);
    for word in spaced.split_whitespace() {
        match (word, in_set) {
            ("{", false) | ("}", true) => {
                let done = std::mem::take(&mut ases);
                if !done.is_empty() {
                    segments.push(if in_set { Segment::Set(done) } else { Segment::Sequence(done) });
                }
                in_set = !in_set;
            }
            (number, _) => ases.push(Asn(number.parse().map_err(|_| wrong(number))?)),
        }
    }
    if in_set {
        return Err(wrong("{"));
    }
    if !ases.is_empty() {
        segments.push(Segment::Sequence(ases));
    }
    Ok(AsPath(segments))
}

fn show(tested: &[Tested], single: bool, args: &OutputArgs) -> Result<(), Failure> {
    let verdict = |it: &Tested| Cell::judged(it.verdict, it.verdict == Verdict::Accept);
    let names = tested.iter().map(|it| it.name.clone()).collect();
    let items = tested.iter().map(|it| Box::new(it) as Box<dyn output::erased::Json + '_>).collect();
    let text = match tested {
        [one] if single => {
            let mut sheet = Sheet::default();
            sheet.line("Policy", cell(&one.policy));
            sheet.line("Prefix", cell(one.prefix));
            sheet.line("Verdict", verdict(one));
            sheet.line("Decided by", cell(rule_words(&one.rule)));
            if let Some(refusal) = &one.refusal {
                sheet.line("But", cell(refusal));
            }
            let mut table = Table::new(&["ATTRIBUTE", "BEFORE", "AFTER"], &[]);
            let after = one.after.as_ref();
            let rows = [
                ("next hop", maybe(one.before.next_hop.as_ref()), maybe(after.and_then(|it| it.next_hop.as_ref()))),
                ("AS path", cell(&one.before.as_path), maybe(after.map(|it| &it.as_path))),
                ("LOCAL_PREF", maybe(one.before.local_pref), maybe(after.and_then(|it| it.local_pref))),
                ("MED", maybe(one.before.med), maybe(after.and_then(|it| it.med))),
                (
                    "communities",
                    list(&one.before.communities),
                    list(after.map(|it| &it.communities).into_iter().flatten()),
                ),
                (
                    "large communities",
                    list(&one.before.large_communities),
                    list(after.map(|it| &it.large_communities).into_iter().flatten()),
                ),
            ];
            table.rows.extend(rows.map(|(name, before, after)| vec![cell(name), before, after]));
            let body = Body::Parts(sheet, vec![("Attributes", table)]);
            let whole = output::Single::new("PolicyTest", one);
            Page { whole: Box::new(&whole), items, names, body }.render(args, colour())?
        }
        _ => {
            let mut table = Table::new(&["CASE", "POLICY", "PREFIX", "VERDICT", "RULE", "RESULT"], &[]);
            for it in tested {
                let result = if it.failures.is_empty() { "ok".to_owned() } else { it.failures.join("; ") };
                table.rows.push(vec![
                    cell(&it.name),
                    cell(&it.policy),
                    cell(it.prefix),
                    verdict(it),
                    cell(&it.rule),
                    Cell::judged(result, it.failures.is_empty()),
                ]);
            }
            let whole = output::Single::new("PolicyTestList", Items { items: tested });
            Page { whole: Box::new(&whole), items, names, body: Body::Table(table) }.render(args, colour())?
        }
    };
    Ok(print(&text)?)
}

#[cfg(test)]
mod tests;
