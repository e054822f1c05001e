//! `hex`: sixteen bytes a row, in hexadecimal and in ASCII.

use super::PieceStart;
use super::count::decimal;

const ROW: usize = 16;

const HEAD: &[u8] = b"   |  0  1  2  3  4  5  6  7  8  9  A  B  C  D  E  F |";
const RULE: &[u8] = b"-------+-------------------------------------------------+----------------\n";

static UPPER: [[u8; 2]; 256] = pairs(b"0123456789ABCDEF");
pub(in crate::record) static LOWER: [[u8; 2]; 256] = pairs(b"0123456789abcdef");

const fn pairs(digits: &[u8; 16]) -> [[u8; 2]; 256] {
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
}

pub(super) fn record(start: PieceStart, bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().div_ceil(ROW) * (Row::LENGTH + start.label.len()) + 2 * RULE.len() + 64);
    start.append_without_time(out);
    out.extend_from_slice(HEAD);
    if let [time @ .., b' '] = start.time {
        out.push(b' ');
        out.extend_from_slice(time);
    }
    out.push(b'\n');
    out.extend_from_slice(start.label);
    out.extend_from_slice(RULE);
    rows(start.label, bytes, out);
    packet_length(start.label, bytes.len(), out);
    out.extend_from_slice(start.label);
    out.push(b'\n');
}

fn rows(label: &[u8], bytes: &[u8], out: &mut Vec<u8>) {
    let mut row = Row::new();
    let (whole, rest) = bytes.as_chunks::<ROW>();
    let mut offset = 0;
    for chunk in whole {
        out.extend_from_slice(label);
        out.extend_from_slice(row.whole(offset, chunk));
        offset += ROW as u32;
    }
    if !rest.is_empty() {
        out.extend_from_slice(label);
        out.extend_from_slice(row.part(offset, rest));
    }
}

fn packet_length(label: &[u8], length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(label);
    out.extend_from_slice(b"Packet length: ");
    let mut text = [0; Row::NUMBER];
    let from = offset_text(length as u32, &mut text);
    out.extend_from_slice(&text[from..]);
    out.extend_from_slice(b" (");
    decimal(length as u64, 5, out);
    out.extend_from_slice(if length == 1 { b") byte\n" } else { b") bytes\n" });
}

/// Writes `0x001f` to the end of `text`; returns where that starts. More than four digits appear
/// only where they are needed. A record is far below the 4 GiB that a `u32` can tell.
fn offset_text(offset: u32, text: &mut [u8; Row::NUMBER]) -> usize {
    for (pair, byte) in text[2..].chunks_exact_mut(2).zip(offset.to_be_bytes()) {
        pair.copy_from_slice(&LOWER[usize::from(byte)]);
    }
    let digits = (offset | 0xffff).ilog2() as usize / 4 + 1;
    let start = Row::NUMBER - digits - 2;
    text[start..start + 2].copy_from_slice(b"0x");
    start
}

/// `0x0010 | 63 63 … | cc…`, built in place and appended whole. Blanks and bars stand there from
/// the beginning; a row overwrites the rest.
struct Row {
    number: usize,
    text: [u8; Row::LENGTH],
}

impl Row {
    /// `0x` and up to eight digits.
    const NUMBER: usize = 10;
    const DIGITS: usize = Row::NUMBER + 3;
    const ASCII: usize = Row::DIGITS + 3 * ROW + 2;
    const LENGTH: usize = Row::ASCII + ROW + 1;

    fn new() -> Self {
        let mut text = [b' '; Row::LENGTH];
        text[Row::NUMBER + 1] = b'|';
        text[Row::ASCII - 2] = b'|';
        text[Row::LENGTH - 1] = b'\n';
        Row { number: 0, text }
    }

    fn whole(&mut self, offset: u32, bytes: &[u8; ROW]) -> &[u8] {
        self.number(offset);
        let digits = self.text[Row::DIGITS..Row::ASCII - 2].as_chunks_mut::<3>().0;
        for (digits, &byte) in digits.iter_mut().zip(bytes) {
            let [high, low] = UPPER[usize::from(byte)];
            *digits = [high, low, b' '];
        }
        for (shown, &byte) in self.text[Row::ASCII..].iter_mut().zip(bytes) {
            *shown = if matches!(byte, b' '..=b'~') { byte } else { b'.' };
        }
        &self.text[self.number..]
    }

    /// The last row of a record: blanks instead of the digits that are missing, nothing instead of
    /// the characters.
    fn part(&mut self, offset: u32, bytes: &[u8]) -> &[u8] {
        let mut padded = [0; ROW];
        padded[..bytes.len()].copy_from_slice(bytes);
        self.whole(offset, &padded);
        self.text[Row::DIGITS + 3 * bytes.len()..Row::ASCII - 2].fill(b' ');
        let end = Row::ASCII + bytes.len();
        self.text[end] = b'\n';
        &self.text[self.number..=end]
    }

    fn number(&mut self, offset: u32) {
        if let Some(text) = self.text.first_chunk_mut() {
            self.number = offset_text(offset, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Side;
    use proptest::prelude::*;

    fn dump(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        record(PieceStart { time: b"", label: b"", urgent: false, from: Side::Client }, bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn is_that_of_the_original() {
        let text = "<<<    |  0  1  2  3  4  5  6  7  8  9  A  B  C  D  E  F |\n\
                    -------+-------------------------------------------------+----------------\n\
                    0x0000 | 68 65 6C 6C 6F 0D 0A 77 6F 72 6C 64 09 1B 5B 6D | hello..world..[m\n\
                    0x0010 | 0A                                              | .\n\
                    Packet length: 0x0011 (   17) bytes\n\n";
        assert_eq!(dump(b"hello\r\nworld\t\x1b[m\n"), text);
        assert!(dump(b"x").ends_with("| x\nPacket length: 0x0001 (    1) byte\n\n"));
    }

    #[test]
    fn long_records_get_longer_offsets() {
        let shown = dump(&vec![0xff; 256 << 10]);
        assert!(shown.contains("\n0xfff0 | FF "));
        assert!(shown.contains("\n0x10000 | FF "));
        assert!(shown.contains("\n0x3fff0 | FF "));
        assert!(shown.contains("\nPacket length: 0x40000 (262144) bytes\n"));
    }

    /// The bytes again, from the hexadecimal columns.
    fn read(dump: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for row in dump.lines().filter(|line| line.starts_with("0x")) {
            let (offset, rest) = row[2..].split_once(" | ").unwrap();
            assert_eq!(usize::from_str_radix(offset, 16).unwrap(), bytes.len());
            let digits = rest[..48].split_whitespace();
            bytes.extend(digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()));
            assert_eq!(&rest[48..50], "| ");
        }
        bytes
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            let shown = dump(&bytes);
            prop_assert!(shown.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')));
            prop_assert_eq!(read(&shown), bytes);
        }
    }
}
