//! Everything that the zygote and its workers hear, out of order, cut short and made up: see `inside/zygote.rs`.

#![no_main]
#![allow(dead_code, unreachable_pub, unused_imports, reason = "the program's own modules, of which only a part is used here")]

#[path = "../../../src/format.rs"]
mod format;
#[path = "../../../src/messages.rs"]
mod messages;
#[path = "../../../src/policy.rs"]
mod policy;
#[path = "../../../src/role.rs"]
mod role;
#[path = "../inside/script.rs"]
mod script;
#[path = "../../../src/worker/mod.rs"]
mod worker;
#[path = "../../../src/zygote/mod.rs"]
mod zygote;

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: zygote::fuzz::prepare(), |data: &[u8]| zygote::fuzz::fuzz(data));
