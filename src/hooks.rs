//! Points at which the probe (`tests/probe`) takes part in a role.
//!
//! They are selected by a type parameter, not by a variable: the shipped program is compiled with [`None`],
//! whose functions are empty, and contains no switch that could change that.

use privsep::confine::{Confined, LandlockApplied, StepError};

use crate::policy::Role;

/// Takes the last step of a role's confinement in the calling process.
pub type Lock<'a> = dyn Fn(LandlockApplied) -> Result<Confined, StepError> + 'a;

/// Called at fixed points of every role.
pub trait Hooks {
    /// Called before the first step of the confinement.
    fn before_drop(_role: Role) {}

    /// Called before the last step. `lock` is that step, for processes that the hook forks.
    fn before_lock(
        _role: Role,
        fenced: LandlockApplied,
        _lock: &Lock<'_>,
    ) -> Result<LandlockApplied, StepError> {
        Ok(fenced)
    }

    /// Called in a worker, between the receipt of its session and the forwarding.
    fn before_session() {}
}

/// The hooks of the shipped program: no-ops.
#[derive(Clone, Copy, Debug)]
pub enum None {}

impl Hooks for None {}
