//! The inputs of the fuzz target that are worth keeping, without a fuzzer.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, clippy::disallowed_methods)]

mod door;

/// Checklist: 101
#[test]
fn the_corpus_holds_its_promises() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/session");
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        door::enter(&std::fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 8, "{inputs} inputs");
}
