//! A pair of peers on its way to be a session: each is awaited, being dialled, or there.

use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::dial::{Dial, Progress};
use super::socket;
use crate::messages::{Address, Side};

/// One peer.
pub(super) enum Half {
    Awaited,
    Dialling(Dial),
    There(OwnedFd, Address),
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
    Failed(Side, Errno),
}

impl Pair {
    /// Goes on with what is being dialled.
    pub(super) fn advance(&mut self) -> Outcome {
        for (side, half) in [(Side::Client, &mut self.client), (Side::Server, &mut self.server)] {
            if let Half::Dialling(dial) = half {
                match dial.advance() {
                    Progress::Waiting => {}
                    Progress::Connected(socket, address) => *half = Half::There(socket, address),
                    Progress::Failed(errno) => return Outcome::Failed(side, errno),
                }
            }
        }
        match (&self.client, &self.server) {
            (Half::There(..), Half::There(..)) => Outcome::Complete,
            _ => Outcome::NotYet,
        }
    }

    /// Whether neither of the two has yet to come to us.
    pub(super) fn has_both(&self) -> bool {
        !matches!((&self.client, &self.server), (Half::Awaited, _) | (_, Half::Awaited))
    }

    /// A peer that waits for one that cannot be reached sees what it would see of that one: a reset.
    pub(super) fn refuse(self) {
        for half in [self.client, self.server] {
            if let Half::There(socket, _) = half {
                socket::reset(socket);
            }
        }
    }
}
