//! The target is `src/record/read/fuzz.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcpreen::fuzz::record(data));
