//! One direction of HTTP/1 (RFC 9112), RTSP (RFC 7826) or SIP (RFC 3261): lines become headers, and bodies
//! are skipped, so that nothing in them is taken for a header.

use super::super::lines::{Item, LIMIT, Next};
use super::super::words::number;

/// The state of one direction.
#[derive(Default)]
pub(super) struct Message {
    pub(super) part: Part,
    length: Length,
    /// The last header line, which the next one may continue, and whether it was cut.
    unfinished: Option<(Vec<u8>, bool)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Part {
    /// Before the first line of a message.
    #[default]
    Start,
    Headers,
    /// Before the size of a chunk.
    Chunk,
    /// After the last chunk.
    Trailer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Length {
    /// No body, unless a header says otherwise.
    #[default]
    Nothing,
    /// No body, whatever the headers say.
    Never,
    Bytes(u64),
    Chunks,
    UntilClose,
}

/// A header line, with the lines that continue it.
pub(super) struct Header<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) cut: bool,
}

impl Header<'_> {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

impl Message {
    /// The first line has come.
    pub(super) fn begin(&mut self, length: Length) {
        *self = Message { part: Part::Headers, length, unfinished: None };
    }

    /// Any other line; `heard` gets every header as soon as it is complete.
    pub(super) fn line(&mut self, item: Item<'_>, heard: impl FnMut(Header<'_>)) -> Next {
        match self.part {
            Part::Headers => self.header_line(item, heard),
            Part::Trailer if item.bytes.is_empty() => {
                self.part = Part::Start;
                Next::Line
            }
            // A chunk's own end is an empty line here.
            Part::Chunk if !item.bytes.is_empty() => self.chunk(item.bytes),
            Part::Start | Part::Chunk | Part::Trailer => Next::Line,
        }
    }

    fn header_line(&mut self, item: Item<'_>, mut heard: impl FnMut(Header<'_>)) -> Next {
        if let ([b' ' | b'\t', ..], Some((line, cut))) = (item.bytes, &mut self.unfinished) {
            let room = LIMIT.saturating_sub(line.len());
            line.extend_from_slice(&item.bytes[..item.bytes.len().min(room)]);
            *cut |= item.is_cut() || item.bytes.len() > room;
            return Next::Line;
        }
        if let Some((line, cut)) = self.unfinished.take()
            && let Some((name, value)) = split(&line)
        {
            let header = Header { name, value, cut };
            self.measure(&header);
            heard(header);
        }
        if item.bytes.is_empty() {
            return self.body();
        }
        self.unfinished = Some((item.bytes.to_vec(), item.is_cut()));
        Next::Line
    }

    fn measure(&mut self, header: &Header<'_>) {
        if self.length == Length::Never {
            return;
        }
        if header.is("Transfer-Encoding") {
            let last = header.value.rsplit(|&byte| byte == b',').next().unwrap_or_default().trim_ascii();
            if last.eq_ignore_ascii_case(b"chunked") {
                self.length = Length::Chunks;
            }
        } else if (header.is("Content-Length") || header.is("l"))
            && let Some(length) = number(header.value)
            && self.length != Length::Chunks
        {
            self.length = Length::Bytes(length);
        }
    }

    fn body(&mut self) -> Next {
        self.part = if self.length == Length::Chunks { Part::Chunk } else { Part::Start };
        match self.length {
            Length::Nothing | Length::Never | Length::Chunks => Next::Line,
            Length::Bytes(count) => Next::Skip(count),
            Length::UntilClose => Next::Ignore,
        }
    }

    fn chunk(&mut self, line: &[u8]) -> Next {
        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        match str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            Some(0) => self.part = Part::Trailer,
            Some(size) => return Next::Skip(size),
            None => self.part = Part::Start,
        }
        Next::Line
    }
}

/// The name and the value of a header. Blanks before the colon are not allowed, and servers take them all the same.
pub(super) fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii()))
}
