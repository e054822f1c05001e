//! Everything that the logger hears, out of order, cut short and made up: see `inside/logger.rs`.

#![no_main]
#![allow(dead_code, unreachable_pub, unused_imports, reason = "the program's own modules, of which only a part is used here")]

#[path = "../../../src/format.rs"]
mod format;
#[path = "../../../src/logger/mod.rs"]
mod logger;
#[path = "../../../src/messages.rs"]
mod messages;
#[path = "../../../src/policy.rs"]
mod policy;
#[path = "../../../src/reason.rs"]
mod reason;
#[path = "../../../src/record/mod.rs"]
mod record;
#[path = "../../../src/role.rs"]
mod role;
#[path = "../inside/script.rs"]
mod script;
#[path = "../../../src/signals.rs"]
mod signals;
#[path = "../../../src/sniff/mod.rs"]
mod sniff;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| logger::fuzz::fuzz(data));
