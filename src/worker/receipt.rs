//! Acknowledgements of the logger: bytes are forwarded when their record is covered.

use std::cell::Cell;

use privsep::channel::{Incoming, Wait};

use crate::messages::{Acknowledge, ToWorker, WorkersEnd};

/// The place of a record among the steps of its session: it may be passed on when the logger has acknowledged as many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StepNumber(u64);

/// Messages received from the logger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    Nothing,
    /// More is recorded.
    Progress,
    /// The session is to end.
    End,
}

/// The steps of a session, see [`ToWorker::Recorded`].
pub(super) struct RecordSteps {
    acknowledge: Acknowledge,
    reported: Cell<u64>,
    recorded: Cell<u64>,
}

impl RecordSteps {
    pub(super) fn new(acknowledge: Acknowledge) -> RecordSteps {
        // The beginning, which the parent has reported.
        let reported = if acknowledge == Acknowledge::Nothing { 0 } else { 1 };
        RecordSteps { acknowledge, reported: Cell::new(reported), recorded: Cell::new(0) }
    }

    /// The session may pass on what is recorded.
    pub(super) fn has_begun(&self) -> bool {
        self.acknowledge == Acknowledge::Nothing || self.recorded.get() > 0
    }

    /// A record of bytes has been sent.
    pub(super) fn reported(&self) {
        if self.acknowledge == Acknowledge::Records {
            self.reported.set(self.reported.get() + 1);
        }
    }

    /// The logger has acknowledged this number of steps.
    pub(super) fn recorded(&self, steps: u64) {
        self.recorded.set(self.recorded.get().max(steps));
    }

    /// The place of what was reported last.
    pub(super) fn last(&self) -> StepNumber {
        StepNumber(self.reported.get())
    }

    pub(super) fn cover(&self, place: StepNumber) -> bool {
        place.0 <= self.recorded.get()
    }

    /// Receives what the logger has sent.
    pub(super) fn receive(&self, channel: &WorkersEnd) -> Received {
        let mut heard = Received::Nothing;
        loop {
            match channel.receive(Wait::No) {
                Ok(Incoming::Message(ToWorker::Recorded { steps }, [None, None])) => {
                    self.recorded(steps);
                    heard = Received::Progress;
                }
                Ok(Incoming::Nothing) => return heard,
                Ok(Incoming::Message(..) | Incoming::Closed) | Err(_) => return Received::End,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use privsep::channel::Channel;

    fn heard(receipts: &RecordSteps, steps: u64) -> Received {
        let (ours, logger) = Channel::pair().expect("a pair");
        logger.send(&ToWorker::Recorded { steps }).expect("room");
        receipts.receive(&ours)
    }

    #[test]
    fn without_acknowledgement_everything_is_covered() {
        let receipts = RecordSteps::new(Acknowledge::Nothing);
        receipts.reported();
        assert!(receipts.cover(receipts.last()));
    }

    #[test]
    fn with_files_the_first_step_covers_everything() {
        let receipts = RecordSteps::new(Acknowledge::Files);
        receipts.reported();
        assert!(!receipts.cover(receipts.last()));
        assert_eq!(heard(&receipts, 1), Received::Progress);
        receipts.reported();
        assert!(receipts.cover(receipts.last()));
    }

    #[test]
    fn with_records_each_is_covered_by_its_own_step() {
        let receipts = RecordSteps::new(Acknowledge::Records);
        let places = [0; 3].map(|_| {
            receipts.reported();
            receipts.last()
        });
        for (steps, covered) in [(1, [false; 3]), (3, [true, true, false]), (2, [true, true, false])] {
            heard(&receipts, steps);
            assert_eq!(places.map(|place| receipts.cover(place)), covered, "{steps}");
        }
    }

    #[test]
    fn the_end_of_the_channel_is_heard_behind_what_came_before() {
        let receipts = RecordSteps::new(Acknowledge::Files);
        let (ours, logger): (WorkersEnd, _) = Channel::pair().expect("a pair");
        assert_eq!(receipts.receive(&ours), Received::Nothing);
        logger.send(&ToWorker::Recorded { steps: 1 }).expect("room");
        drop(logger);
        assert_eq!(receipts.receive(&ours), Received::End);
        assert!(receipts.cover(receipts.last()));
    }
}
