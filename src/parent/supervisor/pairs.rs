//! Peers become pairs, pairs become sessions.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use privsep::channel::{ChannelError, Wait};

use super::bursts::Kind;
use super::{CROWD, Phase, RECOVERY, Session, Supervisor};
use crate::config::Approach;
use crate::exit::{Failure, Status};
use crate::messages::{Address, Level, Side, ToLogger, ToWorker};
use crate::parent::address::label;
use crate::parent::dial::Dial;
use crate::parent::listener::Listener;
use crate::parent::pair::{Half, Outcome, Pair};
use crate::parent::socket;
use crate::reason::reason;

impl Supervisor<'_> {
    /// How many more sessions may begin now.
    pub(super) fn capacity(&self) -> u64 {
        if self.phase != Phase::Serving || self.starved.is_some() || !self.outbox.is_empty() {
            return 0;
        }
        let at_once = u64::from(self.config.at_once);
        let busy = (self.running.len() + self.pairs.len()) as u64;
        // Every pair will need a worker: nobody is taken in for whom there is none.
        let workers = (self.idle.len() as u64).saturating_sub(self.pairs.len() as u64);
        at_once.saturating_sub(busy).min(self.remaining()).min(workers).min(self.room_in_the_logger())
    }

    /// How many more sessions may ever begin.
    pub(super) fn remaining(&self) -> u64 {
        self.config.sessions.map_or(u64::MAX, |most| most.saturating_sub(self.begun))
    }

    /// With `-c`, and without `-l`, nobody comes to us: we begin.
    pub(super) fn begin_dialled_sessions(&mut self) -> Result<(), Failure> {
        if self.config.client.approach == Approach::Listen {
            return Ok(());
        }
        while self.capacity() > 0 {
            let client = self.half(Side::Client);
            let server = self.half(Side::Server);
            self.begun += 1;
            self.pairs.push(Pair { client, server });
            // One that fails at once makes room for the next, of which nobody else would remind us.
            self.advance_pairs();
            self.flush_outbox()?;
        }
        Ok(())
    }

    /// A peer that we await, or begin to dial.
    pub(super) fn half(&self, side: Side) -> Half {
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
    pub(super) fn wants(&self, side: Side) -> bool {
        self.phase == Phase::Serving
            && self.starved.is_none()
            && (self.awaiting(side).is_some() || self.capacity() > 0)
    }

    /// The first pair that lacks this side.
    pub(super) fn awaiting(&self, side: Side) -> Option<usize> {
        self.pairs.iter().position(|pair| {
            let half = match side {
                Side::Client => &pair.client,
                Side::Server => &pair.server,
            };
            matches!(half, Half::Awaited)
        })
    }

    pub(super) fn accept(&mut self, side: Side) {
        while self.wants(side) {
            let listener = match side {
                Side::Client => &self.client_listener,
                Side::Server => &self.server_listener,
            };
            match listener.as_ref().map(Listener::accept) {
                Some(Ok(Some((peer, address)))) if side == Side::Client && self.has_enough(&address) => {
                    self.turn_away(peer, &address);
                }
                Some(Ok(Some((peer, address)))) => self.arrived(side, Half::There(peer, address)),
                Some(Ok(None)) | None => return,
                Some(Err(error)) => {
                    let text = format!("accept: {error}; waiting for the system to recover");
                    self.tell_of(Kind::NoDescriptors, Level::Error, text);
                    self.starved = Some(Instant::now() + RECOVERY);
                    return;
                }
            }
        }
    }

    /// Takes in the client for whom we were started.
    pub(in crate::parent) fn greet(&mut self, client: OwnedFd, address: Address) {
        self.arrived(Side::Client, Half::There(client, address));
    }

    /// Whether this client has all the sessions that one may have.
    fn has_enough(&self, client: &Address) -> bool {
        let Some(most) = self.config.per_client else { return false };
        let running = self.running.values().filter(|session| session.client == client.ip()).count();
        let on_their_way = self.pairs.iter().filter(|pair| match &pair.client {
            Half::There(_, other) => other.ip() == client.ip(),
            Half::Awaited | Half::Dialling(_) => false,
        });
        running + on_their_way.count() >= most as usize
    }

    fn turn_away(&mut self, peer: OwnedFd, client: &Address) {
        socket::reset(peer);
        let name = client.ip().map_or_else(|| "Unix clients".into(), |ip| ip.to_string());
        let text = format!("{name}: turned away, as more than --max-per-client allows");
        self.tell_of(Kind::TurnedAway, Level::Warning, text);
    }

    /// Whether it is `-F` alone that keeps the next client waiting.
    pub(super) fn is_full(&self) -> bool {
        let busy = self.running.len() + self.pairs.len();
        self.phase == Phase::Serving && self.remaining() > 0 && busy >= self.config.at_once as usize
    }

    pub(super) fn tell_full(&mut self) {
        let at_once = self.config.at_once;
        let sessions = if at_once == 1 { "one session".into() } else { format!("{at_once} sessions") };
        let text = format!("{sessions} at a time (-F): the next client waits");
        self.tell_of(Kind::Full, Level::Normal, text);
    }

    pub(super) fn arrived(&mut self, side: Side, peer: Half) {
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

    pub(super) fn advance_pairs(&mut self) {
        let mut index = 0;
        while index < self.pairs.len() {
            match self.pairs[index].advance() {
                Outcome::Complete if !self.idle.is_empty() && self.crowded.is_none() => {
                    let pair = self.pairs.remove(index);
                    self.hand_over(pair);
                }
                // A complete pair may have to wait for a worker.
                Outcome::NotYet | Outcome::Complete => index += 1,
                Outcome::Failed(side, errno) => {
                    self.pairs.remove(index).refuse();
                    self.unreached(side, errno);
                }
            }
        }
    }

    pub(super) fn unreached(&mut self, side: Side, errno: Errno) {
        self.failed = Some(Status::Unavailable);
        let endpoint = match side {
            Side::Client => &self.config.client,
            Side::Server => &self.config.server,
        };
        let text = format!("{}: {}", label(endpoint), reason(errno as i32));
        match errno {
            Errno::ETIMEDOUT => self.tell_of(Kind::TimedOut(side), Level::Error, text),
            _ => self.notice(Level::Error, text),
        }
    }

    /// Gives both sockets to a worker, and the worker's channel to the logger.
    pub(super) fn hand_over(&mut self, pair: Pair) {
        let (Half::There(client, client_address), Half::There(server, server_address)) =
            (pair.client, pair.server)
        else {
            return;
        };
        socket::prepare(&client, &client_address);
        socket::prepare(&server, &server_address);
        let idle_ms = self.config.idle_timeout.map(|idle| idle.as_millis().try_into().unwrap_or(u32::MAX));
        let transports = [&client_address, &server_address].map(Address::transport);
        let session = ToWorker::Session { need: self.need, bytes: self.config.bytes, idle_ms, transports };
        while let Some(worker) = self.idle.pop_front() {
            match worker.channel.send_with(&session, &[client.as_fd(), server.as_fd()], Wait::No) {
                Ok(()) => {
                    let number = self.next_session;
                    self.next_session += 1;
                    self.roles.backlog.given();
                    let client = client_address.ip();
                    self.running.insert(worker.pid, Session { number, client });
                    let (client, server, started) = (client_address, server_address, seconds_since_epoch());
                    let bytes = self.config.bytes;
                    let message = ToLogger::Session { number, client, server, started, bytes };
                    self.outbox.push_back((message, Some(worker.channel.into_socket())));
                    return;
                }
                Err(ChannelError::Crowded) => {
                    self.idle.push_front(worker);
                    self.crowded = Some(Instant::now() + CROWD);
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

    /// News of a pair: a connection stands or failed (which [`Self::advance_pairs`] finds out), or the one
    /// who was there first has gone.
    pub(super) fn look_at(&mut self, index: usize) {
        let Some(pair) = self.pairs.get(index) else { return };
        let gone = [&pair.client, &pair.server].into_iter().any(|half| match half {
            Half::There(peer, _) => socket::is_gone(peer),
            Half::Awaited | Half::Dialling(_) => false,
        });
        if gone {
            self.pairs.remove(index).refuse();
        }
    }
}

/// A clock from before 1970 is taken for 1970.
fn seconds_since_epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
