//! A bridge that shows and records what passes between TCP clients and a server.
//!
//! The library is the whole program; `main.rs` only calls [`run`]. It is a library so that the tests, the
//! probe and the fuzz targets link the program's own code. [`run`] is its only stable interface: the other
//! public items serve those tests and change without notice.
//!
//! One binary runs as several kinds of process: parent, logger, resolver with its lookups, zygote with its workers,
//! converter. `entry` selects the kind of this process.

#![forbid(unsafe_code)]

mod cli;
mod config;
mod converter;
mod demo;
mod entry;
mod exit;
#[doc(hidden)]
pub mod format;
#[cfg(fuzzing)]
pub mod fuzz;
#[doc(hidden)]
pub mod hooks;
mod logger;
#[doc(hidden)]
pub mod messages;
#[doc(hidden)]
pub mod nsswitch;
mod parent;
mod pattern;
#[doc(hidden)]
pub mod policy;
mod reason;
mod record;
mod resolver;
mod role;
mod signals;
mod sniff;
mod worker;
mod zygote;

#[doc(hidden)]
pub use entry::run_with;

/// Runs the process that the command line selects, to its end.
pub fn run() -> std::process::ExitCode {
    run_with::<hooks::None>()
}
