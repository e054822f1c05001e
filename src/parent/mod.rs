//! The parent: binds while it may, starts the roles, drops everything, then accepts, dials and hands
//! sockets out. It never reads a byte from a peer.

mod address;
mod audit;
mod daemon;
mod dial;
#[cfg(fuzzing)]
#[path = "../../contrib/fuzz/inside/parent.rs"]
pub(crate) mod fuzz;
mod handed;
mod hangup;
mod identity;
mod limits;
mod listener;
mod manager;
mod pair;
mod pidfile;
mod roles;
mod socket;
mod streams;
mod supervisor;

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Gid, Uid};
use privsep::confine::{self, Cage, Identity};
use privsep::landlock::{Connect, Landlock};
use privsep::seccomp::Violation;
use privsep::spawn::Program;
use privsep::sys;

use crate::config::{Approach, Config, Endpoint, Port};
use crate::exit::{Failure, Status};
use crate::messages::{Address, Level, ToLogger};
use crate::policy::{Extra, Role};
use crate::reason::reason;
use crate::role::{self, FOR_THE_PARENT};
use daemon::{Foreground, Part};
use handed::{Door, Handed};
pub(crate) use identity::Start;
use identity::Target;
use listener::Listener;
use manager::Manager;
use pidfile::PidFile;
use roles::Starter;
pub(crate) use streams::Streams;
use supervisor::{Peers, Roles, Service, Supervisor};

/// What must be right before anything else is done: the process may have been started by anybody.
pub(crate) fn tidy_up() -> Result<Surroundings, Failure> {
    let os = |what: &str, error: std::io::Error| Failure::new(Status::Os, format!("{what}: {error}"));
    sys::fill_standard_descriptors().map_err(|error| os("standard streams", error))?;
    let sockets = manager::sockets()?;
    let others = 3 + i32::try_from(sockets.len()).unwrap_or(i32::MAX - 3);
    sys::close_from(others).map_err(|error| os("inherited descriptors", error))?;
    let sockets = Handed::adopt(sockets).map_err(|error| os("inherited sockets", error))?;
    sys::default_sigchld().map_err(|error| os("signals", error))?;
    // For a backtrace the standard library opens files, of which the filter would make an attack.
    sys::forget_variables(&["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"]);
    Ok(Surroundings { start: Start::find()?, sockets })
}

/// What we were started in.
pub(crate) struct Surroundings {
    pub(crate) start: Start,
    /// From a service manager.
    pub(crate) sockets: Vec<Handed>,
}

/// Runs the bridge to its end, or, as the foreground of a daemon, until it listens; says with which status.
pub(crate) fn run(mut config: Config, surroundings: Surroundings) -> Result<u8, Failure> {
    if config.print_policy {
        return audit::print(&config, surroundings.start);
    }
    if !config.daemon {
        return bridge(config, surroundings, None);
    }
    match daemon::split(&mut config)? {
        Part::Foreground(status) => Ok(status),
        Part::Daemon(foreground) => bridge(config, surroundings, Some(foreground)),
    }
}

fn bridge(
    mut config: Config,
    surroundings: Surroundings,
    foreground: Option<Foreground>,
) -> Result<u8, Failure> {
    let Surroundings { start, sockets } = surroundings;
    let doors = handed::open(sockets, &config)?;
    match doors.client {
        Some(Door::Gone) => return Ok(0),
        Some(Door::Client { .. }) => (config.sessions, config.at_once) = (Some(1), 1),
        Some(Door::Listening(_)) | None => {}
    }
    // An open cage is the operator's to have, not the caller's of a program with more power than its caller.
    if config.sandbox.violation == Violation::Log && sys::is_secure_start() {
        let text = "--sandbox=log: not for a program with a set-uid bit or a file capability.";
        return Err(Failure::new(Status::NoPermission, text));
    }
    let signals = block_signals()?;
    let program = Program::current("tcpreen").map_err(|error| Failure::new(Status::Os, error.to_string()))?;
    let target = Target::choose(start, config.user.as_deref())?;
    let shortage = limits::raise(&mut config);
    let hangup = hangup::meaning().map_err(|error| Failure::new(Status::Os, format!("signals: {error}")))?;
    let starter = Starter { program: &program, identity: target.identity, sandbox: config.sandbox };

    // First of the roles: the names in the command line may be needed to bind.
    let (resolver, names) = starter.resolver(config.numeric)?;
    let resolver_ready = match resolver.ready(&signals)? {
        Ok(cage) => cage,
        Err(signal) => return Ok(interrupted(signal)),
    };
    let find = |endpoint: &Endpoint| address::find(endpoint, &resolver, &signals);
    let (server, client) = match (find(&config.server)?, find(&config.client)?) {
        (Ok(server), Ok(client)) => (server, client),
        (Err(signal), _) | (_, Err(signal)) => return Ok(interrupted(signal)),
    };
    let listen = |endpoint: &Endpoint, addresses: &[Address], door: Option<Listener>| match door {
        Some(listener) => handed::check(endpoint, addresses, &listener.address).map(|()| Some(listener)),
        None => bind(endpoint, addresses, start, target.identity),
    };
    let (client_listener, first_client) = match doors.client {
        Some(Door::Client { socket, client: peer, here }) => {
            handed::check(&config.client, &client, &here)?;
            (None, Some((socket, peer)))
        }
        Some(Door::Listening(listener)) => (listen(&config.client, &client, Some(listener))?, None),
        Some(Door::Gone) | None => (listen(&config.client, &client, None)?, None),
    };
    let server_listener = listen(&config.server, &server, doors.server)?;

    // Likewise before the logger, for a second start with the same file.
    let pidfile = match &config.pidfile {
        Some(path) => Some(start.as_user(target.identity, || PidFile::make(path)).map_err(no_user)??),
        None => None,
    };

    // The logger after binding: a second start on the same port must not truncate the outputs of the first.
    let logger = starter.logger(&config, names, hangup)?;
    let zygote = starter.zygote(config.at_once)?;
    let mut cages = vec![resolver_ready];
    for ready in [logger.ready(&signals)?, zygote.ready(&signals)?] {
        match ready {
            Ok(cage) => cages.push(cage),
            Err(signal) => return Ok(interrupted(signal)),
        }
    }

    let who = who(target.identity);
    let unconfined = |error: confine::StepError| {
        Failure::new(Status::Os, format!("the parent cannot be confined: {error}"))
    };
    let dropped =
        start.with_privilege(|| role::drop_privileges(Role::Parent, target.identity, None)).map_err(no_user);
    let dropped = dropped?.map_err(unconfined)?;
    // Before the fence, beyond which abstract sockets are.
    let (manager, deaf) = match Manager::find() {
        Ok(manager) => (manager, None),
        Err(why) => (None, Some(why)),
    };
    let places = directories_of([&client_listener, &server_listener])?;
    let remove: Vec<_> = places.iter().map(AsFd::as_fd).chain(pidfile.as_ref().map(AsFd::as_fd)).collect();
    let abstract_peer = [&config.client, &config.server].into_iter().any(dials_abstract);
    let landlock = Landlock {
        remove: &remove,
        connect: Connect::Anywhere,
        abstract_sockets: abstract_peer,
        // None of ours, whose filter has no kill: the one by which our roles end with us.
        signals: true,
        ..Landlock::default()
    };
    let fenced = dropped.fence(&landlock).map_err(unconfined)?;
    let extras: Vec<Extra> = [
        (Extra::Background, foreground.is_some()),
        (Extra::SocketFiles, !places.is_empty()),
        (Extra::PidFile, pidfile.is_some()),
    ]
    .into_iter()
    .filter_map(|(extra, needed)| needed.then_some(extra))
    .collect();
    let locked = role::lock(Role::Parent, &extras, fenced, config.sandbox).map_err(unconfined)?;
    cages.push(locked.cage);
    drop(places);
    if let Some(foreground) = foreground {
        foreground.listening()?;
    }

    let peers = Peers { client, server, client_listener, server_listener };
    let roles = Roles { resolver, logger, zygote };
    let service = manager.map(Service::new);
    let mut supervisor = Supervisor::new(&config, service, hangup, peers, roles, &signals, &locked);
    if config.syslog {
        supervisor.tell(ToLogger::Notice { level: Level::Normal, text: "starting".into() });
    }
    for text in [shortage, deaf].into_iter().flatten() {
        supervisor.tell(ToLogger::Notice { level: Level::Normal, text });
    }
    if let Some(account) = target.fallback {
        let text = format!("Started as root: going on as {account} (choose a user with -u)");
        supervisor.tell(ToLogger::Notice { level: Level::Normal, text });
    }
    if config.sandbox.violation == Violation::Log {
        supervisor.tell(ToLogger::Notice { level: Level::Error, text: OPEN_CAGE.into() });
    }
    for (role, cage) in Role::EXECUTED.into_iter().chain([Role::Parent]).zip(cages) {
        let text = tightness(role, &who, cage);
        supervisor.tell(ToLogger::Notice { level: Level::Detail, text });
    }
    supervisor.announce();
    if let Some((client, address)) = first_client {
        supervisor.greet(client, address);
    }
    supervisor.run()
}

/// Who a plain start would become; nobody else if it was unprivileged.
pub(crate) fn user_of(start: Start) -> Result<Option<(Uid, Gid)>, Failure> {
    Ok(match Target::choose(start, None)?.identity {
        Identity::Become { uid, gid } if start == Start::Root => {
            Some((Uid::from_raw(uid), Gid::from_raw(gid)))
        }
        Identity::Become { .. } | Identity::Keep => None,
    })
}

/// Told whatever `-q` says, and at every start.
const OPEN_CAGE: &str = "--sandbox=log: the cages are open: what a process may not call is done all the same, and \
                         noted in the kernel's log";

fn tightness(role: Role, who: &str, cage: Cage) -> String {
    let mut text = format!("{}: {who}, seccomp on, Landlock {}", role.name(), cage.landlock.name());
    let missing = cage.missing();
    if !missing.is_empty() {
        text += &format!("; without {}", missing.join(", "));
    }
    text
}

fn who(identity: Identity) -> String {
    match identity {
        Identity::Keep => format!("uid {}", nix::unistd::getuid()),
        Identity::Become { uid, .. } => format!("uid {uid}"),
    }
}

fn no_user(errno: Errno) -> Failure {
    Failure::new(Status::Os, format!("UID setting: {}", reason(errno as i32)))
}

/// Whether a peer is met at an abstract Unix socket, which Landlock would put out of reach.
fn dials_abstract(endpoint: &Endpoint) -> bool {
    let named = matches!(&endpoint.port, Port::Path(path) if path.as_encoded_bytes().first() == Some(&b'@'));
    named && endpoint.approach == Approach::Connect
}

/// All signals that mean something to us become readable.
fn block_signals() -> Result<SignalFd, Failure> {
    let set: SigSet = FOR_THE_PARENT.into_iter().collect();
    // Blocked in every role, and read by none: a file that may not grow is an error of write, not a death.
    let mut blocked = set;
    blocked.add(Signal::SIGXFSZ);
    blocked
        .thread_set_mask()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK))
        .map_err(|errno| Failure::new(Status::Os, format!("signals: {}", reason(errno as i32))))
}

/// The signals that have come.
fn signals_of(signals: &SignalFd) -> impl Iterator<Item = Signal> {
    std::iter::from_fn(|| signals.read_signal().ok().flatten())
        .filter_map(|info| Signal::try_from(info.ssi_signo as i32).ok())
}

/// The exit status after a signal, as shells know it.
fn interrupted(signal: Signal) -> u8 {
    128 + signal as u8
}

/// Listens where we have to wait for the peer.
fn bind(
    endpoint: &Endpoint,
    addresses: &[Address],
    start: Start,
    identity: Identity,
) -> Result<Option<Listener>, Failure> {
    if endpoint.approach == Approach::Connect {
        return Ok(None);
    }
    let bound = match endpoint.port {
        // A file is the user's own business.
        Port::Path(_) => start.as_user(identity, || Listener::bind(addresses)),
        _ => start.with_privilege(|| Listener::bind(addresses)),
    };
    let bound = bound.map_err(no_user)?;
    bound.map(Some).map_err(|errno| {
        let status = match errno {
            Errno::EACCES | Errno::EPERM => Status::NoPermission,
            _ => Status::Unavailable,
        };
        address::failure(endpoint, status, &reason(errno as i32))
    })
}

/// Where the sockets stand that we have to remove in the end.
fn directories_of(listeners: [&Option<Listener>; 2]) -> Result<Vec<std::fs::File>, Failure> {
    let directories = listeners.into_iter().flatten().filter_map(Listener::directory);
    directories
        .map(|directory| {
            std::fs::File::open(&directory)
                .map_err(|error| Failure::new(Status::Os, format!("{}: {error}", directory.display())))
        })
        .collect()
}
