//! Common parts of all executed roles: the first message, the steps of confinement, and error reports.

use std::fmt;
use std::io;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use privsep::channel::{Channel, ChannelError, Incoming, Wait};
use privsep::confine::{
    self as privileges, Confined, Dropped, Identity, LandlockApplied, Privileges, StepError,
};
use privsep::landlock::Landlock;
use privsep::sys::Fds;
use serde::de::DeserializeOwned;

use crate::hooks::Hooks;
use crate::messages::{Prepare, Problem, Sandbox, ToParent, VERSION};
use crate::policy::{Extra, Role};

/// Error that ends a role. The parent notices the end by itself; the error selects the exit status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoleError {
    /// The parent or another role sent a message that is not allowed in this state.
    #[error("message out of order")]
    Protocol,
    /// Already reported to the parent.
    #[error("already reported")]
    AlreadyReported,
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<Errno> for RoleError {
    fn from(errno: Errno) -> Self {
        RoleError::System(errno.into())
    }
}

/// Receives the first message, which is mandatory.
pub(crate) fn first<Out, In: DeserializeOwned, const ROOM: usize>(
    channel: &Channel<Out, In, ROOM>,
) -> Result<(In, Fds), RoleError> {
    match channel.receive(Wait::Yes)? {
        Incoming::Message(message, fds) => Ok((message, fds)),
        Incoming::Closed | Incoming::Nothing => Err(RoleError::Protocol),
    }
}

/// Reports a problem to the parent; returns a success unchanged.
pub(crate) fn report<T, In, const ROOM: usize>(
    parent: &Channel<ToParent, In, ROOM>,
    result: Result<T, Problem>,
) -> Result<T, RoleError> {
    result.or_else(|problem| {
        parent.send(&ToParent::Failed(problem))?;
        Err(RoleError::AlreadyReported)
    })
}

/// Reports threads that could not be started.
pub(crate) fn threads<T, In, const ROOM: usize>(
    parent: &Channel<ToParent, In, ROOM>,
    started: io::Result<T>,
) -> Result<T, RoleError> {
    let problem = |error: io::Error| Problem::Threads { errno: error.raw_os_error().unwrap_or(0) };
    report(parent, started.map_err(problem))
}

fn confine_problem(error: impl fmt::Display) -> Problem {
    Problem::Confine(error.to_string().into())
}

/// First step: identity, capabilities and limits. The process dies when `parent` dies.
pub(crate) fn drop_privileges<H: Hooks>(
    role: Role,
    identity: Identity,
    parent: Option<Pid>,
) -> Result<Dropped, StepError> {
    H::before_drop(role);
    privileges::drop_privileges(&Privileges {
        identity,
        root: role.root(),
        limits: role.limits(),
        parent: parent.map(|parent| (parent, role.parent_death_signal())),
    })
}

/// Same as [`drop_privileges`], for an executed role: reports errors to the parent.
pub(crate) fn drop_and_tell<H: Hooks, In, const ROOM: usize>(
    role: Role,
    prepare: &Prepare,
    parent: &Channel<ToParent, In, ROOM>,
) -> Result<Dropped, RoleError> {
    if prepare.version != VERSION {
        return report(parent, Err(confine_problem("started by another version of the program")));
    }
    if role.batch_scheduling() {
        // An optimisation; errors are ignored.
        let _ = privsep::sys::set_batch_scheduling();
    }
    let dropped = drop_privileges::<H>(role, prepare.identity, Some(Pid::from_raw(prepare.parent)));
    report(parent, dropped.map_err(confine_problem))
}

/// Second step: Landlock. Threads are created after it.
pub(crate) fn fence<In, const ROOM: usize>(
    dropped: Dropped,
    landlock: &Landlock<'_>,
    parent: &Channel<ToParent, In, ROOM>,
) -> Result<LandlockApplied, RoleError> {
    report(parent, dropped.fence(landlock).map_err(confine_problem))
}

/// Third step: seccomp. Fails if the sandbox lacks a restriction that `--require-sandbox=full` demands.
pub(crate) fn lock<H: Hooks>(
    role: Role,
    extras: &[Extra],
    fenced: LandlockApplied,
    sandbox: Sandbox,
) -> Result<Confined, StepError> {
    let confine = |fenced| confine(role, extras, fenced, sandbox);
    H::before_lock(role, fenced, &confine).and_then(confine)
}

fn confine(
    role: Role,
    extras: &[Extra],
    fenced: LandlockApplied,
    sandbox: Sandbox,
) -> Result<Confined, StepError> {
    let filter =
        role.filter(extras, sandbox.violation).map_err(|error| StepError { step: "seccomp", error })?;
    let locked = fenced.lock(&filter)?;
    let missing = locked.sandbox_status.missing();
    if sandbox.full && !missing.is_empty() {
        let error =
            io::Error::new(io::ErrorKind::Unsupported, format!("there is not {}", missing.join(", nor ")));
        return Err(StepError { step: "--require-sandbox=full", error });
    }
    Ok(locked)
}

/// Same as [`lock`], for an executed role: reports errors, or readiness, to the parent.
pub(crate) fn lock_and_tell<H: Hooks, In, const ROOM: usize>(
    role: Role,
    extras: &[Extra],
    fenced: LandlockApplied,
    sandbox: Sandbox,
    parent: &Channel<ToParent, In, ROOM>,
) -> Result<Confined, RoleError> {
    let locked = report(parent, lock::<H>(role, extras, fenced, sandbox).map_err(confine_problem))?;
    parent.send(&ToParent::Ready { sandbox_status: locked.sandbox_status })?;
    Ok(locked)
}

/// Signals that the parent handles; a terminal sends them to all roles.
pub(crate) const FOR_THE_PARENT: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCHLD,
];
