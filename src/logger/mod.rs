//! The logger owns the outputs. What a worker reports arrives on that worker's own channel, so it can
//! speak for its session alone; what only the parent may say (numbers, addresses) comes from the parent.
//!
//! ```text
//!   workers ──► reader ──► batch ──► writer of output 1 ──► file
//!                  ▲         └─────► writer of output 2 ──► stdout
//!                  └── batches come back when all writers are done ──┘
//! ```
//!
//! An output is one file (`output`), or a series of files, new ones for every session (`series`); what is
//! being written is a `sheet` either way.
//!
//! There is a fixed number of batches. When every one is waiting for a slow output, the reader stops
//! reading, the channels fill, the workers stop reading, and TCP stops the peers: memory is bounded and
//! nothing is dropped.

mod batch;
mod escape;
mod format;
#[cfg(fuzzing)]
#[path = "../../contrib/fuzz/inside/logger.rs"]
pub(crate) mod fuzz;
mod home;
mod names;
mod notice;
mod output;
mod parts;
mod reader;
mod rotation;
mod series;
mod session;
mod sheet;
mod statistics;
mod syslog;
mod template;
mod writer;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use privsep::channel::{Channel, no_fds};
use privsep::landlock::Landlock;
use privsep::role::Entry;

use crate::messages::{Ear, Hangup, Problem, ToLogger, ToParent};
use crate::policy::{self, Role};
use crate::role::{self, Trouble};
use notice::Notes;
pub(crate) use notice::tell_syslog;
use output::{Output, Plan, Renewal};
use reader::{Intake, Reader};
use writer::Writers;

pub(super) type Parent = Channel<ToParent, ToLogger>;

/// The whole life of the logger.
pub(crate) fn live(entry: Entry) -> Result<(), Trouble> {
    let parent: Parent = entry.open(c"tcpreen-logger")?;
    // Before it can come: unblocked, it would be lost to a process that has not been stopped.
    SigSet::from(Role::Logger.parent_death_signal()).thread_block()?;
    let (ToLogger::Prepare { prepare, sharing, backlog, notices, hangup, rotation }, fds) =
        role::first(&parent)?
    else {
        return Err(Trouble::Protocol);
    };
    let resolver = match fds {
        [socket, None] => socket.map(Channel::adopt).transpose()?,
        _ => return Err(Trouble::Protocol),
    };
    let dropped = role::drop_and_tell(Role::Logger, &prepare, &parent)?;
    // As the user that we have just become: an output is a file of the user's, with the user's rights.
    let opened = open_outputs(&parent, &Renewal { hangup, rotation })?;
    let outputs = role::tell(&parent, opened)?;
    let notes = Notes::open(notices, Pid::from_raw(prepare.parent))?;
    let mut parent_died: SigSet = [Signal::SIGTERM, Role::Logger.parent_death_signal()].into_iter().collect();
    if hangup == Hangup::Reopens {
        parent_died.add(Signal::SIGHUP);
    }
    parent_died.thread_block()?;
    let parent_died = SignalFd::with_flags(&parent_died, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let directories: Vec<_> = outputs.iter().flat_map(Output::directories).collect();
    let remove: Vec<_> = outputs.iter().filter_map(Output::directory_of_parts).collect();
    let syslog = (notices.ear != Ear::Stderr).then_some(policy::Extra::Syslog);
    let mut extras = Vec::new();
    for extra in outputs.iter().flat_map(Output::extras).chain(syslog) {
        if !extras.contains(&extra) {
            extras.push(extra);
        }
    }
    let landlock = Landlock { write: &directories, remove: &remove, ..Landlock::default() };
    let fenced = role::fence(dropped, &landlock, &parent)?;
    let writers = role::threads(&parent, Writers::start(outputs, sharing))?;
    let intake = Intake { sharing, backlog };
    let parent_pid = Pid::from_raw(prepare.parent);
    let reader = Reader::new(&parent, parent_pid, &parent_died, resolver, intake, writers, notes)?;
    let locked = role::lock_and_tell(Role::Logger, &extras, fenced, prepare.sandbox, &parent)?;
    reader.serve(&locked)
}

/// Opens the outputs that the parent names, until it says that this was the last one; none of them before
/// all of them make sense.
fn open_outputs(parent: &Parent, renewal: &Renewal) -> Result<Result<Vec<Output>, Problem>, Trouble> {
    let mut plans = Vec::new();
    loop {
        let (message, fds) = role::first(parent)?;
        no_fds(fds)?;
        match message {
            ToLogger::Output { target, format } => match Plan::new(target, format) {
                Ok(plan) => plans.push(plan),
                Err(problem) => return Ok(Err(problem)),
            },
            ToLogger::Serve => return Ok(open_all(plans, renewal)),
            _ => return Err(Trouble::Protocol),
        }
    }
}

fn open_all(plans: Vec<Plan>, renewal: &Renewal) -> Result<Vec<Output>, Problem> {
    let mut outputs: Vec<Output> =
        plans.into_iter().map(|plan| plan.open(renewal)).collect::<Result<_, _>>()?;
    let files: Vec<_> = outputs.iter().filter_map(Output::id).collect();
    outputs.iter_mut().for_each(|output| output.spare(&files));
    if renewal.rotation.is_wanted() && outputs.iter().all(|output| output.directory_of_parts().is_none()) {
        let reason = "nothing to rotate: no output is a file that all sessions share".to_owned();
        return Err(Problem::Template { reason });
    }
    Ok(outputs)
}
