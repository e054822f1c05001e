//! A pair of peers before their session: each is awaited, dialled, or connected.

use std::os::fd::OwnedFd;

use super::dial::{Dial, DialProgress, Refusal};
use super::socket::{self, Standing};
use crate::messages::{self, Address, Side};

/// One peer.
pub(super) enum PeerState {
    Awaited,
    Dialling(Dial),
    There(Present),
}

/// A connected peer.
pub(super) struct Present {
    pub(super) socket: OwnedFd,
    pub(super) address: Address,
    /// When it was accepted, or the connection stood.
    pub(super) since: u64,
    /// Has closed or reset its connection, which poll(2) would report continuously.
    pub(super) has_left: bool,
}

impl Present {
    pub(super) fn new(socket: OwnedFd, address: Address) -> Present {
        Present { socket, address, since: messages::now(), has_left: false }
    }

    /// Checks whether the peer has disconnected. Returns `true` if it is lost with nothing left to deliver.
    pub(super) fn is_lost(&mut self) -> bool {
        let standing = socket::standing(&self.socket);
        self.has_left |= standing != Standing::Open;
        standing == Standing::Lost
    }
}

pub(super) struct PendingSession {
    pub(super) client: PeerState,
    pub(super) server: PeerState,
}

/// Result of advancing a pair.
pub(super) enum PairProgress {
    NotYet,
    /// Both are connected.
    Complete,
    /// A peer is unreachable.
    Failed(Side, Vec<(Address, Refusal)>),
}

impl PendingSession {
    /// Advances the connection attempts.
    pub(super) fn advance(&mut self) -> PairProgress {
        for (side, half) in [(Side::Client, &mut self.client), (Side::Server, &mut self.server)] {
            if let PeerState::Dialling(dial) = half {
                match dial.advance() {
                    DialProgress::Waiting => {}
                    DialProgress::Connected(socket, address) => {
                        *half = PeerState::There(Present::new(socket, address))
                    }
                    DialProgress::Failed(refusals) => return PairProgress::Failed(side, refusals),
                }
            }
        }
        match (&self.client, &self.server) {
            (PeerState::There(..), PeerState::There(..)) => PairProgress::Complete,
            _ => PairProgress::NotYet,
        }
    }

    pub(super) fn half(&self, side: Side) -> &PeerState {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    pub(super) fn half_mut(&mut self, side: Side) -> &mut PeerState {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Checks that neither side still has to connect to the bridge.
    pub(super) fn has_both(&self) -> bool {
        !matches!((&self.client, &self.server), (PeerState::Awaited, _) | (_, PeerState::Awaited))
    }

    /// Returns the side that was lost before the other connected: there will be no session. If both are
    /// connected, their worker handles it.
    pub(super) fn lost(&mut self) -> Option<Side> {
        match (&mut self.client, &mut self.server) {
            (PeerState::There(client), PeerState::There(server)) => {
                client.is_lost();
                server.is_lost();
                None
            }
            (PeerState::There(client), _) => client.is_lost().then_some(Side::Client),
            (_, PeerState::There(server)) => server.is_lost().then_some(Side::Server),
            _ => None,
        }
    }

    /// Our own ends of the connections that stand.
    pub(super) fn locals(&self) -> [Option<Address>; 2] {
        [&self.client, &self.server].map(|half| match half {
            PeerState::There(present) => socket::local_of(&present.socket).ok(),
            PeerState::Awaited | PeerState::Dialling(_) => None,
        })
    }

    /// When the first peer was there; now, where none is.
    pub(super) fn since(&self) -> u64 {
        let since = |half: &PeerState| match half {
            PeerState::There(present) => Some(present.since),
            PeerState::Awaited | PeerState::Dialling(_) => None,
        };
        let both = [since(&self.client), since(&self.server)];
        both.into_iter().flatten().min().unwrap_or_else(messages::now)
    }

    /// Resets a peer whose counterpart is unreachable, as that server would.
    pub(super) fn refuse(self) {
        for half in [self.client, self.server] {
            if let PeerState::There(present) = half {
                socket::reset(present.socket);
            }
        }
    }
}
