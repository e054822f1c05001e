//! Processes that a program leaves behind by mistake, as 1.4.4 does.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::proc;

/// All processes that `program` has started. Dropping it kills those that still run.
pub struct Leftovers(Vec<Pid>);

impl Leftovers {
    pub fn of(program: Pid) -> Self {
        Leftovers(proc::descendants(program))
    }

    pub fn are_gone(&self) -> bool {
        !self.0.iter().any(|pid| proc::is_alive(*pid))
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        for pid in self.0.iter().filter(|pid| proc::is_alive(**pid)) {
            let _ = kill(*pid, Signal::SIGKILL);
        }
    }
}
