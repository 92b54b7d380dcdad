//! The corpus of the fuzz target, through the same entry.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, clippy::disallowed_methods)]

mod door;

#[test]
fn every_message_of_the_corpus() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/door");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let data = std::fs::read(&path).unwrap();
        let result = std::panic::catch_unwind(|| door::enter(&data));
        assert!(result.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 40, "{count} messages in {directory}");
}
