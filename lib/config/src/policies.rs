//! Policies: names that must be there, ranges that must hold something, and what cannot be meant.

use model::config::{BgpConfig, Config};
use model::policy::{NextHopChange, PrefixRange, Prefixes, RuleMatch, Then};

use crate::layer::{Item, Walk};
use crate::meant;

pub(crate) fn check(walk: &mut Walk, root: &Item, config: &Config) {
    let Some(bgp) = root.key("bgp") else { return };
    sets(walk, bgp, &config.bgp);
    for (name, policy) in &config.bgp.policies {
        let Some(item) = bgp.key("policies").and_then(|it| it.key(name)) else { continue };
        rules(walk, item, name, policy, &config.bgp);
    }
    for reference in references(&config.bgp) {
        refers(walk, bgp, &config.bgp, &reference);
    }
}

/// What is allowed but hardly meant.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let bgp = &config.bgp;
    let mut warnings = Vec::new();
    for (name, policy) in &bgp.policies {
        if !references(bgp).iter().any(|reference| reference.policy == name) {
            warnings.push(format!("bgp.policies.{name} is used by no peer: name it in `import` or `export` of one"));
        }
        let all = policy.rules.iter().position(|rule| rule.matches == RuleMatch::default() && rule.then != Then::Next);
        if let Some(at) = all.filter(|at| at + 1 < policy.rules.len()) {
            warnings.push(format!(
                "bgp.policies.{name}.rules[{at}] matches every route: the rules behind it are never looked at"
            ));
        }
    }
    warnings
}

/// A name of a policy somewhere.
struct Reference<'a> {
    policy: &'a str,
    /// In which list, `peers` or `listen`, if in one's item; its place there.
    item: Option<(&'static str, usize)>,
    key: &'static str,
    import: bool,
}

fn references(bgp: &BgpConfig) -> Vec<Reference<'_>> {
    let mesh = [("meshImport", &bgp.mesh_import, true), ("meshExport", &bgp.mesh_export, false)].into_iter();
    let mesh = mesh.map(|(key, policy, import)| (None, key, policy, import));
    let peers = bgp.peers.iter().enumerate().map(|(at, peer)| (("peers", at), &peer.session));
    let ranges = bgp.listen.iter().enumerate().map(|(at, range)| (("listen", at), &range.session));
    let sessions = peers.chain(ranges).flat_map(|(item, session)| {
        [(Some(item), "import", &session.import, true), (Some(item), "export", &session.export, false)]
    });
    let all = mesh.chain(sessions);
    all.filter_map(|(item, key, policy, import)| Some(Reference { policy: policy.as_deref()?, item, key, import }))
        .collect()
}

fn refers(walk: &mut Walk, bgp: &Item, config: &BgpConfig, reference: &Reference<'_>) {
    let Reference { policy: name, item, key, import } = reference;
    let (owner, item) = match item {
        None => ("bgp".to_owned(), Some(bgp)),
        Some((list, nth)) => match bgp.key(list).and_then(|items| items.nth(*nth)) {
            Some((at, item)) => (format!("bgp.{list}[{at}]"), Some(item)),
            None => return,
        },
    };
    let Some(place) = item.and_then(|item| item.key(key)).map(|item| item.place.clone()) else { return };
    let key = format!("{owner}.{key}");
    let Some(policy) = config.policies.get(*name) else {
        // One that was refused has been told of already.
        if walk.failed.iter().any(|failed| failed.starts_with("bgp.policies")) {
            return;
        }
        walk.refuse(&key, &place, &unknown("policy", name, "bgp.policies", config.policies.keys()));
        return;
    };
    let own = policy.rules.iter().position(|rule| rule.set.next_hop == Some(NextHopChange::Own));
    if let (true, Some(rule)) = (import, own) {
        let said = format!(
            "policy `{name}` sets `nextHop: self` in rule {}, which would send packets to ourselves; expected a policy \
             without it, as `self` is for exports",
            rule + 1
        );
        walk.refuse(&key, &place, &said);
    }
}

fn sets(walk: &mut Walk, bgp: &Item, config: &BgpConfig) {
    for (name, set) in &config.prefix_sets {
        let Some(item) = bgp.key("prefixSets").and_then(|it| it.key(name)) else { continue };
        let key = format!("bgp.prefixSets.{name}");
        if name == Prefixes::POD_CIDRS {
            walk.refuse(&key, &item.place, "is built in: every slice of every pool; expected another name");
        }
        ranges(walk, item, &key, set);
    }
}

fn rules(walk: &mut Walk, item: &Item, name: &str, policy: &model::policy::PolicyConfig, bgp: &BgpConfig) {
    let Some(list) = item.key("rules") else { return };
    for (nth, rule) in policy.rules.iter().enumerate() {
        let Some((at, item)) = list.nth(nth) else { continue };
        let key = format!("bgp.policies.{name}.rules[{at}]");
        let same = policy.rules.iter().take(nth).position(|before| before.name.is_some() && before.name == rule.name);
        if let (Some(before), Some(words)) = (same, &rule.name) {
            let place = item.key("name").unwrap_or(item).place.clone();
            let said = format!("`{words}` is the name of rule {} too; expected each name once in a policy", before + 1);
            walk.refuse(&format!("{key}.name"), &place, &said);
        }
        let Some(asked) = item.key("match") else { continue };
        let length = rule.matches.as_path.as_ref().and_then(|path| path.length);
        if let Some(length) = length
            && let (Some(ge), Some(le)) = (length.ge, length.le)
            && ge > le
        {
            let place = asked.key("asPath").and_then(|it| it.key("length")).unwrap_or(asked).place.clone();
            walk.refuse(
                &format!("{key}.match.asPath.length"),
                &place,
                &format!("ge {ge} is above le {le}; no path matches"),
            );
        }
        let Some(place) = asked.key("prefixes") else { continue };
        let key = format!("{key}.match.prefixes");
        match &rule.matches.prefixes {
            Some(Prefixes::Set(set)) if !known_or_failed(walk, bgp, set) => {
                let said = unknown("set", set, "bgp.prefixSets (podCidrs is built in)", bgp.prefix_sets.keys());
                walk.refuse(&key, &place.place.clone(), &said);
            }
            Some(Prefixes::List(list)) => ranges(walk, place, &key, list),
            _ => {}
        }
    }
}

/// Is the set there, or may it be one that was refused and told of already?
fn known_or_failed(walk: &Walk, bgp: &BgpConfig, set: &str) -> bool {
    set == Prefixes::POD_CIDRS
        || bgp.prefix_sets.contains_key(set)
        || walk.failed.iter().any(|failed| failed.starts_with("bgp.prefixSets"))
}

/// A range must hold a length, inside its prefix's family.
fn ranges(walk: &mut Walk, item: &Item, key: &str, list: &[PrefixRange]) {
    for (nth, range) in list.iter().enumerate() {
        let Some((at, item)) = item.nth(nth) else { continue };
        let (own, bits) = (range.prefix.len(), range.prefix.family().bits());
        for (word, length) in [("ge", range.ge), ("le", range.le)] {
            if let Some(length) = length.filter(|length| !(own..=bits).contains(length)) {
                let place = item.key(word).unwrap_or(item).place.clone();
                let said = format!("{length} is no length inside {}; expected {own} to {bits}", range.prefix);
                walk.refuse(&format!("{key}[{at}].{word}"), &place, &said);
            }
        }
        if let (Some(ge), Some(le)) = (range.ge, range.le)
            && ge > le
        {
            walk.refuse(
                &format!("{key}[{at}]"),
                &item.place.clone(),
                &format!("ge {ge} is above le {le}; nothing matches"),
            );
        }
    }
}

pub(crate) fn unknown<'a>(
    what: &str,
    name: &str,
    place: &str,
    known: impl Iterator<Item = &'a String> + Clone,
) -> String {
    let all: Vec<&str> = known.clone().map(String::as_str).collect();
    let expected = if all.is_empty() {
        format!("one of {place}, which has none")
    } else {
        format!("one of {place}: {}", all.join(", "))
    };
    let said = format!("there is no {what} `{name}`; expected {expected}");
    meant::with(said, meant::closest(name, known.map(String::as_str)))
}

#[cfg(test)]
mod tests;
