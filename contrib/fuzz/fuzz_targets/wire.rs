//! The target is `src/messages/fuzz.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcpreen::fuzz::wire(data));
