//! A worker serves one session. It is forked by the zygote, already locked; it receives two connected
//! sockets, forwards between them, and tells the logger everything before it passes it on.
//!
//! It opens, connects, binds and executes nothing, and uses no heap that it did not inherit.

mod bridge;
mod flow;

use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use privsep::channel::{Channel, Incoming, Wait, two_fds};
use privsep::confine::Locked;
use privsep::sys;

use crate::messages::{Cause, Record, ToWorker};
use crate::policy::WORKER_DESCRIPTORS;
use bridge::Bridge;
pub(crate) use flow::Buffer;

/// What a worker inherits from the zygote besides its channel.
pub(crate) struct Inheritance {
    pub(crate) client: Buffer,
    pub(crate) server: Buffer,
    pub(crate) zygote: Pid,
}

/// The whole life of a worker. `_locked` proves that it was born inside the cage.
pub(crate) fn live(channel: &Channel<Record, ToWorker>, inheritance: Inheritance, _locked: &Locked) -> ! {
    match settle(inheritance.zygote).and_then(|()| accept(channel)) {
        Some((session, client, server)) => {
            serve(channel, session, (client, inheritance.client), (server, inheritance.server))
        }
        None => sys::exit_now(0),
    }
}

/// What fork does not hand on: the end with our parent, and that we cannot fork in turn.
fn settle(zygote: Pid) -> Option<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).ok()?;
    if sys::parent() != zygote {
        return None;
    }
    setrlimit(Resource::RLIMIT_NPROC, 0, 0).ok()?;
    setrlimit(Resource::RLIMIT_NOFILE, WORKER_DESCRIPTORS, WORKER_DESCRIPTORS).ok()?;
    nix::sys::prctl::set_name(c"tcpreen-worker").ok()
}

/// Waits for the session.
fn accept(channel: &Channel<Record, ToWorker>) -> Option<(ToWorker, OwnedFd, OwnedFd)> {
    match channel.receive(Wait::Yes) {
        Ok(Incoming::Message(session, fds)) => {
            let (client, server) = two_fds(fds).ok()?;
            Some((session, client, server))
        }
        Ok(Incoming::Closed | Incoming::Nothing) | Err(_) => None,
    }
}

/// Serves the session and ends. Nothing is dropped: the end of the process closes and frees all at once.
fn serve(
    channel: &Channel<Record, ToWorker>,
    session: ToWorker,
    client: (OwnedFd, Buffer),
    server: (OwnedFd, Buffer),
) -> ! {
    let ToWorker::Session { need, bytes, idle_ms } = session;
    let idle = idle_ms.map(|ms| Duration::from_millis(ms.into()));
    let mut bridge = Bridge::new(channel, need, bytes, client, server);
    let status = match bridge.run(idle) {
        Ok(cause) => bridge.finish(cause).map_or(1, |()| 0),
        // Only what concerns the channel comes here: the logger is gone, and nobody would see what we
        // forward from now on.
        Err(_) if bridge.logger_lost() => 1,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(0);
            bridge.finish(Cause::Failed { errno }).map_or(1, |()| 1)
        }
    };
    sys::exit_now(status)
}
