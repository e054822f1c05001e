//! `count`: the lengths of records, without their bytes.

use super::PieceStart;

pub(super) fn record(start: PieceStart, bytes: u64, out: &mut Vec<u8>) {
    start.append(out);
    quantity(bytes, out);
    out.push(b'\n');
}

/// `1 byte`, `2 bytes`.
pub(super) fn quantity(bytes: u64, out: &mut Vec<u8>) {
    decimal(bytes, 1, out);
    out.extend_from_slice(if bytes == 1 { b" byte" } else { b" bytes" });
}

/// `number` in decimal, with blanks before it up to `width`.
pub(in crate::record) fn decimal(mut number: u64, width: usize, out: &mut Vec<u8>) {
    const DIGITS: usize = 20; // of u64::MAX
    let mut text = [b' '; DIGITS];
    let mut at = DIGITS;
    loop {
        at -= 1;
        text[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at.min(DIGITS - width)..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_padded_and_never_cut() {
        for number in [0, 1, 9, 10, 99999, 100000, u64::MAX] {
            let mut out = Vec::new();
            decimal(number, 5, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{number:5}"));
        }
    }

    #[test]
    fn one_is_singular() {
        let mut out = Vec::new();
        quantity(1, &mut out);
        quantity(0, &mut out);
        assert_eq!(out, b"1 byte0 bytes");
    }
}
