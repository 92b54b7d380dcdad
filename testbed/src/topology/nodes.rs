//! Nodes: inheritance, binds, commands.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tree::{Fields, Place, Tree};
use super::words::{Magic, split};
use super::{Fault, Reading, keys};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Namespaces of its own, with the host's programs.
    Linux,
    /// A Linux bridge in the lab's fabric namespace.
    Bridge,
}

/// One node, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its key in the file.
    pub name: String,
    /// Where that stands.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
    /// Its group.
    pub group: Option<String>,
    /// Image, for `inspect` only: programs are the host's.
    pub image: Option<String>,
    /// Host name.
    pub hostname: String,
    /// By path inside the node.
    pub binds: Vec<Bind>,
    /// Empty memory file systems, paths inside the node.
    pub tmpfs: Vec<PathBuf>,
    /// Commands, split.
    pub exec: Vec<Vec<String>>,
    /// Environment of the commands.
    pub env: BTreeMap<String, String>,
    /// Dotted name to value.
    pub sysctls: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Seconds before the node is made.
    pub startup_delay: u64,
}

/// A file or directory of the host inside a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host, absolute.
    pub source: PathBuf,
    /// Inside the node, absolute.
    pub target: PathBuf,
    /// Not to be written to.
    pub read_only: bool,
}

/// Reads `topology.nodes` with what they inherit.
pub(crate) fn read(
    reading: &mut Reading<'_>,
    topology: &Fields<'_>,
    names: &Magic<'_>,
    folder: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Node>, Fault> {
    let levels = Levels::read(reading, topology)?;
    let Some(nodes) = topology.find("nodes") else {
        return Ok(Vec::new());
    };
    let fields = nodes
        .fields()
        .ok_or_else(|| reading.fault(nodes.place, format!("nodes: expected a mapping, found {}", nodes.kind())))?;
    let mut resolved = Vec::new();
    for (key, tree) in fields.entries() {
        let own = reading.fields(tree, &format!("node {:?}", key.name), keys::NODE, keys::NODE_IGNORED)?;
        let stack = levels.over(reading, own)?;
        let about = About { name: &key.name, place: key.place, names, folder, variable };
        resolved.push(resolve(reading, &stack, &about)?);
    }
    Ok(resolved)
}

/// What is said for many nodes.
struct Levels<'t> {
    defaults: Option<Fields<'t>>,
    kinds: Vec<(&'t str, Fields<'t>)>,
    groups: Vec<(&'t str, Fields<'t>)>,
}

impl<'t> Levels<'t> {
    fn read(reading: &mut Reading<'_>, topology: &Fields<'t>) -> Result<Levels<'t>, Fault> {
        let defaults = topology
            .find("defaults")
            .map(|tree| reading.fields(tree, "defaults", keys::NODE, keys::NODE_IGNORED))
            .transpose()?;
        let mut named = |what: &str| -> Result<Vec<(&'t str, Fields<'t>)>, Fault> {
            let Some(tree) = topology.find(what) else {
                return Ok(Vec::new());
            };
            let fields = tree.fields().ok_or_else(|| {
                reading.fault(tree.place, format!("{what}: expected a mapping, found {}", tree.kind()))
            })?;
            let mut all = Vec::new();
            for (key, tree) in fields.entries() {
                if what == "kinds" {
                    check_kind(&key.name).map_err(|w| reading.fault(key.place, w))?;
                }
                let title = format!("{what} {:?}", key.name);
                all.push((key.name.as_str(), reading.fields(tree, &title, keys::NODE, keys::NODE_IGNORED)?));
            }
            Ok(all)
        };
        let kinds = named("kinds")?;
        let groups = named("groups")?;
        Ok(Levels { defaults, kinds, groups })
    }

    /// Node, group, kind, defaults: most specific first. The kind itself is never taken from a kind.
    fn over(&self, reading: &Reading<'_>, own: Fields<'t>) -> Result<Vec<Fields<'t>>, Fault> {
        let with_defaults = |mut stack: Vec<Fields<'t>>| {
            stack.extend(self.defaults);
            stack
        };
        let group_name = scalar(reading, &with_defaults(vec![own]), "group")?;
        let mut stack = vec![own];
        if let Some((name, place)) = group_name {
            // A group without settings is only a word for `inspect`.
            let _ = place;
            stack.extend(self.groups.iter().find(|(group, _)| *group == name).map(|(_, fields)| *fields));
        }
        if let Some((kind, place)) = scalar(reading, &with_defaults(stack.clone()), "kind")? {
            check_kind(&kind).map_err(|w| reading.fault(place, w))?;
            stack.extend(self.kinds.iter().find(|(name, _)| *name == kind).map(|(_, fields)| *fields));
        }
        Ok(with_defaults(stack))
    }
}

struct About<'a> {
    name: &'a str,
    place: Place,
    names: &'a Magic<'a>,
    folder: &'a Path,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

fn resolve(reading: &mut Reading<'_>, stack: &[Fields<'_>], about: &About<'_>) -> Result<Node, Fault> {
    let kind = match scalar(reading, stack, "kind")? {
        Some((kind, _)) if kind == "bridge" => Kind::Bridge,
        Some(_) => Kind::Linux,
        None => {
            let words = format!(
                "node {:?} has no kind: say `kind: linux` at the node, its group or in topology.defaults",
                about.name
            );
            return Err(reading.fault(about.place, words));
        }
    };
    if kind == Kind::Bridge && about.name.len() > 15 {
        return Err(reading.fault(about.place, format!("bridge {:?}: 15 characters at most", about.name)));
    }
    if about.name.contains('|') {
        let words = format!("node {:?}: a bridge inside of another node is not realised here", about.name);
        return Err(reading.fault(about.place, words));
    }
    network_mode(reading, stack)?;
    let text = |key| scalar(reading, stack, key).map(|found| found.map(|(text, _)| text));
    let startup_delay = match stack.iter().find_map(|f| f.find("startup-delay")) {
        Some(tree) => reading.number(tree, "startup-delay", 86_400)?,
        None => 0,
    };
    Ok(Node {
        name: about.name.to_string(),
        place: about.place,
        kind,
        group: text("group")?,
        image: text("image")?,
        hostname: text("hostname")?.unwrap_or_else(|| about.name.to_string()),
        binds: binds(reading, stack, about)?,
        tmpfs: tmpfs(reading, stack)?,
        exec: exec(reading, stack, about)?,
        env: env(reading, stack, about)?,
        sysctls: map(reading, stack, "sysctls")?,
        labels: map(reading, stack, "labels")?,
        startup_delay,
    })
}

/// There is no management network, which is what `none` asks for; sharing of namespaces is not realised.
fn network_mode(reading: &mut Reading<'_>, stack: &[Fields<'_>]) -> Result<(), Fault> {
    if let Some((mode, place)) = scalar(reading, stack, "network-mode")?
        && mode != "none"
    {
        reading.warn(place, format!("network-mode {mode:?} is not honoured: every node has a namespace of its own"));
    }
    Ok(())
}

/// The first level that says it.
fn scalar(reading: &Reading<'_>, stack: &[Fields<'_>], key: &str) -> Result<Option<(String, Place)>, Fault> {
    let Some(tree) = stack.iter().find_map(|fields| fields.find(key)) else {
        return Ok(None);
    };
    Ok(Some((reading.text(tree, key)?, tree.place)))
}

/// Merged by key, most specific wins.
fn map(reading: &Reading<'_>, stack: &[Fields<'_>], key: &str) -> Result<BTreeMap<String, String>, Fault> {
    let mut merged = BTreeMap::new();
    for tree in stack.iter().filter_map(|fields| fields.find(key)) {
        let fields = tree
            .fields()
            .ok_or_else(|| reading.fault(tree.place, format!("{key}: expected a mapping, found {}", tree.kind())))?;
        for (name, value) in fields.entries() {
            let text =
                if value.is_null() { String::new() } else { reading.text(value, &format!("{key}.{}", name.name))? };
            merged.entry(name.name.clone()).or_insert(text);
        }
    }
    Ok(merged)
}

/// All levels one after the other, defaults first.
fn items<'t>(reading: &Reading<'_>, stack: &[Fields<'t>], key: &str) -> Result<Vec<&'t Tree>, Fault> {
    let mut all = Vec::new();
    for tree in stack.iter().rev().filter_map(|fields| fields.find(key)) {
        all.extend(reading.list(tree, key)?);
    }
    Ok(all)
}

fn exec(reading: &Reading<'_>, stack: &[Fields<'_>], about: &About<'_>) -> Result<Vec<Vec<String>>, Fault> {
    let command = |tree: &&Tree| {
        let text = about.names.replace(&reading.text(tree, "exec")?, about.name);
        split(&text).map_err(|words| reading.fault(tree.place, format!("exec: {words}")))
    };
    items(reading, stack, "exec")?.iter().map(command).collect()
}

/// One per path inside the node, most specific wins, sorted.
fn binds(reading: &Reading<'_>, stack: &[Fields<'_>], about: &About<'_>) -> Result<Vec<Bind>, Fault> {
    let mut merged = BTreeMap::new();
    for tree in items(reading, stack, "binds")? {
        let bind = bind(&about.names.replace(&reading.text(tree, "binds")?, about.name), about)
            .map_err(|words| reading.fault(tree.place, words))?;
        // The list runs from defaults to node: a later one is more specific.
        merged.insert(bind.target.clone(), bind);
    }
    Ok(merged.into_values().collect())
}

fn bind(text: &str, about: &About<'_>) -> Result<Bind, String> {
    let form = "expected host-path:path-in-node or host-path:path-in-node:ro";
    let mut parts = text.split(':');
    let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
        return Err(format!("bind {text:?}: {form}"));
    };
    let options = parts.next().unwrap_or("rw");
    let known = options.split(',').all(|o| ["ro", "rw", "z", "Z", "rslave", "rshared", "rprivate"].contains(&o));
    if parts.next().is_some() || source.is_empty() || !target.starts_with('/') || target == "/" || !known {
        return Err(format!("bind {text:?}: {form}; the path in the node must be absolute"));
    }
    let source = match source.strip_prefix("~/") {
        Some(rest) => PathBuf::from((about.variable)("HOME").unwrap_or_else(|| "/root".into())).join(rest),
        None => about.folder.join(source),
    };
    let source = std::path::absolute(&source).map_err(|e| format!("bind {text:?}: {e}"))?;
    // What lies in the lab's own folder is made when the lab is; all else must be there.
    if !source.starts_with(&about.names.directory) && !source.exists() {
        return Err(format!("bind {text:?}: {} does not exist on the host", source.display()));
    }
    let read_only = options.split(',').any(|o| o == "ro");
    Ok(Bind { source, target: PathBuf::from(target), read_only })
}

fn tmpfs(reading: &Reading<'_>, stack: &[Fields<'_>]) -> Result<Vec<PathBuf>, Fault> {
    let path = |tree: &&Tree| {
        let text = reading.text(tree, "tmpfs")?;
        let path = text.split(':').next().unwrap_or_default();
        if path.starts_with('/') && path != "/" {
            Ok(PathBuf::from(path))
        } else {
            Err(reading.fault(tree.place, format!("tmpfs {text:?}: expected an absolute path")))
        }
    };
    items(reading, stack, "tmpfs")?.iter().map(path).collect()
}

/// What is said in `env` wins over `env-files`.
fn env(reading: &Reading<'_>, stack: &[Fields<'_>], about: &About<'_>) -> Result<BTreeMap<String, String>, Fault> {
    let mut env = BTreeMap::new();
    for tree in items(reading, stack, "env-files")? {
        let path = about.folder.join(about.names.replace(&reading.text(tree, "env-files")?, about.name));
        let text = fs::read_to_string(&path)
            .map_err(|e| reading.fault(tree.place, format!("env-files: {} cannot be read: {e}", path.display())))?;
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        env.extend(lines.filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_string(), v.to_string())));
    }
    let said = map(reading, stack, "env")?;
    env.extend(said.into_iter().map(|(k, v)| (k, about.names.replace(&v, about.name))));
    Ok(env)
}

fn check_kind(kind: &str) -> Result<(), String> {
    if keys::KINDS.contains(&kind) {
        return Ok(());
    }
    Err(format!(
        "kind {kind:?} is not realised in a namespace lab: known kinds are {}; containerlab itself has the others",
        keys::KINDS.join(", ")
    ))
}
