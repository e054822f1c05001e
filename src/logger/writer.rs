//! The writers: a thread per output, which encodes and writes. The only module that uses crossbeam.

use std::io;
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::batch::{self, Batch, Shared};
use super::output::Output;
use crate::format::CaptureLevel;
use crate::logger::output::log_file::FLUSH;
use crate::logger::output::report::{Health, OutputError, OutputEvent};

/// The intake's side of all writers.
pub(super) struct Writers {
    queues: Vec<Sender<Shared>>,
    threads: Vec<JoinHandle<()>>,
    returned: Receiver<Shared>,
    /// An output needs at least lengths.
    count: bool,
    /// Outputs that were FIFOs without a reader at the start.
    waiting: usize,
    /// Keeps `returned` open, and takes back batches that no writer needs.
    give_back: Sender<Shared>,
    events: Receiver<OutputEvent>,
    alarm: Arc<EventFd>,
    health: Arc<Health>,
}

impl Writers {
    /// Starts a thread per output.
    pub(super) fn start(mut outputs: Vec<Output>) -> io::Result<Writers> {
        // Each batch is in the intake, in a queue or in the return channel, so that no queue can be longer. The
        // return channel gets one copy per writer.
        let (give_back, returned) = bounded(batch::COUNT * outputs.len().max(1));
        // Unbounded, because a writer must not wait for the intake, which may be waiting for its batch. It holds at
        // most one entry per event in all batches.
        let (report, events) = unbounded();
        let alarm = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        for _ in 0..batch::COUNT {
            let _ = give_back.send(Arc::new(Batch::new()));
        }
        let count = outputs.iter().any(|output| output.need() > CaptureLevel::Totals);
        let waiting = outputs.iter().filter(|output| output.waiting().is_some()).count();
        let (queues, threads) = (Vec::new(), Vec::new());
        let health = Arc::new(Health::default());
        outputs.iter_mut().for_each(|output| output.watch(&health));
        let mut writers =
            Writers { queues, threads, returned, count, waiting, give_back, events, alarm, health };
        // The filter excludes the calls with which a thread starts: all threads run before it is installed.
        let up = Arc::new(Barrier::new(outputs.len() + 1));
        for output in outputs {
            let (queue, batches) = bounded(batch::COUNT);
            let writer = Writer {
                output,
                text: Vec::with_capacity(2 * FLUSH),
                report: Reporter { events: report.clone(), alarm: Arc::clone(&writers.alarm) },
                reported: false,
                health: Arc::clone(&writers.health),
            };
            let give_back = writers.give_back.clone();
            let barrier = Arc::clone(&up);
            let run = move || {
                barrier.wait();
                writer.run(&batches, &give_back);
            };
            writers.queues.push(queue);
            writers.threads.push(thread::Builder::new().name("writer".into()).spawn(run)?);
        }
        up.wait();
        Ok(writers)
    }

    /// Checks for a failed output, before the failure is reported.
    pub(super) fn have_lost(&self) -> bool {
        self.health.lost() > 0
    }

    /// Number of writers.
    pub(super) fn number(&self) -> usize {
        self.threads.len()
    }

    /// Checks whether an output needs counts while bytes pass.
    pub(super) fn count(&self) -> bool {
        self.count
    }

    /// Outputs that wait for the reader of a FIFO, at the start.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes an empty batch; `None` if all batches are still with the writers after `patience`.
    pub(super) fn take(&self, patience: Duration) -> Option<Batch> {
        loop {
            match self.returned.recv_timeout(patience) {
                // Only the last returned copy owns the batch.
                Ok(shared) => {
                    if let Ok(mut batch) = Arc::try_unwrap(shared) {
                        batch.clear();
                        return Some(batch);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Hands a batch to every writer.
    pub(super) fn give(&self, batch: Batch) {
        let batch = Arc::new(batch);
        self.health.queued(self.queues.len());
        for queue in &self.queues {
            // A writer takes batches until its queue is closed here, even if its output has failed.
            let _ = queue.send(Arc::clone(&batch));
        }
        if self.queues.is_empty() {
            let _ = self.give_back.send(batch);
        }
    }

    /// Becomes readable when [`Writers::event`] has an event.
    pub(super) fn alarm(&self) -> &EventFd {
        &self.alarm
    }

    pub(super) fn event(&self) -> Option<OutputEvent> {
        let _ = self.alarm.read();
        self.events.try_recv().ok()
    }

    /// Waits until everything is written; returns the events in the meantime. An output may block for a long time:
    /// `look_up` is called every `patience`.
    pub(super) fn finish(self, patience: Duration, mut look_up: impl FnMut()) -> Vec<OutputEvent> {
        drop(self.queues);
        let mut all = Vec::new();
        loop {
            match self.events.recv_timeout(patience) {
                Ok(event) => all.push(event),
                Err(RecvTimeoutError::Timeout) => look_up(),
                // Every writer has ended and dropped its reporter.
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for thread in self.threads {
            let _ = thread.join();
        }
        all
    }
}

/// A writer's channel to the intake.
struct Reporter {
    events: Sender<OutputEvent>,
    alarm: Arc<EventFd>,
}

impl Reporter {
    fn send(&self, event: OutputEvent) {
        let _ = self.events.send(event);
        let _ = self.alarm.write(1);
    }
}

/// One output and its thread.
struct Writer {
    output: Output,
    text: Vec<u8>,
    report: Reporter,
    /// The failure has been reported.
    reported: bool,
    health: Arc<Health>,
}

impl Writer {
    fn run(mut self, batches: &Receiver<Shared>, give_back: &Sender<Shared>) {
        let result = self.output.begin();
        self.check(result);
        // Batches are taken even if the output has failed, so that the other outputs continue.
        while let Some(batch) = self.next(batches) {
            let report = |event| self.report.send(event);
            let result = self.output.write(&batch, &mut self.text, report);
            self.check(result);
            for _ in 0..batch.reopenings() {
                self.report.send(OutputEvent::Reopened);
            }
            let receipt = batch.receipt.filter(|_| !self.reported);
            let _ = give_back.send(batch);
            self.health.taken();
            if let Some(receipt) = receipt {
                self.report.send(OutputEvent::Written(receipt));
            }
        }
        let report = |event| self.report.send(event);
        let result = self.output.finish(report);
        self.check(result);
    }

    /// Waits for a batch; meanwhile carries out actions of the output that are due.
    fn next(&mut self, batches: &Receiver<Shared>) -> Option<Shared> {
        while let Some(due) = self.output.due() {
            match batches.recv_deadline(due) {
                Ok(batch) => return Some(batch),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    let report = |event| self.report.send(event);
                    let result = self.output.do_due(report);
                    self.check(result);
                }
            }
        }
        batches.recv().ok()
    }

    fn check(&mut self, result: Result<(), OutputError>) {
        if let Err(output_error) = result {
            self.report_lost(output_error);
        }
    }

    /// Reports a failed write, once. The file of a single session counts as much as a shared one: its
    /// obstacle (a full disk, no descriptors, a removed directory) affects the next session, too, and nothing
    /// is forwarded that is not recorded. So the parent ends every session; those with open files are
    /// recorded to their end.
    fn report_lost(&mut self, output_error: OutputError) {
        if !std::mem::replace(&mut self.reported, true) {
            self.health.output_lost();
            self.report.send(OutputEvent::Lost(output_error));
        }
    }
}
