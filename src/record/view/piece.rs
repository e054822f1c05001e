//! A piece of traffic: which part of it is text, and how its lines end.

use crate::record::text::find;

/// Bytes of a piece that are looked at to find out whether it is text.
const SAMPLE: usize = 4096;

/// A piece that is not text may begin with lines of text, at least as long as this together, such as the head of a
/// message.
const HEAD: usize = 16;

/// Number of bytes at the beginning of the piece that are shown as text. The rest is binary.
pub(super) fn text_length(piece: &[u8]) -> usize {
    let sample = &piece[..piece.len().min(SAMPLE)];
    let odd = Odd::of(sample);
    if !odd.has_nul && odd.count * 8 <= sample.len() {
        return piece.len();
    }
    let text = &sample[..odd.first.unwrap_or(sample.len())];
    let end = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    if end >= HEAD { end } else { 0 }
}

/// Bytes that are unusual in text.
#[derive(Default)]
struct Odd {
    count: usize,
    first: Option<usize>,
    has_nul: bool,
}

impl Odd {
    fn of(sample: &[u8]) -> Odd {
        let mut odd = Odd::default();
        // The end of a character that began in the piece before.
        let mut at = sample.iter().take(3).take_while(|byte| is_inner(**byte)).count();
        for chunk in sample[at..].utf8_chunks() {
            for (place, byte) in chunk.valid().bytes().enumerate() {
                if !is_usual(byte) {
                    odd.add(at + place, byte);
                }
            }
            at += chunk.valid().len();
            // The beginning of one that goes on in the next.
            let is_cut = at + chunk.invalid().len() == sample.len() && chunk.invalid().first() < Some(&0xf5);
            for (place, &byte) in chunk.invalid().iter().enumerate().filter(|_| !is_cut) {
                odd.add(at + place, byte);
            }
            at += chunk.invalid().len();
        }
        odd
    }

    fn add(&mut self, place: usize, byte: u8) {
        self.count += 1;
        self.first.get_or_insert(place);
        self.has_nul |= byte == 0;
    }
}

/// Of bytes of UTF-8. Terminals are sent bells, backspaces and escapes.
fn is_usual(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r' | 7 | 8 | 12 | 27 | 0x80..)
}

/// A byte of a character that does not begin it.
const fn is_inner(byte: u8) -> bool {
    matches!(byte, 0x80..0xc0)
}

/// How a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnd {
    Lf,
    CrLf,
}

impl LineEnd {
    pub(super) const fn escape(self) -> &'static [u8] {
        match self {
            LineEnd::Lf => b"\\n",
            LineEnd::CrLf => b"\\r\\n",
        }
    }
}

/// The next line of `text`, and what ended it.
pub(super) fn next_line<'a>(text: &mut &'a [u8]) -> Option<(&'a [u8], Option<LineEnd>)> {
    if text.is_empty() {
        return None;
    }
    let Some(at) = find(b'\n', text) else { return Some((std::mem::take(text), None)) };
    let (line, rest) = (&text[..at], &text[at + 1..]);
    *text = rest;
    Some(match line.strip_suffix(b"\r") {
        Some(line) => (line, Some(LineEnd::CrLf)),
        None => (line, Some(LineEnd::Lf)),
    })
}

/// The longest beginning of `bytes` within `most` that does not cut a character.
pub(super) fn beginning(bytes: &[u8], most: usize) -> &[u8] {
    let Some(cut) = bytes.get(..most) else { return bytes };
    match bytes.get(most) {
        Some(&next) if is_inner(next) => {
            let inner = cut.iter().rev().take(3).take_while(|byte| is_inner(**byte)).count();
            &cut[..most.saturating_sub(inner + 1)]
        }
        _ => cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_binary_are_told_apart() {
        for text in
            ["GET / HTTP/1.0\r\n\r\n", "*1\r\n$4\r\nPING\r\n", "Grüße, 世界\n", "\x1b[1mbold\x1b[m", "x"]
        {
            assert_eq!(text_length(text.as_bytes()), text.len(), "{text:?}");
        }
        for binary in [b"\0".as_slice(), b"\x16\x03\x01\x02", b"\xff\xfb\x01\xff\xfb\x03login: ", b"a\n\0"] {
            assert_eq!(text_length(binary), 0, "{binary:?}");
        }
        assert_eq!(text_length(b"HTTP/1.0 200 OK\r\n\r\n\x89PNG\r\n\x1a\n\0\0\0"), 19);
    }

    #[test]
    fn a_character_in_two_pieces_is_text() {
        let text = "…".repeat(10);
        for end in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(end);
            assert_eq!([text_length(first), text_length(second)], [first.len(), second.len()]);
        }
    }

    #[test]
    fn lines_end_as_they_do() {
        let mut text = b"a\r\nb\n\nc".as_slice();
        let lines: Vec<_> = std::iter::from_fn(|| next_line(&mut text)).collect();
        let expected: [(&[u8], _); 4] =
            [(b"a", Some(LineEnd::CrLf)), (b"b", Some(LineEnd::Lf)), (b"", Some(LineEnd::Lf)), (b"c", None)];
        assert_eq!(lines, expected);
    }

    #[test]
    fn no_character_is_cut() {
        let text = "aé€🙂".as_bytes();
        let ends: Vec<usize> = (0..=text.len()).map(|most| beginning(text, most).len()).collect();
        assert_eq!(ends, [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10]);
        assert_eq!(beginning(b"\x80\x80\x80\x80\x80", 4).len(), 0);
    }
}
