//! `--replay`: plays one peer of a saved session against a live one. The worker between them sees a peer like any
//! other; the stream that comes from the live peer is compared with the record.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};

use super::compare::{Comparison, Expected, StreamPosition};
use super::script::{Act, PlaybackStep};
use crate::messages::{Pace, Side};
use crate::record::quantity;
use crate::role::RoleError;

/// Bytes that the live peer may send beyond what is recorded, before it is not listened to any more.
const BEYOND: usize = 64 << 10;

/// Bytes that one receive asks for.
const READ: usize = 64 << 10;

/// How the stream from the live peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Finished,
    Reset,
}

pub(super) struct Playback<'a> {
    socket: OwnedFd,
    /// Its end means that nothing is to be played any more.
    parent: BorrowedFd<'a>,
    pace: Pace,
    wait: Duration,
    began: Instant,
    comparison: Comparison,
    over: Option<Over>,
    /// Our peer takes nothing more.
    refused: bool,
    sent: u64,
}

/// What came of it.
pub(super) struct PlaybackResult {
    pub(super) comparison: Comparison,
    pub(super) place: Option<StreamPosition>,
    pub(super) over: Option<Over>,
    /// The live peer went on where the record has its end.
    pub(super) endless: bool,
    /// It did not take all that there was to be sent.
    pub(super) refused: bool,
    pub(super) sent: u64,
}

impl<'a> Playback<'a> {
    pub(super) fn new(
        socket: OwnedFd,
        parent: BorrowedFd<'a>,
        (pace, wait): (Pace, Duration),
        expected: Expected,
    ) -> Playback<'a> {
        Playback {
            socket,
            parent,
            pace,
            wait,
            began: Instant::now(),
            comparison: Comparison::new(expected),
            over: None,
            refused: false,
            sent: 0,
        }
    }

    /// Plays all steps; `None` where the parent wants it no more.
    pub(super) fn play(
        mut self,
        steps: Vec<PlaybackStep>,
        they_finish: bool,
    ) -> Result<Option<PlaybackResult>, RoleError> {
        for step in &steps {
            if !self.wait_for_turn(step)? {
                break;
            }
            match &step.act {
                Act::Send(bytes) => self.send_all(bytes)?,
                Act::Finish => drop(shutdown(self.socket.as_raw_fd(), Shutdown::Write)),
            }
        }
        let until = Instant::now() + self.wait;
        while !self.is_done(they_finish) && Instant::now() < until {
            self.listen(until, PollFlags::empty())?;
        }
        if self.is_unwanted() {
            return Ok(None);
        }
        let place = self.comparison.difference();
        let endless = they_finish && self.over.is_none();
        let Playback { comparison, over, refused, sent, .. } = self;
        Ok(Some(PlaybackResult { comparison, place, over, endless, refused, sent }))
    }

    /// Waits until a step is due; returns whether it is to be done.
    fn wait_for_turn(&mut self, step: &PlaybackStep) -> Result<bool, RoleError> {
        let until = match self.pace {
            Pace::Turns => Instant::now() + self.wait,
            Pace::Time => self.began + step.at,
            Pace::Fast => Instant::now(),
        };
        loop {
            if self.comparison.differs() || self.refused || self.is_unwanted() {
                return Ok(false);
            }
            let is_due = match self.pace {
                Pace::Turns => self.comparison.has(step.after),
                Pace::Time | Pace::Fast => Instant::now() >= until,
            };
            if is_due {
                return Ok(true);
            }
            if self.pace == Pace::Turns && (self.over.is_some() || Instant::now() >= until) {
                return Ok(false);
            }
            self.listen(until, PollFlags::empty())?;
        }
    }

    fn send_all(&mut self, mut bytes: &[u8]) -> Result<(), RoleError> {
        let mut until = Instant::now() + self.wait;
        while !bytes.is_empty() && !self.refused && !self.is_unwanted() {
            match send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT) {
                Ok(sent) => {
                    bytes = &bytes[sent..];
                    self.sent += sent as u64;
                    until = Instant::now() + self.wait;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if Instant::now() < until => {
                    self.listen(until, PollFlags::POLLOUT)?;
                }
                Err(_) => self.refused = true,
            }
        }
        Ok(())
    }

    /// Waits for something from the live peer, or for room to send, and compares what has come.
    fn listen(&mut self, until: Instant, also: PollFlags) -> Result<(), RoleError> {
        let rest = until.saturating_duration_since(Instant::now());
        let listens = self.over.is_none() && !self.has_too_much();
        let wanted = if listens { PollFlags::POLLIN | also } else { also };
        let mut fds = [PollFd::new(self.parent, PollFlags::POLLIN), PollFd::new(self.socket.as_fd(), wanted)];
        // A stream that is over would be reported for ever.
        let heard = if wanted.is_empty() { 1 } else { 2 };
        // Rounded up, lest it wakes early and turns in circles.
        let timeout = PollTimeout::try_from(rest + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds[..heard], timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if listens { self.receive() } else { Ok(()) }
    }

    fn receive(&mut self) -> Result<(), RoleError> {
        let mut buffer = vec![0; READ];
        match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => self.over = Some(Over::Finished),
            Ok(length) => {
                self.comparison.add(&buffer[..length]);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.over = Some(Over::Reset),
        }
        Ok(())
    }

    fn has_too_much(&self) -> bool {
        self.comparison.now().len() > self.comparison.record().len() * 2 + BEYOND
    }

    fn is_done(&self, they_finish: bool) -> bool {
        let has_all = self.comparison.is_complete() && !they_finish;
        self.comparison.differs()
            || self.over.is_some()
            || has_all
            || self.has_too_much()
            || self.is_unwanted()
    }

    fn is_unwanted(&self) -> bool {
        let mut fds = [PollFd::new(self.parent, PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl PlaybackResult {
    pub(super) fn is_same(&self) -> bool {
        self.place.is_none() && !self.endless && !self.refused
    }

    /// Where the streams are the same as far as they go.
    fn without_place(&self, them: &str) -> String {
        let [sent, received] = [self.sent, self.comparison.now().len() as u64].map(quantity);
        if self.refused {
            format!("the {them} takes no more than {sent}, and the record has more")
        } else if self.endless {
            format!("the {them} does not end after {received}, as it does in the record")
        } else {
            format!("the same: {sent} sent, {received} received")
        }
    }

    /// For the operator: what is different, in the record and now.
    pub(super) fn lines(&self, number: u64, they: Side) -> Vec<String> {
        let them = name(they);
        let (record, now) = (self.comparison.record(), self.comparison.now());
        let how = match self.over {
            None => "",
            Some(Over::Finished) => ", which then ended",
            Some(Over::Reset) => ", which was then reset",
        };
        let Some(StreamPosition { record: at, now: there }) = self.place else {
            return vec![format!("session {number}: {}", self.without_place(them))];
        };
        vec![
            format!(
                "session {number}: the {them} differs at byte {at} of {}: {} came{how}",
                record.len(),
                quantity(now.len() as u64)
            ),
            format!("  record: {}", around(record, at)),
            format!("  now:    {}", around(now, there)),
        ]
    }
}

pub(super) fn name(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

/// 16 bytes before a place and 32 after it, as C has them.
pub(super) fn around(bytes: &[u8], at: usize) -> String {
    let piece = &bytes[at.saturating_sub(16)..bytes.len().min(at + 32)];
    format!("\"{}\"", piece.escape_ascii())
}
