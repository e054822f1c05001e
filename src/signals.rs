//! Signals in words, as `strsignal(3)` says them in the C locale: people grep for these.

use nix::sys::signal::Signal;

/// "Terminated", "Killed" …; the symbolic name for the rare ones.
pub(crate) fn describe(number: i32) -> &'static str {
    match Signal::try_from(number) {
        Ok(Signal::SIGHUP) => "Hangup",
        Ok(Signal::SIGINT) => "Interrupt",
        Ok(Signal::SIGQUIT) => "Quit",
        Ok(Signal::SIGABRT) => "Aborted",
        Ok(Signal::SIGBUS) => "Bus error",
        Ok(Signal::SIGKILL) => "Killed",
        Ok(Signal::SIGSEGV) => "Segmentation fault",
        Ok(Signal::SIGTERM) => "Terminated",
        Ok(Signal::SIGSYS) => "Bad system call",
        Ok(signal) => signal.as_str(),
        Err(_) => "unknown signal",
    }
}
