//! Clients without a place in a session yet, and peers that disconnect before their counterpart is connected.

use super::{DIAL_RETRY, Phase, Supervisor};
use crate::messages::{Address, CloseReason, Level, Side, ToLogger, Unserved};
use crate::parent::net::socket;
use crate::parent::startup::limits::MOST_QUEUED;
use crate::parent::supervisor::pending::{PeerState, PendingSession, Present};
use crate::parent::supervisor::rate_limit::NoticeKind;

use std::time::Instant;

use nix::errno::Errno;

impl Supervisor<'_> {
    /// Accepts clients beyond `-F` with `--max-per-client`, so that those beyond their share are rejected and
    /// others get their turn.
    pub(super) fn may_queue(&self, side: Side) -> bool {
        side == Side::Client
            && self.config.per_client.is_some()
            && self.phase == Phase::Serving
            && self.is_full()
            && self.queued.len() < MOST_QUEUED
    }

    /// Gives free places to queued clients, in their order.
    pub(super) fn admit_queued(&mut self) {
        while self.awaiting(Side::Client).is_some() || self.capacity() > 0 {
            let Some(present) = self.queued.pop_front() else { return };
            self.arrived(Side::Client, present);
        }
    }

    /// Drops queued clients that have disconnected.
    pub(super) fn look_at_queued(&mut self) {
        let mut kept = std::mem::take(&mut self.queued);
        for _ in 0..kept.len() {
            let Some(mut present) = kept.pop_front() else { break };
            if present.is_lost() {
                self.lose_arrival(Side::Client, present);
            } else {
                kept.push_back(present);
            }
        }
        self.queued = kept;
    }

    /// Checks whether this client has reached `--max-per-client`, queued clients included.
    pub(super) fn has_enough(&self, client: &Address) -> bool {
        let Some(most) = self.config.per_client else { return false };
        let running = self.running.values().filter(|session| session.client == client.ip()).count();
        let on_their_way = self.pairs.iter().filter(|pair| match &pair.client {
            PeerState::There(other) => other.address.ip() == client.ip(),
            PeerState::Awaited | PeerState::Dialling(_) => false,
        });
        let queued = self.queued.iter().filter(|other| other.address.ip() == client.ip());
        running + on_their_way.count() + queued.count() >= most as usize
    }

    pub(super) fn turn_away(&mut self, client: Present) {
        let name = client.address.ip().map_or_else(|| "Unix clients".into(), |ip| ip.to_string());
        self.discard(client);
        let text = format!("{name}: turned away, as more than --max-per-client allows");
        self.limited_notice(NoticeKind::TurnedAway, Level::Warning, text);
    }

    /// Records a peer that had reset its connection without sending when it was accepted, if another session
    /// may begin. Its counterpart waits for the next.
    pub(super) fn lose_arrival(&mut self, side: Side, lost: Present) {
        if self.remaining() == 0 {
            return;
        }
        self.begun += 1;
        let pair = match side {
            Side::Client => PendingSession { client: PeerState::There(lost), server: PeerState::Awaited },
            Side::Server => PendingSession { client: PeerState::Awaited, server: PeerState::There(lost) },
        };
        self.lose(pair, side);
    }

    /// Ends a pair after one peer was lost before the other was connected. The session is recorded with the
    /// reason.
    pub(super) fn lose(&mut self, pair: PendingSession, side: Side) {
        self.dial_backoff = Some(Instant::now() + DIAL_RETRY);
        let PeerState::There(lost) = pair.state(side) else { return };
        let cause = match socket::pending_error(&lost.socket).map_err(|error| error.raw_os_error()) {
            Err(Some(errno)) if ![Errno::ECONNRESET as i32, Errno::EPIPE as i32].contains(&errno) => {
                CloseReason::Lost { side, errno }
            }
            _ => CloseReason::Reset(side),
        };
        let opening = self.opening(&pair);
        self.queue(ToLogger::Unserved { opening, end: Unserved::Left(cause) });
        self.discard_pair(pair);
    }

    /// Ends a pair at the end of the program. A peer whose counterpart was being dialled is in the record.
    pub(super) fn stop_pair(&mut self, pair: PendingSession) {
        let is_there =
            [Side::Client, Side::Server].map(|side| matches!(pair.state(side), PeerState::There(_)));
        if pair.has_both() && is_there != [false; 2] {
            let opening = self.opening(&pair);
            self.queue(ToLogger::Unserved { opening, end: Unserved::Left(CloseReason::Stopped) });
        }
        self.discard_pair(pair);
    }

    /// Address of a peer, or the address it was expected at.
    pub(super) fn place(&self, pair: &PendingSession, side: Side) -> Address {
        let (listener, addresses) = match side {
            Side::Client => (&self.client_listener, &self.client_addresses),
            Side::Server => (&self.server_listener, &self.server_addresses),
        };
        let place = match pair.state(side) {
            PeerState::There(present) => Some(&present.address),
            PeerState::Dialling(dial) => dial.target(),
            PeerState::Awaited => listener.as_ref().map(|listener| &listener.address).or(addresses.first()),
        };
        place.cloned().unwrap_or_else(|| Address::Unix(Vec::new()))
    }
}
