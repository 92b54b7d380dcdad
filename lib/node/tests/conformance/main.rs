//! The conformance table: every line of the RFC checklist, and the tests that prove it.
//!
//! A test says what it proves in its doc comment, on a line of its own: `/// Checklist: 22` or `/// Checklist: 65, 66`.
//! `make rfc-table` writes the table to `CONFORMANCE.md`; what a line is about stands in `checklist.txt`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Lines of the checklist.
const LINES: u16 = 120;

const CHECKLIST: &str = include_str!("checklist.txt");

/// The mark of a test that proves something, as it stands in the source.
const TAG: &str = concat!("/// ", "Checklist: ");

#[test]
fn the_table_is_whole_and_new() {
    let (proofs, wrong) = proofs();
    assert!(wrong.is_empty(), "tags that cannot be read:\n{}", wrong.join("\n"));
    let table = table(&proofs);
    let path = root().join("CONFORMANCE.md");
    if std::env::var_os("BIPLANE_BLESS").is_some() {
        std::fs::write(&path, &table).expect("CONFORMANCE.md can be written");
    }
    let missing = missing(&proofs);
    assert!(missing.is_empty(), "lines of the checklist without a test: {missing:?}");
    let there = std::fs::read_to_string(&path).expect("CONFORMANCE.md");
    assert!(there == table, "CONFORMANCE.md is not the newest: run `make rfc-table`");
}

#[test]
fn the_checklist_has_every_line_once() {
    let numbers: Vec<u16> = checklist().map(|(number, _)| number).collect();
    assert_eq!(numbers, (1..=LINES).collect::<Vec<_>>());
}

#[test]
fn the_reader_of_tags_can_fail() {
    let read = |text: &str| {
        let mut proofs = BTreeMap::new();
        let mut wrong = Vec::new();
        read_tags("lib/x/src/y.rs", text, &mut proofs, &mut wrong);
        (
            proofs.into_iter().map(|(n, tests)| (n, tests.into_iter().collect::<Vec<_>>())).collect::<Vec<_>>(),
            wrong.len(),
        )
    };
    let good = format!(
        "/// Words.\n{TAG}3, 120\n#[test]\nfn a() {{}}\n\n    {TAG}4\n    #[tokio::test]\n    async fn b() {{}}\n"
    );
    let of = |n: u16, test: &str| (n, vec![("lib/x/src/y.rs".to_owned(), test.to_owned())]);
    assert_eq!(read(&good), (vec![of(3, "a"), of(4, "b"), of(120, "a")], 0));
    for bad in [
        "0\n#[test]\nfn a() {}",
        "121\n#[test]\nfn a() {}",
        "3 and 4\n#[test]\nfn a() {}",
        "3\nfn a() {}",
        "3\n#[test]\n#[ignore]\nfn a() {}",
        "3\n",
    ] {
        assert_eq!(read(&format!("{TAG}{bad}")), (vec![], 1), "{bad}");
    }
}

/// For each line the tests that prove it, as file and name.
type Proofs = BTreeMap<u16, BTreeSet<(String, String)>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn checklist() -> impl Iterator<Item = (u16, &'static str)> {
    CHECKLIST.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (number, words) = line.split_once(' ').expect("a number and words");
        (number.parse().expect("a number"), words)
    })
}

/// All tags of the repository, and what is wrong with some.
fn proofs() -> (Proofs, Vec<String>) {
    let mut files = Vec::new();
    for folder in ["lib", "bin", "testbed"] {
        sources(&root().join(folder), &mut files);
    }
    files.sort();
    let mut proofs = Proofs::new();
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable source");
        let name = file.strip_prefix(root()).expect("inside").display().to_string();
        read_tags(&name, &text, &mut proofs, &mut wrong);
    }
    (proofs, wrong)
}

fn read_tags(file: &str, text: &str, proofs: &mut Proofs, wrong: &mut Vec<String>) {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (at, line) in lines.iter().enumerate() {
        let Some(list) = line.strip_prefix(TAG) else { continue };
        let numbers: Option<Vec<u16>> =
            list.split(", ").map(|n| n.parse().ok().filter(|n| (1..=LINES).contains(n))).collect();
        let head: Vec<&str> = lines[at + 1..]
            .iter()
            .take_while(|line| line.starts_with("//") || line.starts_with('#'))
            .copied()
            .collect();
        let is_test = head.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
        let runs = !head.iter().any(|line| line.starts_with("#[ignore"));
        let name = lines
            .get(at + 1 + head.len())
            .and_then(|line| line.split_once("fn "))
            .and_then(|(_, rest)| rest.split(['(', '<']).next());
        match (numbers, name) {
            (Some(numbers), Some(name)) if is_test && runs => {
                for number in numbers {
                    proofs.entry(number).or_default().insert((file.to_owned(), name.to_owned()));
                }
            }
            _ => wrong.push(format!("{file}:{}: `{line}`: expected numbers of 1 to {LINES}, a comma and a space between two, above a test that runs", at + 1)),
        }
    }
}

fn missing(proofs: &Proofs) -> Vec<u16> {
    (1..=LINES).filter(|line| !proofs.contains_key(line)).collect()
}

fn table(proofs: &Proofs) -> String {
    let mut text = String::from(
        "# Conformance\n\nWhat the RFCs ask of a speaker and a VXLAN node, line by line, and the tests that prove it. Written by `make rfc-table` \
         from the tests themselves; `make test` runs every one of them.\n",
    );
    let missing = missing(proofs);
    if !missing.is_empty() {
        text.push_str("\n## Lines without a test\n\n");
        for (number, words) in checklist().filter(|(number, _)| missing.contains(number)) {
            writeln!(text, "- {number}: {words}").expect("a string");
        }
    }
    for line in CHECKLIST.lines() {
        if let Some(heading) = line.strip_prefix("# ") {
            write!(text, "\n## {heading}\n\n| Line | What holds | Tests |\n|---|---|---|\n").expect("a string");
            continue;
        }
        let (number, words) = line.split_once(' ').expect("a number and words");
        let tests = proofs.get(&number.parse().expect("a number"));
        let tests = tests.into_iter().flatten().map(|(file, name)| format!("`{name}` ({file})"));
        writeln!(text, "| {number} | {words} | {} |", tests.collect::<Vec<_>>().join("<br>")).expect("a string");
    }
    text
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
        let hidden = entry.file_name().is_some_and(|name| name == "target");
        if entry.is_dir() && !hidden {
            sources(&entry, into);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            into.push(entry);
        }
    }
}
