//! The logger owns the outputs. Each worker reports on a channel of its own, and so can report only its own session;
//! numbers and addresses, which only the parent may assign, come from the parent.
//!
//! ```text
//!   workers ──► intake ──► batch ──► writer of output 1 ──► file
//!                  ▲         └─────► writer of output 2 ──► stdout
//!                  └── batches return when all writers have written them ──┘
//! ```
//!
//! `output::opening` opens each output: one file for all sessions, or files for each (`output::per_session`). A file
//! that is being written is an `output::log_file`, with an encoder of `record`. Outputs report to the intake through
//! `output::report`.
//!
//! There is a fixed number of batches. When every one is waiting for a slow output, the intake stops
//! reading, the channels fill, the workers stop reading, and TCP stops the peers: memory is bounded and
//! nothing is dropped.

mod batch;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
pub(crate) mod intake;
mod metrics;
mod notices;
mod output;
mod writer;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use privsep::channel::{Channel, no_fds, one_fd};
use privsep::landlock::Landlock;
use privsep::role::Entry;

use crate::hooks::Hooks;
use crate::logger::intake::{Intake, Reader};
use crate::logger::notices::Notes;
pub(crate) use crate::logger::notices::{keeps_stderr, log_to_syslog};
use crate::logger::output::opening::{Plan, ReopenPolicy, open_all};
use crate::messages::{Hangup, NoticeSink, OutputTarget, Problem, Recording, Taken, ToLogger, ToParent};
use crate::pattern::Pattern;
use crate::policy::{self, Role};
use crate::role::{self, RoleError};
use output::Output;
use writer::Writers;

pub(super) type Parent = Channel<ToParent, ToLogger>;

/// Signal on the parent's death, which orders a serving logger to finish. It is blocked, like SIGTERM, and
/// also continues a stopped process.
const ORPHANED: Signal = Signal::SIGCONT;

/// Runs the logger.
pub(crate) fn live<H: Hooks>(entry: Entry) -> Result<(), RoleError> {
    let parent: Parent = entry.open(c"tcpreen-logger")?;
    let (message, fds) = role::first(&parent)?;
    let ToLogger::Prepare {
        prepare,
        sharing,
        backlog,
        notices,
        hangup,
        rotation,
        beginning,
        recording,
        appearance,
    } = message
    else {
        return Err(RoleError::Protocol);
    };
    let resolver = match fds {
        [socket, None] => socket.map(Channel::adopt).transpose()?,
        _ => return Err(RoleError::Protocol),
    };
    let Recording { acknowledge, taken } = recording;
    let dropped = role::drop_and_tell::<H, _, _>(Role::Logger, &prepare, &parent)?;
    // Opened as the target user, so that outputs belong to that user and are opened with the user's rights.
    let reopen_policy =
        ReopenPolicy { hangup, rotation, beginning, sharing, taken, appearance, pattern: None };
    let opened = receive_and_open(&parent, reopen_policy)?;
    let (outputs, pattern) = role::report(&parent, opened)?;
    let waiting = waiting(&outputs);
    let notes = Notes::open(notices, Pid::from_raw(prepare.parent), &waiting)?;
    let parent_died = signals(hangup)?;
    // There was no data to write until now, so the death of the parent killed this process.
    nix::sys::prctl::set_pdeathsig(ORPHANED)?;
    let directories: Vec<_> = outputs.iter().flat_map(Output::directories).collect();
    let remove: Vec<_> = outputs.iter().filter_map(Output::directory_of_parts).collect();
    let extras = extras(&outputs, notices.sink, taken);
    let pipes: Vec<_> = outputs.iter().filter_map(Output::waiting).map(|(_, pipe)| pipe).collect();
    let landlock =
        Landlock { write: &directories, write_files: &pipes, remove: &remove, ..Landlock::default() };
    let fenced = role::fence(dropped, &landlock, &parent)?;
    let writers = role::threads(&parent, Writers::start(outputs))?;
    let intake = Intake { sharing, backlog, run: run_id(), acknowledge, pattern };
    let parent_pid = Pid::from_raw(prepare.parent);
    let reader = Reader::new(&parent, parent_pid, &parent_died, resolver, intake, writers, notes)?;
    if !waiting.is_empty() {
        parent.send(&ToParent::OutputsWait)?;
    }
    let locked = role::lock_and_tell::<H, _, _>(Role::Logger, &extras, fenced, prepare.sandbox, &parent)?;
    reader.serve(&locked)
}

/// Blocks the signals that the logger handles: those for the death of the parent, and SIGHUP if it reopens outputs.
fn signals(hangup: Hangup) -> Result<SignalFd, RoleError> {
    let mut signals = [Signal::SIGTERM, ORPHANED].into_iter().collect::<SigSet>();
    if hangup == Hangup::Reopens {
        signals.add(Signal::SIGHUP);
    }
    signals.thread_block()?;
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Permissions beside those of every logger, each once.
fn extras(outputs: &[Output], sink: NoticeSink, taken: Taken) -> Vec<policy::Extra> {
    let syslog = (sink != NoticeSink::Stderr).then_some(policy::Extra::Syslog);
    let sync = (taken == Taken::OnDisk).then_some(policy::Extra::Sync);
    let mut extras = Vec::new();
    for extra in outputs.iter().flat_map(Output::extras).chain(syslog).chain(sync) {
        if !extras.contains(&extra) {
            extras.push(extra);
        }
    }
    extras
}

/// Returns eight random letters and digits, which identify the run.
fn run_id() -> Arc<str> {
    const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    // Seeded by the system, differently in every process.
    let random = RandomState::new().build_hasher().finish();
    (0..8).map(|place| char::from(DIGITS[(random >> (5 * place)) as usize % 32])).collect::<String>().into()
}

/// Notices about outputs that are FIFOs without a reader.
fn waiting(outputs: &[Output]) -> Vec<String> {
    let names = outputs.iter().filter_map(Output::waiting).map(|(name, _)| name);
    names.map(|name| format!("waiting for a reader of {name}")).collect()
}

/// Open outputs, and the expression that selects what is written to them.
type OpenOutputs = (Vec<Output>, Option<Arc<Pattern>>);

/// Opens the outputs that the parent sends, until its end-of-list message.
fn receive_and_open(
    parent: &Parent,
    mut reopen_policy: ReopenPolicy,
) -> Result<Result<OpenOutputs, Problem>, RoleError> {
    let mut plans = Vec::new();
    loop {
        let (message, fds) = role::first(parent)?;
        match message {
            ToLogger::Match(expression) => {
                no_fds(fds)?;
                match Pattern::new(&expression) {
                    Ok(pattern) => reopen_policy.pattern = Some(Arc::new(pattern)),
                    Err(reason) => {
                        return Ok(Err(Problem::Template { reason: format!("--match: {reason}").into() }));
                    }
                }
            }
            ToLogger::Output { target, view } => {
                let fd = match &target {
                    OutputTarget::Descriptor(_) => Some(one_fd(fds)?.accept()?),
                    OutputTarget::Stdout | OutputTarget::File(_) | OutputTarget::Metrics(_) => {
                        no_fds(fds).map(|()| None)?
                    }
                };
                match Plan::new(target, fd, view) {
                    Ok(plan) => plans.push(plan),
                    Err(problem) => return Ok(Err(problem)),
                }
            }
            ToLogger::Serve => {
                no_fds(fds)?;
                return Ok(open_all(plans, &reopen_policy).map(|outputs| (outputs, reopen_policy.pattern)));
            }
            _ => return Err(RoleError::Protocol),
        }
    }
}
