//! Every message that crosses a process boundary. One enum per direction, named after its reader.
//!
//! ```text
//!                     LookupAnswer ┌──── lookup
//!                                  ▼
//!            ToResolver ─────► resolver ◄───── NameQuestion ┐
//!           │                     │ NameAnswer ────────────►│
//!   parent ─┼─ ToLogger ─────────────────────────────────► logger
//!     ▲     ├─ ToZygote ─────► zygote                     ▲   │
//!     │     └─ ToWorker ─────► worker ── Record + bytes ──┘   │
//!     │                          └◄──────── ToWorker ─────────┘
//!     └─────── ToParent ◄───── resolver, logger, zygote
//! ```
//!
//! With `--read` a converter is in the place of resolver, zygote and workers: `ToConverter` comes from the parent,
//! `Saved` and bytes go to the logger.
//!
//! Nothing here but [`Record`] and [`Saved`] carries monitored bytes, and none of it reaches the parent.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use privsep::channel::Channel;
use privsep::confine::{Identity, SandboxStatus};
use privsep::seccomp::Violation;
use privsep::text::Text;
use privsep::wire;
use serde::{Deserialize, Serialize};

use crate::format::{CaptureLevel, Format, TimeForm};

/// Raised with every change of a message: roles of different versions refuse each other.
pub const VERSION: u32 = 16;

/// One of the two peers of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// An address of a peer, or one that we listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Address {
    V4 {
        host: Ipv4Addr,
        port: u16,
    },
    V6 {
        host: Ipv6Addr,
        port: u16,
        scope: u32,
    },
    /// A path, an abstract name with `@` for its NUL, or nothing for a peer that did not bind.
    Unix(Vec<u8>),
}

impl Address {
    pub fn transport(&self) -> Transport {
        match self {
            Address::V4 { .. } | Address::V6 { .. } => Transport::Tcp,
            Address::Unix(_) => Transport::Unix,
        }
    }

    pub fn ip(&self) -> Option<IpAddr> {
        match *self {
            Address::V4 { host, .. } => Some(host.into()),
            Address::V6 { host, .. } => Some(host.into()),
            Address::Unix(_) => None,
        }
    }

    pub fn port(&self) -> Option<u16> {
        match *self {
            Address::V4 { port, .. } | Address::V6 { port, .. } => Some(port),
            Address::Unix(_) => None,
        }
    }

    /// Checks whether its port may be that of a service. Linux takes clients' ports from 32768 on
    /// (ip_local_port_range), where the name of a service would be coincidence.
    pub fn may_be_a_service(&self) -> bool {
        match self {
            Address::V4 { port, .. } | Address::V6 { port, .. } => *port < 32768,
            Address::Unix(_) => false,
        }
    }

    /// Node and service in numbers, as the frame shows them.
    pub fn numeric(&self) -> Name {
        let (node, service) = match self {
            Address::V4 { host, port } => (host.to_string(), port.to_string()),
            Address::V6 { host, port, scope: 0 } => (host.to_string(), port.to_string()),
            Address::V6 { host, port, scope } => (format!("{host}%{scope}"), port.to_string()),
            Address::Unix(path) if path.is_empty() => (String::new(), "(unnamed)".into()),
            Address::Unix(path) => (String::new(), path.escape_ascii().to_string()),
        };
        Name { node, service }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.numeric().fmt(f)
    }
}

/// Node and service of an address, in words or numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    pub node: String,
    pub service: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.node, self.service)
    }
}

/// The first message to every role that is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    pub version: u32,
    pub parent: i32,
    #[serde(with = "IdentityOnTheWire")]
    pub identity: Identity,
    pub sandbox: Sandbox,
}

/// Sandbox options of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// `--sandbox`
    pub violation: Violation,
    /// `--require-sandbox=full`: what this system cannot give is an error.
    pub full: bool,
}

/// `Identity` belongs to privsep, which need not know that it is sent.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Identity")]
enum IdentityOnTheWire {
    Keep,
    Become { uid: u32, gid: u32 },
}

/// Messages of the roles to the parent, which rejects those that the role may not send, or not in its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToParent {
    /// Any role: confined.
    Ready { sandbox_status: SandboxStatus },
    /// Any role: a step of the preparation failed.
    Failed(Problem),
    /// Resolver: the answer to [`ToResolver::Find`], best first.
    Found(Vec<Address>),
    /// Resolver: likewise, with the words of `gai_strerror(3)`.
    NotFound { reason: Text },
    /// Resolver: the process of a lookup was killed, or ended without an answer.
    LookupLost { pid: i32, end: ProcessEnd },
    /// Zygote: a worker is ready; the descriptor is the other end of its channel.
    WorkerStarted { pid: i32 },
    /// Zygote: no worker could be made. Resolver: the answer to [`ToResolver::Find`] where no lookup could be made.
    ForkFailed { errno: i32 },
    /// Zygote: a worker ended.
    Exited { pid: i32, end: ProcessEnd },
    /// Logger: an output can no longer be written. It has been reported.
    OutputLost,
    /// Logger: this number of sessions is recorded to the end, besides those reported before.
    Recorded { sessions: u32 },
    /// Logger: every output that is opened again has been.
    Reopened,
    /// Logger, before `Ready`: an output is a FIFO without a reader. No session may begin before `OutputsOpen`.
    OutputsWait,
    /// Logger: every FIFO has its reader.
    OutputsOpen,
    /// Logger, zygote: the answer to `Ping`. From the logger also while it waits for an output.
    Alive,
    /// Logger: everything is written.
    Finished,
    /// Converter: not everything can be read of this part of the record. Secrets count as the one after the last.
    Flaw { part: u32, flaw: Flaw },
    /// Converter, as a player: the session is there and can be played.
    Loaded,
    /// Converter, as a player: it cannot be played.
    Unplayable(Unplayable),
    /// Converter: played, or compared, to the end; the result has been printed.
    Compared { same: bool },
    /// Converter: everything that could be read is with the logger: this number of sessions. Of the wanted ones, those
    /// with the missing numbers are not in the record; `unended` have no end in it.
    Converted { sessions: u64, missing: Vec<u64>, unended: u64 },
}

/// Why a part of a saved record is not read, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flaw {
    /// It is no record of ours.
    Foreign,
    /// It ends within the event that begins at this byte.
    Cut { at: u64 },
    /// The data at this byte is not a valid event. If events follow that could be read, this number of bytes was left
    /// out in all.
    Damaged { at: u64, left_out: Option<u64> },
    /// It cannot be read.
    Read { errno: i32 },
    /// Of secrets: there are none in it.
    NoKeys,
    /// Likewise: it is too long.
    TooLong,
}

/// Why a saved session cannot be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unplayable {
    /// There is no such session.
    Missing,
    /// Only lengths of the data were recorded.
    OnlyLengths,
    /// Bytes are missing from the record.
    Gap,
    TooLong,
}

/// When the player sends (`--pace`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pace {
    /// Once everything has come that came before in the record.
    Turns,
    /// At the recorded times.
    Time,
    /// At once.
    Fast,
}

/// Parent to converter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToConverter {
    /// With the logger's channel. This number of parts follows, and secrets of TLS with `keys`.
    Prepare { prepare: Prepare, parts: u32, masks: u32, plays: bool, keys: bool },
    /// The next part of the record, a descriptor that can be read.
    Part,
    /// `--tls-keys`: a descriptor that can be read.
    Keys,
    /// `--mask`: the next one.
    Mask(String),
    /// A stream that ends in the worker: the player is at its other end.
    Stream,
    /// Reads the session that is to be played as this side: the one with this number, or the first.
    Load { side: Side, session: Option<u64>, pace: Pace, wait: Duration },
    /// The live peer is there.
    Play,
    /// Compare the two parts, each of which is a record.
    Compare { sessions: Vec<u64> },
    /// Every role is confined: convert these sessions; none stands for all.
    Convert { sessions: Vec<u64> },
}

/// End of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessEnd {
    Status(i32),
    Signal(i32),
}

/// A step of a role's preparation that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Problem {
    /// Confinement: the step and why.
    Confine(Text),
    /// An output cannot be opened.
    Output { errno: i32, name: Vec<u8> },
    /// Another program holds the lock of this output's file.
    InUse { name: Vec<u8> },
    /// The name of an output is wrong in itself.
    Template { reason: Text },
    /// A `--mask` is no regular expression, or too large a one.
    Mask { reason: Text },
    /// The system has no thread for it.
    Threads { errno: i32 },
}

/// Parent to resolver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToResolver {
    /// With the logger's channel, unless names are not wanted.
    Prepare(Prepare),
    Find(Find),
}

/// A name to look up at the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Find {
    /// `None` with `listen` is every address, without it this host.
    pub host: Option<String>,
    /// A service name; `None` is port 0.
    pub service: Option<String>,
    pub family: IpFamily,
    pub listen: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpFamily {
    Any,
    Ipv4,
    Ipv6,
}

/// Parent to zygote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToZygote {
    Prepare {
        prepare: Prepare,
        reaping: Reaping,
        workers: WorkersNeed,
    },
    /// Number of additional workers.
    Fork(u32),
    /// Asks for [`ToParent::Alive`], which proves that the role still runs.
    Ping,
}

/// Permissions that the workers of a run need beside those of all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkersNeed {
    /// An output has [`TcpInfo`].
    pub tcp_info: bool,
    /// Both peers are on Unix sockets, so that descriptors can pass.
    pub descriptors: bool,
}

/// Delay with which the zygote reaps workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reaping {
    /// The next session may be waiting for the place of this one.
    AtOnce,
    /// There are places enough: several at a time.
    InTurns,
}

/// To a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// From the parent, to an idle worker, with client and server.
    Session {
        need: CaptureLevel,
        bytes: Option<u64>,
        idle_ms: Option<u32>,
        /// Of client and server.
        transports: [Transport; 2],
        /// Connections that the peer has reset, which their sockets have reported to the parent.
        reset: [bool; 2],
        acknowledge: Acknowledge,
    },
    /// From the logger, where [`Acknowledge`] asks for it: every output has the first `steps` of the session. Its
    /// beginning is the first one, every record of bytes is one more.
    Recorded { steps: u64 },
    /// From the parent, to an idle worker, with a socket whose close may wait: there is no session.
    Close,
    /// From the parent, after each of the two messages with sockets. The logger has the session, and the worker is the
    /// only holder of the sockets. Until then it forwards nothing, which would be in no record if the parent died, and
    /// closes nothing, because the last close of a Unix socket may wait and must not be the parent's.
    Proceed,
}

/// Condition for forwarding bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Acknowledge {
    /// The logger's channel has the bytes.
    Nothing,
    /// Likewise, and the files of the session are open.
    Files,
    /// `--record-first`: every output has the bytes.
    Records,
}

/// When something is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    pub acknowledge: Acknowledge,
    pub taken: Taken,
}

/// Condition for a record to count as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Taken {
    /// The kernel has accepted it; a crash of the system can lose it.
    Written,
    /// `--record-first=sync`: it is on the disk, where the output is a file.
    OnDisk,
}

/// The kind of a peer's socket: the worker's filter has no call that returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    Tcp,
    Unix,
    /// A Unix socket of packets, which the other peer then has, too.
    UnixPackets,
}

impl Transport {
    /// Descriptors of a peer's choice may be queued.
    pub fn is_unix(self) -> bool {
        matches!(self, Transport::Unix | Transport::UnixPackets)
    }
}

/// Parent to logger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToLogger {
    /// With the resolver's channel, unless names are not wanted.
    Prepare {
        prepare: Prepare,
        sharing: OutputMode,
        /// Maximum number of sessions that are over and not yet recorded to the end.
        backlog: u32,
        notices: Notices,
        hangup: Hangup,
        rotation: RotationPlan,
        beginning: Beginning,
        recording: Recording,
        appearance: Appearance,
    },
    /// `--match`: records only sessions that match. Before the outputs.
    Match(String),
    /// One more output, in the order of the command line. With a descriptor where the target is one.
    Output {
        target: OutputTarget,
        view: View,
    },
    /// That was the last output.
    Serve,
    /// A session begins; the descriptor is the channel on which its records arrive.
    Session {
        opening: SessionOpening,
        /// `-b`: the worker keeps to it, and the logger checks that.
        bytes: Option<u64>,
    },
    /// Sessions of a saved record arrive on the channel that comes with this.
    Saved,
    /// A session that ends before it has a worker. A peer that is not connected has the address where it was looked
    /// for.
    Unserved {
        opening: SessionOpening,
        end: Unserved,
    },
    /// The worker of a session was killed, or ended with an error.
    Died {
        number: u64,
        end: ProcessEnd,
    },
    /// Ends the worker of this session.
    Stop {
        number: u64,
    },
    Notice {
        level: Level,
        text: String,
    },
    /// Address of a listener; shown with names if names are wanted.
    Listening(Address),
    /// Prints the statistics: the running sessions and the totals.
    Statistics,
    /// Logs are being rotated: later records go to new files.
    Reopen,
    /// Asks for [`ToParent::Alive`], which proves that the role still runs.
    Ping,
    /// No more sessions begin: everything is written, and the answer is `Finished`.
    Finish,
}

/// Description of a session at its start, from the parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOpening {
    pub number: u64,
    /// Client and server.
    pub peers: [Address; 2],
    /// Our own ends of the two connections.
    pub locals: [Option<Address>; 2],
    /// When the first peer was accepted or connected; as all times here, in nanoseconds since 1970.
    pub accepted: u64,
    /// When both were connected, or this turned out to be impossible.
    pub started: u64,
}

/// Why a session has no worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unserved {
    /// One peer left while the other was not there yet.
    Left(CloseReason),
    /// The server was not reached.
    Refused { errno: i32 },
}

/// Sharing of an output by sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputMode {
    /// One after the other.
    Serial,
    /// Several at a time: lines carry the session's number.
    Labelled,
}

/// Destination and minimum level of the notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notices {
    pub sink: NoticeSink,
    pub min_level: MinLevel,
}

/// Destination of the notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoticeSink {
    Stderr,
    Syslog,
    /// Syslog, for a daemon: the standard streams are left.
    SyslogAlone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MinLevel {
    /// Errors, and what is asked for.
    Errors,
    Normal,
    Everything,
}

/// When a file becomes a finished part, and how many parts are kept. By default a file is never split, and every part
/// is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationPlan {
    /// Before it gets larger than this.
    pub size: Option<u64>,
    /// At the end of each such time from the start on.
    pub every: Option<Duration>,
    pub keep: Option<u32>,
}

impl RotationPlan {
    pub fn is_wanted(&self) -> bool {
        self.size.is_some() || self.every.is_some()
    }
}

/// Treatment of a file's existing contents at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Beginning {
    /// Lost; where the file is rotated by us, it becomes the first part.
    Empty,
    /// `--append`
    Append,
}

/// An output's format and selection of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub format: Format,
    /// `--only`: traffic of this side alone.
    pub only: Option<Side>,
    /// `--time`
    pub time: Option<TimeForm>,
}

/// Appearance of outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appearance {
    pub color: Color,
    /// `--max-shown`: bytes of a piece that `view` shows; `None` is the default of the output.
    pub max_shown: Option<u64>,
}

/// `--color`, in the light of the environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Color {
    Always,
    OnTerminals,
    #[default]
    Never,
}

/// Effect of SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hangup {
    /// The terminal has gone.
    Ends,
    /// Logs are being rotated.
    Reopens,
}

/// Importance of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// Printed even with `-q`.
    Error,
    Normal,
    /// Something went wrong, for one session.
    Warning,
    /// Requested by the operator: printed even with `-q`.
    Asked,
    /// Printed with `-v -v`.
    Detail,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputTarget {
    Stdout,
    /// A descriptor that comes with the message; its name is for the operator.
    Descriptor(String),
    File(Vec<u8>),
    /// `--metrics`: figures instead of a record. The view that comes with it is not used.
    Metrics(Vec<u8>),
}

/// Logger to resolver: asks for the name of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameQuestion {
    /// Comes back with the answer.
    pub id: u64,
    pub address: Address,
}

/// Resolver to logger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameAnswer {
    pub id: u64,
    pub name: Name,
}

/// Lookup to resolver: the only message of the process that looks one question up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LookupAnswer {
    /// To [`Find`].
    Found(Vec<Address>),
    /// Likewise: the number of `getaddrinfo(3)`, and errno where that is `EAI_SYSTEM`.
    NotFound { code: i32, errno: i32 },
    /// To [`NameQuestion`].
    Named(Name),
}

/// A worker's end of its channel to the logger, on which its session arrives.
pub type WorkersEnd = Channel<Record, ToWorker, { wire::SHORT }>;

/// The time in nanoseconds since 1970; a clock that stands before that is taken for 1970. The vDSO answers: no system
/// call where the clock source of the system can be read from user space, as on all common machines.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Worker to logger: what happened in the session, as it happened, and when ([`now`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// The bytes that follow in the same message came from this side. The time is that of the end of the read.
    Data { from: Side, urgent: bool, time: u64 },
    /// Number of bytes passed, whose contents no output needs.
    Passed { from: Side, bytes: u64, time: u64 },
    /// End of this side, with the total number of bytes from it.
    Ended { from: Side, total: u64, time: u64 },
    /// Descriptors came with the next bytes of this side. For each of them one byte follows in the same message, see
    /// [`rights`].
    Descriptors { from: Side, time: u64 },
    /// Descriptors of this side that the other did not get; 0 where their number is not known.
    Undelivered { from: Side, count: u32, time: u64 },
    /// A message without bytes, on a socket of packets.
    EmptyMessage { from: Side, time: u64 },
    /// The session is over. The totals of the sides that have not ended yet: how many bytes came from client and
    /// server. The last record.
    /// `tcp` is of the connections to client and server, where it is wanted.
    Closed { cause: CloseReason, totals: [Option<u64>; 2], tcp: [TcpInfo; 2], time: u64 },
}

/// The kernel's figures of a TCP connection at its end (`TCP_INFO`). All zero if it has none, and for other sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpInfo {
    /// Smoothed round-trip time between us and the peer, and its mean deviation, in microseconds.
    pub rtt: u32,
    pub rttvar: u32,
    /// Segments that we sent again.
    pub retransmissions: u32,
    /// The last rate at which the peer acknowledged, in bytes per second.
    pub delivery_rate: u64,
}

impl Record {
    /// No encoded record is longer: the payload of `Data` begins within this.
    pub const MAX_HEAD: usize = 96;

    /// Time of the event, as reported by the worker.
    pub fn time(&self) -> u64 {
        match *self {
            Record::Data { time, .. }
            | Record::Passed { time, .. }
            | Record::Ended { time, .. }
            | Record::Descriptors { time, .. }
            | Record::Undelivered { time, .. }
            | Record::EmptyMessage { time, .. }
            | Record::Closed { time, .. } => time,
        }
    }

    /// No message with a record is longer, payload included.
    pub const LONGEST: usize = 256 * 1024;
}

/// Converter to logger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromConverter {
    Saved(Saved),
    /// A line for the operator about sessions that were compared.
    Line(Text),
}

/// An event of a saved record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Number of the session among the open ones.
    pub session: u64,
    /// Nanoseconds since the epoch.
    pub time: u64,
    pub event: SavedEvent,
}

impl Saved {
    /// No encoded `Data` or other event without text is longer.
    pub const MAX_HEAD: usize = 96;

    /// Maximum length of the payload of `Data`.
    pub const LONGEST_PAYLOAD: usize = Record::LONGEST - Saved::MAX_HEAD;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SavedEvent {
    Start(Box<SavedStart>),
    /// The bytes follow in the same message. Without them, only their number is known.
    Data {
        from: Side,
        position: u64,
        bytes: u64,
        urgent: bool,
    },
    Eof {
        from: Side,
        total: u64,
    },
    /// Secrets, which follow in the same message.
    Secrets,
    Note(Text),
    End(SavedEnd),
}

/// The end of a saved session.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedEnd {
    /// Places in the lists of states (`record::State::ALL`, `record::ConnState::ALL`).
    pub state: u8,
    pub conn_state: u8,
    pub errno: i32,
    /// Bytes of client and server.
    pub totals: [u64; 2],
    pub tcp: [TcpInfo; 2],
}

/// State of the peers at the start of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Meeting {
    /// Both were connected.
    Both,
    /// One left before the other was connected: no data, no end of a stream.
    One,
    /// The server was not reached: likewise, and the state is refused.
    Refused,
}

/// The beginning of a saved session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedStart {
    pub number: u64,
    pub run: String,
    /// Nanoseconds since the epoch.
    pub accepted: u64,
    /// Of client and server.
    pub addresses: [Address; 2],
    pub locals: [Option<Address>; 2],
    pub names: [Name; 2],
    pub meeting: Meeting,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseReason {
    /// Both sides closed in order.
    Done,
    /// This side reset its connection, and the reset was passed on.
    Reset(Side),
    /// The connection to this side failed in another way; that, too, was passed on as a reset. `EPIPE` is a Unix
    /// socket that was closed.
    Lost { side: Side, errno: i32 },
    /// `-b`
    Limit,
    /// `--idle-timeout`: no byte moved.
    Idle,
    /// `--idle-timeout`: no byte moved because this side did not read what was sent to it.
    NotReading(Side),
    /// The operator ended it.
    Stopped,
    /// A system call failed.
    Failed { errno: i32 },
}

#[cfg(fuzzing)]
pub mod fuzz;
pub mod rights;
#[cfg(test)]
mod tests;
