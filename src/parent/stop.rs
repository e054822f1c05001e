//! Why a start goes no further.

use nix::sys::signal::Signal;

use super::interrupted;
use crate::exit::Failure;

pub(super) enum Stop {
    Failed(Failure),
    /// The operator has changed their mind.
    Interrupted(Signal),
    /// The only client there would ever be has left before we came.
    NobodyThere,
}

impl Stop {
    /// How the program ends then.
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
