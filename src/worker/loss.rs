//! Connections that failed, or were closed by a peer that had not been sent everything.

use std::time::Instant;

use nix::errno::Errno;
use nix::libc;

use crate::messages::{CloseReason, Side};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// With the error, once a call has returned it.
    Failed(Option<Errno>),
    /// Closed, as a Unix socket shows it: an orderly end, unless something was not read.
    Closed,
}

/// The losses of a session, at most one for each side.
#[derive(Default)]
pub(super) struct Losses {
    of: [Option<Loss>; 2],
    /// The side that was lost first: its loss is the reason of the session's end.
    first: Option<Side>,
    /// Start of the current wait for a receiver. Read from the clock on the first wait only: most sessions end
    /// without one, and the clock's code and data are pages that a worker would have to map.
    since: Option<Instant>,
}

impl Losses {
    pub(super) fn of(&self, side: Side) -> Option<Loss> {
        self.of[side as usize]
    }

    pub(super) fn first(&self) -> Option<Side> {
        self.first
    }

    pub(super) fn are_both(&self) -> bool {
        self.of.iter().all(Option::is_some)
    }

    /// Start of the current wait, which begins now unless it has begun.
    pub(super) fn waiting_since(&mut self) -> Instant {
        *self.since.get_or_insert_with(Instant::now)
    }

    pub(super) fn failed(&mut self, side: Side, errno: Option<Errno>) {
        let loss = &mut self.of[side as usize];
        if let None | Some(Loss::Failed(None)) = loss {
            *loss = Some(Loss::Failed(errno));
        }
        self.note(side);
    }

    pub(super) fn closed(&mut self, side: Side) {
        self.of[side as usize].get_or_insert(Loss::Closed);
        self.note(side);
    }

    fn note(&mut self, side: Side) {
        self.first.get_or_insert(side);
    }

    /// Bytes were received or delivered: the wait starts again, unless both peers are lost.
    pub(super) fn progressed(&mut self) {
        if !self.are_both() {
            self.since = None;
        }
    }

    /// Cause of a session that ends for the loss of `side`. `unread` returns whether the other side has sent
    /// data that was not received.
    pub(super) fn cause(&self, side: Side, tcp: bool, unread: impl FnOnce() -> bool) -> CloseReason {
        match self.of(side) {
            Some(Loss::Closed) if !unread() => CloseReason::Done,
            Some(Loss::Closed) => CloseReason::Lost { side, errno: libc::EPIPE },
            Some(Loss::Failed(Some(Errno::EPIPE))) if !tcp => CloseReason::Lost { side, errno: libc::EPIPE },
            // TCP reports a reset after the end of the stream as EPIPE.
            Some(Loss::Failed(Some(Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED) | None))
            | None => CloseReason::Reset(side),
            Some(Loss::Failed(Some(errno))) => CloseReason::Lost { side, errno: errno as i32 },
        }
    }
}
