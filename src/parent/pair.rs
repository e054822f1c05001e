//! A pair of peers on its way to be a session: each is awaited, being dialled, or there.

use std::os::fd::OwnedFd;

use super::dial::{Dial, Progress, Refusal};
use super::socket::{self, Standing};
use crate::messages::{Address, Side};

/// One peer.
pub(super) enum Half {
    Awaited,
    Dialling(Dial),
    There(Present),
}

/// A connected peer.
pub(super) struct Present {
    pub(super) socket: OwnedFd,
    pub(super) address: Address,
    /// It has closed or reset its connection, which poll(2) would report for ever.
    pub(super) has_left: bool,
}

impl Present {
    pub(super) fn new(socket: OwnedFd, address: Address) -> Present {
        Present { socket, address, has_left: false }
    }

    /// Looks whether the peer has left; says whether it is lost, with nothing to be delivered.
    pub(super) fn is_lost(&mut self) -> bool {
        let standing = socket::standing(&self.socket);
        self.has_left |= standing != Standing::Open;
        standing == Standing::Lost
    }
}

pub(super) struct Pair {
    pub(super) client: Half,
    pub(super) server: Half,
}

/// What became of a pair.
pub(super) enum Outcome {
    NotYet,
    /// Both are there.
    Complete,
    /// A peer cannot be reached.
    Failed(Side, Vec<(Address, Refusal)>),
}

impl Pair {
    /// Goes on with what is being dialled.
    pub(super) fn advance(&mut self) -> Outcome {
        for (side, half) in [(Side::Client, &mut self.client), (Side::Server, &mut self.server)] {
            if let Half::Dialling(dial) = half {
                match dial.advance() {
                    Progress::Waiting => {}
                    Progress::Connected(socket, address) => {
                        *half = Half::There(Present::new(socket, address))
                    }
                    Progress::Failed(refusals) => return Outcome::Failed(side, refusals),
                }
            }
        }
        match (&self.client, &self.server) {
            (Half::There(..), Half::There(..)) => Outcome::Complete,
            _ => Outcome::NotYet,
        }
    }

    pub(super) fn half(&self, side: Side) -> &Half {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    pub(super) fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Whether neither of the two has yet to come to us.
    pub(super) fn has_both(&self) -> bool {
        !matches!((&self.client, &self.server), (Half::Awaited, _) | (_, Half::Awaited))
    }

    /// The side that is lost while the other is not there: there will be no session of the two. Where both are
    /// there, their worker finds out.
    pub(super) fn lost(&mut self) -> Option<Side> {
        match (&mut self.client, &mut self.server) {
            (Half::There(client), Half::There(server)) => {
                client.is_lost();
                server.is_lost();
                None
            }
            (Half::There(client), _) => client.is_lost().then_some(Side::Client),
            (_, Half::There(server)) => server.is_lost().then_some(Side::Server),
            _ => None,
        }
    }

    /// A peer that waits for one that cannot be reached sees what it would see of that one: a reset.
    pub(super) fn refuse(self) {
        for half in [self.client, self.server] {
            if let Half::There(present) = half {
                socket::reset(present.socket);
            }
        }
    }
}
