//! One direction of HTTP/1 (RFC 9112), RTSP (RFC 7826) or SIP (RFC 3261): lines become headers, and bodies
//! are skipped, so that nothing in them is taken for a header.

use super::super::lines::{Cutting, LIMIT, LinePiece};
use super::super::words::number;

/// The state of one direction.
#[derive(Default)]
pub(super) struct MessageReader {
    pub(super) part: MessagePart,
    length: Length,
    /// The last header line, which the next one may continue, and whether it was cut.
    unfinished: Option<(Vec<u8>, bool)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MessagePart {
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

impl MessageReader {
    /// The first line has come.
    pub(super) fn begin(&mut self, length: Length) {
        *self = MessageReader { part: MessagePart::Headers, length, unfinished: None };
    }

    /// Any other line; `heard` gets every header as soon as it is complete.
    pub(super) fn line(&mut self, item: LinePiece<'_>, heard: impl FnMut(Header<'_>)) -> Cutting {
        match self.part {
            MessagePart::Headers => self.header_line(item, heard),
            MessagePart::Trailer if item.bytes.is_empty() => {
                self.part = MessagePart::Start;
                Cutting::Line
            }
            // A chunk's own end is an empty line here.
            MessagePart::Chunk if !item.bytes.is_empty() => self.chunk(item.bytes),
            MessagePart::Start | MessagePart::Chunk | MessagePart::Trailer => Cutting::Line,
        }
    }

    fn header_line(&mut self, item: LinePiece<'_>, mut heard: impl FnMut(Header<'_>)) -> Cutting {
        if let ([b' ' | b'\t', ..], Some((line, cut))) = (item.bytes, &mut self.unfinished) {
            let room = LIMIT.saturating_sub(line.len());
            line.extend_from_slice(&item.bytes[..item.bytes.len().min(room)]);
            *cut |= item.is_cut() || item.bytes.len() > room;
            return Cutting::Line;
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
        Cutting::Line
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

    fn body(&mut self) -> Cutting {
        self.part = if self.length == Length::Chunks { MessagePart::Chunk } else { MessagePart::Start };
        match self.length {
            Length::Nothing | Length::Never | Length::Chunks => Cutting::Line,
            Length::Bytes(count) => Cutting::Skip(count),
            Length::UntilClose => Cutting::Ignore,
        }
    }

    fn chunk(&mut self, line: &[u8]) -> Cutting {
        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        match str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            Some(0) => self.part = MessagePart::Trailer,
            Some(size) => return Cutting::Skip(size),
            None => self.part = MessagePart::Start,
        }
        Cutting::Line
    }
}

/// The name and the value of a header. Blanks before the colon are not allowed, and servers take them all the same.
pub(super) fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii()))
}
