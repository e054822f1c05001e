//! Tests the confinement of the real roles from inside.
//!
//! This binary is tcpreen itself, with hooks ([`hooks`]) before the last step of the confinement and before a worker
//! serves its session. There a process that has an assignment does what its policy forbids, as soon as it is confined.
//! Started without an assignment it is the test: it starts itself as tcpreen, one role at a time, and judges how every
//! trial ended.
//!
//! [`list`] is a second list of what each role may call, written by hand. A call that is new in `src/policy.rs`
//! has to be entered there, too, with arguments that must pass and arguments that must not.

mod assignment;
mod attacks;
mod board;
mod fault;
mod harness;
mod hooks;
mod list;
mod raw;
mod trial;

use std::process::ExitCode;

fn main() -> ExitCode {
    if assignment::accept() { tcpreen::run_with::<hooks::Probe>() } else { harness::run() }
}
