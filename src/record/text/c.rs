//! `C`: a record is the body of a C string literal, of which a compiler makes the very same bytes.

use super::PieceStart;
use crate::record::visible::octal;

/// Bytes for which room is made at once.
const STRETCH: usize = 256;
/// A byte becomes four characters at most.
const ROOM: usize = 4 * STRETCH;

/// Escaped form of each byte, and its length out of four characters.
static ESCAPES: [([u8; 4], u8); 256] = escapes();

const fn escapes() -> [([u8; 4], u8); 256] {
    let mut table = [([0; 4], 0); 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = escape(byte as u8);
        byte += 1;
    }
    table
}

const fn escape(byte: u8) -> ([u8; 4], u8) {
    match byte {
        b'\n' => (*b"\\n  ", 2),
        b'\r' => (*b"\\r  ", 2),
        b'\t' => (*b"\\t  ", 2),
        b'"' | b'\\' => ([b'\\', byte, b' ', b' '], 2),
        b' '..=b'~' => ([byte, b' ', b' ', b' '], 1),
        // Always three digits: with fewer, a digit of the data that follows would be taken in.
        _ => (octal(byte), 4),
    }
}

pub(super) fn record(start: PieceStart, bytes: &[u8], out: &mut Vec<u8>) {
    start.append(out);
    literal(bytes, out);
    out.push(b'\n');
}

fn literal(bytes: &[u8], out: &mut Vec<u8>) {
    let mut last = b' ';
    let mut room = [0; ROOM + 4];
    for stretch in bytes.chunks(STRETCH) {
        let end = escaped(last, stretch, &mut room);
        out.extend_from_slice(&room[..end]);
        last = stretch[stretch.len() - 1];
    }
}

/// Writes `bytes`, which come after `last`, to the beginning of `text`; returns where they end.
///
/// Every byte is the same work whatever it is: four characters are written, and those that are too
/// many overwritten by the next. A branch for what needs no escape would cost more than it saves as
/// soon as it cannot be foretold.
fn escaped(last: u8, bytes: &[u8], text: &mut [u8; ROOM + 4]) -> usize {
    let mut end = 0;
    for &byte in bytes {
        // `??=` and its like are trigraphs, for some compilers in string literals too. What was
        // written last ends in a question mark only if that was one.
        if byte == b'?' && b'?' == if end == 0 { last } else { text[(end - 1) % ROOM] } {
            text[end % ROOM] = b'\\';
            end += 1;
        }
        let (characters, length) = &ESCAPES[usize::from(byte)];
        // The remainder has no effect, but proves to the compiler that the end is within the text.
        text[end % ROOM..][..4].copy_from_slice(characters);
        end += usize::from(*length);
    }
    end
}

/// Bytes of a C string literal with this body; `None` if a compiler would reject it. For tests.
#[cfg(any(test, fuzzing))]
pub(super) fn compiled(literal: &[u8]) -> Option<Vec<u8>> {
    let mut literal = String::from_utf8(literal.to_vec()).ok()?;
    for (trigraph, meaning) in
        ["??=#", "??/\\", "??'^", "??([", "??)]", "??!|", "??<{", "??>}", "??-~"].map(|both| both.split_at(3))
    {
        literal = literal.replace(trigraph, meaning);
    }
    let mut text = literal.bytes().peekable();
    let mut bytes = Vec::new();
    while let Some(byte) = text.next() {
        bytes.push(match byte {
            b'\\' => match text.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                quoted @ (b'"' | b'\\' | b'?') => quoted,
                first @ b'0'..=b'7' => {
                    let mut value = u32::from(first - b'0');
                    for _ in 0..2 {
                        if let Some(digit) = text.next_if(|byte| matches!(byte, b'0'..=b'7')) {
                            value = value * 8 + u32::from(digit - b'0');
                        }
                    }
                    u8::try_from(value).ok()?
                }
                _ => return None,
            },
            b' '..=b'~' if byte != b'"' => byte,
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Side;
    use proptest::prelude::*;

    fn written(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        literal(bytes, &mut out);
        out
    }

    #[test]
    fn text_stays_legible() {
        assert_eq!(
            written(b"GET /?q=\"x\" HTTP/1.1\r\n\tit's \\"),
            b"GET /?q=\\\"x\\\" HTTP/1.1\\r\\n\\tit's \\\\"
        );
        assert_eq!(written(b"\0\x019\x1b[m\x7f\x80\xff"), b"\\000\\0019\\033[m\\177\\200\\377");
        assert_eq!(written(b"what??!???/"), b"what?\\?!?\\?\\?/");
    }

    #[test]
    fn a_record_is_a_line() {
        let mut out = Vec::new();
        record(PieceStart { time: b"", label: b"[3] ", urgent: true, from: Side::Server }, b"a\nb", &mut out);
        assert_eq!(out, b"[3] (OOB)>>> a\\nb\n");
    }

    #[test]
    fn every_byte_before_every_byte_comes_back() {
        let pairs: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_be_bytes).collect();
        assert_eq!(compiled(&written(&pairs)), Some(pairs));
    }

    #[test]
    fn trigraphs_are_broken_at_block_ends() {
        for before in 0..2 * STRETCH {
            let bytes = [&vec![b'x'; before], b"???/??=".as_slice()].concat();
            assert_eq!(compiled(&written(&bytes)), Some(bytes));
        }
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(bytes in prop::collection::vec(any::<u8>(), 0..3 * STRETCH)) {
            prop_assert_eq!(compiled(&written(&bytes)), Some(bytes));
        }

        #[test]
        fn reading_undoes_writing_of_hard_text(text in "[?/=0-9\\\\\"\n\0a]{0,100}") {
            prop_assert_eq!(compiled(&written(text.as_bytes())), Some(text.into_bytes()));
        }
    }
}
