//! The parent's loop: peers arrive, connections stand, workers are born and end, signals come.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use privsep::channel::{Channel, ChannelError, Wait, no_fds, one_fd};
use privsep::confine::Locked;
use privsep::sys::Fds;

use super::address::label;
use super::dial::Dial;
use super::listener::Listener;
use super::pair::{Half, Outcome, Pair};
use super::roles::Running;
use super::{interrupted, signals_of, socket};
use crate::config::{Approach, Config, Port, Verbosity};
use crate::exit::{Failure, Status};
use crate::format::Need;
use crate::messages::{Address, End, Level, Side, ToLogger, ToParent, ToResolver, ToWorker, ToZygote};
use crate::signals::describe;

/// The longest notice, in bytes.
const NOTICE: usize = 2000;

/// Workers kept ready for the next sessions.
const SPARE: u32 = 4;

/// How long sessions may take to end in order.
const DRAIN: Duration = Duration::from_secs(5);

/// After too many descriptors were on their way: so long until the next attempt.
const CROWD: Duration = Duration::from_millis(20);

/// How long the logger may take to write the rest.
const WRITE_OUT: Duration = Duration::from_secs(60);

/// After the system refused a descriptor or a process: so long until the next attempt.
const RECOVERY: Duration = Duration::from_millis(500);

/// Where the peers are.
pub(super) struct Peers {
    pub(super) client: Vec<Address>,
    pub(super) server: Vec<Address>,
    pub(super) client_listener: Option<Listener>,
    pub(super) server_listener: Option<Listener>,
}

pub(super) struct Roles {
    pub(super) resolver: Running<ToResolver>,
    pub(super) logger: Running<ToLogger>,
    pub(super) zygote: Running<ToZygote>,
}

/// A worker that waits for a session.
struct Idle {
    pid: i32,
    channel: Channel<ToWorker, ()>,
}

/// How far we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// No new sessions; those that run end in order.
    Draining {
        until: Instant,
        status: u8,
    },
    /// The logger writes the rest.
    WritingOut {
        until: Instant,
        status: u8,
    },
}

/// What poll found.
#[derive(Clone, Copy, Debug)]
enum Found {
    Signal,
    Resolver,
    Logger,
    Zygote,
    Listener(Side),
    Pair(usize),
}

pub(super) struct Supervisor<'a> {
    config: &'a Config,
    client_addresses: Rc<[Address]>,
    server_addresses: Rc<[Address]>,
    client_listener: Option<Listener>,
    server_listener: Option<Listener>,
    roles: Roles,
    signals: &'a SignalFd,
    _locked: &'a Locked,
    need: Need,
    phase: Phase,
    /// Sessions begun, also those whose peer could not be reached.
    begun: u64,
    /// Sessions whose peer could not be reached.
    unreachable: u64,
    pairs: Vec<Pair>,
    /// Session by process.
    running: HashMap<i32, u64>,
    next_session: u64,
    idle: VecDeque<Idle>,
    /// Workers that the zygote owes us.
    ordered: u32,
    /// What the logger has not taken yet; while there is something, nobody is accepted.
    outbox: VecDeque<(ToLogger, Option<OwnedFd>)>,
    /// The system has no descriptors or processes for us until then.
    starved: Option<Instant>,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        config: &'a Config,
        peers: Peers,
        roles: Roles,
        signals: &'a SignalFd,
        locked: &'a Locked,
    ) -> Supervisor<'a> {
        let need = config.outputs.iter().map(|output| output.format.need()).max().unwrap_or(Need::Totals);
        Supervisor {
            config,
            client_addresses: peers.client.into(),
            server_addresses: peers.server.into(),
            client_listener: peers.client_listener,
            server_listener: peers.server_listener,
            roles,
            signals,
            _locked: locked,
            need,
            phase: Phase::Serving,
            begun: 0,
            unreachable: 0,
            pairs: Vec::new(),
            running: HashMap::new(),
            next_session: 1,
            idle: VecDeque::new(),
            ordered: 0,
            outbox: VecDeque::new(),
            starved: None,
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
    pub(super) fn announce(&mut self, verbosity: Verbosity) {
        for (listener, endpoint) in
            [(&self.client_listener, &self.config.client), (&self.server_listener, &self.config.server)]
        {
            let Some(listener) = listener else { continue };
            let message = if verbosity > Verbosity::Quiet {
                ToLogger::Listening(listener.address.clone())
            } else if endpoint.port == Port::Dynamic {
                let text = format!("Listening on: {}", listener.address);
                ToLogger::Notice { level: Level::Error, text }
            } else {
                continue;
            };
            self.outbox.push_back((message, None));
        }
    }

    /// Serves until there is nothing more to serve.
    pub(super) fn run(mut self) -> Result<u8, Failure> {
        loop {
            self.begin_dialled_sessions();
            self.advance_pairs();
            self.order_workers()?;
            self.flush_outbox()?;
            if let Some(status) = self.progress()? {
                return Ok(status);
            }
            for found in self.wait()? {
                if let Some(status) = self.handle(found)? {
                    return Ok(status);
                }
            }
        }
    }

    /// How many more sessions may begin now.
    fn capacity(&self) -> u64 {
        if self.phase != Phase::Serving || self.starved.is_some() || !self.outbox.is_empty() {
            return 0;
        }
        let at_once = u64::from(self.config.at_once);
        let busy = (self.running.len() + self.pairs.len()) as u64;
        // Every pair will need a worker: nobody is taken in for whom there is none.
        let workers = (self.idle.len() as u64).saturating_sub(self.pairs.len() as u64);
        at_once.saturating_sub(busy).min(self.remaining()).min(workers)
    }

    /// How many more sessions may ever begin.
    fn remaining(&self) -> u64 {
        self.config.sessions.map_or(u64::MAX, |most| most.saturating_sub(self.begun))
    }

    /// With `-c`, and without `-l`, nobody comes to us: we begin.
    fn begin_dialled_sessions(&mut self) {
        if self.client_listener.is_some() || self.config.client.approach == Approach::Listen {
            return;
        }
        while self.capacity() > 0 {
            let client = self.half(Side::Client);
            let server = self.half(Side::Server);
            self.begun += 1;
            self.pairs.push(Pair { client, server });
        }
    }

    /// A peer that we await, or begin to dial.
    fn half(&self, side: Side) -> Half {
        let (endpoint, addresses) = match side {
            Side::Client => (&self.config.client, &self.client_addresses),
            Side::Server => (&self.config.server, &self.server_addresses),
        };
        match endpoint.approach {
            Approach::Listen => Half::Awaited,
            Approach::Connect => Half::Dialling(Dial::new(Rc::clone(addresses), self.config.connect_timeout)),
        }
    }

    /// Whether a peer that comes to this listener would be taken in.
    fn wants(&self, side: Side) -> bool {
        self.phase == Phase::Serving
            && self.starved.is_none()
            && (self.awaiting(side).is_some() || self.capacity() > 0)
    }

    /// The first pair that lacks this side.
    fn awaiting(&self, side: Side) -> Option<usize> {
        self.pairs.iter().position(|pair| {
            let half = match side {
                Side::Client => &pair.client,
                Side::Server => &pair.server,
            };
            matches!(half, Half::Awaited)
        })
    }

    fn accept(&mut self, side: Side) {
        while self.wants(side) {
            let listener = match side {
                Side::Client => &self.client_listener,
                Side::Server => &self.server_listener,
            };
            match listener.as_ref().map(Listener::accept) {
                Some(Ok(Some((peer, address)))) => self.arrived(side, Half::There(peer, address)),
                Some(Ok(None)) | None => return,
                Some(Err(error)) => {
                    self.notice(Level::Error, format!("accept: {error}; waiting for the system to recover"));
                    self.starved = Some(Instant::now() + RECOVERY);
                    return;
                }
            }
        }
    }

    fn arrived(&mut self, side: Side, peer: Half) {
        if let Some(index) = self.awaiting(side) {
            match side {
                Side::Client => self.pairs[index].client = peer,
                Side::Server => self.pairs[index].server = peer,
            }
            return;
        }
        self.begun += 1;
        let pair = match side {
            Side::Client => Pair { client: peer, server: self.half(Side::Server) },
            Side::Server => Pair { client: self.half(Side::Client), server: peer },
        };
        self.pairs.push(pair);
        // The pair may be complete before poll would say so.
        self.advance_pairs();
    }

    fn advance_pairs(&mut self) {
        let mut index = 0;
        while index < self.pairs.len() {
            match self.pairs[index].advance() {
                Outcome::Complete if !self.idle.is_empty() && self.starved.is_none() => {
                    let pair = self.pairs.swap_remove(index);
                    self.hand_over(pair);
                }
                // A complete pair may have to wait for a worker.
                Outcome::NotYet | Outcome::Complete => index += 1,
                Outcome::Failed(side, errno) => {
                    self.pairs.swap_remove(index).refuse();
                    self.unreached(side, errno);
                }
            }
        }
    }

    fn unreached(&mut self, side: Side, errno: Errno) {
        self.unreachable += 1;
        let endpoint = match side {
            Side::Client => &self.config.client,
            Side::Server => &self.config.server,
        };
        self.notice(Level::Error, format!("{}: {}", label(endpoint), errno.desc()));
    }

    /// Gives both sockets to a worker, and the worker's channel to the logger.
    fn hand_over(&mut self, pair: Pair) {
        let (Half::There(client, client_address), Half::There(server, server_address)) =
            (pair.client, pair.server)
        else {
            return;
        };
        socket::prepare(&client, &client_address);
        socket::prepare(&server, &server_address);
        let idle_ms = self.config.idle_timeout.map(|idle| idle.as_millis().try_into().unwrap_or(u32::MAX));
        let session = ToWorker::Session { need: self.need, bytes: self.config.bytes, idle_ms };
        while let Some(worker) = self.idle.pop_front() {
            match worker.channel.send_with(&session, &[client.as_fd(), server.as_fd()], Wait::No) {
                Ok(()) => {
                    let number = self.next_session;
                    self.next_session += 1;
                    self.running.insert(worker.pid, number);
                    let message =
                        ToLogger::Session { number, client: client_address, server: server_address };
                    self.outbox.push_back((message, Some(worker.channel.into_socket())));
                    return;
                }
                Err(ChannelError::Crowded) => {
                    self.idle.push_front(worker);
                    self.starved = Some(Instant::now() + CROWD);
                    break;
                }
                // It died while it was idle, which is told of later: the next one will do.
                Err(_) => {}
            }
        }
        // No worker just now: the pair waits for one.
        self.pairs.push(Pair {
            client: Half::There(client, client_address),
            server: Half::There(server, server_address),
        });
    }

    /// Keeps as many workers ready as sessions may soon begin.
    fn order_workers(&mut self) -> Result<(), Failure> {
        if self.phase != Phase::Serving || self.starved.is_some() {
            return Ok(());
        }
        let pairs = self.pairs.len() as u64;
        let free = u64::from(self.config.at_once).saturating_sub(self.running.len() as u64);
        // One more than may run, so that the next session need not wait for a fork.
        let wanted = pairs + u64::from(SPARE).min(free + 1).min(self.remaining());
        let missing = wanted.saturating_sub(self.idle.len() as u64 + u64::from(self.ordered)) as u32;
        if missing > 0 {
            self.roles.zygote.send(&ToZygote::Fork(missing))?;
            self.ordered += missing;
        }
        Ok(())
    }

    fn flush_outbox(&mut self) -> Result<(), Failure> {
        while let Some((message, fd)) = self.outbox.front() {
            let fds: Vec<BorrowedFd<'_>> = fd.iter().map(AsFd::as_fd).collect();
            match self.roles.logger.channel.send_with(message, &fds, Wait::No) {
                Ok(()) => drop(self.outbox.pop_front()),
                Err(ChannelError::Full) => return Ok(()),
                Err(ChannelError::Crowded) => {
                    self.starved = Some(Instant::now() + CROWD);
                    return Ok(());
                }
                Err(_) => return Err(self.roles.logger.lost()),
            }
        }
        Ok(())
    }

    /// What follows from where we are; a status if it is over.
    fn progress(&mut self) -> Result<Option<u8>, Failure> {
        let now = Instant::now();
        if self.starved.is_some_and(|until| until <= now) {
            self.starved = None;
        }
        if self.phase == Phase::Serving && self.remaining() == 0 {
            // All that were asked for have come: the port is free for others.
            self.close_listeners();
            if self.pairs.is_empty() && self.running.is_empty() {
                let status = if self.unreachable > 0 { Status::Unavailable as u8 } else { 0 };
                self.write_out(now, status);
            }
        }
        match self.phase {
            Phase::Draining { status, until } if self.running.is_empty() || until <= now => {
                self.write_out(now, status);
            }
            Phase::WritingOut { until, .. } if until <= now => {
                return Err(Failure::new(Status::Io, "the logger does not finish: records may be missing"));
            }
            _ => {}
        }
        Ok(None)
    }

    fn close_listeners(&mut self) {
        if self.awaiting(Side::Client).is_none() {
            self.client_listener = None;
        }
        if self.awaiting(Side::Server).is_none() {
            self.server_listener = None;
        }
    }

    fn write_out(&mut self, now: Instant, status: u8) {
        self.phase = Phase::WritingOut { until: now + WRITE_OUT, status };
        self.tell(ToLogger::Finish);
        // It goes out with the next turn; nothing else is left to wake us.
        self.idle.clear();
    }

    /// Ends every session in order, then ourselves.
    fn stop(&mut self, status: u8) {
        self.client_listener = None;
        self.server_listener = None;
        for pair in self.pairs.drain(..) {
            pair.refuse();
        }
        let sessions: Vec<u64> = self.running.values().copied().collect();
        for number in sessions {
            self.tell(ToLogger::Stop { number });
        }
        self.phase = Phase::Draining { until: Instant::now() + DRAIN, status };
    }

    /// Waits for something to do.
    fn wait(&mut self) -> Result<Vec<Found>, Failure> {
        self.flush_outbox()?;
        let mut tokens = vec![Found::Signal, Found::Resolver, Found::Logger, Found::Zygote];
        let logger = if self.outbox.is_empty() || self.starved.is_some() {
            PollFlags::POLLIN
        } else {
            PollFlags::POLLIN | PollFlags::POLLOUT
        };
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![
            readable(self.signals.as_fd()),
            readable(self.roles.resolver.channel.as_fd()),
            PollFd::new(self.roles.logger.channel.as_fd(), logger),
            readable(self.roles.zygote.channel.as_fd()),
        ];
        for (side, listener) in [(Side::Client, &self.client_listener), (Side::Server, &self.server_listener)]
        {
            if let Some(listener) = listener.as_ref().filter(|_| self.wants(side)) {
                tokens.push(Found::Listener(side));
                fds.push(readable(listener.as_fd()));
            }
        }
        for (index, pair) in self.pairs.iter().enumerate() {
            for half in [&pair.client, &pair.server] {
                let (fd, flags) = match half {
                    Half::Awaited => continue,
                    Half::Dialling(dial) => match dial.socket() {
                        Some(socket) => (socket, PollFlags::POLLOUT),
                        None => continue,
                    },
                    // Only to hear that it has gone.
                    Half::There(socket, _) => (socket.as_fd(), PollFlags::empty()),
                };
                tokens.push(Found::Pair(index));
                fds.push(PollFd::new(fd, flags));
            }
        }
        match poll(&mut fds, self.timeout()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::new(Status::Os, format!("poll: {}", errno.desc()))),
        }
        let mut found: Vec<Found> = tokens
            .into_iter()
            .zip(&fds)
            .filter(|(_, fd)| fd.any().unwrap_or(false))
            .map(|(token, _)| token)
            .collect();
        // Pairs last, from the end: handling one may move those behind it.
        found.sort_by_key(|found| match found {
            Found::Pair(index) => usize::MAX - index,
            _ => 0,
        });
        Ok(found)
    }

    fn timeout(&self) -> PollTimeout {
        let dials =
            self.pairs.iter().flat_map(|pair| [&pair.client, &pair.server]).filter_map(|half| match half {
                Half::Dialling(dial) => Some(dial.deadline),
                Half::Awaited | Half::There(..) => None,
            });
        let phase = match self.phase {
            Phase::Serving => None,
            Phase::Draining { until, .. } | Phase::WritingOut { until, .. } => Some(until),
        };
        match dials.chain(phase).chain(self.starved).min() {
            None => PollTimeout::NONE,
            Some(until) => {
                let rest = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX)
            }
        }
    }

    fn handle(&mut self, found: Found) -> Result<Option<u8>, Failure> {
        match found {
            Found::Signal => return self.heed_signals(),
            // The resolver has nothing to tell us once the addresses are known.
            Found::Resolver => {
                if self.roles.resolver.receive()?.is_some() {
                    return Err(self.roles.resolver.nonsense());
                }
            }
            Found::Logger => return self.hear_logger(),
            Found::Zygote => self.hear_zygote()?,
            Found::Listener(side) => self.accept(side),
            Found::Pair(index) => self.look_at(index),
        }
        Ok(None)
    }

    fn heed_signals(&mut self) -> Result<Option<u8>, Failure> {
        let signals: Vec<Signal> = signals_of(self.signals).collect();
        for signal in signals {
            match signal {
                Signal::SIGCHLD => self.check_roles()?,
                Signal::SIGUSR1 | Signal::SIGUSR2 => {}
                signal => {
                    let status = interrupted(signal);
                    // The second time, at once: what is recorded is written all the same.
                    if self.phase != Phase::Serving {
                        return Ok(Some(status));
                    }
                    self.notice(Level::Normal, format!("Caught signal: {}", describe(signal as i32)));
                    self.stop(status);
                }
            }
        }
        Ok(None)
    }

    /// Our only children are the roles, and none of them may end before we say so.
    fn check_roles(&mut self) -> Result<(), Failure> {
        let ended = |pid| {
            use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            !matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::StillAlive))
        };
        if ended(self.roles.resolver.pid) {
            return Err(self.roles.resolver.lost());
        }
        if ended(self.roles.zygote.pid) {
            return Err(self.roles.zygote.lost());
        }
        // The logger may end once everything is written; whether it was is in its channel.
        if !matches!(self.phase, Phase::WritingOut { .. }) && ended(self.roles.logger.pid) {
            return Err(self.roles.logger.lost());
        }
        Ok(())
    }

    fn hear_logger(&mut self) -> Result<Option<u8>, Failure> {
        while let Some((message, fds)) = self.roles.logger.receive()? {
            let bare = no_fds(fds).is_ok();
            match (message, self.phase) {
                (ToParent::OutputLost, _) if bare => self.output_lost(),
                (ToParent::Finished, Phase::WritingOut { status, .. }) if bare => return Ok(Some(status)),
                _ => return Err(self.roles.logger.nonsense()),
            }
        }
        Ok(None)
    }

    /// Nothing may be forwarded that an output does not get.
    fn output_lost(&mut self) {
        let failed = Status::Io as u8;
        match &mut self.phase {
            Phase::Serving => self.stop(failed),
            Phase::Draining { status, .. } | Phase::WritingOut { status, .. } => *status = failed,
        }
    }

    fn hear_zygote(&mut self) -> Result<(), Failure> {
        while let Some((message, fds)) = self.roles.zygote.receive()? {
            self.obey_zygote(message, fds)?;
        }
        Ok(())
    }

    fn obey_zygote(&mut self, message: ToParent, fds: Fds) -> Result<(), Failure> {
        match message {
            ToParent::Born { pid } if self.ordered > 0 => {
                let channel = one_fd(fds).map_err(|_| self.roles.zygote.nonsense())?;
                self.ordered -= 1;
                if self.phase == Phase::Serving {
                    self.idle.push_back(Idle { pid, channel: Channel::from_socket(channel) });
                }
            }
            ToParent::Stillborn { errno } if self.ordered > 0 => {
                self.ordered -= 1;
                if self.starved.is_none() {
                    let reason = Errno::from_raw(errno).desc();
                    self.notice(Level::Error, format!("Process creation: {reason}"));
                }
                self.starved = Some(Instant::now() + RECOVERY);
            }
            ToParent::Exited { pid, end } => self.ended(pid, end),
            _ => return Err(self.roles.zygote.nonsense()),
        }
        Ok(())
    }

    fn ended(&mut self, pid: i32, end: End) {
        let Some(number) = self.running.remove(&pid) else {
            self.idle.retain(|worker| worker.pid != pid);
            return;
        };
        match end {
            End::Status(0) => return,
            End::Status(status) => {
                self.notice(Level::Normal, format!("Child {pid} returned an error ({status})"));
            }
            End::Signal(signal) => {
                let text = describe(signal);
                self.notice(Level::Normal, format!("Child {pid} killed by signal {signal} ({text})"));
            }
        }
        self.tell(ToLogger::Died { number, end });
    }

    /// News of a pair: a connection stands or failed (which [`Self::advance_pairs`] finds out), or the one
    /// who was there first has gone.
    fn look_at(&mut self, index: usize) {
        let Some(pair) = self.pairs.get(index) else { return };
        let gone = [&pair.client, &pair.server].into_iter().any(|half| match half {
            Half::There(peer, _) => socket::is_gone(peer),
            Half::Awaited | Half::Dialling(_) => false,
        });
        if gone {
            self.pairs.swap_remove(index).refuse();
        }
    }
}
