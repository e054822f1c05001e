//! The parent: binds, starts the roles, drops all privileges, then accepts, dials and passes sockets to
//! workers. It never reads a byte from a peer.

#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod net;
mod policy_report;
mod reading;
mod startup;
mod supervisor;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::poll;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Uid};
use privsep::confine::{Identity, SandboxStatus};
use privsep::seccomp::Violation;
use privsep::spawn::Program;
use privsep::sys::{self, Alone};

use crate::config::{Config, Verbosity};
use crate::exit::{Failure, Status};
use crate::hooks::Hooks;
use crate::messages::{Hangup, Level, ToLogger, WorkersNeed};
use crate::parent::net::address::Addresses;
use crate::parent::net::dial::Connection;
use crate::parent::reading::replay;
use crate::parent::startup::confine;
use crate::parent::startup::daemon;
use crate::parent::startup::daemon::{Foreground, SplitRole};
use crate::parent::startup::descriptors::Descriptors;
use crate::parent::startup::endpoints;
pub(crate) use crate::parent::startup::identity::Start;
use crate::parent::startup::identity::TargetIdentity;
use crate::parent::startup::inherited;
use crate::parent::startup::inherited::{HandedSocket, InheritedSocket};
use crate::parent::startup::limits;
use crate::parent::startup::pidfile::PidFile;
use crate::parent::startup::roles::Starter;
use crate::parent::startup::stop::Stop;
pub(crate) use crate::parent::startup::streams::Streams;
use crate::parent::supervisor::manager;
use crate::parent::supervisor::manager::Manager;
use crate::parent::supervisor::sighup;
use crate::policy::Role;
use crate::reason::reason;
use crate::role::FOR_THE_PARENT;
use reading::parts::RecordPart;
use supervisor::{Backlog, Peers, Roles, Service, Supervisor};

/// Establishes a safe state before anything else: any user may have started the process, in any environment.
pub(crate) fn tidy_up() -> Result<Surroundings, Failure> {
    let os = |what: &str, error: std::io::Error| Failure::new(Status::Os, format!("{what}: {error}"));
    sys::fill_standard_descriptors().map_err(|error| os("standard streams", error))?;
    if sys::forbids_clone3() {
        privsep::seccomp::hide_clone3().map_err(|error| os("clone3", error))?;
    }
    // Must run before the search for the service manager's sockets, which marks those as our own.
    let mut strays = sys::inherited_descriptors();
    let sockets = manager::sockets()?;
    let sockets = HandedSocket::adopt(sockets, strays.as_mut().unwrap_or(&mut BTreeMap::new()))
        .map_err(|error| os("inherited sockets", error))?;
    sys::default_sigchld().map_err(|error| os("signals", error))?;
    // Printing a backtrace opens files, which the filter kills. Without /proc, where threads are counted, no role is
    // started.
    if let Ok(alone) = Alone::check() {
        sys::forget_variables(&alone, &["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"]);
    }
    Ok(Surroundings { start: Start::find()?, sockets, strays })
}

/// State inherited from the caller.
pub(crate) struct Surroundings {
    pub(crate) start: Start,
    /// Sockets passed by a service manager.
    pub(crate) sockets: Vec<HandedSocket>,
    /// All other descriptors of the caller, closed unless they are outputs or records.
    strays: io::Result<BTreeMap<RawFd, OwnedFd>>,
}

impl Surroundings {
    /// Keeps the descriptors that are outputs or records, and closes all others.
    fn settle(self, config: &Config) -> Result<Inheritance, Failure> {
        let handed: Vec<RawFd> = self.sockets.iter().map(HandedSocket::number).collect();
        let strays = self.strays.map_err(|error| no_proc(&error))?;
        let descriptors = Descriptors::keep(config, strays, &handed)?;
        Ok(Inheritance { start: self.start, sockets: self.sockets, descriptors })
    }
}

/// State inherited from the caller.
struct Inheritance {
    start: Start,
    sockets: Vec<HandedSocket>,
    descriptors: Descriptors,
}

/// Runs the bridge to its end, or, as the foreground process of a daemon, until it listens. Returns the exit
/// status.
pub(crate) fn run<H: Hooks>(mut config: Config, surroundings: Surroundings) -> Result<u8, Failure> {
    if config.print_policy {
        return crate::parent::policy_report::print(&config, surroundings.start);
    }
    let inheritance = surroundings.settle(&config)?;
    let task = config.task.clone();
    if let Some(order) = reading::ConversionRequest::of(&task) {
        let Inheritance { start, descriptors, .. } = inheritance;
        return reading::run::<H>(config, &order, start, descriptors).or_else(Stop::status);
    }
    let foreground = match config.daemon {
        false => None,
        true => match daemon::split(&mut config)? {
            SplitRole::Foreground(status) => return Ok(status),
            SplitRole::Daemon(foreground) => Some(foreground),
        },
    };
    let result = bridge::<H>(config, inheritance, foreground);
    // A forked role that has not been executed yet still holds the listening sockets.
    if result.is_err() {
        wait_for_children();
    }
    result.or_else(Stop::status)
}

/// Time for the processes of a failed start to end, after their channels have been closed.
const LAST_WAIT: Duration = Duration::from_secs(1);

fn wait_for_children() {
    let until = Instant::now() + LAST_WAIT;
    while Instant::now() < until {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => drop(poll(&mut [], 5u8)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// Starts up in the only order that works, then serves.
fn bridge<H: Hooks>(
    mut config: Config,
    inheritance: Inheritance,
    foreground: Option<Foreground>,
) -> Result<u8, Stop> {
    let Inheritance { start, sockets, descriptors } = inheritance;
    let sockets = inherited::open(sockets, &config)?;
    match sockets.client {
        Some(InheritedSocket::Client { .. }) => (config.sessions, config.at_once) = (Some(1), 1),
        Some(InheritedSocket::Listening(_)) | None => {}
    }
    refuse_open_sandbox(&config)?;
    let part = replay::open(&config, &descriptors, &start.actor())?;
    let signals = block_signals()?;
    // Before anything that fails for lack of descriptors, with an error that does not say so.
    let limits::Limits { backlog, shortage } = limits::raise(&mut config)?;
    let program = Program::current("tcpreen").map_err(|error| no_proc(&error))?;
    let target = TargetIdentity::choose(start, config.user.as_deref())?;
    let hangup = sighup::meaning().map_err(|error| Failure::new(Status::Os, format!("signals: {error}")))?;
    let starter = Starter {
        program: &program,
        identity: target.identity,
        actor: &target.actor,
        sandbox: config.sandbox,
    };
    let startup =
        Startup { config: &config, start, target: &target, starter, signals: &signals, hangup, backlog };
    let bound = startup.start_roles(sockets, part, descriptors)?;
    startup.confine_and_serve::<H>(bound, foreground, shortage)
}

/// Invariants of a start.
struct Startup<'a> {
    config: &'a Config,
    start: Start,
    target: &'a TargetIdentity,
    starter: Starter<'a>,
    signals: &'a SignalFd,
    hangup: Hangup,
    backlog: u32,
}

/// Everything that was bound, made or started with the privileges of the start.
struct Bound {
    peers: Peers,
    first_client: Option<Connection>,
    pidfile: Option<PidFile>,
    roles: Roles,
    player: Option<replay::Player>,
    /// Sandboxes of the roles that have reported theirs.
    statuses: Vec<(Role, SandboxStatus)>,
}

impl Startup<'_> {
    fn start_roles(
        &self,
        sockets: inherited::InheritedSockets,
        part: Option<RecordPart>,
        descriptors: Descriptors,
    ) -> Result<Bound, Stop> {
        let (config, signals) = (self.config, self.signals);
        // The resolver starts first: binding may need the names on the command line.
        let (resolver, names) = self.starter.resolver(config.numeric)?;
        let mut statuses = vec![(Role::Resolver, resolver.ready(signals)?)];
        let addresses = Addresses::find(config, &resolver, signals)?;
        // Must run before anything is bound or made: a record may turn out to be invalid.
        let player = replay::start(config, part, &self.starter, signals)?;
        statuses.extend(player.iter().map(|player| (Role::Converter, player.sandbox_status)));
        let (peers, first_client) =
            endpoints::prepare(config, sockets, addresses, self.start, self.target.identity)?;
        announce_user(config, self.target);
        // Must run before the logger starts, too: a second start with the same file must not truncate the outputs.
        let pidfile =
            config.pidfile.as_ref().map(|path| PidFile::make(path, &self.start.actor())).transpose()?;
        // The logger starts after binding: a second start on the same port must not truncate the outputs of the first.
        let logger = self.starter.logger(config, names, self.hangup, self.backlog, &descriptors)?;
        // Closed so that the reader of a pipe sees its end when the logger exits.
        drop(descriptors);
        let workers = WorkersNeed {
            tcp_info: config.has_tcp_info(),
            descriptors: endpoints::are_local(&peers, first_client.as_ref()),
        };
        let zygote = self.starter.zygote(config.at_once, workers)?;
        let (sandbox_status, outputs_wait) = logger.ready_to_record(signals)?;
        statuses.push((Role::Logger, sandbox_status));
        if let Some(player) = &player {
            logger.send_with(&ToLogger::Saved, &[player.reports.as_fd()])?;
        }
        statuses.push((Role::Zygote, zygote.ready(signals)?));
        let worker = Some(zygote.first_worker(signals)?);
        let backlog = Backlog::new(self.backlog);
        let roles = Roles { resolver: Some(resolver), logger, zygote, worker, backlog, outputs_wait };
        Ok(Bound { peers, first_client, pidfile, roles, player, statuses })
    }

    fn confine_and_serve<H: Hooks>(
        &self,
        bound: Bound,
        foreground: Option<Foreground>,
        shortage: Option<String>,
    ) -> Result<u8, Stop> {
        let Bound { peers, first_client, pidfile, roles, player, mut statuses } = bound;
        // Accounts must be read before the filter is installed, which forbids it.
        let account = account(self.target.identity);
        let dropped = confine::drop_privileges::<H>(self.start, self.target.identity)?;
        // Must run before Landlock, which blocks abstract sockets.
        let (manager, without_manager) = match Manager::find() {
            Ok(manager) => (manager, None),
            Err(why) => (None, Some(why)),
        };
        let is_daemon = foreground.is_some();
        let confined = confine::close::<H>(dropped, self.config, &peers, pidfile.as_ref(), is_daemon)?;
        statuses.push((Role::Parent, confined.sandbox_status));
        if let Some(foreground) = foreground {
            foreground.listening()?;
        }
        let service = manager.map(Service::new);
        let mut supervisor =
            Supervisor::new(self.config, service, self.hangup, peers, roles, self.signals, &confined);
        let troubles = [shortage, without_manager];
        for (level, text) in startup_notices(self.config, (self.target, &account), troubles, &statuses) {
            supervisor.queue(ToLogger::Notice { level, text });
        }
        supervisor.announce();
        if let Some(client) = first_client {
            supervisor.add_client(client);
        }
        if let Some((player, side, peer)) = player.map(replay::Player::split) {
            supervisor.begin_replay(player, side, peer);
        }
        Ok(supervisor.run()?)
    }
}

/// Error if the program cannot find its own file, from which roles are started, or its descriptors.
fn no_proc(error: &std::io::Error) -> Failure {
    let text = match std::path::Path::new("/proc/self").exists() {
        true => error.to_string(),
        false => {
            "/proc is not mounted: tcpreen starts its processes from /proc/self/exe (mount -t proc proc /proc)."
                .to_owned()
        }
    };
    Failure::new(Status::Os, text)
}

/// Rejects `--sandbox=log` for a caller whose program has more power than the caller.
fn refuse_open_sandbox(config: &Config) -> Result<(), Failure> {
    if config.sandbox.violation == Violation::Log && sys::is_secure_start() {
        let text = "--sandbox=log: not for a program with a set-uid bit or a file capability.";
        return Err(Failure::new(Status::NoPermission, text));
    }
    Ok(())
}

/// Prints the selected user before outputs are opened as that user: without it, an error there would be hard to
/// explain.
fn announce_user(config: &Config, target: &TargetIdentity) {
    if let Some(text) =
        target.notice.as_ref().filter(|_| !config.syslog && config.verbosity > Verbosity::Quiet)
    {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// Notices before "Listening on".
fn startup_notices(
    config: &Config,
    (target, account): (&TargetIdentity, &str),
    troubles: [Option<String>; 2],
    statuses: &[(Role, SandboxStatus)],
) -> Vec<(Level, String)> {
    let mut words = Vec::new();
    if config.syslog {
        words.push((Level::Normal, "starting".into()));
    }
    words.extend(troubles.into_iter().flatten().map(|trouble| (Level::Normal, trouble)));
    // Already printed on stderr.
    words.extend(target.notice.iter().filter(|_| config.syslog).map(|text| (Level::Normal, text.clone())));
    if config.sandbox.violation == Violation::Log {
        words.push((Level::Error, OPEN_SANDBOX.into()));
    }
    words.extend(
        statuses
            .iter()
            .map(|(role, sandbox_status)| (Level::Detail, sandbox_notice(*role, account, *sandbox_status))),
    );
    words
}

/// User and group that a plain start would change to; `None` after an unprivileged start.
pub(crate) fn user_of(start: Start) -> Result<Option<(Uid, Gid)>, Failure> {
    Ok(match TargetIdentity::choose(start, None)?.identity {
        Identity::Become { uid, gid } if start == Start::Root => {
            Some((Uid::from_raw(uid), Gid::from_raw(gid)))
        }
        Identity::Become { .. } | Identity::Keep => None,
    })
}

/// Warning printed at every start, regardless of `-q`.
const OPEN_SANDBOX: &str = "--sandbox=log: the sandbox is off: forbidden system calls are executed, and \
                         noted in the kernel's log";

fn sandbox_notice(role: Role, account: &str, sandbox_status: SandboxStatus) -> String {
    let seccomp = match sandbox_status.seccomp {
        Violation::Kill => "on",
        Violation::Log => "open",
    };
    let walls = [(sandbox_status.memory.mdwe, "MDWE on, "), (sandbox_status.memory.sealed, "mseal on, ")];
    let walls: String = walls.into_iter().filter_map(|(is_up, wall)| is_up.then_some(wall)).collect();
    let mut text =
        format!("{}: {account}, {walls}seccomp {seccomp}, Landlock {}", role.name(), sandbox_status.landlock);
    let missing = sandbox_status.missing();
    if !missing.is_empty() {
        text += &format!("; without {}", missing.join(", "));
    }
    text
}

fn account(identity: Identity) -> String {
    match identity {
        Identity::Keep => format!("uid {}", nix::unistd::getuid()),
        Identity::Become { uid, .. } => format!("uid {uid}"),
    }
}

fn no_user(errno: Errno) -> Failure {
    Failure::new(Status::Os, format!("UID setting: {}", reason(errno as i32)))
}

/// Blocks all signals that the program handles and returns a descriptor that reports them.
fn block_signals() -> Result<SignalFd, Failure> {
    let set: SigSet = FOR_THE_PARENT.into_iter().collect();
    // Blocked in every role and never read: writing beyond RLIMIT_FSIZE fails instead of killing the process.
    let mut blocked = set;
    blocked.add(Signal::SIGXFSZ);
    blocked
        .thread_set_mask()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK))
        .map_err(|errno| Failure::new(Status::Os, format!("signals: {}", reason(errno as i32))))
}
