//! Points at which the probe (`tests/probe`) takes part in the life of a role.
//!
//! They are chosen by a type parameter, not by a variable: the shipped program is compiled with [`None`], whose
//! functions are empty, and contains no switch that could turn them into anything else.

use privsep::confine::{Fenced, Locked, StepError};

use crate::policy::Role;

/// Takes the last step of a role's confinement in the calling process.
pub type Lock<'a> = dyn Fn(Fenced) -> Result<Locked, StepError> + 'a;

/// Called at fixed points of every role.
pub trait Hooks {
    /// Before the first step of the confinement.
    fn before_drop(_role: Role) {}

    /// Before the last step. `lock` is that step, for processes that the hook forks.
    fn before_lock(_role: Role, fenced: Fenced, _lock: &Lock<'_>) -> Result<Fenced, StepError> {
        Ok(fenced)
    }

    /// In a worker that has its session, before it serves it.
    fn before_session() {}
}

/// The shipped program's: nothing happens.
#[derive(Clone, Copy, Debug)]
pub enum None {}

impl Hooks for None {}
