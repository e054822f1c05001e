//! The parent's loop: accepts peers, completes connections, and handles workers and signals.

mod backlog;
mod discard;
mod early;
mod ending;
mod events;
mod lookup;
pub(super) mod manager;
mod names;
pub(super) mod pending;
mod phase;
mod rate_limit;
mod replay;
mod service;
mod sessions;
pub(super) mod sighup;
mod workers;

use crate::parent::startup::roles::IdleWorker;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use privsep::channel::{Channel, ChannelError, Wait, no_fds};
use privsep::confine::Confined;

use crate::config::{Config, Port, Verbosity};
use crate::exit::{Failure, Status};
use crate::format::CaptureLevel;
use crate::messages::{
    Acknowledge, Address, Hangup, Level, ToConverter, ToLogger, ToParent, ToResolver, ToWorker, ToZygote,
};
use crate::parent::net::dial::DialOptions;
use crate::parent::net::listener::Listener;
use crate::parent::net::own_listeners::OwnListeners;
use crate::parent::net::socket::SocketOptions;
use crate::parent::startup::limits;
use crate::parent::startup::roles::RunningRole;
use crate::parent::supervisor::pending::{PendingSession, Present};
use crate::parent::supervisor::rate_limit::RateLimitedNotice;
use crate::policy::Role;
pub(super) use backlog::Backlog;
use events::ReadyFd;
use lookup::LookupState;
use phase::Phase;
pub(super) use service::Service;

/// Maximum length of a notice, in bytes.
const NOTICE: usize = 2000;

/// Maximum number of consecutive messages of one role before other events are handled.
const TURN: usize = 64;

/// Retry delay after the system refused a descriptor or a process.
const RECOVERY: Duration = Duration::from_millis(500);

/// Delay after a failed session with `-c`.
const DIAL_RETRY: Duration = Duration::from_millis(250);

/// Addresses and listeners of the peers.
pub(super) struct Peers {
    pub(super) client: Vec<Address>,
    pub(super) server: Vec<Address>,
    pub(super) client_listener: Option<Listener>,
    pub(super) server_listener: Option<Listener>,
}

pub(super) struct Roles {
    /// `None` after the resolver's loss; peers are then shown as numbers.
    pub(super) resolver: Option<RunningRole<ToResolver>>,
    pub(super) logger: RunningRole<ToLogger>,
    pub(super) zygote: RunningRole<ToZygote>,
    /// Worker for the first session.
    pub(super) worker: Option<IdleWorker>,
    /// Bound of the logger's backlog.
    pub(super) backlog: Backlog,
    /// An output waits for its reader; no session begins before.
    pub(super) outputs_wait: bool,
}

/// A running session.
struct RunningSession {
    number: u64,
    /// `None` for Unix clients, which all count as one client.
    client: Option<IpAddr>,
}

/// A message to the logger.
struct Outgoing {
    message: ToLogger,
    /// With a session, the channel to its worker.
    worker: Option<Channel<ToWorker, ()>>,
}

pub(super) struct Supervisor<'a> {
    config: &'a Config,
    service: Option<Service>,
    hangup: Hangup,
    client_addresses: Rc<[Address]>,
    server_addresses: Rc<[Address]>,
    dialling: Rc<DialOptions>,
    lookup: LookupState,
    client_listener: Option<Listener>,
    server_listener: Option<Listener>,
    roles: Roles,
    /// Roles that were dropped and have not exited yet.
    leaving: Vec<Pid>,
    /// `--replay`: the player, until it has reported its result.
    player: Option<RunningRole<ToConverter>>,
    signals: &'a SignalFd,
    _locked: &'a Confined,
    need: CaptureLevel,
    acknowledge: Acknowledge,
    phase: Phase,
    /// Sessions begun, including those whose peer could not be reached.
    begun: u64,
    /// Status of a failed session: a peer was unreachable, or the worker died.
    failed: Option<Status>,
    /// Pairs in order of arrival: the first one that lacks a peer gets the next one.
    pairs: Vec<PendingSession>,
    /// Clients without a place in a session.
    queued: VecDeque<Present>,
    /// Sockets that a worker has yet to close.
    discarded: VecDeque<Box<dyn AsFd>>,
    /// Process ids of the workers that close a socket.
    closing: HashSet<i32>,
    /// Running sessions by process id of the worker.
    running: HashMap<i32, RunningSession>,
    /// Bursts in progress.
    bursts: Vec<RateLimitedNotice>,
    next_session: u64,
    idle: VecDeque<IdleWorker>,
    /// Workers requested from the zygote.
    ordered: u32,
    /// Messages that the logger has not accepted yet. While there are any, no client is accepted.
    outbox: VecDeque<Outgoing>,
    /// Out of descriptors: no session begins before this time.
    accept_backoff: Option<Instant>,
    /// Out of processes: no worker is requested before this time, or until one ends.
    fork_backoff: Option<Instant>,
    /// `ETOOMANYREFS`: no descriptor is sent before this time.
    handoff_backoff: Option<Instant>,
    /// A dialled session failed: no other one is begun before this time.
    dial_backoff: Option<Instant>,
    /// A signal ends the program before the records are written.
    is_cut_short: bool,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        config: &'a Config,
        service: Option<Service>,
        hangup: Hangup,
        peers: Peers,
        mut roles: Roles,
        signals: &'a SignalFd,
        locked: &'a Confined,
    ) -> Supervisor<'a> {
        let own = OwnListeners::of(peers.client_listener.iter().chain(&peers.server_listener));
        let (timeout, sockets) = (config.connect_timeout, SocketOptions::of(config));
        let idle = roles.worker.take().into_iter().collect();
        let need = config.need();
        Supervisor {
            config,
            service,
            hangup,
            client_addresses: peers.client.into(),
            server_addresses: peers.server.into(),
            dialling: Rc::new(DialOptions { timeout, sockets, own }),
            lookup: LookupState::default(),
            client_listener: peers.client_listener,
            server_listener: peers.server_listener,
            roles,
            player: None,
            leaving: Vec::new(),
            signals,
            _locked: locked,
            need,
            acknowledge: limits::acknowledge(config),
            phase: Phase::Serving,
            begun: 0,
            failed: None,
            pairs: Vec::new(),
            queued: VecDeque::new(),
            discarded: VecDeque::new(),
            closing: HashSet::new(),
            running: HashMap::new(),
            bursts: Vec::new(),
            next_session: 1,
            idle,
            ordered: 0,
            outbox: VecDeque::new(),
            accept_backoff: None,
            fork_backoff: None,
            handoff_backoff: None,
            dial_backoff: None,
            is_cut_short: false,
        }
    }

    /// Queues a message to the logger.
    pub(super) fn queue(&mut self, message: ToLogger) {
        self.outbox.push_back(Outgoing { message, worker: None });
    }

    fn notice(&mut self, level: Level, mut text: String) {
        // Bounds the message; the operator's own text has no bound.
        text.truncate(text.floor_char_boundary(NOTICE));
        self.queue(ToLogger::Notice { level, text });
    }

    /// Announces the listeners. With `-q` only dynamic ports are announced.
    pub(super) fn announce(&mut self) {
        for (listener, endpoint) in
            [(&self.client_listener, &self.config.client), (&self.server_listener, &self.config.server)]
        {
            let Some(listener) = listener else { continue };
            let message = if self.config.verbosity > Verbosity::Quiet {
                ToLogger::Listening(listener.address.clone())
            } else if endpoint.port == Port::Dynamic && !listener.is_handed {
                let text = format!("Listening on: {}", listener.address);
                ToLogger::Notice { level: Level::Asked, text }
            } else {
                continue;
            };
            self.outbox.push_back(Outgoing { message, worker: None });
        }
    }

    /// Serves until the program is done.
    pub(super) fn run(mut self) -> Result<u8, Failure> {
        self.notify_ready();
        let result = self.serve();
        if let (Err(failure), true) = (&result, self.config.syslog) {
            self.last_words(failure);
        }
        // stderr may be connected to the client, so that only the logger can report the error.
        let logger_reports = self.config.syslog && self.config.inetd;
        self.leave_discarded();
        // The logger has not reported that everything is written.
        let is_cut_short = self.is_cut_short;
        let is_complete = self.wait_for_children() || !is_cut_short;
        let result = result.and_then(|status| match is_complete {
            true => Ok(status),
            false => {
                Err(Failure::new(Status::Io, "the logger did not finish in time: records may be missing"))
            }
        });
        result.or_else(|failure| if logger_reports { Ok(failure.status as u8) } else { Err(failure) })
    }

    fn serve(&mut self) -> Result<u8, Failure> {
        loop {
            self.recover();
            self.advance_pairs();
            self.hand_discarded();
            self.admit_queued();
            self.look_up();
            self.flush_outbox()?;
            self.begin_dialled_sessions()?;
            self.order_workers()?;
            if let Some(status) = self.progress()? {
                return Ok(status);
            }
            self.keep_manager_informed()?;
            self.end_quiet_bursts();
            for found in self.wait()? {
                if let Some(status) = self.handle(found)? {
                    return Ok(status);
                }
            }
        }
    }

    /// Ends delays that have expired.
    fn recover(&mut self) {
        let now = Instant::now();
        for wait in [
            &mut self.accept_backoff,
            &mut self.fork_backoff,
            &mut self.handoff_backoff,
            &mut self.dial_backoff,
        ] {
            *wait = wait.filter(|until| *until > now);
        }
    }

    fn flush_outbox(&mut self) -> Result<(), Failure> {
        if self.handoff_backoff.is_some() {
            return Ok(());
        }
        while let Some(Outgoing { message, worker }) = self.outbox.front() {
            let fds: Vec<BorrowedFd<'_>> = worker.iter().map(AsFd::as_fd).collect();
            match self.roles.logger.channel.send_with(message, &fds, Wait::No) {
                Ok(()) => {
                    if let Some(worker) = worker {
                        // A worker that died is reported by the zygote.
                        let _ = worker.send_with(&ToWorker::Proceed, &[], Wait::No);
                    }
                    self.outbox.pop_front();
                }
                Err(ChannelError::Full) => return Ok(()),
                Err(ChannelError::Crowded) => {
                    self.handoff_backoff = Some(Instant::now() + limits::IN_FLIGHT_RETRY);
                    return Ok(());
                }
                Err(_) => return Err(self.roles.logger.lost()),
            }
        }
        Ok(())
    }

    fn handle(&mut self, found: ReadyFd) -> Result<Option<u8>, Failure> {
        match found {
            ReadyFd::Signal => return self.handle_signals(),
            ReadyFd::Resolver => self.handle_resolver_messages(),
            ReadyFd::Logger => return self.handle_logger_messages(),
            ReadyFd::Zygote => self.handle_zygote_messages()?,
            ReadyFd::Player => self.handle_player_messages()?,
            ReadyFd::Listener(side) => self.accept(side),
            ReadyFd::Waiting => self.notice_full(),
            ReadyFd::PendingSession(index) => self.look_at(index),
            ReadyFd::Queued => self.look_at_queued(),
        }
        Ok(None)
    }

    fn handle_logger_messages(&mut self) -> Result<Option<u8>, Failure> {
        for _ in 0..TURN {
            let Some((message, fds)) = self.roles.logger.receive()? else { break };
            let bare = no_fds(fds).is_ok();
            match (message, self.phase) {
                (ToParent::OutputLost, _) if bare => self.output_lost(),
                (ToParent::Recorded { sessions }, _) if bare && self.has_recorded(sessions) => {}
                (ToParent::Alive, _) if bare && self.has_answered(Role::Logger) => {}
                (ToParent::OutputsOpen, _) if bare && self.roles.outputs_wait => {
                    self.roles.outputs_wait = false;
                }
                (ToParent::Reopened, _) if bare && self.hangup == Hangup::Reopens => self.notify_ready(),
                (ToParent::Finished, Phase::WritingOut { status, .. }) if bare => return Ok(Some(status)),
                _ => return Err(self.roles.logger.nonsense()),
            }
        }
        Ok(None)
    }
}
