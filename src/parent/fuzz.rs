//! Runs the parent's loop with a zygote, a logger and a resolver that send arbitrary messages, while clients connect.
//! The loop must end without a leaked descriptor.

use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::LazyLock;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use privsep::channel::{Channel, Wait};
use serde::Serialize;

use super::supervisor::{Backlog, Peers, Roles, Supervisor};
use crate::cli::{self, Action, StartupContext};
use crate::config::Config;
use crate::fuzz::{FuzzInput, descriptors, send, unlocked};
use crate::messages::{Address, Hangup, Problem, ProcessEnd, ToParent, ToWorker};
use crate::parent::net::listener::Listener;
use crate::parent::net::socket::SocketOptions;
use crate::parent::startup::identity::Start;
use crate::parent::startup::roles::RunningRole;
use crate::policy::Role;

/// A process id that no process has.
const NOBODY: i32 = i32::MAX - 1;

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let arguments = ["tcpreen", "-n", "-F", "4", "-p", "unix/unix", "@server", "@client"];
    let circumstances = StartupContext {
        has_colors: false,
        stdout_is_a_terminal: false,
        may_select_user: false,
        stdout_is_a_peers: false,
        stderr_is_a_peers: false,
        has_sockets: false,
        is_secure: false,
    };
    match cli::parse(arguments.map(Into::into).to_vec(), circumstances) {
        Ok(Action::Run(config)) => *config,
        _ => panic!("a command line"),
    }
});

pub fn fuzz(data: &[u8]) {
    let open = descriptors();
    play(data, &CONFIG);
    assert_eq!(descriptors(), open, "descriptors are left over");
}

fn play(data: &[u8], config: &Config) {
    let mut script = FuzzInput::new(data);
    let pid = std::process::id();
    let [ours, servers] = ["client", "server"].map(|name| format!("fuzz-{pid}-{name}"));
    let server = UnixListener::bind_addr(&address(&servers)).expect("a listener");
    let [client_address, server_address] =
        [&ours, &servers].map(|name| Address::Unix(format!("@{name}").into_bytes()));
    let client_listener = Listener::bind(
        std::slice::from_ref(&client_address),
        SocketOptions { keepalive: crate::config::Keepalive::Off, packets: false },
    )
    .expect("a listener");
    let clients: Vec<_> = (0..script.byte() % 3)
        .map(|_| UnixStream::connect_addr(&address(&ours)).expect("a client"))
        .collect();
    let (resolver, from_resolver) = role(Role::Resolver);
    let (logger, from_logger) = role(Role::Logger);
    let (zygote, from_zygote) = role(Role::Zygote);
    let mut cast = ParentActors {
        resolver: from_resolver,
        logger: from_logger,
        zygote: from_zygote,
        workers: Vec::new(),
    };
    while let Some(what) = script.next() {
        cast.act(what, &mut script);
    }
    // The final message, which must end the loop.
    let _ = cast.zygote.send_with(&ToParent::Finished, &[], Wait::No);
    let signals = SignalFd::with_flags(&SigSet::empty(), SfdFlags::SFD_NONBLOCK).expect("signals");
    let peers = Peers {
        client: vec![client_address],
        server: vec![server_address],
        client_listener: Some(client_listener),
        server_listener: None,
    };
    let locked = unlocked();
    let supervisor = Supervisor::new(
        config,
        None,
        Hangup::Ends,
        peers,
        Roles {
            resolver: Some(resolver),
            logger,
            zygote,
            worker: None,
            backlog: Backlog::new(8),
            outputs_wait: false,
        },
        &signals,
        &locked,
    );
    assert!(supervisor.run().is_err(), "nonsense was heard and nothing came of it");
    drop((clients, server, cast));
}

fn address(name: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(name).expect("an abstract name")
}

/// A role without a process, and the other end of its channel.
fn role<Out: Serialize>(role: Role) -> (RunningRole<Out>, Channel<ToParent, Out>) {
    let (channel, other) = Channel::pair().expect("a pair");
    (RunningRole { role, pid: Pid::from_raw(NOBODY), channel, actor: Start::Unprivileged.actor() }, other)
}

/// The peers of the parent.
struct ParentActors<R, L, Z> {
    resolver: Channel<ToParent, R>,
    logger: Channel<ToParent, L>,
    zygote: Channel<ToParent, Z>,
    workers: Vec<Channel<crate::messages::Record, ToWorker>>,
}

impl<R, L, Z> ParentActors<R, L, Z> {
    fn act(&mut self, what: u8, script: &mut FuzzInput<'_>) {
        let argument = script.byte();
        match what % 8 {
            0 | 1 => {
                let (ours, theirs) = Channel::<_, _>::pair().expect("a pair");
                let started = ToParent::WorkerStarted { pid: i32::from(argument % 16) };
                let _ = self.zygote.send_with(&started, &[theirs.as_fd()], Wait::No);
                // Some workers have already ended.
                if argument & 0x80 == 0 {
                    self.workers.push(ours);
                }
            }
            2 => {
                let exited = ToParent::Exited { pid: i32::from(argument % 16), end: ProcessEnd::Signal(9) };
                let _ = self.zygote.send_with(&exited, &[], Wait::No);
            }
            3 => drop(self.zygote.send_with(&anything(argument, script), &[], Wait::No)),
            4 => send(&self.zygote, script.bytes(), self.logger.as_fd(), argument),
            5 => drop(self.logger.send_with(&anything(argument, script), &[], Wait::No)),
            6 => send(&self.logger, script.bytes(), self.zygote.as_fd(), argument),
            _ => send(&self.resolver, script.bytes(), self.zygote.as_fd(), argument),
        }
    }
}

fn anything(argument: u8, script: &mut FuzzInput<'_>) -> ToParent {
    let errno = i32::from(script.byte());
    match argument % 8 {
        0 => ToParent::Ready { sandbox_status: unlocked().sandbox_status },
        1 => ToParent::Failed(Problem::Confine(String::from_utf8_lossy(script.bytes()).into())),
        2 => ToParent::Found(Vec::new()),
        3 => ToParent::NotFound { reason: String::from_utf8_lossy(script.bytes()).into() },
        4 => ToParent::WorkerStarted { pid: errno },
        5 => ToParent::ForkFailed { errno },
        6 => ToParent::OutputLost,
        _ => ToParent::Finished,
    }
}
