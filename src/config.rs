//! What the command line means. `cli` makes it, everything else reads it; nothing after `cli` has
//! heard of clap.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::messages::{Beginning, Rotation, Sandbox, View};

/// One run of the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where clients are met (`LOCALPORT`, `-a`, right half of `-p`).
    pub(crate) client: Endpoint,
    /// Where the server is met (`SERVERPORT`, `-s`, left half of `-p`).
    pub(crate) server: Endpoint,
    /// Every output in the order of the command line; the display on stdout, if any, comes first.
    pub(crate) outputs: Vec<Output>,
    /// `--rotate-size`, `--rotate-time`, `--rotate-count`
    pub(crate) rotation: Rotation,
    /// `--append`
    pub(crate) beginning: Beginning,
    /// `-F`: sessions at the same time, at least 1.
    pub(crate) at_once: u32,
    /// `--max-per-client`: of those, sessions of one client address; `None` is no limit.
    pub(crate) per_client: Option<u32>,
    /// `-m`: sessions in all; `None` is no limit.
    pub(crate) sessions: Option<u64>,
    /// `-b`: bytes in a session, both ways together; `None` is no limit.
    pub(crate) bytes: Option<u64>,
    /// `-n`: numbers instead of names.
    pub(crate) numeric: bool,
    /// Of what is told; of a daemon's display there is nothing to be told.
    pub(crate) verbosity: Verbosity,
    /// `-d`
    pub(crate) daemon: bool,
    /// `--inetd`: descriptor 0 is a client, or where clients come.
    pub(crate) inetd: bool,
    /// `--syslog`, which a daemon has in any case, and whoever finds a peer in the place of stderr.
    pub(crate) syslog: bool,
    /// `--pidfile`
    pub(crate) pidfile: Option<PathBuf>,
    /// `--drain-timeout`: how long sessions go on after the signal that ends us; `None` is not at all.
    pub(crate) drain_timeout: Option<Duration>,
    /// `-u`
    pub(crate) user: Option<String>,
    pub(crate) sandbox: Sandbox,
    /// `--print-policy`: nothing else is done.
    pub(crate) print_policy: bool,
    /// `--connect-timeout`
    pub(crate) connect_timeout: Duration,
    /// `--idle-timeout`; `None` is no limit.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) keepalive: Keepalive,
    /// What the operator probably did not mean, to be printed before anything else.
    pub(crate) remarks: Vec<String>,
}

/// `--keepalive`: probes to peers that have long been silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keepalive {
    /// With the system's times.
    #[default]
    System,
    /// After as many seconds of silence, and from one probe to the next.
    Every(u32),
    Off,
}

/// One side of the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) approach: Approach,
    pub(crate) family: Family,
    /// As typed; `None` is the default of the approach: any address to listen on, the local host
    /// to connect to.
    pub(crate) host: Option<String>,
    pub(crate) port: Port,
}

/// Who makes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Approach {
    /// We wait for the peer.
    Listen,
    /// We connect to the peer.
    Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// No `-p`: IPv4 first, IPv6 where only that fits.
    Any,
    Ipv4,
    Ipv6,
    Unix,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// 0 or absent: the kernel chooses.
    Dynamic,
    Number(u16),
    /// A name for the resolver.
    Service(String),
    /// A Unix socket: a path, or an abstract name where the first byte is `@`.
    Path(OsString),
}

/// One `-o`, or the display on stdout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) target: Target,
    pub(crate) view: View,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    /// A descriptor that the program was started with (`/dev/fd/N`, `/dev/stderr`), never 0 or 1.
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
