//! See `update` in `tests/door`.
#![no_main]
#![allow(dead_code)]

#[path = "../../tests/door/mod.rs"]
mod door;

libfuzzer_sys::fuzz_target!(|data: &[u8]| door::update(data));
