//! The model of a record: events of sessions, in the order in which they happened.
//!
//! Invariants that encoders may rely on and that readers of saved records have to check:
//!
//! * The events of a session begin with one `Start` and end with one `End`; sessions are interleaved. A record that was
//!   cut has sessions without `End`, and the record of an output that was appended to has several runs
//!   ([`SessionInfo::run`]), each of which numbers its sessions from 1.
//! * `time` does not decrease within a session. Between sessions it may, by the time that a record takes to the logger.
//! * `position` of a `Data` event is the number of bytes that the sender had sent before. A gap between it and the
//!   previous position plus length means bytes that are not in the record.
//! * A side sends no `Data` after its `Eof`. `Eof` is only what the side did itself (a FIN); a session that ended in
//!   another way has sides without one. Totals of both sides are in `End`, whatever the [`State`].
//!
//! Every format that can be read back keeps: times to the nanosecond, session and run, addresses, state, totals, errno,
//! the figures of `TCP_INFO`, and positions, lengths and bytes of the data. It does not keep the names of services,
//! which the text formats show in place of port numbers.

use std::sync::Arc;

use crate::messages::{self, Address, Name, Side};
pub(crate) use crate::messages::{Meeting, TcpInfo};
use nix::libc;

/// A moment in UTC, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(u64);

impl Time {
    pub(crate) const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    pub(crate) fn now() -> Time {
        Time(messages::now())
    }

    pub(crate) const fn nanos(self) -> u64 {
        self.0
    }

    pub(crate) const fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Nanoseconds from `earlier` to this; 0 if that is later.
    pub(crate) const fn since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Something that happened in a session. The payload of `Data` is kept beside it, where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) time: Time,
    pub(crate) session: u64,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The session begins: both peers are connected, or the server turned out not to be reached.
    Start(Arc<SessionInfo>),
    /// Bytes, at least one. Without a payload beside the event, only their number is known.
    Data {
        from: Side,
        position: u64,
        bytes: u64,
        urgent: bool,
    },
    /// This side sends no more; `total` bytes came from it.
    Eof {
        from: Side,
        total: u64,
    },
    /// TLS secrets of this session. The payload beside the event has them, as lines of the key log format of NSS. They
    /// come before the data that they decrypt. Only `pcapng` has them.
    Secrets,
    /// A remark about the session, such as the reason of its end.
    Note(String),
    End(End),
}

/// Maximum length of the payload of `Secrets`.
pub(crate) const LONGEST_SECRETS: usize = 8192;

/// Description of a session at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionInfo {
    pub(crate) number: u64,
    /// Identifies the start of the program that recorded it; a few letters and digits.
    pub(crate) run: Arc<str>,
    /// Time at which the first of the two peers was accepted.
    pub(crate) accepted: Time,
    /// Time at which both were connected, which is that of the `Start` event. Dialling took the difference.
    pub(crate) started: Time,
    /// Client and server.
    pub(crate) peers: [Peer; 2],
    pub(crate) meeting: Meeting,
}

impl SessionInfo {
    pub(crate) fn peer(&self, side: Side) -> &Peer {
        &self.peers[side as usize]
    }
}

/// One of the two peers of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: Address,
    /// Our own end of the connection, where it is known.
    pub(crate) local: Option<Address>,
    /// Name shown by the frame of the text formats: the host name if names are enabled and it is known.
    pub(crate) name: Name,
}

/// End of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) state: State,
    pub(crate) conn_state: ConnState,
    /// 0, or the error that ended the session.
    pub(crate) errno: i32,
    /// Bytes that came from client and server.
    pub(crate) totals: [u64; 2],
    /// Of the connections to client and server.
    pub(crate) tcp: [TcpInfo; 2],
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Both sides had sent all they had.
    Done,
    /// This side reset its connection. A Unix socket that was closed before everything was sent to it counts as reset,
    /// with `EPIPE`.
    ClientReset,
    ServerReset,
    /// `-b`
    Limit,
    /// `--idle-timeout`
    Idle,
    /// By the operator.
    Stopped,
    /// A system call failed with `errno`.
    Failed,
    /// The worker died or violated the protocol.
    Lost,
    /// The server was never reached.
    Refused,
    /// A peer stopped answering: keep-alive failed, or the route is gone.
    NoAnswer,
}

impl State {
    pub(crate) const ALL: [State; 10] = [
        State::Done,
        State::ClientReset,
        State::ServerReset,
        State::Limit,
        State::Idle,
        State::Stopped,
        State::Failed,
        State::Lost,
        State::Refused,
        State::NoAnswer,
    ];

    /// Name in saved records.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            State::Done => "done",
            State::ClientReset => "client_reset",
            State::ServerReset => "server_reset",
            State::Limit => "limit",
            State::Idle => "idle",
            State::Stopped => "stopped",
            State::Failed => "failed",
            State::Lost => "lost",
            State::Refused => "refused",
            State::NoAnswer => "no_answer",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    pub(crate) const fn reset_by(side: Side) -> State {
        match side {
            Side::Client => State::ClientReset,
            Side::Server => State::ServerReset,
        }
    }
}

/// State of the connection, named as `conn_state` in Zeek's `conn.log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnState {
    /// Both sides finished.
    Sf,
    /// The client came, and no server answered.
    S0,
    /// Established, and no side has finished.
    S1,
    /// The client finished, the server did not.
    S2,
    /// The server finished, the client did not.
    S3,
    /// The server refused.
    Rej,
    /// Reset by the client (originator).
    Rsto,
    /// Reset by the server (responder).
    Rstr,
}

impl ConnState {
    pub(crate) const ALL: [ConnState; 8] = [
        ConnState::Sf,
        ConnState::S0,
        ConnState::S1,
        ConnState::S2,
        ConnState::S3,
        ConnState::Rej,
        ConnState::Rsto,
        ConnState::Rstr,
    ];

    /// State of a session whose server was not reached because of `errno`.
    pub(crate) const fn of_refusal(errno: i32) -> ConnState {
        match errno {
            libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH => ConnState::S0,
            _ => ConnState::Rej,
        }
    }

    /// State of a session that ended with `state`. `finished` is set for sides that had finished before.
    pub(crate) const fn of(state: State, finished: [bool; 2]) -> ConnState {
        match (state, finished) {
            (State::ClientReset, _) => ConnState::Rsto,
            (State::ServerReset, _) => ConnState::Rstr,
            (State::Refused, _) => ConnState::Rej,
            (State::Done, _) | (_, [true, true]) => ConnState::Sf,
            (_, [false, false]) => ConnState::S1,
            (_, [true, false]) => ConnState::S2,
            (_, [false, true]) => ConnState::S3,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            ConnState::Sf => "SF",
            ConnState::S0 => "S0",
            ConnState::S1 => "S1",
            ConnState::S2 => "S2",
            ConnState::S3 => "S3",
            ConnState::Rej => "REJ",
            ConnState::Rsto => "RSTO",
            ConnState::Rstr => "RSTR",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<ConnState> {
        ConnState::ALL.into_iter().find(|state| state.name() == name)
    }
}
