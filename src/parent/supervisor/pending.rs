//! A pair of peers before their session: each is awaited, dialled, or connected.

use std::os::fd::OwnedFd;

use crate::messages::{self, Address, Side};
use crate::parent::net::dial::{Connection, Dial, DialProgress, Refusal};
use crate::parent::net::socket;
use crate::parent::net::socket::Standing;

/// One peer.
pub(in crate::parent) enum PeerState {
    Awaited,
    Dialling(Dial),
    There(Present),
}

/// A connected peer.
pub(in crate::parent) struct Present {
    pub(in crate::parent) socket: OwnedFd,
    pub(in crate::parent) address: Address,
    /// Time at which the peer was accepted or its connection was established.
    pub(in crate::parent) since: u64,
    /// The peer has closed or reset its connection, which poll(2) would report continuously.
    pub(in crate::parent) has_left: bool,
    /// The peer has reset its connection, and the socket has reported that already.
    pub(in crate::parent) is_reset: bool,
}

impl Present {
    pub(in crate::parent) fn new(socket: OwnedFd, address: Address) -> Present {
        Present { socket, address, since: messages::now(), has_left: false, is_reset: false }
    }

    pub(in crate::parent) fn connected(Connection { socket, address, is_reset }: Connection) -> Present {
        Present { is_reset, ..Present::new(socket, address) }
    }

    /// Checks whether the peer has disconnected. Returns `true` if it is lost with nothing left to deliver.
    pub(in crate::parent) fn is_lost(&mut self) -> bool {
        let standing = socket::standing(&self.socket, self.is_reset);
        self.has_left |= standing != Standing::Open;
        standing == Standing::Lost
    }
}

pub(in crate::parent) struct PendingSession {
    pub(in crate::parent) client: PeerState,
    pub(in crate::parent) server: PeerState,
}

/// Result of advancing a pair.
pub(in crate::parent) enum PairProgress {
    NotYet,
    /// Both are connected.
    Complete,
    /// A peer is unreachable.
    Failed(Side, Vec<(Address, Refusal)>),
}

impl PendingSession {
    /// Advances the connection attempts.
    pub(in crate::parent) fn advance(&mut self) -> PairProgress {
        for (side, state) in [(Side::Client, &mut self.client), (Side::Server, &mut self.server)] {
            if let PeerState::Dialling(dial) = state {
                match dial.advance() {
                    DialProgress::Waiting => {}
                    DialProgress::Connected(connection) => {
                        *state = PeerState::There(Present::connected(connection))
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

    pub(in crate::parent) fn state(&self, side: Side) -> &PeerState {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    pub(in crate::parent) fn state_mut(&mut self, side: Side) -> &mut PeerState {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Checks that neither side still has to connect to the bridge.
    pub(in crate::parent) fn has_both(&self) -> bool {
        !matches!((&self.client, &self.server), (PeerState::Awaited, _) | (_, PeerState::Awaited))
    }

    /// Returns the side that was lost before the other connected: there will be no session. If both are
    /// connected, their worker handles it.
    pub(in crate::parent) fn lost(&mut self) -> Option<Side> {
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

    /// Local addresses of the established connections.
    pub(in crate::parent) fn locals(&self) -> [Option<Address>; 2] {
        [&self.client, &self.server].map(|state| match state {
            PeerState::There(present) => socket::local_of(&present.socket).ok(),
            PeerState::Awaited | PeerState::Dialling(_) => None,
        })
    }

    /// Time at which the first peer was connected; the current time if none is.
    pub(in crate::parent) fn since(&self) -> u64 {
        let since = |state: &PeerState| match state {
            PeerState::There(present) => Some(present.since),
            PeerState::Awaited | PeerState::Dialling(_) => None,
        };
        let both = [since(&self.client), since(&self.server)];
        both.into_iter().flatten().min().unwrap_or_else(messages::now)
    }

    /// Connected peers.
    pub(in crate::parent) fn into_peers(self) -> impl Iterator<Item = Present> {
        [self.client, self.server].into_iter().filter_map(|state| match state {
            PeerState::There(present) => Some(present),
            PeerState::Awaited | PeerState::Dialling(_) => None,
        })
    }
}
