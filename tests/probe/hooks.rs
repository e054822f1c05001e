//! Hooks for a role that has an assignment.

use nix::unistd::ForkResult;
use privsep::confine::{LandlockApplied, StepError};
use privsep::sys;
use tcpreen::hooks::{Hooks, Lock};
use tcpreen::policy::Role;

use super::{assignment, raw};

pub(crate) enum Probe {}

impl Hooks for Probe {
    /// Makes a step of the confinement fail.
    fn before_drop(role: Role) {
        if let Some(fault) = assignment::of(role.name()).and_then(|assignment| assignment.fault) {
            fault.install();
        }
    }

    /// Forks a process for each trial, which confines itself and then makes the attempt. It is forked before the last
    /// step because hardly any role can fork after it.
    fn before_lock(
        role: Role,
        fenced: LandlockApplied,
        lock: &Lock<'_>,
    ) -> Result<LandlockApplied, StepError> {
        let Some(assignment) = assignment::of(role.name()).filter(|assignment| assignment.fault.is_none())
        else {
            return Ok(fenced);
        };
        for (index, trial) in assignment.plan().iter().enumerate() {
            match raw::fork() {
                Ok(ForkResult::Parent { child }) => assignment.board().ended(index, child),
                Ok(ForkResult::Child) => {
                    let Ok(_locked) = lock(fenced) else { sys::exit_now(1) };
                    assignment.board().came_back(index, trial.perform());
                    sys::exit_now(0)
                }
                Err(error) => return Err(StepError { step: "fork of a trial", error }),
            }
        }
        Ok(fenced)
    }

    /// Makes one attempt in each worker.
    fn before_session() {
        if let Some(assignment) = assignment::of("worker")
            && let Some(index) = assignment.board().next(assignment.plan().len())
        {
            assignment.board().began(index);
            let outcome = assignment.plan()[index].perform();
            assignment.board().came_back(index, outcome);
        }
    }
}
