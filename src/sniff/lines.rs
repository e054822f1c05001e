//! One direction of the stream, cut into the pieces that the protocols are made of.

use crate::record::find;

/// Bytes kept of a line, or of one message of a binary protocol. Longer ones are read as if they ended here,
/// except that the end of a line is known as well ([`LinePiece::tail`]).
pub(super) const LIMIT: usize = 4096;

/// Bytes known of the end of a line that is longer than [`LIMIT`].
pub(super) const TAIL: usize = 16;

/// Bytes at the start of a stream that must be enough to tell text from each binary protocol.
pub(super) const PEEK: usize = 16;

/// Cutting of the next bytes of a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Cutting {
    /// A stream whose protocol is not known: its first bytes are shown to [`StreamReader::peek`] and read afterwards.
    #[default]
    Peek,
    /// Up to a line feed.
    Line,
    /// Up to this byte, which is left out.
    Until(u8),
    /// This many bytes, whatever they are, to be handed on whole. At most [`LIMIT`].
    Take(usize),
    /// This many bytes of no interest; lines follow.
    Skip(u64),
    /// This many bytes of no interest; then as many as the second number says are taken.
    SkipThenTake(u64, usize),
    /// Bytes as they come, in pieces of any size.
    Raw,
    /// Nothing of interest will follow.
    Ignore,
}

/// A piece of the stream.
#[derive(Clone, Copy)]
pub(super) struct LinePiece<'a> {
    pub(super) bytes: &'a [u8],
    /// The last bytes of a line of which `bytes` is only the beginning.
    pub(super) tail: Option<&'a [u8]>,
}

impl<'a> LinePiece<'a> {
    fn whole(bytes: &'a [u8]) -> Self {
        LinePiece { bytes, tail: None }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.tail.is_some()
    }
}

/// Consumer of a direction.
pub(super) trait StreamReader {
    /// Cutting of the stream that begins with `prefix`; `None` asks for one more byte. With [`PEEK`] bytes
    /// there must be a decision, which may depend on nothing but `prefix`.
    fn peek(&mut self, prefix: &[u8]) -> Option<Cutting>;
    /// Reads a piece and returns the cutting of the stream after it.
    fn read(&mut self, item: LinePiece<'_>) -> Cutting;
}

#[derive(Default)]
pub(super) struct Lines {
    next: Cutting,
    /// The beginning of what is not complete yet.
    kept: Vec<u8>,
    /// The end of a line of which `kept` is full.
    tail: Vec<u8>,
}

impl Lines {
    /// Hands on every piece that `bytes` complete. Lines come without their end.
    pub(super) fn feed(&mut self, mut bytes: &[u8], reader: &mut impl StreamReader) {
        while !bytes.is_empty() {
            bytes = match self.next {
                Cutting::Peek => self.peek(bytes, reader),
                Cutting::Line => self.until(b'\n', bytes, reader),
                Cutting::Until(end) => self.until(end, bytes, reader),
                Cutting::Take(count) => self.take(count, bytes, reader),
                Cutting::Skip(count) => self.skip(count, Cutting::Line, bytes),
                Cutting::SkipThenTake(count, then) => self.skip(count, Cutting::Take(then), bytes),
                Cutting::Raw => {
                    self.next = reader.read(LinePiece::whole(bytes));
                    &[]
                }
                Cutting::Ignore => &[],
            };
        }
    }

    /// What had been announced will not come: the stream goes on as `next` says.
    pub(super) fn restart(&mut self, next: Cutting) {
        self.kept.clear();
        self.tail.clear();
        self.next = next;
    }

    fn peek<'a>(&mut self, bytes: &'a [u8], reader: &mut impl StreamReader) -> &'a [u8] {
        for (index, &byte) in bytes.iter().enumerate() {
            self.kept.push(byte);
            let decided = reader.peek(&self.kept);
            let forced = (self.kept.len() >= PEEK).then_some(Cutting::Ignore);
            if let Some(next) = decided.or(forced) {
                let prefix = std::mem::take(&mut self.kept);
                self.next = next;
                self.feed(&prefix, reader);
                return &bytes[index + 1..];
            }
        }
        &[]
    }

    fn until<'a>(&mut self, end: u8, bytes: &'a [u8], reader: &mut impl StreamReader) -> &'a [u8] {
        let Some(at) = find(end, bytes) else {
            self.keep(bytes);
            return &[];
        };
        self.complete(&bytes[..at], reader);
        &bytes[at + 1..]
    }

    fn take<'a>(&mut self, count: usize, bytes: &'a [u8], reader: &mut impl StreamReader) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(bytes.len().min(count.saturating_sub(self.kept.len())));
        self.kept.extend_from_slice(taken);
        if self.kept.len() >= count {
            self.next = reader.read(LinePiece::whole(&self.kept));
            self.kept.clear();
        }
        rest
    }

    fn skip<'a>(&mut self, count: u64, then: Cutting, bytes: &'a [u8]) -> &'a [u8] {
        let skipped = usize::try_from(count).map_or(bytes.len(), |count| count.min(bytes.len()));
        let left = count - skipped as u64;
        self.next = match then {
            then if left == 0 => then,
            Cutting::Take(size) => Cutting::SkipThenTake(left, size),
            _ => Cutting::Skip(left),
        };
        &bytes[skipped..]
    }

    /// Most lines arrive in one piece and need not be copied.
    fn complete(&mut self, end: &[u8], reader: &mut impl StreamReader) {
        self.next = if self.kept.is_empty() && end.len() <= LIMIT {
            hand_on(LinePiece::whole(end), reader)
        } else {
            self.keep(end);
            let tail = (!self.tail.is_empty()).then_some(self.tail.as_slice());
            hand_on(LinePiece { bytes: &self.kept, tail }, reader)
        };
        self.kept.clear();
        self.tail.clear();
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LIMIT - self.kept.len();
        let (head, rest) = bytes.split_at(bytes.len().min(room));
        self.kept.extend_from_slice(head);
        if !rest.is_empty() {
            self.tail.extend_from_slice(&rest[rest.len().saturating_sub(TAIL)..]);
            let surplus = self.tail.len().saturating_sub(TAIL);
            self.tail.drain(..surplus);
        }
    }
}

fn hand_on(item: LinePiece<'_>, reader: &mut impl StreamReader) -> Cutting {
    if is_binary(item) {
        return Cutting::Ignore;
    }
    reader.read(match item.tail {
        None => LinePiece::whole(item.bytes.strip_suffix(b"\r").unwrap_or(item.bytes)),
        Some(b"\r") => LinePiece::whole(item.bytes),
        Some(tail) => LinePiece { tail: Some(tail.strip_suffix(b"\r").unwrap_or(tail)), ..item },
    })
}

/// Recognises binary data: a TLS handshake, or a long line with NULs in it.
fn is_binary(item: LinePiece<'_>) -> bool {
    item.bytes.starts_with(b"\x16\x03") || (item.bytes.len() == LIMIT && item.bytes.contains(&0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands in the stream itself: `#n` asks for n bytes, `-n` skips as many, `=n` skips them and takes three,
    /// `|` reads up to a bar, `!` ignores the rest.
    #[derive(Default)]
    struct CutScript(Vec<String>);

    impl StreamReader for CutScript {
        fn peek(&mut self, prefix: &[u8]) -> Option<Cutting> {
            (prefix.len() == 3).then_some(Cutting::Line)
        }

        fn read(&mut self, item: LinePiece<'_>) -> Cutting {
            let text = String::from_utf8_lossy(item.bytes).into_owned();
            let number = || text[1..].parse::<u64>().unwrap();
            let next = match item.bytes {
                [b'#', ..] => Cutting::Take(number() as usize),
                [b'-', ..] => Cutting::Skip(number()),
                [b'=', ..] => Cutting::SkipThenTake(number(), 3),
                b"|" => Cutting::Until(b'|'),
                b"!" => Cutting::Ignore,
                _ => Cutting::Line,
            };
            let tail = item.tail.map(|tail| format!("…{}", String::from_utf8_lossy(tail)));
            self.0.push(text + &tail.unwrap_or_default());
            next
        }
    }

    fn items(bytes: &[u8], piece: usize) -> Vec<String> {
        let (mut lines, mut script) = (Lines::default(), CutScript::default());
        for piece in bytes.chunks(piece) {
            lines.feed(piece, &mut script);
        }
        script.0
    }

    #[test]
    fn stream_is_cut_the_same_in_any_pieces() {
        let stream = b"a\r\n\nb\rc\n#5\nx\n\r\nyz\n-4\nabc\nd\n#0\n-0\n=2\nabcdee\n|\nf\ng|h\n!\ni\n";
        for piece in 1..=stream.len() {
            assert_eq!(
                items(stream, piece),
                [
                    "a", "", "b\rc", "#5", "x\n\r\ny", "z", "-4", "d", "#0", "", "-0", "=2", "cde", "e", "|",
                    "f\ng", "h", "!"
                ]
            );
        }
    }

    #[test]
    fn of_long_lines_both_ends_are_known() {
        let stream = [vec![b'a'; 3 * LIMIT], b"0123456789 HTTP/1.1\r\nb\n".to_vec()].concat();
        for piece in [1, 7, LIMIT, LIMIT + 1, 4 * LIMIT] {
            let long = format!("{}…456789 HTTP/1.1", "a".repeat(LIMIT));
            assert_eq!(items(&stream, piece), [long, "b".to_owned()]);
        }
    }

    #[test]
    fn undecided_streams_are_ignored() {
        struct Never;
        impl StreamReader for Never {
            fn peek(&mut self, _: &[u8]) -> Option<Cutting> {
                None
            }
            fn read(&mut self, _: LinePiece<'_>) -> Cutting {
                panic!("nothing is read")
            }
        }
        Lines::default().feed(&[b'\n'; 100], &mut Never);
    }
}
