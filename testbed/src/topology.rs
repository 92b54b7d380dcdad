//! Containerlab topology files (`*.clab.yml`): what of them is realised, and every word that is not.
//!
//! The file is read in four steps: substitution of environment variables in the text ([`substitute`]), a tree that knows
//! where each word stands ([`tree`]), inheritance node over group over kind over defaults ([`nodes`]), links ([`links`]).
//! A key that containerlab knows and a namespace lab cannot honour becomes a warning; any other key is a fault.

pub mod keys;
pub mod links;
pub mod nodes;
pub mod substitute;
pub mod tree;
pub mod words;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

pub use links::{End, Link};
pub use nodes::{Bind, Kind, Node};

use tree::Tree;

/// A topology, resolved: nothing is left to inherit, substitute or guess.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Topology {
    /// Lab name.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// In the file's order.
    pub nodes: Vec<Node>,
    /// In the file's order.
    pub links: Vec<Link>,
    /// What is known and not honoured, with its place.
    pub warnings: Vec<String>,
}

/// What is wrong with a topology file, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file as it was named.
    pub file: PathBuf,
    /// Line and column from 1; none if the fault is not at one place.
    pub place: Option<tree::Place>,
    /// The fault, and the cure.
    pub words: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(place) = self.place {
            write!(f, "{}:{}:", place.line, place.column)?;
        }
        write!(f, " {}", self.words)
    }
}

impl std::error::Error for Fault {}

/// What the reading of a file depends on besides its text.
pub struct Surroundings<'a> {
    /// Where the labs keep their state; `__clabDir__` is the lab's folder in it.
    pub labs: &'a Path,
    /// Environment variables for `${NAME}`.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Topology {
    /// Reads the file.
    pub fn read(file: &Path, surroundings: &Surroundings<'_>) -> Result<Topology, Fault> {
        let text = fs::read_to_string(file).map_err(|error| Fault {
            file: file.to_path_buf(),
            place: None,
            words: format!("cannot be read: {error}; name a containerlab topology with -t FILE.clab.yml"),
        })?;
        Topology::parse(file, &text, surroundings)
    }

    /// Reads a text as if it stood in `file`.
    pub fn parse(file: &Path, text: &str, surroundings: &Surroundings<'_>) -> Result<Topology, Fault> {
        let text = substitute::substitute(text, surroundings.variable);
        let mut reading = Reading { file, warnings: Vec::new() };
        let tree = tree::parse(&text).map_err(|(place, words)| reading.fault(place, words))?;
        let document = reading.fields(&tree, "topology file", keys::DOCUMENT, keys::DOCUMENT_IGNORED)?;

        let name_tree = document.want("name").map_err(|w| reading.fault(tree.place, w))?;
        let name = reading.text(name_tree, "name")?;
        check_lab_name(&name).map_err(|w| reading.fault(name_tree.place, w))?;

        let topology_tree = document.want("topology").map_err(|w| reading.fault(tree.place, w))?;
        let topology = reading.fields(topology_tree, "topology", keys::TOPOLOGY, &[])?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let names = words::Magic { lab: &name, directory: surroundings.labs.join(&name) };
        let nodes = nodes::read(&mut reading, &topology, &names, folder, surroundings.variable)?;
        check_container_names(&mut reading, &document, &name, &nodes)?;
        let links = links::read(&mut reading, topology.find("links"), &nodes)?;
        Ok(Topology { name, file: file.to_path_buf(), nodes, links, warnings: reading.warnings })
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }
}

/// Containers are called `clab-<lab>-<node>` unless `prefix` says otherwise; a name that containerlab refuses is
/// refused here too, so that one file serves both.
fn check_container_names(
    reading: &mut Reading<'_>,
    document: &tree::Fields<'_>,
    lab: &str,
    nodes: &[Node],
) -> Result<(), Fault> {
    let prefix = document.find("prefix").map(|p| reading.text(p, "prefix")).transpose()?;
    let lead = match prefix.as_deref() {
        None => format!("clab-{lab}-"),
        Some("") => String::new(),
        Some("__lab-name") => format!("{lab}-"),
        Some(prefix) => format!("{prefix}-{lab}-"),
    };
    for node in nodes {
        let name = format!("{lead}{}", node.name);
        let mut chars = name.chars();
        let good = chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
            && !chars.as_str().is_empty()
            && chars.all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        if !good {
            let words = format!(
                "node name {:?} gives the container name {name:?}, which contains invalid characters: \
                 expected letters, digits, '-', '.', '_', two at least",
                node.name
            );
            return Err(reading.fault(node.place, words));
        }
        if name.len() > 60 {
            let words = format!("container name {name:?} is {} characters long: 60 at most", name.len());
            return Err(reading.fault(node.place, words));
        }
    }
    Ok(())
}

fn check_lab_name(name: &str) -> Result<(), String> {
    if name.contains("__git") {
        return Err("the words __gitBranch__ and __gitHash__ are not realised here: write the lab's name out".into());
    }
    let good = !name.is_empty()
        && name.len() <= 40
        && !name.starts_with(['.', '-'])
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if good {
        Ok(())
    } else {
        Err(format!("lab name {name:?}: expected 1 to 40 letters, digits, '-', '.', '_', not starting with '.' or '-'"))
    }
}

/// The file under work and what has been said about it so far.
pub(crate) struct Reading<'a> {
    file: &'a Path,
    warnings: Vec<String>,
}

impl Reading<'_> {
    pub(crate) fn fault(&self, place: tree::Place, words: impl Into<String>) -> Fault {
        Fault { file: self.file.to_path_buf(), place: Some(place), words: words.into() }
    }

    pub(crate) fn warn(&mut self, place: tree::Place, words: impl fmt::Display) {
        self.warnings.push(format!("{}:{}:{}: {words}", self.file.display(), place.line, place.column));
    }

    /// The fields of a mapping; `honoured` keys are for the caller, `ignored` ones are warned about.
    pub(crate) fn fields<'t>(
        &mut self,
        tree: &'t Tree,
        what: &str,
        honoured: &[&str],
        ignored: &[&str],
    ) -> Result<tree::Fields<'t>, Fault> {
        let fields = tree.fields().ok_or_else(|| {
            self.fault(tree.place, format!("{what}: expected a mapping of keys to values, found {}", tree.kind()))
        })?;
        for (key, _) in fields.entries() {
            let name = key.name.as_str();
            if ignored.contains(&name) {
                self.warn(key.place, format!("key {name:?} of {what} is not honoured by a namespace lab"));
            } else if !honoured.contains(&name) {
                let near = words::nearest(name, honoured.iter().chain(ignored).copied());
                let cure = near.map_or_else(
                    || format!("known keys are {}", honoured.join(", ")),
                    |near| format!("did you mean {near:?}?"),
                );
                return Err(self.fault(key.place, format!("unknown key {name:?} in {what}; {cure}")));
            }
        }
        Ok(fields)
    }

    pub(crate) fn text(&self, tree: &Tree, what: &str) -> Result<String, Fault> {
        tree.text()
            .map(str::to_string)
            .ok_or_else(|| self.fault(tree.place, format!("{what}: expected a text, found {}", tree.kind())))
    }

    pub(crate) fn number(&self, tree: &Tree, what: &str, most: u64) -> Result<u64, Fault> {
        tree.text().and_then(|t| t.parse().ok()).filter(|n| *n <= most).ok_or_else(|| {
            self.fault(tree.place, format!("{what}: expected a whole number from 0 to {most}, found {}", tree.shown()))
        })
    }

    pub(crate) fn list<'t>(&self, tree: &'t Tree, what: &str) -> Result<&'t [Tree], Fault> {
        tree.list().ok_or_else(|| self.fault(tree.place, format!("{what}: expected a list, found {}", tree.kind())))
    }
}

#[cfg(test)]
mod tests;
