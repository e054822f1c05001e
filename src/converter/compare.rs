//! Two streams, compared: one from a record, with gaps where a mask matched, and one that comes piece by piece.
//!
//! What stands between two gaps is a literal. After a gap it is searched for once, from left to right, and never looked
//! for again: the time is linear in the stream, whatever a peer sends.

use std::ops::Range;

use memchr::memmem;
use regex::bytes::Regex;

/// Bytes of the record, and where anything may stand in their place.
pub(super) struct Expected {
    bytes: Vec<u8>,
    /// In order, apart from each other.
    gaps: Vec<Range<usize>>,
}

impl Expected {
    pub(super) fn new(bytes: Vec<u8>, masks: &[Regex]) -> Expected {
        let found = masks.iter().flat_map(|mask| mask.find_iter(&bytes).map(|found| found.range()));
        let mut found: Vec<Range<usize>> = found.filter(|range| !range.is_empty()).collect();
        found.sort_by_key(|range| (range.start, range.end));
        let mut gaps: Vec<Range<usize>> = Vec::new();
        for range in found {
            match gaps.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => gaps.push(range),
            }
        }
        Expected { bytes, gaps }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A place in the record, and the one in the other stream that was compared with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamPosition {
    pub(super) record: usize,
    pub(super) now: usize,
}

/// How far a comparison is.
pub(super) struct Comparison {
    expected: Expected,
    now: Vec<u8>,
    /// All before it is the same.
    place: StreamPosition,
    /// Index of the next gap.
    gap: usize,
    /// The place is behind a gap: what follows may come later.
    is_loose: bool,
    /// Where the search for it goes on.
    searched: usize,
    differs: bool,
}

impl Comparison {
    pub(super) fn new(expected: Expected) -> Comparison {
        let place = StreamPosition { record: 0, now: 0 };
        let now = Vec::new();
        let mut comparison =
            Comparison { expected, now, place, gap: 0, is_loose: false, searched: 0, differs: false };
        // Of a record that begins with a gap, or is empty, some is complete before anything has come.
        comparison.add(&[]);
        comparison
    }

    pub(super) fn record(&self) -> &[u8] {
        self.expected.bytes()
    }

    /// What has come.
    pub(super) fn now(&self) -> &[u8] {
        &self.now
    }

    /// More has come. Returns whether it is still what may come.
    pub(super) fn add(&mut self, bytes: &[u8]) -> bool {
        self.now.extend_from_slice(bytes);
        while !self.differs && self.advance() {}
        !self.differs
    }

    /// Whether all that the record has before this place has come.
    pub(super) fn has(&self, record: usize) -> bool {
        let StreamPosition { record: done, .. } = self.place;
        if record <= done {
            return true;
        }
        let end = self.literal_end();
        self.is_loose
            && record < end
            && memmem::find(&self.now[self.place.now..], &self.expected.bytes[done..record]).is_some()
    }

    /// Nothing that may still come makes it the same.
    pub(super) fn differs(&self) -> bool {
        self.differs
    }

    pub(super) fn is_complete(&self) -> bool {
        self.has(self.expected.bytes.len())
    }

    /// The first difference, if nothing more comes.
    pub(super) fn difference(&self) -> Option<StreamPosition> {
        let StreamPosition { record, now } = self.place;
        let rest = &self.expected.bytes[record..];
        if self.differs {
            return Some(self.place);
        }
        match (rest.is_empty(), self.is_loose) {
            (true, true) => None,
            (true, false) if now == self.now.len() => None,
            // The last literal may have stood in what a gap leaves open, too.
            (true, false) => (!self.ends_as_recorded()).then_some(self.place),
            (false, false) => Some(self.place),
            (false, true) => Some(self.closest(&self.expected.bytes[record..self.literal_end()])),
        }
    }

    /// Goes on by one literal or gap; returns whether there was one.
    fn advance(&mut self) -> bool {
        let end = self.literal_end();
        let literal = &self.expected.bytes[self.place.record..end];
        if literal.is_empty() {
            return self.enter_gap();
        }
        if self.is_loose {
            let from = self.searched.max(self.place.now);
            let Some(at) = memmem::find(&self.now[from..], literal) else {
                self.searched = (self.now.len() + 1).saturating_sub(literal.len()).max(from);
                return false;
            };
            self.place = StreamPosition { record: end, now: from + at + literal.len() };
            self.is_loose = false;
            return true;
        }
        let rest = &self.now[self.place.now..];
        let same = literal.iter().zip(rest).take_while(|(one, other)| one == other).count();
        let length = literal.len();
        self.differs = same < length && same < rest.len();
        self.place = StreamPosition { record: self.place.record + same, now: self.place.now + same };
        same == length
    }

    fn enter_gap(&mut self) -> bool {
        match self.expected.gaps.get(self.gap) {
            Some(gap) => {
                self.place.record = gap.end;
                self.gap += 1;
                self.is_loose = true;
                self.searched = 0;
                true
            }
            None => false,
        }
    }

    /// Where the next gap begins, or the record ends.
    fn literal_end(&self) -> usize {
        self.expected.gaps.get(self.gap).map_or(self.expected.bytes.len(), |gap| gap.start)
    }

    fn ends_as_recorded(&self) -> bool {
        let last = self.expected.gaps.last().map_or(0, |gap| gap.end);
        last > 0 && self.now.ends_with(&self.expected.bytes[last..])
    }

    /// Where the most of a literal that is missing has come.
    fn closest(&self, literal: &[u8]) -> StreamPosition {
        let StreamPosition { record, now } = self.place;
        let found = |length: usize| memmem::find(&self.now[now..], &literal[..length]);
        let (mut most, mut too_much) = (0, literal.len());
        while most + 1 < too_much {
            let middle = most.midpoint(too_much);
            if found(middle).is_some() { most = middle } else { too_much = middle }
        }
        StreamPosition { record: record + most, now: now + found(most).unwrap_or(0) + most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(record: &str, masks: &[&str], now: &str, piece: usize) -> Option<StreamPosition> {
        let masks: Vec<Regex> = masks.iter().map(|mask| Regex::new(mask).expect("a mask")).collect();
        let mut comparison = Comparison::new(Expected::new(record.into(), &masks));
        for bytes in now.as_bytes().chunks(piece) {
            comparison.add(bytes);
        }
        comparison.difference()
    }

    #[test]
    fn streams_are_compared_however_they_come_in_pieces() {
        let at = |record, now| Some(StreamPosition { record, now });
        let id = &["id=[0-9]+"][..];
        for (record, masks, now, expected) in [
            ("abc", &[][..], "abc", None),
            ("", &[], "", None),
            ("abc", &[], "ab", at(2, 2)),
            ("abc", &[], "abcd", at(3, 3)),
            ("abc", &[], "axc", at(1, 1)),
            ("a id=1 b", id, "a id=22222 b", None),
            ("a id=1 b", id, "a  b", None),
            ("a id=1 b", id, "x id=1 b", at(0, 0)),
            ("a id=1 b", id, "a id=1 c", at(7, 7)),
            ("a id=1", id, "a anything", None),
            ("id=1id=2", id, "", None),
            ("id=1.id=2.", id, "x.y.z.", None),
            ("id=1.id=2.", id, "x.y.z", at(10, 4)),
            ("ab", &["a", "b"], "xyz", None),
        ] {
            for piece in 1..=now.len().max(1) {
                assert_eq!(compared(record, masks, now, piece), expected, "{record} {masks:?} {now} {piece}");
            }
        }
    }

    #[test]
    fn what_a_turn_waits_for_has_come_once_its_last_byte_has() {
        let mask = Regex::new("[0-9]+").expect("a mask");
        let mut comparison = Comparison::new(Expected::new(b"a 1 b\n".to_vec(), &[mask]));
        let has = |comparison: &Comparison| (0..=6).filter(|end| comparison.has(*end)).max();
        assert_eq!(has(&comparison), Some(0));
        comparison.add(b"a ");
        // Nothing may stand in the place of what is masked.
        assert_eq!(has(&comparison), Some(3));
        comparison.add(b"999 b");
        assert_eq!(has(&comparison), Some(5));
        comparison.add(b"\n");
        assert!(comparison.is_complete());
    }
}
