//! The target is `src/zygote/fuzz.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: tcpreen::fuzz::prepare_zygote(), |data: &[u8]| tcpreen::fuzz::zygote(data));
