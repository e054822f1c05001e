//! A session as the logger sees it: what its worker may say now, and what waits for its names.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use privsep::channel::Channel;

use super::batch::What;
use crate::messages::{Address, Cause, End, Name, Record, Side, ToWorker};
use crate::signals;

/// What a session may hold back while its names are looked up. Beyond it, numbers are shown.
const HELD: usize = 1 << 20;

/// How long we wait for the parent to tell why a worker vanished.
const OBITUARY: Duration = Duration::from_secs(2);

/// A record that waits for the names.
pub(super) struct Held {
    pub(super) what: What,
    /// The payload, where `what` is data.
    pub(super) bytes: Vec<u8>,
}

/// Names that have not come.
struct Pending {
    until: Instant,
    missing: [bool; 2],
    held: Vec<Held>,
    size: usize,
}

/// How far the worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worker {
    Running,
    /// It has said its last word.
    Closed,
    /// Its channel ended without a last word.
    Vanished {
        until: Instant,
    },
    /// Everything about it is known and recorded.
    Gone,
}

/// One session.
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) channel: Channel<ToWorker, Record>,
    /// Client, server.
    names: [Name; 2],
    pending: Option<Pending>,
    ended: [bool; 2],
    worker: Worker,
    died: Option<End>,
}

impl Session {
    pub(super) fn new(
        number: u64,
        channel: Channel<ToWorker, Record>,
        client: &Address,
        server: &Address,
    ) -> Session {
        Session {
            number,
            channel,
            names: [client.numeric(), server.numeric()],
            pending: None,
            ended: [false; 2],
            worker: Worker::Running,
            died: None,
        }
    }

    /// Waits for the names of these sides.
    pub(super) fn wait_for_names(&mut self, client: Option<Instant>, server: Option<Instant>) {
        self.pending = client.or(server).map(|until| Pending {
            until,
            missing: [client.is_some(), server.is_some()],
            held: Vec::new(),
            size: 0,
        });
    }

    /// Nobody waits for the names any more; what was held back is still held until the session begins.
    pub(super) fn stop_waiting(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.missing = [false; 2];
        }
    }

    /// A name has come; says whether it was the last one missing.
    pub(super) fn named(&mut self, side: Side, name: Name) -> bool {
        let Some(pending) = &mut self.pending else { return false };
        let index = side as usize;
        self.names[index] = name;
        pending.missing[index] = false;
        pending.missing == [false; 2]
    }

    /// Nothing is to be recorded before the names are known, or given up.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The names are known or given up, so the session can begin when it is its turn.
    pub(super) fn can_begin(&self) -> bool {
        self.pending.as_ref().is_none_or(|pending| pending.missing == [false; 2])
    }

    /// Holds a record back; says whether the names are still worth it.
    pub(super) fn hold(&mut self, what: What, bytes: Vec<u8>) -> bool {
        let Some(pending) = &mut self.pending else { return false };
        pending.size += bytes.len() + size_of::<Held>();
        pending.held.push(Held { what, bytes });
        pending.size < HELD
    }

    /// Stops waiting for names: what the session begins with, and what was held back.
    pub(super) fn begin(&mut self) -> (What, Vec<Held>) {
        let held = self.pending.take().map(|pending| pending.held).unwrap_or_default();
        let [client, server] = self.names.clone();
        (What::Begin { client, server }, held)
    }

    /// Whether the worker may say this now.
    pub(super) fn allows(&mut self, record: &Record, payload: usize) -> bool {
        let running = self.worker == Worker::Running;
        match *record {
            Record::Data { from, .. } => running && payload > 0 && !self.ended[from as usize],
            Record::Passed { from, .. } => running && payload == 0 && !self.ended[from as usize],
            Record::Ended { from, .. } => {
                let first = !std::mem::replace(&mut self.ended[from as usize], true);
                running && payload == 0 && first
            }
            Record::Closed(_) => running && payload == 0,
        }
    }

    /// The worker has said its last word.
    pub(super) fn closed(&mut self) {
        self.worker = Worker::Closed;
    }

    /// The channel has ended; says why, if that is abnormal and known already.
    pub(super) fn hung_up(&mut self, now: Instant) -> Option<String> {
        match (self.worker, self.died) {
            (Worker::Running, Some(end)) => {
                self.worker = Worker::Gone;
                Some(obituary(end))
            }
            (Worker::Running, None) => {
                self.worker = Worker::Vanished { until: now + OBITUARY };
                None
            }
            _ => {
                self.worker = Worker::Gone;
                None
            }
        }
    }

    /// The parent says how the worker ended; says what to note if we waited for that.
    pub(super) fn died(&mut self, end: End) -> Option<String> {
        self.died = Some(end);
        match self.worker {
            Worker::Vanished { .. } => {
                self.worker = Worker::Gone;
                Some(obituary(end))
            }
            _ => None,
        }
    }

    /// Nobody tells us any more why the worker vanished.
    pub(super) fn give_up(&mut self) {
        self.worker = Worker::Gone;
    }

    pub(super) fn is_gone(&self) -> bool {
        self.worker == Worker::Gone
    }

    /// When something is to be given up: names, and the reason of a death.
    pub(super) fn deadlines(&self) -> (Option<Instant>, Option<Instant>) {
        let death = match self.worker {
            Worker::Vanished { until } => Some(until),
            _ => None,
        };
        let names = self.pending.as_ref().filter(|pending| pending.missing != [false; 2]);
        (names.map(|pending| pending.until), death)
    }
}

fn obituary(end: End) -> String {
    match end {
        End::Signal(number) => {
            format!("Session ended abnormally: signal {number} ({}).", signals::describe(number))
        }
        End::Status(status) => format!("Session ended abnormally: exit status {status}."),
    }
}

/// What the record says about a cause, if it is worth a line: an orderly end needs none.
pub(super) fn epitaph(cause: Cause) -> Option<String> {
    let why = match cause {
        Cause::Done | Cause::Stopped => return None,
        Cause::Reset(Side::Client) => "connection reset by the client".into(),
        Cause::Reset(Side::Server) => "connection reset by the server".into(),
        Cause::Limit => "byte limit reached".into(),
        Cause::Idle => "idle for too long".into(),
        Cause::Failed { errno } => Errno::from_raw(errno).desc().to_owned(),
    };
    Some(format!("Session ended: {why}."))
}
