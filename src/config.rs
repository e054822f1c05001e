//! The configuration of one run, made by `cli` from the command line. Nothing outside `cli` depends on clap.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::format::CaptureLevel;
use crate::messages::{Appearance, Beginning, Pace, RotationPlan, Sandbox, Side, Taken, View};

/// Configuration of one run of the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) task: Task,
    /// Endpoint of the clients (`LOCALPORT`, `-a`, right half of `-p`).
    pub(crate) client: Endpoint,
    /// Endpoint of the server (`SERVERPORT`, `-s`, left half of `-p`).
    pub(crate) server: Endpoint,
    /// Every output in the order of the command line; the display on stdout, if any, comes first.
    pub(crate) outputs: Vec<OutputOption>,
    /// `--match`: a regular expression that has been compiled once.
    pub(crate) matching: Option<String>,
    /// `--metrics`
    pub(crate) metrics: Option<PathBuf>,
    /// `--rotate-size`, `--rotate-time`, `--rotate-count`
    pub(crate) rotation: RotationPlan,
    /// `--append`
    pub(crate) beginning: Beginning,
    /// `--color`, `--max-shown`
    pub(crate) appearance: Appearance,
    /// `--record-first`: place that a record must have reached before its bytes are forwarded.
    pub(crate) record_first: Option<Taken>,
    /// `-F`: maximum number of sessions at the same time, at least 1.
    pub(crate) at_once: u32,
    /// `--max-per-client`: maximum number of those for one client address; `None` is no limit.
    pub(crate) per_client: Option<u32>,
    /// `-m`: maximum number of sessions in total; `None` is no limit.
    pub(crate) sessions: Option<u64>,
    /// `-b`: maximum number of bytes in a session, both ways together; `None` is no limit.
    pub(crate) bytes: Option<u64>,
    /// `-n`: shows numbers instead of names.
    pub(crate) numeric: bool,
    /// Verbosity of notices. A daemon has no display.
    pub(crate) verbosity: Verbosity,
    /// `-d`
    pub(crate) daemon: bool,
    /// `--inetd`: descriptor 0 is a client or a listener.
    pub(crate) inetd: bool,
    /// `--syslog`; also set for a daemon, and if stderr is connected to a peer.
    pub(crate) syslog: bool,
    /// `--pidfile`
    pub(crate) pidfile: Option<PathBuf>,
    /// `--drain-timeout`: time for which sessions continue after a terminating signal; `None` ends them at
    /// once.
    pub(crate) drain_timeout: Option<Duration>,
    /// `-u`
    pub(crate) user: Option<String>,
    pub(crate) sandbox: Sandbox,
    /// `--print-policy`: prints and exits.
    pub(crate) print_policy: bool,
    /// `--connect-timeout`
    pub(crate) connect_timeout: Duration,
    /// `--idle-timeout`; `None` is no limit.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) keepalive: Keepalive,
    /// Warnings about options that probably have no effect, printed first.
    pub(crate) remarks: Vec<String>,
}

impl Config {
    /// Checks whether an output shows the system's data about connections.
    pub(crate) fn has_tcp_info(&self) -> bool {
        self.outputs.iter().any(|output| output.view.format.has_tcp_info())
    }

    /// Checks whether sessions are between Unix packet sockets.
    pub(crate) fn has_packets(&self) -> bool {
        // The other side may be an inherited socket, of which the command line knows nothing.
        [&self.server, &self.client].iter().any(|side| side.family == Family::UnixPackets)
    }

    /// Traffic data that the most demanding output needs.
    pub(crate) fn need(&self) -> CaptureLevel {
        let outputs = self.outputs.iter().map(|output| output.view.format.need());
        let figures = self.metrics.is_some().then_some(CaptureLevel::Lengths);
        let search = self.matching.is_some().then_some(CaptureLevel::Bytes);
        outputs.chain(figures).chain(search).max().unwrap_or(CaptureLevel::Totals)
    }
}

/// Source of the sessions of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Clients and a server.
    Bridge,
    /// `--read`: saved records. Endpoints and limits of sessions are not used.
    Read(Reading),
    /// `--replay`: one peer is played from a record.
    Replay(Replay),
    /// `--diff`: two records are compared. Only `inputs`, `sessions` and `masks` are used.
    Diff(Diff),
}

/// `--replay`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replay {
    /// The peer that is played.
    pub(crate) side: Side,
    pub(crate) input: RecordInput,
    /// `--session`; `None` is the first.
    pub(crate) session: Option<u64>,
    pub(crate) pace: Pace,
    /// `--wait`: time limit for the live peer to send the data that it sent in the record.
    pub(crate) wait: Duration,
    /// `--mask`: regular expressions.
    pub(crate) masks: Vec<String>,
}

/// `--diff`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diff {
    /// The two records.
    pub(crate) inputs: Vec<RecordInput>,
    /// `--session`; empty stands for all sessions.
    pub(crate) sessions: Vec<u64>,
    pub(crate) masks: Vec<String>,
}

/// `--read`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Parts of one record, in order; at least one.
    pub(crate) inputs: Vec<RecordInput>,
    /// `--session`; empty stands for all sessions.
    pub(crate) sessions: Vec<u64>,
    /// `--tls-keys`
    pub(crate) keys: Option<RecordInput>,
}

/// A file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordInput {
    /// `-`
    Stdin,
    /// An inherited descriptor (`/dev/fd/N`), never 0.
    Descriptor(RawFd),
    File(OsString),
}

impl Task {
    /// All files that are read.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &RecordInput> {
        let (inputs, other) = match self {
            Task::Bridge => (&[][..], None),
            Task::Read(Reading { inputs, keys, .. }) => (inputs.as_slice(), keys.as_ref()),
            Task::Replay(replay) => (&[][..], Some(&replay.input)),
            Task::Diff(Diff { inputs, .. }) => (inputs.as_slice(), None),
        };
        inputs.iter().chain(other)
    }
}

/// `--keepalive`: TCP keep-alive probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keepalive {
    /// On, with the system's times.
    #[default]
    System,
    /// On, with this many seconds of silence before the first probe and between probes.
    Every(u32),
    Off,
}

/// One side of the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) approach: Approach,
    pub(crate) family: Family,
    /// Host as typed. `None` is the default of the approach: any address to listen on, the local host to connect to.
    pub(crate) host: Option<String>,
    pub(crate) port: Port,
}

/// Direction in which the connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Approach {
    /// The peer connects to the bridge.
    Listen,
    /// The bridge connects to the peer.
    Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Without `-p`: IPv4 first, IPv6 if only that fits.
    Any,
    Ipv4,
    Ipv6,
    Unix,
    /// Unix packet sockets (`SOCK_SEQPACKET`), on both sides or on neither.
    UnixPackets,
}

impl Family {
    pub(crate) fn is_unix(self) -> bool {
        matches!(self, Family::Unix | Family::UnixPackets)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// 0 or absent: the kernel chooses.
    Dynamic,
    Number(u16),
    /// A name for the resolver.
    Service(String),
    /// A Unix socket: a path, or an abstract name if the first byte is `@`.
    Path(OsString),
}

/// One `-o`, or the display on stdout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutputOption {
    pub(crate) target: Target,
    pub(crate) view: View,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    /// An inherited descriptor (`/dev/fd/N`, `/dev/stderr`), never 0 or 1.
    Descriptor(RawFd),
    /// A path, possibly with `%` templates.
    File(OsString),
}

/// `-q` and `-v`, in the order given: starts at `Normal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    Quiet,
    Normal,
    Verbose,
    Debug,
}
