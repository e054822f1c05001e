//! Turns peers into pairs, and pairs into sessions.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use nix::errno::Errno;
use privsep::channel::{ChannelError, Wait};

use crate::config::Approach;
use crate::exit::{Failure, Status};
use crate::messages::{Address, Level, SessionOpening, Side, ToLogger, ToWorker, Transport, Unserved};
use crate::parent::net::address::label;
use crate::parent::net::dial::Connection;
use crate::parent::net::dial::{Dial, Refusal};
use crate::parent::net::listener::Listener;
use crate::parent::net::socket;
use crate::parent::net::socket::SocketOptions;
use crate::parent::startup::limits;
use crate::parent::supervisor::pending::{PairProgress, PeerState, PendingSession, Present};
use crate::parent::supervisor::rate_limit::NoticeKind;
use crate::parent::supervisor::{DIAL_RETRY, Outgoing, Phase, RECOVERY, RunningSession, Supervisor, TURN};
use crate::reason::reason;

impl Supervisor<'_> {
    /// Number of sessions that may begin now.
    pub(super) fn capacity(&self) -> u64 {
        let held_up = self.accept_backoff.is_some() || self.roles.outputs_wait || !self.outbox.is_empty();
        if self.phase != Phase::Serving || held_up {
            return 0;
        }
        let at_once = u64::from(self.config.at_once);
        let busy = (self.running.len() + self.pairs.len() + self.discarded()) as u64;
        // Every pair will need a worker: no client is accepted without one.
        let workers = (self.idle.len() as u64).saturating_sub(self.pairs.len() as u64);
        at_once.saturating_sub(busy).min(self.remaining()).min(workers).min(self.room_in_the_logger())
    }

    /// Number of sessions that may still begin in this run.
    pub(super) fn remaining(&self) -> u64 {
        self.config.sessions.map_or(u64::MAX, |most| most.saturating_sub(self.begun))
    }

    /// Begins sessions with `-c` and without `-l`, where no peer connects to the bridge.
    pub(super) fn begin_dialled_sessions(&mut self) -> Result<(), Failure> {
        if self.config.client.approach == Approach::Listen {
            return Ok(());
        }
        while self.capacity() > 0 && self.dial_backoff.is_none() {
            let client = self.state(Side::Client);
            let server = self.state(Side::Server);
            self.begun += 1;
            self.pairs.push(PendingSession { client, server });
            // An immediate failure makes room for the next, after a delay.
            self.advance_pairs();
            self.flush_outbox()?;
        }
        Ok(())
    }

    /// Awaits a peer, or begins to dial it.
    pub(super) fn state(&self, side: Side) -> PeerState {
        let (endpoint, addresses) = match side {
            Side::Client => (&self.config.client, &self.client_addresses),
            Side::Server => (&self.config.server, &self.server_addresses),
        };
        match endpoint.approach {
            Approach::Listen => PeerState::Awaited,
            Approach::Connect => {
                PeerState::Dialling(Dial::new(Rc::clone(addresses), Rc::clone(&self.dialling)))
            }
        }
    }

    /// Checks whether a peer from this listener would be accepted.
    pub(super) fn wants(&self, side: Side) -> bool {
        self.phase == Phase::Serving
            && self.accept_backoff.is_none()
            && (self.awaiting(side).is_some() || self.capacity() > 0 || self.may_queue(side))
    }

    /// Returns the first pair that lacks this side.
    pub(super) fn awaiting(&self, side: Side) -> Option<usize> {
        self.pairs.iter().position(|pair| matches!(pair.state(side), PeerState::Awaited))
    }

    /// Accepts waiting peers, a bounded number, so that other events get their turn.
    pub(super) fn accept(&mut self, side: Side) {
        for _ in 0..TURN {
            if !self.wants(side) {
                return;
            }
            let listener = match side {
                Side::Client => &self.client_listener,
                Side::Server => &self.server_listener,
            };
            match listener.as_ref().map(Listener::accept) {
                Some(Ok(Some((peer, address)))) => {
                    // An inherited listener may have accepted connections before its options could be set. Unix
                    // sockets inherit no options.
                    let options = SocketOptions::of(self.config);
                    let is_handed = listener.as_ref().is_some_and(|listener| listener.is_handed);
                    if is_handed || address.ip().is_none() {
                        socket::prepare(&peer, &address, options);
                    }
                    self.accepted(side, peer, address);
                }
                Some(Ok(None)) | None => return,
                Some(Err(error)) => {
                    let text = format!("accept: {error}; waiting for the system to recover");
                    self.limited_notice(NoticeKind::NoDescriptors, Level::Error, text);
                    self.accept_backoff = Some(Instant::now() + RECOVERY);
                    return;
                }
            }
        }
    }

    fn accepted(&mut self, side: Side, peer: OwnedFd, address: Address) {
        let peer = Present::new(peer, address);
        if side == Side::Client && self.has_enough(&peer.address) {
            return self.turn_away(peer);
        }
        if side == Side::Client && self.awaiting(side).is_none() && self.capacity() == 0 {
            self.queued.push_back(peer);
            if !self.has_notice(NoticeKind::Full) {
                self.notice_full();
            }
            return;
        }
        self.arrived(side, peer);
    }

    /// Adds the client for which the program was started.
    pub(in crate::parent) fn add_client(&mut self, client: Connection) {
        socket::prepare(&client.socket, &client.address, SocketOptions::of(self.config));
        self.arrived(Side::Client, Present::connected(client));
    }

    /// Checks whether the next client waits only because of `-F`.
    pub(super) fn is_full(&self) -> bool {
        let busy = self.running.len() + self.pairs.len() + self.discarded();
        self.phase == Phase::Serving && self.remaining() > 0 && busy >= self.config.at_once as usize
    }

    pub(super) fn notice_full(&mut self) {
        let at_once = self.config.at_once;
        let sessions = if at_once == 1 { "one session".into() } else { format!("{at_once} sessions") };
        let text = format!("{sessions} at a time (-F): the next client waits");
        self.limited_notice(NoticeKind::Full, Level::Normal, text);
    }

    pub(super) fn arrived(&mut self, side: Side, mut peer: Present) {
        // Checked before its counterpart is dialled, so that a client that resets costs the server nothing.
        if peer.is_lost() {
            return self.lose_arrival(side, peer);
        }
        let peer = PeerState::There(peer);
        if let Some(index) = self.awaiting(side) {
            *self.pairs[index].state_mut(side) = peer;
            return;
        }
        self.begun += 1;
        let pair = match side {
            Side::Client => PendingSession { client: peer, server: self.state(Side::Server) },
            Side::Server => PendingSession { client: self.state(Side::Client), server: peer },
        };
        self.pairs.push(pair);
        // The pair may be complete before poll reports it.
        self.advance_pairs();
    }

    pub(super) fn advance_pairs(&mut self) {
        let mut index = 0;
        while index < self.pairs.len() {
            match self.pairs[index].advance() {
                PairProgress::Complete
                    if !self.idle.is_empty()
                        && self.handoff_backoff.is_none()
                        && !self.roles.outputs_wait =>
                {
                    let pair = self.pairs.remove(index);
                    self.hand_over(pair);
                }
                // A complete pair may have to wait for a worker.
                PairProgress::NotYet | PairProgress::Complete => index += 1,
                PairProgress::Failed(side, refusals) => {
                    let pair = self.pairs.remove(index);
                    self.record_refusal(&pair, side, &refusals);
                    self.discard_pair(pair);
                    self.unreached(side, &refusals);
                }
            }
        }
    }

    /// Records a client whose server was not reached, in the formats that can express it.
    fn record_refusal(&mut self, pair: &PendingSession, side: Side, refusals: &[(Address, Refusal)]) {
        let has_room = self.config.outputs.iter().any(|output| output.view.format.has_refused());
        if side == Side::Client || !matches!(pair.client, PeerState::There(_)) || !has_room {
            return;
        }
        let errno = match refusals.last() {
            Some((_, Refusal::System(errno))) => *errno as i32,
            Some((_, Refusal::OwnListener)) => Errno::ELOOP as i32,
            None => Errno::EADDRNOTAVAIL as i32,
        };
        let mut opening = self.opening(pair);
        if let Some((address, _)) = refusals.last() {
            opening.peers[1] = address.clone();
        }
        self.queue(ToLogger::Unserved { opening, end: Unserved::Refused { errno } });
    }

    /// Describes a pair that becomes a session, or never will.
    pub(super) fn opening(&mut self, pair: &PendingSession) -> SessionOpening {
        let number = self.next_session;
        self.next_session += 1;
        self.roles.backlog.given();
        let peers = [Side::Client, Side::Server].map(|side| self.place(pair, side));
        SessionOpening {
            number,
            peers,
            locals: pair.locals(),
            accepted: pair.since(),
            started: crate::messages::now(),
        }
    }

    /// Handles a peer with no reachable address.
    pub(super) fn unreached(&mut self, side: Side, refusals: &[(Address, Refusal)]) {
        self.failed = Some(Status::Unavailable);
        self.dial_backoff = Some(Instant::now() + DIAL_RETRY);
        self.want_lookup(side);
        let endpoint = match side {
            Side::Client => &self.config.client,
            Side::Server => &self.config.server,
        };
        let why = match refusals {
            // A renewed lookup may have left no address.
            [] => reason(Errno::EADDRNOTAVAIL as i32),
            [(_, refusal)] => refusal.reason(),
            several => {
                let each = several.iter().map(|(address, refusal)| {
                    let place = address.to_string();
                    format!("{}: {}", place.trim_start(), refusal.reason())
                });
                each.collect::<Vec<_>>().join(", ")
            }
        };
        let text = format!("{}: {why}", label(endpoint));
        let timed_out = |(_, refusal): &(Address, Refusal)| *refusal == Refusal::System(Errno::ETIMEDOUT);
        if refusals.iter().any(timed_out) {
            self.limited_notice(NoticeKind::TimedOut(side), Level::Error, text);
        } else {
            self.notice(Level::Error, text);
        }
    }

    /// Sends both sockets to a worker, and the worker's channel to the logger.
    pub(super) fn hand_over(&mut self, pair: PendingSession) {
        let (PeerState::There(client), PeerState::There(server)) = (pair.client, pair.server) else { return };
        let idle_ms = self.config.idle_timeout.map(|idle| idle.as_millis().try_into().unwrap_or(u32::MAX));
        let transports = match self.config.has_packets() {
            true => [Transport::UnixPackets; 2],
            false => [&client.address, &server.address].map(Address::transport),
        };
        let (need, bytes, acknowledge) = (self.need, self.config.bytes, self.acknowledge);
        let reset = [client.is_reset, server.is_reset];
        let session = ToWorker::Session { need, bytes, idle_ms, transports, reset, acknowledge };
        while let Some(worker) = self.idle.pop_front() {
            match worker.channel.send_with(
                &session,
                &[client.socket.as_fd(), server.socket.as_fd()],
                Wait::No,
            ) {
                Ok(()) => {
                    let ip = client.address.ip();
                    let started = client.since.max(server.since);
                    let pair =
                        PendingSession { client: PeerState::There(client), server: PeerState::There(server) };
                    let opening = SessionOpening { started, ..self.opening(&pair) };
                    drop(pair);
                    self.running.insert(worker.pid, RunningSession { number: opening.number, client: ip });
                    let message = ToLogger::Session { opening, bytes: self.config.bytes };
                    self.outbox.push_back(Outgoing { message, worker: Some(worker.channel) });
                    self.start_player();
                    return;
                }
                Err(ChannelError::Crowded) => {
                    self.idle.push_front(worker);
                    self.handoff_backoff = Some(Instant::now() + limits::IN_FLIGHT_RETRY);
                    break;
                }
                // The worker died while idle: the next one is used, and no replacement is requested at once.
                Err(_) => self.fork_backoff = Some(Instant::now() + RECOVERY),
            }
        }
        // No worker available: the pair waits.
        self.pairs
            .push(PendingSession { client: PeerState::There(client), server: PeerState::There(server) });
    }

    /// Handles an event of a pair: a finished connection attempt (see [`Self::advance_pairs`]), or the end of
    /// the peer that was connected first.
    pub(super) fn look_at(&mut self, index: usize) {
        if let Some(side) = self.pairs.get_mut(index).and_then(PendingSession::lost) {
            let pair = self.pairs.remove(index);
            self.lose(pair, side);
        }
    }
}
