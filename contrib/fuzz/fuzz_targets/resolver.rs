//! Everything that the resolver hears, out of order, cut short and made up: see `inside/resolver.rs`.

#![no_main]
#![allow(dead_code, unreachable_pub, unused_imports, reason = "the program's own modules, of which only a part is used here")]

#[path = "../../../src/format.rs"]
mod format;
#[path = "../../../src/messages.rs"]
mod messages;
#[path = "../../../src/nsswitch.rs"]
mod nsswitch;
#[path = "../../../src/policy.rs"]
mod policy;
#[path = "../../../src/reason.rs"]
mod reason;
#[path = "../../../src/resolver/mod.rs"]
mod resolver;
#[path = "../../../src/role.rs"]
mod role;
#[path = "../inside/script.rs"]
mod script;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| resolver::fuzz::fuzz(data));
