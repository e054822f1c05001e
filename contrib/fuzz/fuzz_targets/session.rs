//! The target is `src/logger/intake/session/fuzz.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcpreen::fuzz::session(data));
