//! The target is `src/worker/fuzz.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: tcpreen::fuzz::prepare_worker(), |data: &[u8]| tcpreen::fuzz::worker(data));
