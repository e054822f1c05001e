//! The command line: syntax and meaning.
//!
//! The syntax is that of getopt_long, on which users and scripts of 1.4.4 rely: options after positionals, bundles,
//! `--`, abbreviations, and the last one of repeated options. [`command()`] lists the options; only this file
//! combines them; all other code reads [`Config`] and does not depend on clap.

mod command;
mod endpoint;
mod outputs;
mod reading;
#[cfg(test)]
mod tests;
mod usage;
mod values;
mod wording;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use clap::error::ErrorKind;
use privsep::seccomp::Violation;

use crate::config::{Approach, Config, Endpoint, Family, OutputOption, Port, Task, Verbosity};
use crate::exit::{Failure, Status};
use crate::format::Format;
use crate::messages::{Appearance, Beginning, Color, RotationPlan, Sandbox, Side, Taken};

use crate::cli::endpoint::Given;
pub(crate) use command::command;
use usage::{shown, usage};
use wording::refusal;

/// Action that the command line selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Run(Box<Config>),
    /// Demonstrates the program on a built-in server and client.
    Demo,
    /// Text for stdout, line ends included; success.
    Help(String),
    /// Text for stdout, line ends included; success.
    Version(String),
}

/// Number of concurrent sessions without `-F`.
const AT_ONCE: u32 = 1;
/// Number of concurrent sessions of a daemon without `-F`; its output need not stay readable on a screen.
const AT_ONCE_DAEMON: u32 = 64;
/// Time limit of a connection attempt without `--connect-timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Endpoint of a run without peers.
const NOWHERE: Endpoint =
    Endpoint { approach: Approach::Connect, family: Family::Any, host: None, port: Port::Dynamic };

/// State of the process on which the meaning of the command line depends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StartupContext {
    /// Permits `-u`: the *caller* is root, which excludes set-uid starts.
    pub(crate) may_select_user: bool,
    /// Standard output is the same socket as standard input, so that the peer would read it.
    pub(crate) stdout_is_a_peers: bool,
    /// Same for standard error.
    pub(crate) stderr_is_a_peers: bool,
    /// Standard output is a terminal.
    pub(crate) stdout_is_a_terminal: bool,
    /// The environment permits colours on terminals.
    pub(crate) has_colors: bool,
    /// A service manager has passed sockets.
    pub(crate) has_sockets: bool,
    /// A set-uid bit or a file capability gave the program more privileges than its caller has.
    pub(crate) is_secure: bool,
}

/// Parses a command line, the program's name first (which a hostile caller may omit).
pub(crate) fn parse(
    args: impl IntoIterator<Item = OsString>,
    circumstances: StartupContext,
) -> Result<Action, Failure> {
    let mut args = args.into_iter();
    let program = match args.next() {
        Some(name) if !name.is_empty() => shown(&name),
        _ => command::NAME.to_owned(),
    };
    let args: Vec<OsString> = args.collect();
    match command().try_get_matches_from(&args) {
        Ok(typed) => Line { typed, program, circumstances }.action(),
        // clap stops at the first of the two, as getopt does.
        Err(error) if error.kind() == ErrorKind::DisplayHelp => Ok(Action::Help(error.to_string())),
        Err(error) if error.kind() == ErrorKind::DisplayVersion => Ok(Action::Version(command::version())),
        Err(error) => Err(refusal(&error, &args, &program)),
    }
}

/// A command line whose options are all known, with valid values.
struct Line {
    typed: ArgMatches,
    program: String,
    circumstances: StartupContext,
}

impl Line {
    fn action(&self) -> Result<Action, Failure> {
        if self.flag("demo") {
            return Ok(Action::Demo);
        }
        Ok(Action::Run(Box::new(self.config()?)))
    }

    fn config(&self) -> Result<Config, Failure> {
        let task = self.task()?;
        let (bridges, is_replay) = (task == Task::Bridge, matches!(task, Task::Replay(_)));
        if let Some(extra) = self.typed.get_one::<OsString>("extra").filter(|_| bridges) {
            let hint = self.hint_about_host().unwrap_or_default();
            return Err(usage(format!("{}: unexpected extra parameter.{hint}", shown(extra))));
        }
        let (client, server) = self.endpoints(&task)?;
        if is_replay && self.families().0 == Family::UnixPackets {
            return Err(usage("-p unix-seqpacket: --replay plays streams only.".to_owned()));
        }
        let (daemon, inetd) = (self.flag("daemon"), self.inetd()?);
        // A daemon has no display to which `-q` or `-v` could apply.
        let (display, verbosity) = match daemon {
            true => (Verbosity::Quiet, Verbosity::Normal),
            false => (self.verbosity(), self.verbosity()),
        };
        let outputs = match task {
            Task::Diff(_) => Vec::new(),
            _ => self.outputs(display, daemon, !matches!(task, Task::Read(_)))?,
        };
        self.check_keys(&outputs)?;
        let mut remarks = self.remarks(&outputs);
        if bridges {
            remarks.extend(self.hint_about_data(&outputs));
        }
        Ok(Config {
            server,
            client,
            outputs,
            remarks,
            beginning: if self.flag("append") { Beginning::Append } else { Beginning::Empty },
            appearance: self.appearance(),
            rotation: self.rotation()?,
            record_first: self.value("record-first"),
            at_once: self.at_once(&task, daemon),
            per_client: self.value("max-per-client"),
            sessions: self.value("maxconn").or((self.flag("connect") || is_replay).then_some(1)),
            bytes: self.value("bytes"),
            numeric: self.flag("numeric") || matches!(task, Task::Read(_) | Task::Diff(_)),
            verbosity,
            daemon,
            inetd,
            syslog: daemon || self.flag("syslog") || self.circumstances.stderr_is_a_peers,
            matching: self.matching()?,
            metrics: self.metrics(daemon),
            pidfile: self.value("pidfile"),
            drain_timeout: self.value("drain-timeout"),
            user: self.user()?,
            print_policy: self.flag("print-policy"),
            sandbox: Sandbox {
                violation: self.value("sandbox").unwrap_or(Violation::Kill),
                full: self.value("require-sandbox").unwrap_or(false),
            },
            connect_timeout: self.value("connect-timeout").unwrap_or(CONNECT_TIMEOUT),
            idle_timeout: self.value("idle-timeout"),
            keepalive: self.value("keepalive").unwrap_or_default(),
            task,
        })
    }

    /// Checks `--match`: a session that is held back cannot be recorded first.
    fn matching(&self) -> Result<Option<String>, Failure> {
        let expression: Option<String> = self.value("match");
        if expression.is_some() && self.value::<Taken>("record-first").is_some() {
            return Err(usage("--match and --record-first contradict each other.".to_owned()));
        }
        Ok(expression)
    }

    /// Path of `--metrics`, made absolute for a daemon, which works in the root directory.
    fn metrics(&self, daemon: bool) -> Option<PathBuf> {
        let file: PathBuf = self.value("metrics")?;
        Some(if daemon { Path::new("/").join(file) } else { file })
    }

    /// Rejects `--tls-keys` if no output takes secrets.
    fn check_keys(&self, outputs: &[OutputOption]) -> Result<(), Failure> {
        let takes = |output: &OutputOption| output.view.format == Format::Pcapng;
        match self.is_given("tls-keys") && !outputs.iter().any(takes) {
            true => Err(usage("--tls-keys: needs an output in pcapng (-f pcapng -o FILE).".to_owned())),
            false => Ok(()),
        }
    }

    /// Endpoints of client and server.
    fn endpoints(&self, task: &Task) -> Result<(Endpoint, Endpoint), Failure> {
        match task {
            Task::Bridge => Ok((self.client()?, self.server()?)),
            Task::Replay(replay) if replay.side == Side::Client => Ok((NOWHERE, self.live_peer(replay)?)),
            Task::Replay(replay) => Ok((self.live_peer(replay)?, NOWHERE)),
            Task::Read(_) | Task::Diff(_) => Ok((NOWHERE, NOWHERE)),
        }
    }

    /// Number of concurrent sessions. Those of a saved record may have been open at the same time, unless there is
    /// only one.
    fn at_once(&self, task: &Task, daemon: bool) -> u32 {
        let at_once = match task {
            Task::Read(reading) if reading.sessions.len() != 1 => AT_ONCE_DAEMON,
            Task::Bridge if daemon => AT_ONCE_DAEMON,
            Task::Read(_) | Task::Bridge | Task::Replay(_) | Task::Diff(_) => AT_ONCE,
        };
        self.value("fork").unwrap_or(at_once)
    }

    /// Recognises `HOST PORT LOCALPORT`, the form of other programs.
    fn hint_about_host(&self) -> Option<String> {
        let [host, port] = ["SERVERPORT", "LOCALPORT"].map(|id| self.typed.get_one::<OsString>(id));
        let (host, port) = (host?.to_str()?, port?.to_str()?);
        let is_host = values::is_host(host) && !host.contains(':') && values::decimal::<u16>(host).is_none();
        let is_meant =
            is_host && values::decimal::<u16>(port).is_some() && self.value::<String>("server").is_none();
        let host = shown(host.as_ref());
        is_meant.then(|| format!("\nThe server's host is {host}:{port}, or -s {host}."))
    }

    /// Reports a display that shows no data by default.
    fn hint_about_data(&self, outputs: &[OutputOption]) -> Option<String> {
        let shows_nothing = outputs.iter().all(|output| output.view.format == Format::Null);
        let is_asked_for = self.indices("format").next().is_some();
        (self.circumstances.stdout_is_a_terminal && !outputs.is_empty() && shows_nothing && !is_asked_for)
            .then(|| "Only connections are shown: add -v to see the data.".to_owned())
    }

    /// Decides whether inetd started the program, from its streams and options.
    fn inetd(&self) -> Result<bool, Failure> {
        let inetd = self.flag("inetd");
        for (option, name) in [("connect", "-c"), ("daemon", "-d")] {
            if inetd && self.flag(option) {
                return Err(usage(format!(
                    "{name}: cannot be used with --inetd: the client is already connected."
                )));
            }
        }
        if self.circumstances.stderr_is_a_peers && !inetd {
            return Err(usage(
                "standard error is a connection: with --inetd it is treated as the client's.".into(),
            ));
        }
        Ok(inetd)
    }

    fn server(&self) -> Result<Endpoint, Failure> {
        // clap guarantees that the argument exists; an empty one is rejected here.
        let place = self.typed.get_one::<OsString>("SERVERPORT").map_or(OsStr::new(""), |place| place);
        let approach = if self.flag("listen") { Approach::Listen } else { Approach::Connect };
        crate::cli::endpoint::endpoint(Given {
            approach,
            family: self.families().0,
            host: self.value("server"),
            place,
        })
    }

    /// A missing port is the same as port 0, except where it cannot be dynamic: for a client that is dialled,
    /// and for a Unix socket.
    fn client(&self) -> Result<Endpoint, Failure> {
        let approach = if self.flag("connect") { Approach::Connect } else { Approach::Listen };
        let mut family = self.families().1;
        let is_handed = self.flag("inetd") || self.circumstances.has_sockets;
        let place = match self.typed.get_one::<OsString>("LOCALPORT") {
            Some(place) => place.as_os_str(),
            None if approach == Approach::Connect => {
                return Err(self.complaint("no client port specified with -c option."));
            }
            None if family.is_unix() && is_handed => {
                // Any kind of socket.
                family = Family::Any;
                OsStr::new("0")
            }
            None if family.is_unix() => {
                return Err(self.complaint("no path specified for the Unix socket."));
            }
            None => OsStr::new("0"),
        };
        crate::cli::endpoint::endpoint(Given { approach, family, host: self.value("accept"), place })
    }

    /// Address families of server and client.
    fn families(&self) -> (Family, Family) {
        self.value("protocol").unwrap_or((Family::Any, Family::Any))
    }

    /// `-q` resets the verbosity, each `-v` after it raises it by one.
    fn verbosity(&self) -> Verbosity {
        let quiet = self.indices("quiet").max();
        let louder = self.indices("verbose").filter(|&index| quiet.is_none_or(|quiet| index > quiet)).count();
        match louder.saturating_add(usize::from(quiet.is_none())) {
            0 => Verbosity::Quiet,
            1 => Verbosity::Normal,
            2 => Verbosity::Verbose,
            _ => Verbosity::Debug,
        }
    }

    fn appearance(&self) -> Appearance {
        let color = match self.value("color") {
            None | Some(Color::OnTerminals) if !self.circumstances.has_colors => Color::Never,
            color => color.unwrap_or(Color::OnTerminals),
        };
        Appearance { color, max_shown: self.value("max-shown") }
    }

    fn rotation(&self) -> Result<RotationPlan, Failure> {
        let rotation = RotationPlan {
            size: self.value("rotate-size"),
            every: self.value("rotate-time"),
            keep: self.value("rotate-count"),
        };
        if rotation.keep.is_some() && !rotation.is_wanted() {
            return Err(self.complaint("--rotate-count needs --rotate-size or --rotate-time."));
        }
        Ok(rotation)
    }

    /// Names are looked up later, when uid 0 is refused; this checks what needs no lookup.
    fn user(&self) -> Result<Option<String>, Failure> {
        let Some(user) = self.value::<String>("user") else { return Ok(None) };
        let name = shown(user.as_ref());
        if !self.circumstances.may_select_user {
            let refused = usage(format!("{name}: only root can select an user."));
            return Err(Failure { status: Status::NoPermission, ..refused });
        }
        let is_root = |name: &str| name == "root" || name.bytes().all(|digit| digit == b'0');
        if user.split(':').any(is_root) {
            return Err(usage(format!("{name}: not an unprivileged user.")));
        }
        Ok(Some(user))
    }

    /// Error in the command line as a whole, which 1.4.4 reports under the program's name.
    fn complaint(&self, text: &str) -> Failure {
        usage(format!("{}: {text}", self.program))
    }

    fn flag(&self, id: &str) -> bool {
        self.typed.get_flag(id)
    }

    fn value<T: Clone + Send + Sync + 'static>(&self, id: &str) -> Option<T> {
        self.typed.get_one::<T>(id).cloned()
    }

    /// Positions of an option on the command line.
    fn indices(&self, id: &str) -> impl Iterator<Item = usize> {
        self.typed.indices_of(id).into_iter().flatten()
    }

    /// Every value of a repeated option, with its position.
    fn placed<T: Clone + Send + Sync + 'static>(&self, id: &str) -> Vec<(usize, T)> {
        let values = self.typed.get_many::<T>(id).into_iter().flatten().cloned();
        self.indices(id).zip(values).collect()
    }
}
