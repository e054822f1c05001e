//! Ends every bridge with the benchmark: after a panic, Ctrl-C, or the time-out of a CI job.

use std::fs;
use std::panic;
use std::path::Path;
use std::process::{self, Child, Command};
use std::thread;

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal};

use crate::{Result, tree};

fn deadly() -> SigSet {
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM].into_iter().collect()
}

/// Must be called before there are other threads, because all of them inherit the blocked signals.
pub(crate) fn end_bridges_with_us(scratch: &Path) -> Result<()> {
    // Adopts the orphans of a killed bridge, which init would hide.
    set_child_subreaper(true)?;

    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        report(info);
        tree::kill_all();
    }));

    deadly().thread_block()?;
    let scratch = scratch.to_owned();
    thread::spawn(move || {
        if let Ok(signal) = deadly().wait() {
            tree::kill_all();
            let _ = fs::remove_dir_all(scratch);
            process::exit(128 + signal as i32);
        }
    });
    Ok(())
}

/// Starts a program with default signal handling: a mask, unlike a handler, would survive the exec.
pub(crate) fn spawn(command: &mut Command) -> Result<Child> {
    deadly().thread_unblock()?;
    let child = command.spawn();
    deadly().thread_block()?;
    child.map_err(|error| format!("{}: {error}", command.get_program().display()).into())
}
