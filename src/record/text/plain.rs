//! `raw` and `strip`: unchanged bytes, and printable ones.

use super::{PieceStart, find};
use crate::record::visible;

/// Number of bytes that are processed at once if none of them is removed.
const BLOCK: usize = 16;

/// Writes the marker and the unchanged bytes.
pub(super) fn raw(start: PieceStart, bytes: &[u8], out: &mut Vec<u8>) {
    start.append(out);
    out.extend_from_slice(bytes);
}

/// Form of `raw` on a terminal: line ends and tabs are kept, printable text is shown, and everything else
/// that a terminal might obey is escaped.
pub(super) fn visible(start: PieceStart, bytes: &[u8], out: &mut Vec<u8>) {
    record(start, bytes, out, harmless);
}

/// Printable ASCII and line feeds; carriage returns vanish and the rest are dots.
pub(super) fn strip(start: PieceStart, bytes: &[u8], out: &mut Vec<u8>) {
    record(start, bytes, out, stripped);
}

/// Writes a record. In an output of its own a session's record is written in one run, as by 1.4.4. If sessions share the
/// output, each line starts as the record does, because otherwise a peer could forge lines of another session or of the
/// frame, and the last line is ended, because the next may belong to another session.
fn record(start: PieceStart, bytes: &[u8], out: &mut Vec<u8>, show: fn(&[u8], &mut Vec<u8>)) {
    let beginning = out.len();
    start.append(out);
    if !start.shares_output() {
        show(bytes, out);
        return;
    }
    let mark = beginning..out.len();
    let mut first = true;
    each_line(bytes, |line| {
        if !std::mem::take(&mut first) {
            out.extend_from_within(mark.clone());
        }
        show(line, out);
    });
    if bytes.last() != Some(&b'\n') {
        out.push(b'\n');
    }
}

/// Calls `with` for each line, its end included.
fn each_line(mut bytes: &[u8], mut with: impl FnMut(&[u8])) {
    while !bytes.is_empty() {
        let end = find(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        let (line, rest) = bytes.split_at(end);
        with(line);
        bytes = rest;
    }
}

/// As [`visible()`], without a marker.
pub(super) fn harmless(bytes: &[u8], out: &mut Vec<u8>) {
    each_line(bytes, |line| {
        let (text, end): (_, &[u8]) = match line {
            [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] => (text, b"\n"),
            text => (text, b""),
        };
        visible::append(text, true, out);
        out.extend_from_slice(end);
    });
}

fn stripped(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len(), 0);
    let mut text = TextBuffer { room: &mut out[start..], end: 0 };
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for block in blocks {
        if block.iter().fold(true, |so_far, &byte| so_far & (byte != b'\r')) {
            text.whole(block);
        } else {
            text.part(block);
        }
    }
    text.part(rest);
    let end = start + text.end;
    out.truncate(end);
}

/// Room for as much text as there may be, and where it ends so far.
struct TextBuffer<'a> {
    room: &'a mut [u8],
    end: usize,
}

impl TextBuffer<'_> {
    fn whole(&mut self, block: &[u8; BLOCK]) {
        self.room[self.end..][..BLOCK].copy_from_slice(&block.map(dotted));
        self.end += BLOCK;
    }

    /// Writes every byte; one that is removed is overwritten by the next, which avoids a branch.
    fn part(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.room[self.end] = dotted(byte);
            self.end += usize::from(byte != b'\r');
        }
    }
}

fn dotted(byte: u8) -> u8 {
    if matches!(byte, b' '..=b'~' | b'\n') { byte } else { b'.' }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Side;
    use proptest::prelude::*;

    type Record = fn(PieceStart, &[u8], &mut Vec<u8>);

    fn shown(record: Record, label: &[u8], bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        record(PieceStart { time: b"", label, urgent: false, from: Side::Client }, bytes, &mut out);
        out
    }

    #[test]
    fn strip_is_that_of_the_original() {
        assert_eq!(shown(strip, b"", b"hello\r\nworld\t\x1b[m\0\x7f\x80\xff~"), b"<<< hello\nworld..[m....~");
    }

    #[test]
    fn raw_is_untouched() {
        assert_eq!(shown(raw, b"[2] ", b"\x1b\n\0"), b"[2] <<< \x1b\n\0");
    }

    #[test]
    fn shared_outputs_cannot_be_forged() {
        let payload = b"a\n[9] End of transmission.\r\n\r\nb\r";
        let lines = b"[2] <<< a\n[2] <<< [9] End of transmission.\n[2] <<< \n[2] <<< b\n";
        assert_eq!(shown(strip, b"[2] ", payload), lines);
        assert_eq!(shown(visible, b"[2] ", b"a\nb\r\n"), b"[2] <<< a\n[2] <<< b\n");
    }

    #[test]
    fn terminals_get_text_and_no_orders() {
        let bytes = b"\tcaf\xc3\xa9\r\n\x1b[2J\r\x08\x7f\xc2\x9b\xff\xe2\x80\xae\n";
        assert_eq!(
            String::from_utf8(shown(visible, b"", bytes)).unwrap(),
            "<<< \tcafé\n\\033[2J\\015\\010\\177\\302\\233\\377\\342\\200\\256\n"
        );
    }

    proptest! {
        #[test]
        fn strip_does_byte_by_byte_what_it_promises(bytes in prop::collection::vec(any::<u8>(), 1..300)) {
            let expected: Vec<u8> = bytes.iter().copied().filter(|&byte| byte != b'\r').map(dotted).collect();
            prop_assert_eq!(&shown(strip, b"", &bytes)[4..], expected);
        }

        #[test]
        fn nothing_reaches_a_terminal_that_it_obeys(
            bytes in prop::collection::vec(any::<u8>(), 1..300),
            text in "\\PC{1,20}[\u{80}-\u{9f}\u{202a}-\u{202e}\u{2066}-\u{2069}\0-\x1f]{0,5}",
        ) {
            for bytes in [bytes, text.into_bytes()] {
                for record in [strip as Record, visible] {
                    let shown = String::from_utf8(shown(record, b"[1] ", &bytes)).unwrap();
                    prop_assert!(!shown.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')));
                    let turns = shown.contains(['\u{202e}', '\u{2066}']);
                    prop_assert!(!turns);
                    prop_assert!(shown.lines().all(|line| line.starts_with("[1] <<< ")));
                }
            }
        }
    }
}
