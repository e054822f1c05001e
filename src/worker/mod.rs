//! A worker serves one session. The zygote forks it, already confined; it receives two connected sockets and
//! forwards between them, with a record to the logger before each byte.
//!
//! It opens, connects, binds and executes nothing, and uses no heap that it did not inherit.

mod bridge;
mod ends;
mod flow;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod idle;
mod local;
mod loss;
mod ready;
mod receipt;
mod transport;

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::socket::SockType;
use nix::unistd::Pid;
use privsep::channel::{ChannelError, Incoming, Wait, two_sockets};
use privsep::confine::Confined;
use privsep::sys;

use crate::messages::{CloseReason, ToWorker, Transport, WorkersEnd, WorkersNeed};
use crate::policy::{LOCAL_WORKER_DESCRIPTORS, WORKER_DESCRIPTORS};
use bridge::{Bridge, Terms};
pub(crate) use flow::Buffer;
use receipt::RecordSteps;
use transport::PeerSocket;

/// The first step of a worker: applies its limits and waits for its session; `None` if it gets none. Any other
/// message is an error. Its filter permits what is in `need`. `_locked` proves that the process is confined.
pub(crate) fn await_session(
    channel: &WorkersEnd,
    zygote: Pid,
    need: WorkersNeed,
    _locked: &Confined,
) -> Result<Option<Session>, ChannelError> {
    if settle(zygote, need.descriptors).is_none() {
        return Ok(None);
    }
    take_session(channel, need.tcp_info)
}

fn take_session(channel: &WorkersEnd, tcp_info: bool) -> Result<Option<Session>, ChannelError> {
    match channel.receive(Wait::Yes)? {
        Incoming::Message(
            ToWorker::Session { need, bytes, idle_ms, transports, reset, acknowledge },
            fds,
        ) => {
            let kind = match transports {
                [Transport::UnixPackets, Transport::UnixPackets] => SockType::SeqPacket,
                _ => SockType::Stream,
            };
            let (client, server) = two_sockets(fds, kind)?;
            let idle = idle_ms.map(|ms| Duration::from_millis(ms.into()));
            let receipts = RecordSteps::new(acknowledge);
            let terms = Terms { need, limit: bytes, idle, reset, receipts, tcp_info };
            let [to_client, to_server] = transports;
            let peers = [PeerSocket::new(client, to_client), PeerSocket::new(server, to_server)];
            let proceeds = may_proceed(channel, Some(&terms.receipts))?;
            Ok(proceeds.then_some(Session { terms, peers }))
        }
        // Closed here, with the descriptors in its queue, while the parent goes on.
        Incoming::Message(ToWorker::Close, socket) => {
            may_proceed(channel, None)?;
            drop(socket);
            Ok(None)
        }
        // What only a worker with sockets gets.
        Incoming::Message(ToWorker::Recorded { .. } | ToWorker::Proceed, _)
        | Incoming::Closed
        | Incoming::Nothing => Ok(None),
    }
}

/// Waits for [`ToWorker::Proceed`]; `false` after a message that may not come now. The end of the channel is no such
/// message: where the logger ended it, the session ends in order.
fn may_proceed(channel: &WorkersEnd, receipts: Option<&RecordSteps>) -> Result<bool, ChannelError> {
    loop {
        match (channel.receive(Wait::Yes)?, receipts) {
            (Incoming::Message(ToWorker::Proceed, [None, None]) | Incoming::Closed, _) => return Ok(true),
            // The logger may be faster than the parent.
            (Incoming::Message(ToWorker::Recorded { steps }, [None, None]), Some(receipts)) => {
                receipts.recorded(steps);
            }
            _ => return Ok(false),
        }
    }
}

/// Two peers, and the records to make of them.
pub(crate) struct Session {
    terms: Terms,
    peers: [PeerSocket; 2],
}

/// Applies what fork does not inherit, the end with the parent and the ban on forks, and gives up what it does: the
/// zygote's policy of scheduling, with which a session would wait for every other process.
fn settle(zygote: Pid, descriptors: bool) -> Option<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).ok()?;
    if sys::parent() != zygote {
        return None;
    }
    setrlimit(Resource::RLIMIT_NPROC, 0, 0).ok()?;
    let most = if descriptors {
        // A limit that was set before the start may be lower, and cannot be raised.
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        LOCAL_WORKER_DESCRIPTORS.min(hard)
    } else {
        WORKER_DESCRIPTORS
    };
    setrlimit(Resource::RLIMIT_NOFILE, most, most).ok()?;
    let _ = sys::set_default_scheduling();
    nix::sys::prctl::set_name(c"tcpreen-worker").ok()
}

impl Session {
    fn bridge(self, channel: &WorkersEnd, buffers: [Buffer; 2]) -> Bridge<'_> {
        Bridge::new(channel, self.terms, self.peers, buffers)
    }
}

/// The second step: serves the session and exits. Nothing is dropped: the exit closes and frees everything at once.
pub(crate) fn serve(channel: &WorkersEnd, session: Session, buffers: [Buffer; 2], _locked: &Confined) -> ! {
    let mut bridge = session.bridge(channel, buffers);
    sys::exit_now(forward(&mut bridge))
}

/// Forwards to the end and reports it to the logger; returns the worker's exit status.
fn forward(bridge: &mut Bridge<'_>) -> i32 {
    match bridge.run() {
        Ok(cause) => bridge.finish(cause).map_or(1, |()| 0),
        // Only errors of the channel come here: the logger is gone, and nothing may be forwarded unrecorded.
        Err(_) if bridge.logger_lost() => 1,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(0);
            bridge.finish(CloseReason::Failed { errno }).map_or(1, |()| 1)
        }
    }
}
