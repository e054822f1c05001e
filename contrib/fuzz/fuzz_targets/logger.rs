//! The target is `src/logger/fuzz.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcpreen::fuzz::logger(data));
