//! Reasons for which a start ends early, and the signals among them.

use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use crate::exit::Failure;

pub(in crate::parent) enum Stop {
    Failed(Failure),
    /// Interrupted by the operator.
    Interrupted(Signal),
}

impl Stop {
    /// Result of the program.
    pub(in crate::parent) fn status(self) -> Result<u8, Failure> {
        match self {
            Stop::Failed(failure) => Err(failure),
            Stop::Interrupted(signal) => Ok(interrupted(signal)),
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// Reads the pending signals.
pub(in crate::parent) fn signals_of(signals: &SignalFd) -> impl Iterator<Item = Signal> {
    std::iter::from_fn(|| signals.read_signal().ok().flatten())
        .filter_map(|info| Signal::try_from(info.ssi_signo as i32).ok())
}

/// Exit status after a signal, following the shells' convention.
pub(in crate::parent) fn interrupted(signal: Signal) -> u8 {
    128 + signal as u8
}
