//! The cage of the real roles, tried from inside.
//!
//! This binary is tcpreen itself, from the same files and with the same tables; only `role::lock` and
//! `worker::serve` have a door before them ([`role`], [`worker`]) behind which a process that is told so does the
//! forbidden thing as soon as it is confined. Started without an assignment it is the test: it starts itself as
//! tcpreen, one role at a time, and looks at how every trial ended.
//!
//! [`list`] is a second list of what each role may call, written by hand. A call that is new in `src/policy.rs`
//! has to be entered there, too, with arguments that must pass and arguments that must not.

#![allow(dead_code, unused_imports, reason = "unit tests of the program are compiled here, and not run")]

#[path = "../../src/cli/mod.rs"]
mod cli;
#[path = "../../src/config.rs"]
mod config;
#[path = "../../src/demo.rs"]
mod demo;
#[path = "../../src/entry.rs"]
mod entry;
#[path = "../../src/exit.rs"]
mod exit;
#[path = "../../src/format.rs"]
mod format;
#[path = "../../src/logger/mod.rs"]
mod logger;
#[path = "../../src/messages.rs"]
mod messages;
#[path = "../../src/nsswitch.rs"]
mod nsswitch;
#[path = "../../src/parent/mod.rs"]
mod parent;
#[path = "../../src/policy.rs"]
mod policy;
#[path = "../../src/reason.rs"]
mod reason;
#[path = "../../src/record/mod.rs"]
mod record;
#[path = "../../src/resolver/mod.rs"]
mod resolver;
#[path = "../../src/signals.rs"]
mod signals;
#[path = "../../src/sniff/mod.rs"]
mod sniff;
#[path = "../../src/zygote/mod.rs"]
mod zygote;

/// The real ones, with a door before them.
mod role;
mod worker;

mod assignment;
mod attacks;
mod board;
mod fault;
mod harness;
mod list;
mod raw;
#[path = "../support/skipped.rs"]
mod skipped;
mod trial;

use std::process::ExitCode;

fn main() -> ExitCode {
    if assignment::accept() { entry::enter() } else { harness::run() }
}
