//! Acknowledgements: a worker that waits for its records learns when every output has taken them.
//!
//! A batch that something waits for has a number, which each writer reports when it is done with it. A writer whose
//! output is lost reports none any more, so that nothing is passed on that is not in every output.

use std::collections::VecDeque;

use privsep::channel::Wait;

use crate::logger::intake::Reader;
use crate::messages::{Acknowledge, ToWorker};

/// Number of recorded steps of each session in a batch.
type Steps = Vec<(u64, u64)>;

/// A batch with the writers.
struct Outstanding {
    receipt: u64,
    /// Writers that are not done with it.
    writers: usize,
    steps: Steps,
}

pub(super) struct PendingReceipts {
    acknowledge: Acknowledge,
    /// Of the batch that is being filled.
    steps: Steps,
    /// In the order in which they were handed on.
    outstanding: VecDeque<Outstanding>,
    next: u64,
}

impl PendingReceipts {
    pub(super) fn new(acknowledge: Acknowledge) -> PendingReceipts {
        PendingReceipts { acknowledge, steps: Vec::new(), outstanding: VecDeque::new(), next: 0 }
    }

    /// A worker waits for its next record, so that no record may be held up.
    pub(super) fn are_for_records(&self) -> bool {
        self.acknowledge == Acknowledge::Records
    }

    /// A worker may wait for the files of its session.
    pub(super) fn are_for_files(&self) -> bool {
        self.acknowledge == Acknowledge::Files
    }

    /// Something that a worker waits for is in the batch.
    pub(super) fn are_due(&self) -> bool {
        !self.steps.is_empty()
    }

    fn add(&mut self, session: u64, steps: u64) {
        match self.steps.last_mut() {
            Some((last, count)) if *last == session => *count = steps,
            _ => self.steps.push((session, steps)),
        }
    }

    /// The batch is handed on: under this number, if something in it is waited for.
    fn hand_on(&mut self, writers: usize) -> Option<u64> {
        if self.steps.is_empty() {
            return None;
        }
        let receipt = self.next;
        self.next += 1;
        let steps = std::mem::take(&mut self.steps);
        self.outstanding.push_back(Outstanding { receipt, writers, steps });
        Some(receipt)
    }

    /// A writer is done with a batch.
    fn written(&mut self, receipt: u64) {
        if let Some(batch) = self.outstanding.iter_mut().find(|batch| batch.receipt == receipt) {
            batch.writers = batch.writers.saturating_sub(1);
        }
    }

    /// Steps that all writers are done with. They report batches in their order.
    fn complete(&mut self) -> Option<Steps> {
        let is_complete = self.outstanding.front().is_some_and(|batch| batch.writers == 0);
        if is_complete { self.outstanding.pop_front().map(|batch| batch.steps) } else { None }
    }
}

impl Reader<'_> {
    /// The next record is one that the worker of this session may wait for.
    pub(super) fn step(&mut self, number: u64) {
        if let Some(session) = self.sessions.get_mut(&number)
            && session.channel.is_some()
        {
            session.steps += 1;
            let steps = session.steps;
            let wanted = match self.receipts.acknowledge {
                Acknowledge::Nothing => false,
                Acknowledge::Files => steps == 1,
                Acknowledge::Records => true,
            };
            if wanted {
                self.receipts.add(number, steps);
            }
        }
    }

    /// The number under which the batch is handed on.
    pub(super) fn receipt(&mut self) -> Option<u64> {
        self.receipts.hand_on(self.writers.number())
    }

    /// A writer is done with a batch: workers that waited for it alone go on.
    pub(super) fn written(&mut self, receipt: u64) {
        self.receipts.written(receipt);
        self.acknowledge();
    }

    pub(super) fn acknowledge(&mut self) {
        while let Some(steps) = self.receipts.complete() {
            for (number, steps) in steps {
                let channel = self.sessions.get(&number).and_then(|session| session.channel.as_ref());
                // A worker that is gone needs none. One that sends more than it may fills its channel with
                // acknowledgements, and gets no more.
                let _ =
                    channel.map(|channel| channel.send_with(&ToWorker::Recorded { steps }, &[], Wait::No));
            }
        }
    }

    /// An output is lost: every session ends now, because nothing more is recorded there.
    pub(super) fn stop_all(&mut self) {
        if !std::mem::replace(&mut self.lost, true) {
            for session in self.sessions.values() {
                let _ = session.channel.as_ref().map(privsep::channel::Channel::finish_sending);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_complete_when_the_last_writer_is_done_with_it() {
        let mut receipts = PendingReceipts::new(Acknowledge::Records);
        assert_eq!(receipts.hand_on(2), None, "nothing is waited for");
        for (session, steps) in [(1, 1), (1, 2), (7, 1)] {
            receipts.add(session, steps);
        }
        let first = receipts.hand_on(2).expect("a number");
        receipts.add(1, 3);
        let second = receipts.hand_on(2).expect("a number");
        receipts.written(first);
        receipts.written(second);
        assert_eq!(receipts.complete(), None, "one writer is behind");
        receipts.written(first);
        assert_eq!(receipts.complete(), Some(vec![(1, 2), (7, 1)]));
        assert_eq!(receipts.complete(), None);
        receipts.written(second);
        assert_eq!(receipts.complete(), Some(vec![(1, 3)]));
    }

    #[test]
    fn without_outputs_a_batch_is_complete_at_once() {
        let mut receipts = PendingReceipts::new(Acknowledge::Records);
        receipts.add(1, 1);
        receipts.hand_on(0);
        assert_eq!(receipts.complete(), Some(vec![(1, 1)]));
    }
}
