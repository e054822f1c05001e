//! Everything that a worker hears from its peers, its parent and its logger, out of order, cut short and made up: see `inside/worker.rs`.

#![no_main]
#![allow(dead_code, unreachable_pub, unused_imports, reason = "the program's own modules, of which only a part is used here")]

#[path = "../../../src/format.rs"]
mod format;
#[path = "../../../src/messages.rs"]
mod messages;
#[path = "../../../src/policy.rs"]
mod policy;
#[path = "../inside/script.rs"]
mod script;
#[path = "../../../src/worker/mod.rs"]
mod worker;

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: worker::fuzz::prepare(), |data: &[u8]| worker::fuzz::fuzz(data));
