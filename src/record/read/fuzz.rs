//! Saved records: whatever a file holds, events come in an order that there can be, in memory that is bounded, and
//! the same ones however the file is read in pieces.
//!
//! The first byte of an input chooses the length of the pieces; the rest is the record.

use std::collections::HashMap;

use super::{DecodeError, Decoded, Decoder};
use crate::record::order::EventOrder;
use crate::record::{Event, Kind};

#[cfg_attr(not(fuzzing), expect(unreachable_pub, reason = "exported with the fuzz targets alone"))]
pub fn fuzz(data: &[u8]) {
    let Some((piece, bytes)) = data.split_first() else { return };
    let whole = decoded(bytes, usize::MAX);
    check(&whole.events);
    assert_eq!(whole, decoded(bytes, usize::from(*piece) + 1), "it depends on the pieces");
}

/// Events with their payloads.
type Events = Vec<(Event, Vec<u8>)>;

/// Result of decoding a record.
#[derive(Debug, PartialEq)]
pub(super) struct FuzzedRecord {
    pub(super) events: Events,
    /// Where decoding ended.
    end: usize,
    /// The first place that could not be decoded.
    pub(super) flaw: Option<usize>,
    /// Bytes that were left out, if something follows them.
    pub(super) left_out: Option<u64>,
    is_foreign: bool,
}

pub(super) fn decoded(bytes: &[u8], piece: usize) -> FuzzedRecord {
    let mut decoder = Decoder::default();
    let (mut events, mut at, mut end) = (Vec::new(), 0, bytes.len().min(piece));
    let (mut flaw, mut is_foreign) = (None, false);
    loop {
        let is_all = end == bytes.len();
        if is_foreign || at == end && is_all {
            return FuzzedRecord { events, end: at, flaw, left_out: decoder.left_out(), is_foreign };
        }
        let mut sink = |event: Event, payload: &[u8]| {
            events.push((event, payload.to_vec()));
            Ok::<(), ()>(())
        };
        match decoder.take(&bytes[at..end], is_all, &mut sink) {
            Ok(Decoded::Bytes(used)) => {
                assert!(used > 0 && used <= end - at, "{used} bytes taken of {}", end - at);
                at += used;
            }
            Ok(Decoded::Needs(number)) => {
                assert!(number > end - at, "asks for what is there");
                if is_all {
                    flaw = flaw.or(Some(at));
                    decoder.resync();
                }
                end = bytes.len().min(end.saturating_add(piece));
            }
            Err(DecodeError::Damaged) => {
                flaw = flaw.or(Some(at));
                decoder.resync();
            }
            Err(DecodeError::Foreign) => is_foreign = true,
            Err(DecodeError::EventSink(())) => unreachable!("the sink takes everything"),
        }
    }
}

/// As the logger does.
fn check(events: &Events) {
    let mut open: HashMap<u64, EventOrder> = HashMap::new();
    for (event, payload) in events {
        if let Kind::Start(_) = event.kind {
            let order = EventOrder::begin(event).expect("a beginning");
            assert!(open.insert(event.session, order).is_none(), "begins twice");
            continue;
        }
        let order = open.get_mut(&event.session).expect("an open session");
        assert!(order.allows(event, payload.len()), "{event:?}");
        if let Kind::End(_) = event.kind {
            open.remove(&event.session);
        }
    }
}
