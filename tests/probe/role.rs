//! `src/role.rs`, and a door before its last step.

use nix::unistd::Pid;
use privsep::channel::Channel;
use privsep::confine::{Dropped, Fenced, Identity, Locked, StepError};
use privsep::sys;

use super::assignment;
use super::messages::{Prepare, Sandbox, ToParent};
use super::policy::{Extra, Role};
use super::trial;

#[path = "../../src/role.rs"]
mod real;
pub(crate) use real::*;

/// For each trial a process that goes the last step, too, and then does what it must not. It is forked before
/// that step, since hardly any role can fork after it.
pub(crate) fn lock(
    role: Role,
    extras: &[Extra],
    fenced: Fenced,
    sandbox: Sandbox,
) -> Result<Locked, StepError> {
    let Some(assignment) = assignment::of(role.name()) else {
        return real::lock(role, extras, fenced, sandbox);
    };
    for (index, trial) in assignment.plan().iter().enumerate() {
        match sys::fork() {
            Ok(nix::unistd::ForkResult::Parent { child }) => assignment.board().ended(index, child),
            Ok(nix::unistd::ForkResult::Child) => match real::lock(role, extras, fenced, sandbox) {
                Ok(_locked) => {
                    let outcome = trial.perform();
                    assignment.board().came_back(index, outcome);
                    sys::exit_now(0)
                }
                Err(_) => sys::exit_now(1),
            },
            Err(error) => return Err(StepError { step: "fork of a trial", error }),
        }
    }
    real::lock(role, extras, fenced, sandbox)
}

pub(crate) fn lock_and_tell<In, const ROOM: usize>(
    role: Role,
    extras: &[Extra],
    fenced: Fenced,
    sandbox: Sandbox,
    parent: &Channel<ToParent, In, ROOM>,
) -> Result<Locked, Trouble> {
    let Some(assignment) = assignment::of(role.name()) else {
        return real::lock_and_tell(role, extras, fenced, sandbox, parent);
    };
    if assignment.fault.is_some() {
        return real::lock_and_tell(role, extras, fenced, sandbox, parent);
    }
    let locked = lock(role, extras, fenced, sandbox).map_err(|error| Trouble::System(error.error))?;
    parent.send(&ToParent::Ready { cage: locked.cage })?;
    Ok(locked)
}

/// A step of the confinement is made to fail here, before the first of them.
pub(crate) fn drop_privileges(
    role: Role,
    identity: Identity,
    parent: Option<Pid>,
) -> Result<Dropped, StepError> {
    fail(role);
    real::drop_privileges(role, identity, parent)
}

pub(crate) fn drop_and_tell<In, const ROOM: usize>(
    role: Role,
    prepare: &Prepare,
    parent: &Channel<ToParent, In, ROOM>,
) -> Result<Dropped, Trouble> {
    fail(role);
    real::drop_and_tell(role, prepare, parent)
}

fn fail(role: Role) {
    if let Some(fault) = assignment::of(role.name()).and_then(|assignment| assignment.fault) {
        fault.install();
    }
}
