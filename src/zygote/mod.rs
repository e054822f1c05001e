//! The zygote forks workers. It is executed, so that its memory holds no data of the parent; it confines itself once
//! to the permissions of a worker, plus fork and wait, and every worker inherits that filter.
//!
//! It receives only the number of workers to fork, and reports only their starts and ends.

#[cfg(fuzzing)]
pub(crate) mod fuzz;

use std::ops::ControlFlow;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use privsep::channel::{Channel, ChannelError, Incoming, Wait, no_fds};
use privsep::confine::Confined;
use privsep::landlock::Landlock;
use privsep::role::Entry;
use privsep::sys::{self, Alone, Title};
use privsep::wire;

use crate::hooks::Hooks;
use crate::messages::{ProcessEnd, Reaping, Record, ToParent, ToWorker, ToZygote, WorkersEnd, WorkersNeed};
use crate::policy::{Extra, Role};
use crate::role::{self, RoleError};
use crate::worker::{self, Buffer};

type Parent = Channel<ToParent, ToZygote, { wire::SHORT }>;

/// Send buffer of a worker's channel; the kernel doubles it for its own overhead. If `net.core.wmem_max`
/// allows less, records become shorter.
const CHANNEL: usize = 1 << 20;

/// Overhead of a message in a socket's buffer.
const OVERHEAD: usize = 4096;

/// Delay in milliseconds after the end of a worker, in which the ends of others accumulate: with short
/// sessions, a wake-up for each costs as much as a tenth of a session.
const REST: u8 = 3;

/// Title of a worker, as formatted by `privsep::role::argument`. Spelled out, because formatting would touch eight
/// pages of memory in every worker.
const WORKER_TITLE: &str = "[worker]";

/// State of a new worker that the zygote lacks.
struct WorkerInit {
    channel: WorkersEnd,
    zygote: Pid,
}

/// Runs the zygote and, in its children, a worker.
pub(crate) fn live<H: Hooks>(entry: Entry) -> Result<(), RoleError> {
    let parent: Parent = entry.open(c"tcpreen-zygote")?;
    let ToZygote::Prepare { prepare, reaping, workers } = role::first(&parent)?.0 else {
        return Err(RoleError::Protocol);
    };
    let title = Title::find().ok();
    let alone = Alone::check()?;
    let children = SigSet::from(Signal::SIGCHLD);
    children.thread_block()?;
    let children = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    // Allocated here and never touched: every worker inherits the same untouched memory.
    let record = longest_record()?;
    let buffers = [Buffer::new(record), Buffer::new(record)];
    let dropped = role::drop_and_tell::<H, _, _>(Role::Zygote, &prepare, &parent)?;
    let fenced = role::fence(dropped, &Landlock::default(), &parent)?;
    let locked =
        role::lock_and_tell::<H, _, _>(Role::Zygote, &extras(workers), fenced, prepare.sandbox, &parent)?;
    let Some(init) = serve(&parent, &children, reaping, &alone, &locked)? else { return Ok(()) };
    drop((parent, children));
    if let Some(title) = title {
        title.set(WORKER_TITLE);
    }
    init.live::<H>(workers, buffers, &locked)
}

/// Optional permissions of the workers, which the zygote has, too.
fn extras(need: WorkersNeed) -> Vec<Extra> {
    let extras = [(Extra::TcpInfo, need.tcp_info), (Extra::Descriptors, need.descriptors)];
    extras.into_iter().filter_map(|(extra, needed)| needed.then_some(extra)).collect()
}

impl WorkerInit {
    fn live<H: Hooks>(self, need: WorkersNeed, buffers: [Buffer; 2], locked: &Confined) -> ! {
        match worker::await_session(&self.channel, self.zygote, need, locked) {
            Ok(Some(session)) => {
                H::before_session();
                worker::serve(&self.channel, session, buffers, locked)
            }
            Ok(None) => sys::exit_now(0),
            Err(_) => sys::exit_now(1),
        }
    }
}

/// Returns the maximum length of a record that fits into one message of a worker's channel.
fn longest_record() -> Result<usize, RoleError> {
    let (end, _) = workers_channel()?;
    let room = getsockopt(&end, sockopt::SndBuf)?.saturating_sub(OVERHEAD);
    Ok(Record::LONGEST.min(room))
}

/// The end of a worker's channel that the parent, and then the logger, holds.
type OthersEnd = Channel<ToWorker, Record, { wire::SHORT }>;

fn workers_channel() -> Result<(WorkersEnd, OthersEnd), RoleError> {
    let (theirs, ours) = Channel::pair()?;
    setsockopt(&theirs, sockopt::SndBuf, &CHANNEL)?;
    ours.refuse_descriptors()?;
    Ok((theirs, ours))
}

/// Serves the parent. Returns the new worker's state in a child, and `None` when the parent has closed its
/// end.
fn serve(
    parent: &Parent,
    children: &SignalFd,
    reaping: Reaping,
    alone: &Alone,
    _locked: &Confined,
) -> Result<Option<WorkerInit>, RoleError> {
    let mut resting = false;
    loop {
        let mut fds = [
            PollFd::new(parent.as_fd(), PollFlags::POLLIN),
            PollFd::new(children.as_fd(), PollFlags::POLLIN),
        ];
        let (polled, patience) = if resting { (1, PollTimeout::from(REST)) } else { (2, PollTimeout::NONE) };
        match poll(&mut fds[..polled], patience) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let [asked, ended] = fds.map(|fd| fd.any().unwrap_or(false));
        if asked {
            match parent.receive(Wait::No)? {
                Incoming::Message(ToZygote::Fork(count), fds) => {
                    no_fds(fds)?;
                    if let Some(init) = fork_workers(parent, alone, count)? {
                        return Ok(Some(init));
                    }
                }
                Incoming::Message(ToZygote::Ping, fds) => {
                    no_fds(fds)?;
                    parent.send(&ToParent::Alive)?;
                }
                Incoming::Message(ToZygote::Prepare { .. }, _) => return Err(RoleError::Protocol),
                Incoming::Closed => return Ok(None),
                Incoming::Nothing => {}
            }
        }
        // Reaps after the forks, for which the parent may be waiting.
        let reaped = (ended || resting) && reap(parent, children)?;
        resting = reaping == Reaping::InTurns && (reaped || resting && asked);
    }
}

/// Forks workers, two before each report, so that the parent wakes up half as often.
fn fork_workers(parent: &Parent, alone: &Alone, count: u32) -> Result<Option<WorkerInit>, RoleError> {
    for first in (0..count).step_by(2) {
        let mut outcomes = [None, None];
        for slot in outcomes.iter_mut().take((count - first) as usize) {
            // In the child, the parent's end of the sibling's channel is dropped with `outcomes`.
            match fork_worker(alone)? {
                ControlFlow::Break(init) => return Ok(Some(init)),
                ControlFlow::Continue(outcome) => *slot = Some(outcome),
            }
        }
        outcomes.into_iter().flatten().try_for_each(|outcome| report_fork(parent, outcome))?;
    }
    Ok(None)
}

/// A worker and the other end of its channel, or errno if the system cannot fork.
type ForkOutcome = Result<(Pid, OthersEnd), i32>;

/// Forks a worker. Returns `Continue` in the zygote and `Break` in the child.
fn fork_worker(alone: &Alone) -> Result<ControlFlow<WorkerInit, ForkOutcome>, RoleError> {
    let (theirs, ours) = workers_channel()?;
    let zygote = Pid::this();
    Ok(match sys::fork(alone) {
        Ok(ForkResult::Child) => ControlFlow::Break(WorkerInit { channel: theirs, zygote }),
        Ok(ForkResult::Parent { child }) => ControlFlow::Continue(Ok((child, ours))),
        Err(error) => ControlFlow::Continue(Err(error.raw_os_error().unwrap_or(0))),
    })
}

/// Sends the parent the other end of a worker's channel. The parent tracks missing workers and asks again.
fn report_fork(parent: &Parent, outcome: ForkOutcome) -> Result<(), RoleError> {
    let errno = match outcome {
        Ok((child, ours)) => {
            let message = ToParent::WorkerStarted { pid: child.as_raw() };
            match parent.send_with(&message, &[ours.as_fd()], Wait::Yes) {
                // The worker exits, because its channel is closed.
                Err(ChannelError::Crowded) => libc::ETOOMANYREFS,
                result => return Ok(result?),
            }
        }
        Err(errno) => errno,
    };
    Ok(parent.send(&ToParent::ForkFailed { errno })?)
}

/// Reports every worker that has ended; returns whether there was one. One signal may stand for several.
fn reap(parent: &Parent, children: &SignalFd) -> Result<bool, RoleError> {
    while children.read_signal()?.is_some() {}
    let mut reaped = false;
    loop {
        let (pid, end) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => (pid, ProcessEnd::Status(status)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, ProcessEnd::Signal(signal as i32)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(reaped),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        reaped = true;
        parent.send(&ToParent::Exited { pid: pid.as_raw(), end })?;
    }
}
