//! Reports of the outputs to the intake: events, errors, and the state of all writers.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An error, and the name of its output.
pub(in crate::logger) struct OutputError {
    pub(in crate::logger) output: String,
    pub(in crate::logger) error: io::Error,
}

/// Reports of a writer.
pub(in crate::logger) enum OutputEvent {
    /// The output can no longer be written.
    Lost(OutputError),
    /// There is no new file at the path: the old one is still written.
    KeptOldFile(OutputError),
    /// The output has finished its part of a rotation.
    Reopened,
    /// A FIFO has a reader now.
    Found,
    /// The output has written the batch with this number.
    Written(u64),
    /// A surplus part could not be removed.
    Stays(OutputError),
}

/// State of all writers.
#[derive(Default)]
pub(in crate::logger) struct Health {
    pending: AtomicUsize,
    lost: AtomicUsize,
}

impl Health {
    /// Counts a batch that was queued for this number of outputs.
    pub(in crate::logger) fn queued(&self, outputs: usize) {
        self.pending.fetch_add(outputs, Ordering::Relaxed);
    }

    /// Counts a batch that an output has written.
    pub(in crate::logger) fn taken(&self) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts an output that can no longer be written.
    pub(in crate::logger) fn output_lost(&self) {
        self.lost.fetch_add(1, Ordering::Release);
    }

    /// Number of batches that an output has not written yet, each counted once per such output.
    pub(in crate::logger) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Number of outputs that can no longer be written.
    pub(in crate::logger) fn lost(&self) -> usize {
        self.lost.load(Ordering::Acquire)
    }
}
