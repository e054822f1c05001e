//! Sessions that are over and not yet recorded to the end: their number is bounded, and the parent, which begins new
//! sessions only within that bound, learns when it shrinks.

use privsep::channel::Wait;

use crate::logger::intake::Reader;
use crate::logger::intake::session::LoggedSession;
use crate::messages::{OutputMode, ToParent};

/// The bound, and what the parent has not been sent yet.
pub(super) struct RecordedCount {
    most: u32,
    recorded: u32,
}

impl RecordedCount {
    pub(super) fn new(most: u32) -> RecordedCount {
        RecordedCount { most, recorded: 0 }
    }

    /// One more session is recorded to the end.
    pub(super) fn recorded(&mut self) {
        self.recorded += 1;
    }

    /// The number to report, once it is worth a message. While that is less than a quarter of the bound, a parent
    /// that waits for it has given us enough sessions that are over: of those more than a quarter wait for nothing
    /// ([`RecordedCount::may_wait_for_names`]) and are recorded next.
    fn due(&self) -> Option<u32> {
        (self.recorded > 0 && self.recorded >= self.most / 4).then_some(self.recorded)
    }

    /// Checks whether this number of ended sessions may wait for names: half of the bound.
    fn may_wait_for_names(&self, sessions: usize) -> bool {
        sessions <= self.most as usize / 2
    }
}

impl Reader<'_> {
    /// Reports sessions that are recorded, so that the parent begins others.
    pub(super) fn report_recorded(&mut self) {
        let Some(sessions) = self.backlog.due().filter(|_| !self.orphaned) else { return };
        // A parent that does not take it now gets it with the next ones.
        if self.parent.send_with(&ToParent::Recorded { sessions }, &[], Wait::No).is_ok() {
            self.backlog.recorded = 0;
        }
    }

    /// Gives up names where too many sessions wait for them, for no client waits for the name of another one.
    pub(super) fn relieve(&mut self) {
        while let Some(number) = self.waits_too_long() {
            if let Some(session) = self.sessions.get_mut(&number) {
                session.stop_waiting();
            }
            self.begin(number);
        }
    }

    /// The oldest of the sessions that wait for names while too many are over.
    fn waits_too_long(&self) -> Option<u64> {
        if self.watched.is_empty() {
            return None;
        }
        let is_pending = |number: &u64| self.sessions.get(number).is_some_and(LoggedSession::is_pending);
        match self.sharing {
            // All but the last one are over.
            OutputMode::Serial if self.backlog.may_wait_for_names(self.turn.len()) => None,
            OutputMode::Serial => self.turn.front().copied().filter(is_pending),
            OutputMode::Labelled => {
                let over = self.watched.iter().copied().filter(|number| {
                    self.sessions.get(number).is_some_and(|session| session.is_gone() && session.is_pending())
                });
                if self.backlog.may_wait_for_names(over.clone().count()) { None } else { over.min() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_sessions_are_reported_together_and_never_all_held_back() {
        for most in [1, 3, 8, 64] {
            let mut backlog = RecordedCount::new(most);
            assert_eq!(backlog.due(), None);
            while backlog.due().is_none() {
                backlog.recorded();
            }
            let unreported = backlog.recorded as usize - 1;
            let waiting = (0..).take_while(|sessions| backlog.may_wait_for_names(*sessions)).count() - 1;
            assert!(unreported + waiting < most as usize, "{most}: no session would ever be recorded next");
        }
    }
}
