//! The logger owns the outputs. What a worker reports arrives on that worker's own channel, so it can
//! speak for its session alone; what only the parent may say (numbers, addresses) comes from the parent.
//!
//! ```text
//!   workers ──► reader ──► batch ──► writer of output 1 ──► file
//!                  ▲         └─────► writer of output 2 ──► stdout
//!                  └── batches come back when all writers are done ──┘
//! ```
//!
//! There is a fixed number of batches. When every one is waiting for a slow output, the reader stops
//! reading, the channels fill, the workers stop reading, and TCP stops the peers: memory is bounded and
//! nothing is dropped.

mod batch;
mod format;
mod names;
mod notice;
mod output;
mod reader;
mod session;
mod writer;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use privsep::channel::{Channel, no_fds};
use privsep::landlock::Landlock;
use privsep::role::Entry;

use crate::messages::{Problem, ToLogger, ToParent};
use crate::policy::Role;
use crate::role::{self, Trouble};
use notice::Notes;
use output::Output;
use reader::Reader;
use writer::Writers;

pub(super) type Parent = Channel<ToParent, ToLogger>;

/// The whole life of the logger.
pub(crate) fn live(entry: Entry) -> Result<(), Trouble> {
    let parent: Parent = entry.open(c"tcpreen-logger")?;
    let (ToLogger::Prepare { prepare, sharing, notices }, fds) = role::first(&parent)? else {
        return Err(Trouble::Protocol);
    };
    let resolver = match fds {
        [socket, None] => socket.map(Channel::from_socket),
        _ => return Err(Trouble::Protocol),
    };
    let dropped = role::drop_privileges(Role::Logger, &prepare, &parent)?;
    // As the user that we have just become: an output is a file of the user's, with the user's rights.
    let opened = open_outputs(&parent)?;
    let outputs = role::tell(&parent, opened)?;
    let parent_died = SigSet::from(Signal::SIGTERM);
    parent_died.thread_block()?;
    let parent_died = SignalFd::with_flags(&parent_died, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let fenced = role::fence(dropped, &Landlock::default(), &parent)?;
    let writers = Writers::start(outputs, sharing)?;
    let notes = Notes::new(notices);
    let reader =
        Reader::new(&parent, Pid::from_raw(prepare.parent), &parent_died, resolver, sharing, writers, notes)?;
    let locked = role::lock(Role::Logger, fenced, &parent)?;
    reader.serve(&locked)
}

/// Opens each output that the parent names, until it says that this was the last one.
fn open_outputs(parent: &Parent) -> Result<Result<Vec<Output>, Problem>, Trouble> {
    let mut outputs = Vec::new();
    loop {
        let (message, fds) = role::first(parent)?;
        no_fds(fds)?;
        match message {
            ToLogger::Output { target, format } => match Output::open(target, format) {
                Ok(output) => outputs.push(output),
                Err(problem) => return Ok(Err(problem)),
            },
            ToLogger::Serve => return Ok(Ok(outputs)),
            _ => return Err(Trouble::Protocol),
        }
    }
}
