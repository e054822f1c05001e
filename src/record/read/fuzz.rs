//! Saved records: whatever a file holds, events come in an order that there can be, in memory that is bounded, and
//! the same ones however the file is read in pieces.
//!
//! The first byte of an input chooses the length of the pieces; the rest is the record.

use std::collections::HashMap;

use super::{DecodeError, Decoded, Decoder};
use crate::record::order::EventOrder;
use crate::record::{Event, Kind};

pub fn fuzz(data: &[u8]) {
    let Some((piece, bytes)) = data.split_first() else { return };
    let whole = decoded(bytes, usize::MAX);
    check(&whole.0);
    assert_eq!(whole, decoded(bytes, usize::from(*piece) + 1), "it depends on the pieces");
}

/// Events with their payloads; where decoding ended, and whether the record is damaged there.
type FuzzedRecord = (Vec<(Event, Vec<u8>)>, usize, bool);

fn decoded(bytes: &[u8], piece: usize) -> FuzzedRecord {
    let mut decoder = Decoder::default();
    let (mut events, mut at, mut end) = (Vec::new(), 0, bytes.len().min(piece));
    loop {
        let is_all = end == bytes.len();
        if at == end && is_all {
            return (events, at, false);
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
                    return (events, at, false);
                }
                end = bytes.len().min(end.saturating_add(piece));
            }
            Err(DecodeError::Foreign | DecodeError::Damaged) => return (events, at, true),
            Err(DecodeError::EventSink(())) => unreachable!("the sink takes everything"),
        }
    }
}

/// As the logger does.
fn check(events: &[(Event, Vec<u8>)]) {
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
