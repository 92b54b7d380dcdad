//! Any octets at the door. The promises are in `tests/door`, shared with the test that runs the corpus.
#![no_main]
#![allow(dead_code)]

#[path = "../../tests/door/mod.rs"]
mod door;

libfuzzer_sys::fuzz_target!(|data: &[u8]| door::enter(data));
