//! Reasons for which a start ends early.

use nix::sys::signal::Signal;

use crate::exit::Failure;
use crate::parent::interrupted;

pub(in crate::parent) enum Stop {
    Failed(Failure),
    /// Interrupted by the operator.
    Interrupted(Signal),
    /// The only client disconnected before the start was complete.
    NobodyThere,
}

impl Stop {
    /// Result of the program.
    pub(in crate::parent) fn status(self) -> Result<u8, Failure> {
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
