//! One direction of the stream, cut into the pieces that the protocols are made of.

use super::super::find;

/// What is kept of a line. Longer ones are read as if they ended here.
pub(super) const LIMIT: usize = 4096;

/// What a direction's next bytes are, as far as its protocol knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Next {
    #[default]
    Line,
    /// So many bytes, whatever they are, to be handed on whole. Never more than [`LIMIT`].
    Take(usize),
    /// So many bytes of no interest.
    Skip(u64),
    /// Nothing of interest will ever follow.
    Deaf,
}

#[derive(Default)]
pub(super) struct Lines {
    next: Next,
    /// The beginning of what is not complete yet.
    kept: Vec<u8>,
}

impl Lines {
    /// Hands on every item that `bytes` complete; `read` says how the stream goes on. Lines come
    /// without their end.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut read: impl FnMut(&[u8]) -> Next) {
        while !bytes.is_empty() {
            bytes = match self.next {
                Next::Line => self.line(bytes, &mut read),
                Next::Take(count) => self.take(count, bytes, &mut read),
                Next::Skip(count) => self.skip(count, bytes),
                Next::Deaf => &[],
            };
        }
    }

    /// What had been announced will not come.
    pub(super) fn back_to_lines(&mut self) {
        self.kept.clear();
        self.next = Next::Line;
    }

    fn line<'a>(&mut self, bytes: &'a [u8], read: impl FnMut(&[u8]) -> Next) -> &'a [u8] {
        let Some(end) = find(b'\n', bytes) else {
            self.keep(bytes);
            return &[];
        };
        self.complete(&bytes[..end], read);
        &bytes[end + 1..]
    }

    fn take<'a>(&mut self, count: usize, bytes: &'a [u8], mut read: impl FnMut(&[u8]) -> Next) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(bytes.len().min(count.saturating_sub(self.kept.len())));
        self.kept.extend_from_slice(taken);
        if self.kept.len() >= count {
            self.next = read(&self.kept);
            self.kept.clear();
        }
        rest
    }

    fn skip<'a>(&mut self, count: u64, bytes: &'a [u8]) -> &'a [u8] {
        let skipped = usize::try_from(count).map_or(bytes.len(), |count| count.min(bytes.len()));
        self.next = match count - skipped as u64 {
            0 => Next::Line,
            left => Next::Skip(left),
        };
        &bytes[skipped..]
    }

    /// Most lines arrive in one piece and need not be copied.
    fn complete(&mut self, end: &[u8], mut read: impl FnMut(&[u8]) -> Next) {
        self.next = if self.kept.is_empty() {
            hand_on(&end[..end.len().min(LIMIT)], &mut read)
        } else {
            self.keep(end);
            hand_on(&self.kept, &mut read)
        };
        self.kept.clear();
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LIMIT - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

fn hand_on(line: &[u8], read: &mut impl FnMut(&[u8]) -> Next) -> Next {
    if is_binary(line) { Next::Deaf } else { read(line.strip_suffix(b"\r").unwrap_or(line)) }
}

/// Whether this is no line of any protocol that has lines: a TLS handshake, or a line that no one
/// would write and that has NULs in it.
fn is_binary(line: &[u8]) -> bool {
    line.starts_with(b"\x16\x03") || (line.len() == LIMIT && line.contains(&0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of `bytes` in pieces of `piece`; `#n` asks for n bytes, `-n` skips as many.
    fn items(bytes: &[u8], piece: usize) -> Vec<String> {
        let mut lines = Lines::default();
        let mut items = Vec::new();
        for piece in bytes.chunks(piece) {
            lines.feed(piece, |item| {
                items.push(String::from_utf8_lossy(item).into_owned());
                match item {
                    [b'#', digits @ ..] => Next::Take(str::from_utf8(digits).unwrap().parse().unwrap()),
                    [b'-', digits @ ..] => Next::Skip(str::from_utf8(digits).unwrap().parse().unwrap()),
                    b"!" => Next::Deaf,
                    _ => Next::Line,
                }
            });
        }
        items
    }

    #[test]
    fn stream_is_cut_the_same_in_any_pieces() {
        let stream = b"a\r\n\nb\rc\n#5\nx\n\r\nyz\n-4\nabc\nd\n#0\n-0\ne\n!\nf\n";
        for piece in 1..=stream.len() {
            assert_eq!(
                items(stream, piece),
                ["a", "", "b\rc", "#5", "x\n\r\ny", "z", "-4", "d", "#0", "", "-0", "e", "!"]
            );
        }
    }

    #[test]
    fn long_lines_are_cut() {
        let stream = [vec![b'a'; 3 * LIMIT], b"\r\nb\n".to_vec()].concat();
        for piece in [1, 7, LIMIT, LIMIT + 1, 4 * LIMIT] {
            assert_eq!(items(&stream, piece), ["a".repeat(LIMIT), "b".to_owned()]);
        }
    }
}
