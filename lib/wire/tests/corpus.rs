//! The corpus of the fuzz targets, through the same entries.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, clippy::disallowed_methods)]

mod door;

fn run(target: &str, least: usize, entry: fn(&[u8])) {
    let directory = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for file in std::fs::read_dir(&directory).unwrap() {
        let path = file.unwrap().path();
        let data = std::fs::read(&path).unwrap();
        let result = std::panic::catch_unwind(|| entry(&data));
        assert!(result.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count >= least, "{count} seeds in {directory}, {least} expected");
}

#[test]
fn every_seed_keeps_the_promises() {
    run("door", 40, door::enter);
    run("open", 20, door::open);
    run("attribute", 40, door::attribute);
    run("update", 20, door::update);
    run("notification", 10, door::notification);
    run("refresh", 10, door::refresh);
}
