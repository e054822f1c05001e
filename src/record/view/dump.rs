//! Rows of a hex dump in the layout of `hexdump -C`, with offsets in the stream.

use crate::record::text::LOWER;

/// Bytes in a row, and the columns that such a row takes.
const ROWS: [(usize, usize); 3] = [(16, 78), (8, 45), (4, 29)];

/// Maximum length of a row: 16 digits of an offset, and the rest of a row of sixteen.
const LONGEST: usize = 78 + 8 + 1;

/// Bytes in a row where there are `columns`.
pub(super) fn bytes_in_row(columns: Option<usize>) -> usize {
    let fits = |&&(_, needed): &&(usize, usize)| columns.is_none_or(|columns| columns >= needed);
    ROWS.iter().find(fits).map_or(4, |&(bytes, _)| bytes)
}

/// Appends one row, without an end.
pub(super) fn row(offset: u64, bytes: &[u8], length: usize, out: &mut Vec<u8>) {
    out.reserve(LONGEST);
    let digits = offset.to_be_bytes();
    let skip = if offset >> 32 == 0 { 4 } else { (offset.leading_zeros() / 8) as usize };
    digits[skip..].iter().for_each(|&byte| out.extend_from_slice(&LOWER[usize::from(byte)]));
    for place in 0..length {
        out.extend_from_slice(if place % 8 == 0 { b"  " } else { b" " });
        match bytes.get(place) {
            Some(&byte) => out.extend_from_slice(&LOWER[usize::from(byte)]),
            None => out.extend_from_slice(b"  "),
        }
    }
    out.extend_from_slice(b"  |");
    out.extend(bytes.iter().map(|&byte| if matches!(byte, b' '..=b'~') { byte } else { b'.' }));
    out.push(b'|');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(offset: u64, bytes: &[u8], length: usize) -> String {
        let mut out = Vec::new();
        row(offset, bytes, length, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn the_layout_is_that_of_hexdump() {
        let whole = "0000001f  47 45 54 20 2f 20 48 54  54 50 2f 31 2e 30 0d 0a  |GET / HTTP/1.0..|";
        assert_eq!(shown(31, b"GET / HTTP/1.0\r\n", 16), whole);
        assert_eq!(shown(0, b"A", 8), "00000000  41                       |A|");
        assert_eq!(shown(0x1_2345_6789, b"\xff", 4), "0123456789  ff           |.|");
    }

    #[test]
    fn a_row_fits_the_columns() {
        for (bytes, columns) in ROWS {
            assert_eq!(bytes_in_row(Some(columns)), bytes);
            assert_eq!(shown(7, &vec![0; bytes], bytes).len(), columns);
        }
        assert_eq!([bytes_in_row(None), bytes_in_row(Some(77)), bytes_in_row(Some(1))], [16, 8, 4]);
    }
}
