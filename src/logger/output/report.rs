//! Reports of the outputs to the intake: events, errors, and the state of all writers.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An error and its output.
pub(in crate::logger) struct OutputError {
    pub(in crate::logger) output: String,
    pub(in crate::logger) error: io::Error,
}

/// Reports of a writer.
pub(in crate::logger) enum OutputEvent {
    /// An output that can no longer be written.
    Lost(OutputError),
    /// A file in whose place there is no new one: the old one goes on.
    KeptOldFile(OutputError),
    /// Logs were rotated, and an output has done its part.
    Reopened,
    /// A FIFO has its reader.
    Found,
    /// The output has taken all of the batch with this number.
    Written(u64),
    /// A part that is one too many and could not be removed.
    Stays(OutputError),
}

/// State of all writers.
#[derive(Default)]
pub(in crate::logger) struct Health {
    pending: AtomicUsize,
    lost: AtomicUsize,
}

impl Health {
    /// A batch was queued for this number of outputs.
    pub(in crate::logger) fn queued(&self, outputs: usize) {
        self.pending.fetch_add(outputs, Ordering::Relaxed);
    }

    /// An output has taken a batch.
    pub(in crate::logger) fn taken(&self) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }

    /// An output cannot be written any more.
    pub(in crate::logger) fn output_lost(&self) {
        self.lost.fetch_add(1, Ordering::Release);
    }

    /// Batches that an output has not taken yet, each counted once for each such output.
    pub(in crate::logger) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Outputs that cannot be written any more.
    pub(in crate::logger) fn lost(&self) -> usize {
        self.lost.load(Ordering::Acquire)
    }
}
