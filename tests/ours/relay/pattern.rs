//! What the peers of a script send: each byte follows from the seed of the peer and its place in the stream.

use std::sync::OnceLock;

/// Byte `at` of what the peer with this seed sends: none of them needs an escape in a record.
pub fn pattern(seed: u64, at: u64) -> u8 {
    0x60 | (at.wrapping_mul(7) ^ (at >> 6) ^ (at >> 13) ^ seed) as u8 & 0x0f
}

/// Number of bytes after which a pattern repeats.
const PERIOD: u64 = 1 << 17;

/// Calls `each` with the parts of one pattern, in order. They are copied from one period, which is made once: peers
/// send and compare megabytes.
fn parts(seed: u64, from: u64, length: u64, mut each: impl FnMut(&[u8])) {
    static PERIODS: OnceLock<[Vec<u8>; 16]> = OnceLock::new();
    let periods = PERIODS
        .get_or_init(|| std::array::from_fn(|seed| (0..PERIOD).map(|at| pattern(seed as u64, at)).collect()));
    let (period, end) = (&periods[seed as usize], from + length);
    let mut at = from;
    while at < end {
        let start = at % PERIOD;
        let taken = (PERIOD - start).min(end - at);
        each(&period[start as usize..(start + taken) as usize]);
        at += taken;
    }
}

pub fn piece(seed: u64, from: u64, length: u64) -> Vec<u8> {
    let mut piece = Vec::with_capacity(length as usize);
    parts(seed, from, length, |part| piece.extend_from_slice(part));
    piece
}

/// Checks that `bytes` are those from position `from` on that the peer with this seed sends.
pub fn is_piece(seed: u64, from: u64, mut bytes: &[u8]) -> bool {
    let mut equal = true;
    parts(seed, from, bytes.len() as u64, |part| {
        let (here, rest) = bytes.split_at(part.len());
        equal &= here == part;
        bytes = rest;
    });
    equal
}
