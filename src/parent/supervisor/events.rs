//! Events of the parent's loop, and their time-outs.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Phase, Supervisor};
use crate::exit::{Failure, Status};
use crate::messages::Side;
use crate::parent::supervisor::pending::{PeerState, Present};
use crate::parent::supervisor::rate_limit::NoticeKind;
use crate::reason::reason;

/// An event that poll reported.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReadyFd {
    Signal,
    Resolver,
    Logger,
    Zygote,
    Player,
    Listener(Side),
    /// A client or server could connect if there were room.
    Waiting,
    PendingSession(usize),
    /// A queued client has disconnected.
    Queued,
}

impl Supervisor<'_> {
    /// Waits for events.
    pub(super) fn wait(&mut self) -> Result<Vec<ReadyFd>, Failure> {
        self.flush_outbox()?;
        let (tokens, mut fds) = self.watched();
        match poll(&mut fds, self.timeout()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::new(Status::Os, format!("poll: {}", reason(errno as i32)))),
        }
        let mut found: Vec<ReadyFd> = tokens
            .into_iter()
            .zip(&fds)
            .filter(|(_, fd)| fd.any().unwrap_or(false))
            .map(|(token, _)| token)
            .collect();
        // Pairs are handled last, from the end: handling one may move those behind it.
        found.sort_by_key(|found| match found {
            ReadyFd::PendingSession(index) => usize::MAX - index,
            _ => 0,
        });
        Ok(found)
    }

    /// Descriptors to poll, each with its token.
    fn watched(&self) -> (Vec<ReadyFd>, Vec<PollFd<'_>>) {
        let mut tokens = vec![ReadyFd::Signal, ReadyFd::Logger];
        let logger = if self.outbox.is_empty() || self.handoff_backoff.is_some() {
            PollFlags::POLLIN
        } else {
            PollFlags::POLLIN | PollFlags::POLLOUT
        };
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds =
            vec![readable(self.signals.as_fd()), PollFd::new(self.roles.logger.channel.as_fd(), logger)];
        if let Some(resolver) = &self.roles.resolver {
            tokens.push(ReadyFd::Resolver);
            fds.push(readable(resolver.channel.as_fd()));
        }
        if !self.is_without_zygote() {
            tokens.push(ReadyFd::Zygote);
            fds.push(readable(self.roles.zygote.channel.as_fd()));
        }
        if let Some(player) = &self.player {
            tokens.push(ReadyFd::Player);
            fds.push(readable(player.channel.as_fd()));
        }
        self.watch_peers(&mut tokens, &mut fds);
        (tokens, fds)
    }

    fn watch_peers<'s>(&'s self, tokens: &mut Vec<ReadyFd>, fds: &mut Vec<PollFd<'s>>) {
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        for (side, listener) in [(Side::Client, &self.client_listener), (Side::Server, &self.server_listener)]
        {
            if let Some(listener) = listener.as_ref().filter(|_| self.wants(side)) {
                tokens.push(ReadyFd::Listener(side));
                fds.push(readable(listener.as_fd()));
            } else if let Some(listener) =
                listener.as_ref().filter(|_| self.is_full() && !self.has_notice(NoticeKind::Full))
            {
                tokens.push(ReadyFd::Waiting);
                fds.push(readable(listener.as_fd()));
            }
        }
        let peers = self.pairs.iter().enumerate();
        for (index, state) in peers.flat_map(|(index, pair)| [(index, &pair.client), (index, &pair.server)]) {
            match state {
                PeerState::Dialling(dial) => {
                    fds.extend(dial.sockets().map(|socket| PollFd::new(socket, PollFlags::POLLOUT)));
                }
                // Polled only for the end of the connection, which is reported once.
                PeerState::There(present) if !present.has_left => fds.push(leaving(present)),
                PeerState::Awaited | PeerState::There(_) => {}
            }
            tokens.resize(fds.len(), ReadyFd::PendingSession(index));
        }
        fds.extend(self.queued.iter().filter(|present| !present.has_left).map(leaving));
        tokens.resize(fds.len(), ReadyFd::Queued);
    }

    fn timeout(&self) -> PollTimeout {
        let dials =
            self.pairs.iter().flat_map(|pair| [&pair.client, &pair.server]).filter_map(|state| match state {
                PeerState::Dialling(dial) => Some(dial.wake()),
                PeerState::Awaited | PeerState::There(_) => None,
            });
        let phase = match self.phase {
            Phase::Serving => None,
            Phase::Draining { until, .. } | Phase::Ending { until, .. } | Phase::WritingOut { until, .. } => {
                Some(until)
            }
        };
        let pauses = [self.accept_backoff, self.fork_backoff, self.handoff_backoff, self.dial_backoff];
        let reports = [self.next_report(), self.next_quiet(), self.next_lookup()];
        let waits = pauses.into_iter().chain(reports).flatten();
        match dials.chain(phase).chain(waits).min() {
            None => PollTimeout::NONE,
            Some(until) => {
                let rest = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX)
            }
        }
    }
}

/// Polls for the end of a peer's connection.
fn leaving(present: &Present) -> PollFd<'_> {
    PollFd::new(present.socket.as_fd(), PollFlags::empty())
}
