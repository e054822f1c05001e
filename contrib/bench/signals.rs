//! However we end, no bridge survives us: not a panic, not Ctrl-C, not the time-out of a CI job.

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

/// To be called before there is any other thread, for all of them inherit the blocked signals.
pub(crate) fn end_bridges_with_us(scratch: &Path) -> Result<()> {
    // What a killed bridge leaves behind comes to us instead of init, where it could be found no more.
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

/// Starts a program that is to see signals as usual: a mask, unlike a handler, would outlive the exec.
pub(crate) fn spawn(command: &mut Command) -> Result<Child> {
    deadly().thread_unblock()?;
    let child = command.spawn();
    deadly().thread_block()?;
    child.map_err(|error| format!("{}: {error}", command.get_program().display()).into())
}
