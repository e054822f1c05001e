//! Peers that get no session, and listeners that are closed.
//!
//! The last close of a Unix socket also closes the descriptors in its queue, and the close of one with `SO_LINGER` waits
//! for a peer of the sender's choice. A worker does it instead of the parent, for which all sessions wait: it keeps the
//! socket until the parent has closed its own copy ([`ToWorker::Proceed`]). Only a worker that is killed in between
//! would leave the last close to the parent.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use nix::sys::socket::{Shutdown, shutdown};
use privsep::channel::{ChannelError, Wait};

use super::{RECOVERY, Supervisor};
use crate::messages::{Address, Side, ToWorker};
use crate::parent::net::socket;
use crate::parent::startup::limits;
use crate::parent::supervisor::pending::{PendingSession, Present};

impl Supervisor<'_> {
    /// Closes the connection to a peer, which gets a reset, as from a server that refuses.
    pub(super) fn discard(&mut self, peer: Present) {
        if peer.address.ip().is_none() && may_hold_descriptors(&peer, self.config.has_packets()) {
            self.discarded.push_back(Box::new(peer.socket));
            self.hand_discarded();
        } else {
            socket::reset(peer.socket);
        }
    }

    pub(super) fn discard_pair(&mut self, pair: PendingSession) {
        pair.into_peers().for_each(|peer| self.discard(peer));
    }

    pub(super) fn close_listener(&mut self, side: Side) {
        let listener = match side {
            Side::Client => self.client_listener.take(),
            Side::Server => self.server_listener.take(),
        };
        // An inherited one stays open in the process that opened it.
        let Some(mut listener) =
            listener.filter(|it| matches!(it.address, Address::Unix(_)) && !it.is_handed)
        else {
            return;
        };
        // No further clients, and no further descriptors from those in the queue.
        let _ = shutdown(listener.as_fd().as_raw_fd(), Shutdown::Read);
        // Clients in the queue are closed with the listener, except the one that is accepted to find out.
        let first = match listener.accept() {
            Ok(None) => return,
            Ok(Some((socket, _))) => Some(socket),
            Err(_) => None,
        };
        listener.remove_file();
        self.discarded.extend(first.map(|socket| Box::new(socket) as Box<dyn AsFd>));
        self.discarded.push_back(Box::new(listener));
        self.hand_discarded();
    }

    /// Leaves the sockets that no worker has taken to the exit of the process, the only close that waits for no peer.
    pub(super) fn leave_discarded(&mut self) {
        // A fuzz target plays many ends in one process, and counts descriptors.
        if !cfg!(fuzzing) {
            std::mem::forget(std::mem::take(&mut self.discarded));
        }
    }

    /// Number of sockets that are being closed. Each takes the place of a session, so that peers cannot make workers
    /// without bound.
    pub(super) fn discarded(&self) -> usize {
        self.discarded.len() + self.closing.len()
    }

    /// Sends sockets that are to be closed to workers, as far as there are idle ones.
    pub(super) fn hand_discarded(&mut self) {
        while self.handoff_backoff.is_none()
            && !self.idle.is_empty()
            && let Some(socket) = self.discarded.pop_front()
        {
            let Some(worker) = self.idle.pop_front() else { return };
            match worker.channel.send_with(&ToWorker::Close, &[socket.as_fd()], Wait::No) {
                Ok(()) => {
                    self.closing.insert(worker.pid);
                    drop(socket);
                    // A worker that died is reported by the zygote.
                    let _ = worker.channel.send_with(&ToWorker::Proceed, &[], Wait::No);
                }
                Err(ChannelError::Crowded) => {
                    self.idle.push_front(worker);
                    self.discarded.push_front(socket);
                    self.handoff_backoff = Some(Instant::now() + limits::IN_FLIGHT_RETRY);
                }
                // The worker died while idle.
                Err(_) => {
                    self.discarded.push_front(socket);
                    self.fork_backoff = Some(Instant::now() + RECOVERY);
                }
            }
        }
    }
}

/// Checks whether descriptors may be queued. They come with bytes, except in an empty message; after the shutdown no
/// more can arrive.
fn may_hold_descriptors(peer: &Present, packets: bool) -> bool {
    let _ = shutdown(peer.socket.as_raw_fd(), Shutdown::Read);
    packets || privsep::sys::unread(peer.socket.as_fd()).map_or(true, |bytes| bytes > 0)
}
