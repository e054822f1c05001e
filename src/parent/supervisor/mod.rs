//! The parent's loop: peers arrive, connections stand, workers are born and end, signals come.

mod backlog;
mod bursts;
mod early;
mod ending;
mod events;
mod lookup;
mod names;
mod pairs;
mod service;
mod workers;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use privsep::channel::{Channel, ChannelError, Wait, no_fds};
use privsep::confine::Locked;

use super::dial::DialOptions;
use super::listener::Listener;
use super::own::OwnListeners;
use super::pair::{Pair, Present};
use super::roles::Running;
use crate::config::{Config, Port, Verbosity};
use crate::exit::{Failure, Status};
use crate::format::Need;
use crate::messages::{Address, Hangup, Level, ToLogger, ToParent, ToResolver, ToWorker, ToZygote};
use crate::policy::Role;
pub(super) use backlog::Backlog;
use bursts::Burst;
pub(super) use early::MOST_QUEUED;
use events::Found;
use lookup::Lookup;
pub(super) use names::lost_lookup;
pub(super) use service::Service;

/// The longest notice, in bytes.
const NOTICE: usize = 2000;

/// Messages of one role in a row, before others and the operator get their turn.
const TURN: usize = 64;

/// After too many descriptors were on their way: so long until the next attempt.
const CROWD: Duration = Duration::from_millis(20);

/// After the system refused a descriptor or a process: so long until the next attempt.
const RECOVERY: Duration = Duration::from_millis(500);

/// After a session that we began in vain (`-c`): so long until the next one.
const VAIN: Duration = Duration::from_millis(250);

/// Where the peers are.
pub(super) struct Peers {
    pub(super) client: Vec<Address>,
    pub(super) server: Vec<Address>,
    pub(super) client_listener: Option<Listener>,
    pub(super) server_listener: Option<Listener>,
}

pub(super) struct Roles {
    /// `None` once it is lost, which costs names alone.
    pub(super) resolver: Option<Running<ToResolver>>,
    pub(super) logger: Running<ToLogger>,
    pub(super) zygote: Running<ToZygote>,
    /// Of the logger.
    pub(super) backlog: Backlog,
    /// An output has no reader yet: no session begins before that.
    pub(super) outputs_wait: bool,
}

/// A worker that waits for a session.
struct Idle {
    pid: i32,
    channel: Channel<ToWorker, ()>,
}

/// A session that runs.
struct Session {
    number: u64,
    /// Unix clients are all at one place.
    client: Option<IpAddr>,
}

/// How far we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// No new sessions; those that run go on for a while (`--drain-timeout`).
    Draining {
        until: Instant,
        status: u8,
    },
    /// They end in order.
    Ending {
        until: Instant,
        status: u8,
    },
    /// The logger writes the rest.
    WritingOut {
        until: Instant,
        status: u8,
    },
}

pub(super) struct Supervisor<'a> {
    config: &'a Config,
    service: Option<Service>,
    hangup: Hangup,
    client_addresses: Rc<[Address]>,
    server_addresses: Rc<[Address]>,
    dialling: Rc<DialOptions>,
    lookup: Lookup,
    client_listener: Option<Listener>,
    server_listener: Option<Listener>,
    roles: Roles,
    /// Roles that were given up and have not ended yet.
    leaving: Vec<Pid>,
    signals: &'a SignalFd,
    _locked: &'a Locked,
    need: Need,
    phase: Phase,
    /// Sessions begun, also those whose peer could not be reached.
    begun: u64,
    /// A session failed: its peer could not be reached, or its worker died.
    failed: Option<Status>,
    /// In the order in which they began: the first that lacks a peer gets the next one.
    pairs: Vec<Pair>,
    /// Clients that wait for a place.
    queued: VecDeque<Present>,
    /// By process.
    running: HashMap<i32, Session>,
    /// What is being told about, once.
    bursts: Vec<Burst>,
    next_session: u64,
    idle: VecDeque<Idle>,
    /// Workers that the zygote owes us.
    ordered: u32,
    /// What the logger has not taken yet; while there is something, nobody is accepted.
    outbox: VecDeque<(ToLogger, Option<OwnedFd>)>,
    /// The system had no descriptors for us: nothing is begun until then.
    starved: Option<Instant>,
    /// The system had no process for us: no worker is ordered until then, or until one ends.
    barren: Option<Instant>,
    /// Too many descriptors are on their way between processes: nothing is handed out until then.
    crowded: Option<Instant>,
    /// A session was begun in vain: we begin no other one until then.
    vain: Option<Instant>,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        config: &'a Config,
        service: Option<Service>,
        hangup: Hangup,
        peers: Peers,
        roles: Roles,
        signals: &'a SignalFd,
        locked: &'a Locked,
    ) -> Supervisor<'a> {
        let own = OwnListeners::of(peers.client_listener.iter().chain(&peers.server_listener));
        let (timeout, keepalive) = (config.connect_timeout, config.keepalive);
        let need =
            config.outputs.iter().map(|output| output.view.format.need()).max().unwrap_or(Need::Totals);
        Supervisor {
            config,
            service,
            hangup,
            client_addresses: peers.client.into(),
            server_addresses: peers.server.into(),
            dialling: Rc::new(DialOptions { timeout, keepalive, own }),
            lookup: Lookup::default(),
            client_listener: peers.client_listener,
            server_listener: peers.server_listener,
            roles,
            leaving: Vec::new(),
            signals,
            _locked: locked,
            need,
            phase: Phase::Serving,
            begun: 0,
            failed: None,
            pairs: Vec::new(),
            queued: VecDeque::new(),
            running: HashMap::new(),
            bursts: Vec::new(),
            next_session: 1,
            idle: VecDeque::new(),
            ordered: 0,
            outbox: VecDeque::new(),
            starved: None,
            barren: None,
            crowded: None,
            vain: None,
        }
    }

    /// Sends to the logger, as soon as it takes it.
    pub(super) fn tell(&mut self, message: ToLogger) {
        self.outbox.push_back((message, None));
    }

    fn notice(&mut self, level: Level, mut text: String) {
        // A message has an end; what an operator typed may have none.
        text.truncate(text.floor_char_boundary(NOTICE));
        self.tell(ToLogger::Notice { level, text });
    }

    /// Says where we listen. With `-q` that is said only where nobody could know it otherwise.
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
            self.outbox.push_back((message, None));
        }
    }

    /// Serves until there is nothing more to serve.
    pub(super) fn run(mut self) -> Result<u8, Failure> {
        self.tell_ready();
        let result = self.serve();
        if let (Err(failure), true) = (&result, self.config.syslog) {
            self.last_words(failure);
        }
        // Where stderr is the client's, that was it: confined as we are, nobody else can tell it.
        let told = self.config.syslog && self.config.inetd;
        self.see_off();
        result.or_else(|failure| if told { Ok(failure.status as u8) } else { Err(failure) })
    }

    fn serve(&mut self) -> Result<u8, Failure> {
        loop {
            self.recover();
            self.advance_pairs();
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

    /// Ends the waits whose time has come.
    fn recover(&mut self) {
        let now = Instant::now();
        for wait in [&mut self.starved, &mut self.barren, &mut self.crowded, &mut self.vain] {
            *wait = wait.filter(|until| *until > now);
        }
    }

    fn flush_outbox(&mut self) -> Result<(), Failure> {
        if self.crowded.is_some() {
            return Ok(());
        }
        while let Some((message, fd)) = self.outbox.front() {
            let fds: Vec<BorrowedFd<'_>> = fd.iter().map(AsFd::as_fd).collect();
            match self.roles.logger.channel.send_with(message, &fds, Wait::No) {
                Ok(()) => drop(self.outbox.pop_front()),
                Err(ChannelError::Full) => return Ok(()),
                Err(ChannelError::Crowded) => {
                    self.crowded = Some(Instant::now() + CROWD);
                    return Ok(());
                }
                Err(_) => return Err(self.roles.logger.lost()),
            }
        }
        Ok(())
    }

    fn handle(&mut self, found: Found) -> Result<Option<u8>, Failure> {
        match found {
            Found::Signal => return self.heed_signals(),
            Found::Resolver => self.hear_resolver(),
            Found::Logger => return self.hear_logger(),
            Found::Zygote => self.hear_zygote()?,
            Found::Listener(side) => self.accept(side),
            Found::Waiting => self.tell_full(),
            Found::Pair(index) => self.look_at(index),
            Found::Queued => self.look_at_queued(),
        }
        Ok(None)
    }

    fn hear_logger(&mut self) -> Result<Option<u8>, Failure> {
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
                (ToParent::Reopened, _) if bare && self.hangup == Hangup::Reopens => self.tell_ready(),
                (ToParent::Finished, Phase::WritingOut { status, .. }) if bare => return Ok(Some(status)),
                _ => return Err(self.roles.logger.nonsense()),
            }
        }
        Ok(None)
    }
}
