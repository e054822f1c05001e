//! Batches carry events from the intake to the writers: memory that is allocated once and reused.

use std::sync::Arc;

use crate::messages::Record;
use crate::record::{Event, Kind, SessionInfo};

/// Maximum length of a frame on a worker's channel.
pub(super) const FRAME: usize = Record::LONGEST;

/// Number of bytes from which a batch is handed to the writers.
const FULL: usize = 256 * 1024;

/// Maximum number of events in a batch.
const MOST_EVENTS: usize = 4096;

/// Maximum number of sessions that end in a batch. Together with [`COUNT`] it bounds the delay of the writers behind
/// short sessions, each of which costs them a file if outputs have files per session.
const MOST_ENDS: usize = 32;

/// Number of batches. With their size, this is the logger's memory: about 4 MiB.
pub(super) const COUNT: usize = 8;

/// One entry of a batch.
#[derive(Debug)]
pub(super) enum BatchItem {
    /// An event of a session. The payload of data is in the batch, from `payload.0` to `payload.1`.
    Event { event: Event, payload: (usize, usize) },
    /// The start of a session, for which files are made; its names may follow later.
    Open { session: u64, info: Arc<SessionInfo> },
    /// Rotation of the logs, for all sessions: items after this one belong into new files.
    Reopen,
}

pub(super) struct Batch {
    bytes: Vec<u8>,
    used: usize,
    /// `used` before the last frame was kept.
    used_before: usize,
    pub(super) items: Vec<BatchItem>,
    /// Number of sessions that end in the batch.
    ends: usize,
    /// Number with which every writer reports the batch as written, if a report is needed.
    pub(super) receipt: Option<u64>,
}

impl Batch {
    /// Number of rotations in the batch.
    pub(super) fn reopenings(&self) -> usize {
        self.items.iter().filter(|item| matches!(item, BatchItem::Reopen)).count()
    }

    pub(super) fn new() -> Batch {
        Batch {
            bytes: vec![0; FULL + FRAME],
            used: 0,
            used_before: 0,
            items: Vec::with_capacity(64),
            ends: 0,
            receipt: None,
        }
    }

    /// Memory for the next frame.
    pub(super) fn space(&mut self) -> &mut [u8] {
        let used = self.used;
        &mut self.bytes[used..used + FRAME]
    }

    /// The frame that was received into [`Batch::space`].
    pub(super) fn frame(&self, length: usize) -> &[u8] {
        &self.bytes[self.used..self.used + length]
    }

    /// Keeps the frame just received, whose payload begins at `head`; returns the position of the payload.
    pub(super) fn keep(&mut self, head: usize, length: usize) -> (usize, usize) {
        let (start, end) = (self.used + head, self.used + length);
        (self.used_before, self.used) = (self.used, end);
        (start, end)
    }

    /// Copies bytes into the batch; returns their position.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> (usize, usize) {
        self.space()[..bytes.len()].copy_from_slice(bytes);
        self.keep(0, bytes.len())
    }

    /// Frees the payload that was kept last and is not needed.
    pub(super) fn give_back(&mut self, (start, end): (usize, usize)) {
        if start < end && end == self.used {
            self.used = self.used_before;
        }
    }

    pub(super) fn add(&mut self, item: BatchItem) {
        let is_end = |event: &Event| matches!(event.kind, Kind::End(_));
        self.ends += usize::from(matches!(&item, BatchItem::Event { event, .. } if is_end(event)));
        self.items.push(item);
    }

    pub(super) fn payload(&self, (start, end): (usize, usize)) -> &[u8] {
        &self.bytes[start..end]
    }

    pub(super) fn is_full(&self) -> bool {
        self.used >= FULL || self.items.len() >= MOST_EVENTS || self.ends >= MOST_ENDS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.ends = 0;
        self.receipt = None;
        self.items.clear();
    }
}

/// A batch shared by all writers.
pub(super) type Shared = Arc<Batch>;
