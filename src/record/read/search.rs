//! The next beginning of a record, behind a place that cannot be decoded: a program that was killed, or a disk that was
//! full, leaves the last event of a file incomplete, and `--append` goes on behind it.
//!
//! A search ends at the same byte however a record is read in pieces, and looks at each byte a bounded number of times.

use memchr::{memchr, memmem};

use super::object::EventObject;
use super::pcapng::{self, SectionStart};
use super::{Encoding, LONGEST_UNIT};

/// Beginning of a line that our encoder has written.
pub(super) const LINE: &[u8] = br#"{"time":""#;

/// More than the length of any beginning of a session in `json`.
const LONGEST_START: usize = 64 << 10;

/// A search under way.
#[derive(Default)]
pub(super) struct Search {
    /// The unit at the front is no longer the one that cannot be decoded.
    has_moved: bool,
}

/// Result of a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Searched {
    /// A beginning is at the front.
    Found,
    /// There is none in this number of bytes at the front.
    Skip(usize),
    /// This number of bytes is needed.
    Needs(usize),
}

impl Search {
    /// Searches the bytes at the front. `is_all` is set if nothing follows them.
    pub(super) fn step(&mut self, encoding: &Encoding, bytes: &[u8], is_all: bool) -> Searched {
        let from = usize::from(!self.has_moved);
        let searched = match encoding {
            Encoding::Ndjson => line(bytes, from, is_all),
            Encoding::Pcapng(_) => section(bytes, from, is_all),
        };
        self.has_moved |= matches!(searched, Searched::Skip(_));
        searched
    }
}

/// Searches a line: it may be a beginning, or end with one, if an earlier line was cut and has no line feed. Only the
/// last place in a line is tried, because a beginning has no object in it.
fn line(bytes: &[u8], from: usize, is_all: bool) -> Searched {
    let rest = bytes.get(from..bytes.len().min(LONGEST_UNIT)).unwrap_or_default();
    let (end, next) = match memchr(b'\n', rest) {
        Some(at) => (from + at, from + at + 1),
        None if bytes.len() >= LONGEST_UNIT => return Searched::Skip(LONGEST_UNIT - LONGEST_START),
        None if is_all => (bytes.len(), bytes.len()),
        None => return Searched::Needs(bytes.len() + 1),
    };
    let line = &bytes[..end];
    if from == 0 && begins(line) {
        return Searched::Found;
    }
    match last_start(line).filter(|at| begins(&line[*at..])) {
        Some(at) => Searched::Skip(at),
        None => Searched::Skip(next),
    }
}

/// Checks whether a line is the beginning of a session.
fn begins(line: &[u8]) -> bool {
    EventObject::parse(line).is_some_and(|object| object.begins())
}

/// The last place behind the front where a line of ours may begin.
pub(super) fn last_start(line: &[u8]) -> Option<usize> {
    memmem::rfind(line.get(1..)?, LINE).map(|at| at + 1)
}

/// Checks whether a line that is no JSON was begun by our encoder, and then cut.
pub(super) fn is_cut_line(line: &[u8]) -> bool {
    let same = line.iter().zip(LINE).take_while(|(byte, expected)| byte == expected).count();
    let is_ours = same == LINE.len() || same == line.len() || line[same..].starts_with(LINE);
    is_ours && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err()
}

fn section(bytes: &[u8], from: usize, is_all: bool) -> Searched {
    let mut at = from.min(bytes.len());
    while let Some(found) = memmem::find(&bytes[at..], &pcapng::SECTION_TYPE) {
        at += found;
        match pcapng::section_start(&bytes[at..]) {
            SectionStart::Whole if at == 0 => return Searched::Found,
            SectionStart::Needs(number) if at == 0 && !is_all => return Searched::Needs(number),
            SectionStart::Whole => return Searched::Skip(at),
            SectionStart::Needs(_) if !is_all => return Searched::Skip(at),
            SectionStart::Needs(_) | SectionStart::Invalid => at += 1,
        }
    }
    // The last bytes may be the first ones of a section.
    let kept = if is_all { 0 } else { pcapng::SECTION_TYPE.len() - 1 };
    match bytes.len().saturating_sub(kept) {
        0 => Searched::Needs(bytes.len() + 1),
        number => Searched::Skip(number),
    }
}
