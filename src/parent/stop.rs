//! Reasons for which a start ends early.

use nix::sys::signal::Signal;

use super::interrupted;
use crate::exit::Failure;

pub(super) enum Stop {
    Failed(Failure),
    /// Interrupted by the operator.
    Interrupted(Signal),
    /// The only client disconnected before the start was complete.
    NobodyThere,
}

impl Stop {
    /// Result of the program.
    pub(super) fn status(self) -> Result<u8, Failure> {
        match self {
            Stop::Failed(failure) => Err(failure),
            Stop::Interrupted(signal) => Ok(interrupted(signal)),
            Stop::NobodyThere => Ok(0),
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}
