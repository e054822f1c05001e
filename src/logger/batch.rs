//! Batches carry what happened from the reader to the writers: memory that is made once and goes round.

use std::sync::Arc;

use crate::messages::Record;
use crate::record::{Event, Kind, SessionInfo};

/// The longest frame that a worker's channel can bring.
pub(super) const FRAME: usize = Record::LONGEST;

/// A batch with this much in it is handed on.
const FULL: usize = 256 * 1024;

/// Events in a batch, at the most.
const MOST_EVENTS: usize = 4096;

/// Sessions that end in a batch, at the most. With [`COUNT`] this bounds how far the writers may be behind short
/// sessions, each of which costs them a file where outputs have files of their own for each session.
const MOST_ENDS: usize = 32;

/// Batches in all. With their size, this is the logger's memory: about 4 MiB.
pub(super) const COUNT: usize = 8;

/// One entry of a batch.
#[derive(Debug)]
pub(super) enum BatchItem {
    /// Something that happened in a session; the payload of data is in the batch, from `payload.0` to `payload.1`.
    Event { event: Event, payload: (usize, usize) },
    /// A session has arrived, and gets its files; its names may come later.
    Open { session: u64, info: Arc<SessionInfo> },
    /// Of no session: what comes behind it belongs into new files.
    Reopen,
}

pub(super) struct Batch {
    bytes: Vec<u8>,
    used: usize,
    /// `used` before the last frame was kept.
    used_before: usize,
    pub(super) items: Vec<BatchItem>,
    /// Sessions that end in it.
    ends: usize,
    /// The number under which every writer reports that it is done with this batch, if that is waited for.
    pub(super) receipt: Option<u64>,
}

impl Batch {
    /// As many as the times that logs were rotated.
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

    /// Where the next frame is received.
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

    /// Copies bytes in.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> (usize, usize) {
        self.space()[..bytes.len()].copy_from_slice(bytes);
        self.keep(0, bytes.len())
    }

    /// Frees the payload that was kept last, which is not needed.
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

/// A batch on its way to the writers.
pub(super) type Shared = Arc<Batch>;
