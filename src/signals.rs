//! Descriptions of signals, those of `strsignal(3)` in the C locale, which scripts match.

use nix::sys::signal::Signal;

/// Advice to the operator about a process killed by this signal; `None` if the signal's name is sufficient.
pub(crate) fn advice(number: i32, pid: i32) -> Option<String> {
    (Signal::try_from(number) == Ok(Signal::SIGSYS)).then(|| {
        format!(
            "It called what its table in src/policy.rs has not: the kernel's log names the call (audit: type=1326 \
             pid={pid} syscall=N), and --sandbox=log lets it pass."
        )
    })
}

/// "Terminated", "Killed" …; the symbolic name for rare signals.
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
