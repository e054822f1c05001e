//! `src/role.rs`, and a door before its last step.

use privsep::confine::{Fenced, Locked, StepError};
use privsep::sys;

use super::assignment;
use super::messages::ToParent;
use super::policy::{Extra, Role};
use super::trial;

#[path = "../../src/role.rs"]
mod real;
pub(crate) use real::*;

/// For each trial a process that goes the last step, too, and then does what it must not. It is forked before
/// that step, since hardly any role can fork after it.
pub(crate) fn lock(role: Role, extras: &[Extra], fenced: Fenced) -> Result<Locked, StepError> {
    let Some(assignment) = assignment::of(role.name()) else { return real::lock(role, extras, fenced) };
    for (index, trial) in assignment.plan().iter().enumerate() {
        match sys::fork() {
            Ok(nix::unistd::ForkResult::Parent { child }) => assignment.board.ended(index, child),
            Ok(nix::unistd::ForkResult::Child) => match real::lock(role, extras, fenced) {
                Ok(_locked) => {
                    let outcome = trial.perform();
                    assignment.board.came_back(index, outcome);
                    sys::exit_now(0)
                }
                Err(_) => sys::exit_now(1),
            },
            Err(error) => return Err(StepError { step: "fork of a trial", error }),
        }
    }
    real::lock(role, extras, fenced)
}

pub(crate) fn lock_and_tell<In>(
    role: Role,
    extras: &[Extra],
    fenced: Fenced,
    parent: &privsep::channel::Channel<ToParent, In>,
) -> Result<Locked, Trouble> {
    match assignment::of(role.name()) {
        None => real::lock_and_tell(role, extras, fenced, parent),
        Some(_) => {
            let locked = lock(role, extras, fenced).map_err(|error| Trouble::System(error.error))?;
            parent.send(&ToParent::Ready { landlock: locked.landlock })?;
            Ok(locked)
        }
    }
}
