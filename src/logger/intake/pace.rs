//! When the reader hands a batch on, and when it pauses.
//!
//! The reader pauses only after epoll has found nothing: a pause while records wait would fill the channels of busy
//! sessions, and each session that is over would cost the next one a pause.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::READ_BUDGET;

/// After little has been read, the next records gather for this long: waking the reader for every small record costs
/// the peers more processor time than the record itself.
const COALESCE_DELAY: Duration = Duration::from_millis(1);

/// Bytes read since the last pause from which on traffic is bulk: the next record is large and worth a wake-up.
const BULK: usize = 64 * 1024;

/// Maximum number of pauses before a batch with little in it is handed on. Waking a writer costs as much as half a
/// dozen small records.
const COALESCED: u32 = 4;

/// Bytes in a batch that outweigh waking the writers. Fifty clients with requests of some bytes bring 5 KiB between
/// two pauses: their batches are for the last of the pauses, too.
const WORTHWHILE: usize = 32 * 1024;

/// Action of the reader when nothing is left to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextAction {
    /// Sleeps for [`COALESCE_DELAY`], then looks again.
    Pause { hand_on: bool },
    /// Hands on what there is and waits for the next event.
    Wait,
}

/// Decides from what has been read.
#[derive(Default)]
pub(super) struct Pacing {
    /// Something happened since the last pause.
    busy: bool,
    /// Bytes read since the last pause.
    fresh: usize,
    /// Bytes read, and pauses made, since a batch was handed on.
    gathered: usize,
    pauses: u32,
}

impl Pacing {
    /// There were events. Returns the maximum number of messages to read of each worker: at first one, because most
    /// have no more, and a call that finds nothing costs more than to ask epoll about all of them.
    pub(super) fn woken(&mut self) -> usize {
        if std::mem::replace(&mut self.busy, true) { READ_BUDGET } else { 1 }
    }

    /// A frame was read.
    pub(super) fn read(&mut self, length: usize) {
        self.fresh += length;
        self.gathered += length;
    }

    /// A batch was handed on.
    pub(super) fn handed_on(&mut self) {
        self.gathered = 0;
        self.pauses = 0;
    }

    /// More is there to be read, but the writers can begin with what has been read.
    pub(super) fn is_bulk(&self) -> bool {
        self.gathered >= BULK
    }

    /// Nothing is left to read.
    pub(super) fn drained(&mut self) -> NextAction {
        let (busy, fresh) = (std::mem::take(&mut self.busy), std::mem::take(&mut self.fresh));
        if !busy || fresh >= BULK {
            return NextAction::Wait;
        }
        self.pauses += 1;
        NextAction::Pause { hand_on: self.gathered >= WORTHWHILE || self.pauses >= COALESCED }
    }
}

/// Lets the next records gather.
pub(super) fn pause() {
    std::thread::sleep(COALESCE_DELAY);
}

/// Lets the next records gather until one of these is readable.
pub(super) fn pause_until(events: [BorrowedFd<'_>; 2]) {
    let mut fds = events.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    // An error counts as an event: the caller looks again.
    let _ = poll(&mut fds, PollTimeout::try_from(COALESCE_DELAY).unwrap_or(PollTimeout::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_events_the_reader_waits() {
        let mut pace = Pacing::default();
        assert_eq!(pace.drained(), NextAction::Wait);
        pace.woken();
        assert_ne!(pace.drained(), NextAction::Wait);
        assert_eq!(pace.drained(), NextAction::Wait);
    }

    #[test]
    fn workers_are_read_more_than_once_where_epoll_reports_more() {
        let mut pace = Pacing::default();
        assert_eq!([pace.woken(), pace.woken(), pace.woken()], [1, READ_BUDGET, READ_BUDGET]);
        pace.drained();
        assert_eq!(pace.woken(), 1);
    }

    #[test]
    fn little_is_handed_on_after_some_pauses_and_much_at_once() {
        let mut pace = Pacing::default();
        let mut handed_on = Vec::new();
        for _ in 0..=COALESCED {
            pace.woken();
            pace.read(10);
            let next = pace.drained();
            handed_on.push(next == NextAction::Pause { hand_on: true });
            if next == (NextAction::Pause { hand_on: true }) {
                pace.handed_on();
            }
        }
        assert_eq!(handed_on, [false, false, false, true, false]);
        pace.woken();
        pace.read(WORTHWHILE);
        assert_eq!(pace.drained(), NextAction::Pause { hand_on: true });
    }

    #[test]
    fn bulk_is_never_paused_for() {
        let mut pace = Pacing::default();
        pace.woken();
        pace.read(BULK);
        assert!(pace.is_bulk());
        assert_eq!(pace.drained(), NextAction::Wait);
    }
}
