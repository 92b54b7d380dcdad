//! The house's floors, held by a machine: imports go down only, crates on one floor do not know each other, and
//! floors 0 to 2 have no clock, socket, file, thread or randomness (DESIGN.md, "Rooms").

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Floor of every crate of the workspace. A crate may depend on lower floors only.
const FLOORS: &[(&str, u8)] = &[
    ("biplane-model", 0),
    ("biplane-delta", 0),
    ("biplane-wire", 1),
    ("biplane-alloc", 1),
    ("biplane-plan", 1),
    ("biplane-switch", 1),
    ("biplane-config", 1),
    ("biplane-bgp", 2),
    ("biplane-bfd", 2),
    ("biplane-kernel", 3),
    ("biplane-cluster", 3),
    ("biplane-peering", 3),
    ("biplane-probe", 3),
    ("biplane-cni", 3),
    ("biplane-status", 3),
    ("biplane-node", 4),
    ("biplane-testbed", 5),
    ("biplaned", 5),
    ("biplane", 6),
];

/// Highest pure floor.
const PURE: u8 = 2;

/// What pure crates may use from outside: data types, parsers, codecs; nothing that can reach the world.
const PURE_OUTSIDE: &[&str] = &["bytes", "ipnet", "prefix-trie", "serde", "serde-saphyr", "serde_json", "thiserror"];

/// Words that betray a clock, a socket, a file, a thread or chance in the source of a pure crate.
const IMPURE: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime",
    "std::fs",
    "std::thread",
    "std::env",
    "std::process",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "RandomState",
    "DefaultHasher",
    "HashMap::new",
    "HashSet::new",
    "HashMap<",
    "HashSet<",
    "tokio::",
    "rand::",
    "println!",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Normal and build dependencies of every crate of the workspace; dev-dependencies live in tests and may be anything.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages
        .iter()
        .map(|package| {
            let needs = package["dependencies"].as_array().expect("a list").iter();
            let needs = needs.filter(|d| d["kind"] != "dev").map(|d| d["name"].as_str().expect("a name").to_owned());
            (package["name"].as_str().expect("a name").to_owned(), needs.collect())
        })
        .collect()
}

/// Everything in `graph` that breaks the floors, in words.
fn breaches(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    let mut found = Vec::new();
    for (name, needs) in graph {
        let Some(&floor) = floors.get(name.as_str()) else {
            found.push(format!("{name} has no floor: add it to the table"));
            continue;
        };
        for need in needs {
            match floors.get(need.as_str()) {
                Some(&below) if below >= floor => {
                    found.push(format!("{name} (floor {floor}) imports {need} (floor {below}): imports go down only"));
                }
                None if floor <= PURE && !PURE_OUTSIDE.contains(&need.as_str()) => {
                    found.push(format!("{name} (floor {floor}, pure) uses {need}, which can reach the world"));
                }
                _ => {}
            }
        }
    }
    found.extend(
        FLOORS.iter().filter(|(name, _)| !graph.contains_key(*name)).map(|(name, _)| format!("{name} is gone")),
    );
    found
}

/// Source lines outside tests that name something impure.
fn impurities(path: &Path, source: &str) -> Vec<String> {
    // All but the test module, which ends with the first brace at a line's start.
    let product = match source.split_once("#[cfg(test)]\nmod tests {") {
        Some((before, tests)) => {
            let (tests, after) = tests.split_once("\n}\n").unwrap_or((tests, ""));
            // Blank lines in its place keep the numbers of those behind it.
            format!("{before}{}{after}", "\n".repeat(tests.lines().count() + 2))
        }
        None => source.to_owned(),
    };
    let lines = product.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|(at, line)| {
            let words = IMPURE.iter().filter(move |word| line.contains(*word));
            words.map(move |word| format!("{}:{}: `{word}` in a pure crate", path.display(), at + 1))
        })
        .collect()
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
        if entry.is_dir() {
            sources(&entry, into);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            into.push(entry);
        }
    }
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.file_name().is_some_and(|n| n == "tests.rs")
}

#[test]
fn imports_go_down_only() {
    let found = breaches(&dependencies());
    assert!(found.is_empty(), "the floors are broken:\n{}", found.join("\n"));
}

#[test]
fn pure_crates_reach_nothing() {
    let mut found = Vec::new();
    for (name, _) in FLOORS.iter().filter(|(_, floor)| *floor <= PURE) {
        let folder = root().join("lib").join(name.trim_start_matches("biplane-"));
        let bans = std::fs::read_to_string(folder.join("clippy.toml")).unwrap_or_default();
        assert!(bans.contains("std::time::Instant"), "{name} has no clippy.toml with the bans of the pure floors");
        let mut files = Vec::new();
        sources(&folder.join("src"), &mut files);
        for file in files.iter().filter(|file| !is_test(file)) {
            found.extend(impurities(file, &std::fs::read_to_string(file).expect("a readable source")));
        }
    }
    assert!(found.is_empty(), "a pure crate reaches the world:\n{}", found.join("\n"));
}

#[test]
fn the_guards_can_fail() {
    let mut graph = dependencies();
    graph.get_mut("biplane-switch").expect("it is there").insert("tokio".to_owned());
    graph.get_mut("biplane-plan").expect("it is there").insert("biplane-switch".to_owned());
    let found = breaches(&graph);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|f| f.contains("uses tokio")), "{found:?}");
    let clock = "fn f() {\n    let t = std::time::Instant::now();\n}\n";
    let socket = "use std::net::TcpStream;\n";
    assert!(!impurities(Path::new("x.rs"), clock).is_empty());
    assert!(!impurities(Path::new("x.rs"), socket).is_empty());
    let behind_tests = format!("#[cfg(test)]\nmod tests {{\n    use std::fs;\n}}\n{clock}");
    assert_eq!(
        impurities(Path::new("x.rs"), &behind_tests).len(),
        2,
        "the clock's two words, and nothing of the tests"
    );
    assert!(impurities(Path::new("x.rs"), "// a TcpStream is the caller's\n").is_empty());
}

#[test]
fn no_file_is_past_the_wall() {
    let mut files = Vec::new();
    for folder in ["lib", "bin", "testbed"] {
        sources(&root().join(folder), &mut files);
    }
    files.retain(|file| !file.components().any(|part| part.as_os_str() == "target"));
    let long: Vec<String> = files
        .iter()
        .map(|file| (file, std::fs::read_to_string(file).expect("a readable source").lines().count()))
        .filter(|(_, lines)| *lines > 900)
        .map(|(file, lines)| format!("{}: {lines} lines", file.display()))
        .collect();
    assert!(long.is_empty(), "files past 900 lines:\n{}", long.join("\n"));
}

#[test]
fn design_names_only_what_exists() {
    let design = std::fs::read_to_string(root().join("DESIGN.md")).expect("DESIGN.md");
    let missing: Vec<&str> = design
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| ["lib/", "bin/", "testbed/", "deploy/"].iter().any(|top| word.starts_with(top)))
        .filter(|word| !word.contains(['*', '<', ' ']))
        .filter(|word| !root().join(word).exists())
        .collect();
    assert!(missing.is_empty(), "DESIGN.md names paths that are not there: {missing:?}");
}
