//! Any text as a configuration with policies. The promises are in `tests/door`, shared with the test that runs the corpus.
#![no_main]

#[path = "../../tests/door/mod.rs"]
#[allow(unreachable_pub)]
mod door;

libfuzzer_sys::fuzz_target!(|data: &[u8]| door::policy(data));
