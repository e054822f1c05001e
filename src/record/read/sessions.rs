//! Sessions of a record that are open at one time.

use std::collections::{HashMap, HashSet};
use std::mem::take;
use std::sync::Arc;

use super::{DecodeError, EventSink};
use crate::record::order::EventOrder;
use crate::record::{Event, Kind, SessionInfo};

/// Maximum number of open sessions.
pub(crate) const MOST_SESSIONS: usize = 1 << 16;

/// Ids from here on are for sessions whose number is not higher than all before, such as those of a second run.
const SECOND: u64 = 1 << 61;

/// The open sessions. Each has an id, which is its number where numbers grow.
#[derive(Default)]
pub(super) struct Sessions {
    /// Run and id by number.
    by_number: HashMap<u64, Vec<(Arc<str>, u64)>>,
    /// Open sessions by id.
    open: HashMap<u64, KnownSession>,
    /// Sessions that have begun.
    begun: u64,
    /// The highest number so far.
    highest: u64,
    /// Number and run of sessions that were open at a damaged place; what comes of them is left out.
    lost: HashSet<(u64, Arc<str>)>,
    /// Number of sessions that were, which stay open for the receiver of the events.
    never_ended: usize,
    /// Bytes of the part that were left out.
    pub(super) left_out: u64,
}

/// An open session.
struct KnownSession {
    number: u64,
    order: EventOrder,
}

impl Sessions {
    /// An event of tcpreen has been read.
    pub(super) fn have_begun(&self) -> bool {
        self.begun > 0
    }

    pub(super) fn find(&self, run: &str, number: u64) -> Option<u64> {
        let same = self.by_number.get(&number)?;
        same.iter().find(|(other, _)| **other == *run).map(|(_, id)| *id)
    }

    /// Emits the start of a session, and returns the id of its other events.
    pub(super) fn begin<E>(
        &mut self,
        info: SessionInfo,
        sink: &mut EventSink<'_, E>,
    ) -> Result<u64, DecodeError<E>> {
        let (number, run) = (info.number, Arc::clone(&info.run));
        if self.open.len() + self.never_ended >= MOST_SESSIONS || number == 0 || number >= SECOND {
            return Err(DecodeError::Damaged);
        }
        self.begun += 1;
        self.lost.remove(&(number, Arc::clone(&run)));
        // Never an id again: what was open under it may not be written yet.
        let id = if number > self.highest { number } else { SECOND + self.begun };
        self.highest = self.highest.max(number);
        let event = Event { time: info.started, session: id, kind: Kind::Start(Arc::new(info)) };
        let order = EventOrder::begin(&event).ok_or(DecodeError::Damaged)?;
        self.by_number.entry(number).or_default().push((run, id));
        self.open.insert(id, KnownSession { number, order });
        sink(event, &[]).map_err(DecodeError::EventSink)?;
        Ok(id)
    }

    /// Emits another event, if it may come next.
    pub(super) fn emit<E>(
        &mut self,
        event: Event,
        payload: &[u8],
        sink: &mut EventSink<'_, E>,
    ) -> Result<(), DecodeError<E>> {
        let id = event.session;
        let is_end = matches!(event.kind, Kind::End(_));
        let open = self.open.get_mut(&id).ok_or(DecodeError::Damaged)?;
        if !open.order.allows(&event, payload.len()) {
            return Err(DecodeError::Damaged);
        }
        sink(event, payload).map_err(DecodeError::EventSink)?;
        if is_end {
            self.end(id);
        }
        Ok(())
    }

    /// Forgets the open sessions at a damaged place.
    pub(super) fn lose_open(&mut self) {
        self.never_ended += take(&mut self.open).len();
        for (number, same) in take(&mut self.by_number) {
            self.lost.extend(same.into_iter().map(|(run, _)| (number, run)));
        }
    }

    /// Checks whether a session was lost. Its end is the last that comes of it.
    pub(super) fn is_lost(&mut self, run: &str, number: u64, is_end: bool) -> bool {
        let key = (number, run.into());
        if is_end { self.lost.remove(&key) } else { self.lost.contains(&key) }
    }

    fn end(&mut self, id: u64) {
        let Some(KnownSession { number, .. }) = self.open.remove(&id) else { return };
        if let Some(same) = self.by_number.get_mut(&number) {
            same.retain(|(_, other)| *other != id);
            if same.is_empty() {
                self.by_number.remove(&number);
            }
        }
    }
}
