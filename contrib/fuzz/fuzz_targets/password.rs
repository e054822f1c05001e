//! The target is `src/sniff/fuzz.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcpreen::fuzz::password(data));
