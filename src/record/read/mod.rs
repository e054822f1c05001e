//! Decoders of saved records: both encodings give the same events. Pure code over untrusted bytes.
//!
//! A decoder gets the available bytes and takes one unit from their front, a line or a block; the caller
//! fetches more if that is not enough. Its memory is bounded by the limits below, whatever a record contains.

#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod ndjson;
mod object;
mod packet;
mod pcapng;
mod sessions;
mod stream;
#[cfg(test)]
mod tests;

use super::Event;

pub(crate) use sessions::MOST_SESSIONS;

/// Maximum length of a line or a block.
pub(crate) const LONGEST_UNIT: usize = 1 << 20;

/// Maximum length of a comment of pcapng.
const LONGEST_COMMENT: usize = 64 << 10;

/// Maximum length of a name, a path or a note.
const LONGEST_TEXT: usize = 1100;

/// Reason to stop reading a record.
#[derive(Debug, PartialEq)]
pub(crate) enum DecodeError<E> {
    /// It is not a record of tcpreen.
    Foreign,
    /// An event is invalid or out of order.
    Damaged,
    /// The receiver of the events failed.
    EventSink(E),
}

/// Result of decoding the bytes at the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// Number of bytes that have been decoded.
    Bytes(usize),
    /// None are decoded: this number of bytes is needed.
    Needs(usize),
}

/// A receiver of events, each with its payload. [`Event::session`] distinguishes open sessions; the numbers
/// of sessions may repeat where runs of the program were appended or merged.
pub(crate) type EventSink<'s, E> = dyn FnMut(Event, &[u8]) -> Result<(), E> + 's;

/// Decodes the parts of a record, one after the other.
#[derive(Default)]
pub(crate) struct Decoder {
    sessions: sessions::Sessions,
    streams: stream::OpenStreams,
    encoding: Option<Encoding>,
}

/// The encoding of a part.
enum Encoding {
    Ndjson,
    Pcapng(pcapng::Section),
}

impl Decoder {
    /// Another part begins. Sessions that are open go on.
    pub(crate) fn begin_part(&mut self) {
        self.encoding = None;
    }

    /// Secrets of TLS that the last unit had, as lines of a key log.
    pub(crate) fn take_secrets(&mut self) -> Vec<u8> {
        match &mut self.encoding {
            Some(Encoding::Pcapng(section)) => std::mem::take(&mut section.secrets),
            _ => Vec::new(),
        }
    }

    /// Decodes the unit at the front of `bytes`. `is_all` is set if nothing follows them.
    pub(crate) fn take<E>(
        &mut self,
        bytes: &[u8],
        is_all: bool,
        sink: &mut EventSink<'_, E>,
    ) -> Result<Decoded, DecodeError<E>> {
        if self.encoding.is_none() {
            self.encoding = match bytes {
                [b'{', ..] => Some(Encoding::Ndjson),
                [0x0a, 0x0d, 0x0d, 0x0a, ..] => Some(Encoding::Pcapng(pcapng::Section::default())),
                bytes if bytes.len() < 4 && [0x0a, 0x0d, 0x0d, 0x0a].starts_with(bytes) => {
                    return Ok(Decoded::Needs(4));
                }
                _ => return Err(DecodeError::Foreign),
            };
        }
        match &mut self.encoding {
            Some(Encoding::Pcapng(section)) => {
                section.take(bytes, &mut self.sessions, &mut self.streams, sink)
            }
            _ => ndjson::take(bytes, is_all, &mut self.sessions, sink),
        }
    }
}
