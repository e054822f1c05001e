//! tcpreen: a bridge that shows and records what passes between TCP clients and a server.
//!
//! One binary, five kinds of process; `ls src` shows them, and `entry` finds out which one this is.

#![forbid(unsafe_code)]

mod cli;
mod config;
mod demo;
mod entry;
mod exit;
mod format;
mod logger;
mod messages;
mod nsswitch;
mod parent;
mod policy;
mod reason;
mod record;
mod resolver;
mod role;
mod signals;
mod sniff;
mod worker;
mod zygote;

use std::process::ExitCode;

fn main() -> ExitCode {
    entry::enter()
}
