//! Rows of a view: a margin with time, session and direction, and text that is wrapped where the width is known.

use std::io::Write;
use std::ops::Range;

use unicode_width::UnicodeWidthChar;

use crate::messages::Side;
use crate::pattern::Pattern;
use crate::record::visible::octal;
use crate::record::{color, visible};

/// Columns that `   0.000412 ` takes.
const TIME: usize = 11;

/// The time is left out on terminals that are narrower.
const NARROW: usize = 50;

/// Text is not wrapped into fewer columns.
const LEAST: usize = 8;

/// Maximum number of combining marks on one character.
const MARKS: usize = 3;

/// Appearance of a view.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) color: bool,
    /// Width of the terminal, if known.
    pub(super) columns: Option<usize>,
}

/// Kind of a row, which its margin shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Data {
        from: Side,
        urgent: bool,
    },
    /// A session begins, goes on in this file, or ends in order.
    Frame,
    Silence,
    Trouble,
}

impl Mark {
    const fn text(self) -> &'static [u8] {
        match self {
            Mark::Data { from: Side::Client, urgent: false } => b"<<< ",
            Mark::Data { from: Side::Client, urgent: true } => b"<!< ",
            Mark::Data { from: Side::Server, urgent: false } => b">>> ",
            Mark::Data { from: Side::Server, urgent: true } => b">!> ",
            Mark::Frame => b"=== ",
            Mark::Silence => b"--- ",
            Mark::Trouble => b"*** ",
        }
    }

    const fn color(self) -> &'static [u8] {
        match self {
            Mark::Data { from, .. } => color::of_side(from),
            Mark::Frame => color::BOLD,
            Mark::Silence => color::FAINT,
            Mark::Trouble => color::TROUBLE,
        }
    }
}

/// Rows that belong together: the first has the time.
pub(super) struct Rows<'a> {
    style: Style,
    label: &'a [u8],
    mark: Mark,
    /// Time of the next row, in ten columns.
    time: Option<String>,
    /// Columns of text in a row; `None` is all of it.
    room: Option<usize>,
    has_time: bool,
    /// Its matches are marked, in colour.
    pattern: Option<&'a Pattern>,
    /// The next text is part of a match.
    marking: bool,
}

impl<'a> Rows<'a> {
    pub(super) fn new(style: Style, label: &'a [u8], mark: Mark, time: Option<String>) -> Rows<'a> {
        let has_time = style.columns.is_none_or(|columns| columns >= NARROW);
        let margin = label.len() + mark.text().len() + if has_time { TIME } else { 0 };
        let room =
            style.columns.and_then(|columns| columns.checked_sub(margin)).filter(|room| *room >= LEAST);
        Rows { style, label, mark, time, room, has_time, pattern: None, marking: false }
    }

    /// Marks what matches in the text of a peer.
    pub(super) fn marking(self, pattern: Option<&'a Pattern>) -> Rows<'a> {
        Rows { pattern: pattern.filter(|_| self.style.color), ..self }
    }

    /// Appends a line about a peer, in as many rows as it needs.
    pub(super) fn text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.line(text, Vec::new(), out);
    }

    /// Likewise a line of a peer.
    pub(super) fn data(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let hits = self.pattern.iter().flat_map(|pattern| pattern.places(text)).collect();
        self.line(text, hits, out);
    }

    fn line(&mut self, text: &[u8], hits: Vec<Range<usize>>, out: &mut Vec<u8>) {
        self.begin(out);
        if hits.is_empty() && self.room.is_none_or(|room| text.len() <= room) && is_plain(text) {
            out.extend_from_slice(text);
        } else {
            self.wrapped(text, hits, out);
        }
        self.end(out);
    }

    /// Appends a row of a dump, which has no margin.
    pub(super) fn dump(&self, row: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        self.paint(self.mark.color(), out);
        row(out);
        self.end(out);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if self.has_time {
            self.paint(color::FAINT, out);
            // A Vec takes everything.
            let _ = write!(out, "{:>10} ", self.time.take().unwrap_or_default());
            self.paint(color::RESET, out);
        }
        self.paint(self.mark.color(), out);
        out.extend_from_slice(self.label);
        out.extend_from_slice(self.mark.text());
    }

    fn end(&self, out: &mut Vec<u8>) {
        self.paint(color::RESET, out);
        out.push(b'\n');
    }

    fn paint(&self, sequence: &[u8], out: &mut Vec<u8>) {
        if self.style.color {
            out.extend_from_slice(sequence);
        }
    }

    fn wrapped(&mut self, text: &[u8], hits: Vec<Range<usize>>, out: &mut Vec<u8>) {
        let mut at = RowPosition { column: 0, marks: 0 };
        let mut end = 0;
        for hit in hits {
            self.stretch(&text[end..hit.start], &mut at, out);
            self.marking = true;
            self.paint(color::MATCH, out);
            self.stretch(&text[hit.clone()], &mut at, out);
            self.paint(color::NO_MATCH, out);
            self.marking = false;
            end = hit.end;
        }
        self.stretch(&text[end..], &mut at, out);
    }

    fn stretch(&mut self, text: &[u8], at: &mut RowPosition, out: &mut Vec<u8>) {
        for chunk in text.utf8_chunks() {
            for character in chunk.valid().chars() {
                self.character(character, at, out);
            }
            for &byte in chunk.invalid() {
                self.escape(&[byte], at, out);
            }
        }
    }

    fn character(&mut self, character: char, at: &mut RowPosition, out: &mut Vec<u8>) {
        let mut room = [0; 4];
        let encoded = character.encode_utf8(&mut room).as_bytes();
        if character == '\t' {
            let blanks = 8 - at.column % 8;
            self.make_room(1, at, out);
            match self.room {
                // What a tab does depends on where the terminal is.
                Some(room) => {
                    let blanks = blanks.min(room - at.column);
                    out.extend(std::iter::repeat_n(b' ', blanks));
                    at.column += blanks;
                }
                None => out.push(b'\t'),
            }
            return;
        }
        let width = if visible::is_unseen(character) { None } else { character.width() };
        match width {
            Some(0) if at.marks < MARKS && at.column > 0 => {
                at.marks += 1;
                out.extend_from_slice(encoded);
            }
            None | Some(0) => self.escape(encoded, at, out),
            Some(width) => {
                self.make_room(width, at, out);
                at.column += width;
                at.marks = 0;
                out.extend_from_slice(encoded);
            }
        }
    }

    /// Bytes in octal.
    fn escape(&mut self, bytes: &[u8], at: &mut RowPosition, out: &mut Vec<u8>) {
        for &byte in bytes {
            self.make_room(4, at, out);
            self.paint(b"\x1b[7m", out);
            out.extend_from_slice(&octal(byte));
            self.paint(b"\x1b[27m", out);
            at.column += 4;
        }
        at.marks = MARKS;
    }

    /// Goes on in a new row if `width` columns do not fit into this one.
    fn make_room(&mut self, width: usize, at: &mut RowPosition, out: &mut Vec<u8>) {
        if self.room.is_some_and(|room| at.column + width > room) {
            self.end(out);
            self.begin(out);
            if self.marking {
                self.paint(color::MATCH, out);
            }
            at.column = 0;
        }
    }
}

/// Position in the text of a row.
struct RowPosition {
    column: usize,
    /// Combining marks on the last character.
    marks: usize,
}

/// Checks that every byte is a printable ASCII character.
fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |so_far, byte| so_far & matches!(byte, b' '..=b'~'))
}
