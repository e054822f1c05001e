//! `--match`: holds the record of a session back until one of its two streams matches, and drops it if none does.
//!
//! While it is held, its latest data is kept: what was dropped before is a gap in the record, with a note.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::logger::batch::{Batch, BatchItem};
use crate::pattern::{Pattern, Search};
use crate::record::{Event, Kind, quantity};

/// Memory of the held record of a session.
const MOST: usize = 1 << 20;

/// Memory of all held records.
const MOST_OF_ALL: usize = 16 << 20;

pub(super) struct Selection {
    pattern: Arc<Pattern>,
    undecided: HashMap<u64, Undecided>,
    /// Memory of all of them.
    size: usize,
}

/// A session without a match yet.
struct Undecided {
    held: VecDeque<HeldItem>,
    size: usize,
    streams: [Search; 2],
    /// Bytes that were dropped.
    dropped: u64,
}

/// A part of a record that is not in a batch.
pub(super) struct HeldItem {
    pub(super) item: BatchItem,
    pub(super) bytes: Vec<u8>,
}

/// The result for one item.
pub(super) enum Decision {
    Recorded(BatchItem),
    /// Held or dropped. The payload is not needed in the batch.
    Kept {
        payload: (usize, usize),
    },
    /// The session matches: this is its record up to now. The payload is not needed in the batch.
    Matched {
        payload: (usize, usize),
        record: VecDeque<HeldItem>,
    },
}

impl Selection {
    pub(super) fn new(pattern: Arc<Pattern>) -> Selection {
        Selection { pattern, undecided: HashMap::new(), size: 0 }
    }

    pub(super) fn decide(&mut self, item: BatchItem, batch: &Batch) -> Decision {
        let (session, payload) = match &item {
            BatchItem::Reopen => return Decision::Recorded(item),
            BatchItem::Open { session, .. } => {
                self.undecided.insert(*session, Undecided::new(&self.pattern));
                (*session, (0, 0))
            }
            BatchItem::Event { event, payload } => (event.session, *payload),
        };
        let Some(undecided) = self.undecided.get_mut(&session) else { return Decision::Recorded(item) };
        let bytes = batch.payload(payload);
        let before = undecided.size;
        let fate = match &item {
            BatchItem::Event { event, .. } => undecided.search(&self.pattern, event, bytes),
            BatchItem::Open { .. } | BatchItem::Reopen => Fate::Undecided,
        };
        undecided.hold(item, bytes);
        self.size = self.size - before + undecided.size;
        if fate == Fate::Undecided {
            self.make_room(session);
            return Decision::Kept { payload };
        }
        let record = self.undecided.remove(&session);
        self.size -= record.as_ref().map_or(0, |record| record.size);
        match record.filter(|_| fate == Fate::Matches) {
            Some(undecided) => Decision::Matched { payload, record: undecided.record() },
            None => Decision::Kept { payload },
        }
    }

    /// Drops the oldest data of the session, or of the one that holds most, until the limits are kept.
    fn make_room(&mut self, session: u64) {
        while self.size > MOST_OF_ALL {
            let Some(largest) = self.undecided.values_mut().max_by_key(|it| it.size) else { return };
            let freed = largest.drop_oldest();
            self.size -= freed;
            if freed == 0 {
                break;
            }
        }
        let Some(undecided) = self.undecided.get_mut(&session) else { return };
        while undecided.size > MOST {
            let freed = undecided.drop_oldest();
            self.size -= freed;
            if freed == 0 {
                break;
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Undecided,
    Matches,
    /// Over, without a match.
    Dropped,
}

impl Undecided {
    fn new(pattern: &Pattern) -> Undecided {
        Undecided { held: VecDeque::new(), size: 0, streams: [pattern.search(); 2], dropped: 0 }
    }

    /// Continues the search.
    fn search(&mut self, pattern: &Pattern, event: &Event, bytes: &[u8]) -> Fate {
        let end = |search: &mut Search| *search = pattern.end(*search);
        match &event.kind {
            Kind::Data { from, .. } => {
                let search = &mut self.streams[*from as usize];
                *search = pattern.read(*search, bytes);
            }
            Kind::Eof { from, .. } => end(&mut self.streams[*from as usize]),
            Kind::End(_) => self.streams.iter_mut().for_each(end),
            Kind::Start(_) | Kind::Secrets | Kind::Note(_) => {}
        }
        let is_over = matches!(event.kind, Kind::End(_));
        match self.streams.iter().any(|search| matches!(search, Search::Found)) {
            true => Fate::Matches,
            false if is_over => Fate::Dropped,
            false => Fate::Undecided,
        }
    }

    fn hold(&mut self, item: BatchItem, bytes: &[u8]) {
        let held = HeldItem { item, bytes: bytes.to_vec() };
        self.size += held.size();
        self.held.push_back(held);
    }

    /// Returns the memory that this frees.
    fn drop_oldest(&mut self) -> usize {
        let Some(oldest) = self.held.iter().position(HeldItem::is_data) else { return 0 };
        let Some(dropped) = self.held.remove(oldest) else { return 0 };
        self.dropped += dropped.bytes.len() as u64;
        self.size -= dropped.size();
        dropped.size()
    }

    /// The record, with a note in front of the first data if there was more before.
    fn record(mut self) -> VecDeque<HeldItem> {
        let first = self.held.iter().position(HeldItem::is_data).filter(|_| self.dropped > 0);
        if let Some((at, BatchItem::Event { event, .. })) = first.map(|at| (at, &self.held[at].item)) {
            let text = format!("Not recorded: {} before this, because of --match.", quantity(self.dropped));
            let event = Event { kind: Kind::Note(text), ..event.clone() };
            let note = HeldItem { item: BatchItem::Event { event, payload: (0, 0) }, bytes: Vec::new() };
            self.held.insert(at, note);
        }
        self.held
    }
}

impl HeldItem {
    /// Twice, because a queue grows by doubling.
    fn size(&self) -> usize {
        self.bytes.len() + 2 * size_of::<HeldItem>()
    }

    fn is_data(&self) -> bool {
        matches!(&self.item, BatchItem::Event { event, .. } if matches!(event.kind, Kind::Data { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logger::intake::session::tests::info;
    use crate::messages::Side;
    use crate::record::{ConnState, End, State, Time};

    fn selection(expression: &str) -> Selection {
        Selection::new(Arc::new(Pattern::new(expression).expect("an expression")))
    }

    fn open(session: u64) -> BatchItem {
        BatchItem::Open { session, info: Arc::new(info()) }
    }

    fn event(session: u64, kind: Kind) -> BatchItem {
        BatchItem::Event { event: Event { time: Time::default(), session, kind }, payload: (0, 0) }
    }

    /// What is recorded: of these bytes, and of those held before.
    fn data(selection: &mut Selection, batch: &mut Batch, session: u64, bytes: &[u8]) -> Vec<Vec<u8>> {
        let payload = batch.copy(bytes);
        let kind = Kind::Data { from: Side::Client, position: 0, bytes: bytes.len() as u64, urgent: false };
        let event = Event { time: Time::default(), session, kind };
        let decision = selection.decide(BatchItem::Event { event, payload }, batch);
        match decision {
            Decision::Recorded(_) => vec![bytes.to_vec()],
            Decision::Kept { payload } => {
                batch.give_back(payload);
                Vec::new()
            }
            Decision::Matched { record, .. } => {
                record.into_iter().filter(HeldItem::is_data).map(|it| it.bytes).collect()
            }
        }
    }

    fn end(session: u64) -> BatchItem {
        let end = End {
            state: State::Done,
            conn_state: ConnState::Sf,
            errno: 0,
            totals: [0; 2],
            tcp: Default::default(),
        };
        event(session, Kind::End(end))
    }

    #[test]
    fn a_match_releases_what_was_held_of_its_session_alone() {
        let (mut selection, mut batch) = (selection("pong"), Batch::new());
        for session in [1, 2] {
            assert!(matches!(selection.decide(open(session), &batch), Decision::Kept { .. }));
        }
        assert_eq!(data(&mut selection, &mut batch, 1, b"one "), [] as [&[u8]; 0]);
        assert_eq!(data(&mut selection, &mut batch, 2, b"two "), [] as [&[u8]; 0]);
        assert_eq!(data(&mut selection, &mut batch, 1, b"po"), [] as [&[u8]; 0]);
        assert_eq!(data(&mut selection, &mut batch, 2, b"ng"), [] as [&[u8]; 0], "of another session");
        assert_eq!(data(&mut selection, &mut batch, 1, b"ng"), [b"one ".as_slice(), b"po", b"ng"]);
        assert_eq!(data(&mut selection, &mut batch, 1, b"more"), [b"more"]);
        assert!(matches!(selection.decide(end(2), &batch), Decision::Kept { .. }), "dropped");
        assert!(selection.undecided.is_empty());
        assert_eq!(selection.size, 0);
    }

    #[test]
    fn a_session_holds_its_latest_data_within_a_bound() {
        let (mut selection, mut batch) = (selection("needle"), Batch::new());
        let _ = selection.decide(open(1), &batch);
        let straw = vec![b's'; 100_000];
        for _ in 0..50 {
            assert!(data(&mut selection, &mut batch, 1, &straw).is_empty());
            assert!(selection.size <= MOST);
        }
        let payload = batch.copy(b"needle");
        let kind = Kind::Data { from: Side::Server, position: 0, bytes: 6, urgent: false };
        let event = Event { time: Time::default(), session: 1, kind };
        let Decision::Matched { record, .. } = selection.decide(BatchItem::Event { event, payload }, &batch)
        else {
            panic!("no match");
        };
        let kept: usize = record.iter().map(|held| held.bytes.len()).sum();
        assert!((900_000..=MOST).contains(&kept), "{kept}");
        let notes: Vec<String> = record.iter().filter_map(note).collect();
        assert_eq!(
            notes,
            [format!("Not recorded: {} bytes before this, because of --match.", 5_000_006 - kept)]
        );
        assert!(matches!(record[0].item, BatchItem::Open { .. }));
    }

    fn note(held: &HeldItem) -> Option<String> {
        match &held.item {
            BatchItem::Event { event: Event { kind: Kind::Note(text), .. }, .. } => Some(text.clone()),
            _ => None,
        }
    }

    #[test]
    fn all_sessions_together_have_a_bound() {
        let (mut selection, mut batch) = (selection("needle"), Batch::new());
        let straw = vec![b's'; 100_000];
        for session in 0..40 {
            let _ = selection.decide(open(session), &batch);
            for _ in 0..10 {
                data(&mut selection, &mut batch, session, &straw);
                assert!(selection.size <= MOST_OF_ALL);
            }
        }
        let sum: usize = selection.undecided.values().map(|undecided| undecided.size).sum();
        assert_eq!(sum, selection.size);
    }
}
