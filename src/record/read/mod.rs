//! Decoders of saved records: both encodings give the same events. Pure code over untrusted bytes.
//!
//! A decoder gets the available bytes and takes one unit from their front, a line or a block; the caller
//! fetches more if that is not enough. Its memory is bounded by the limits below, whatever a record contains.

#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod ndjson;
mod object;
mod packet;
mod pcapng;
mod search;
mod sessions;
mod stream;
#[cfg(test)]
mod tests;

use super::Event;

use search::Searched;
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
    /// A unit could not be decoded, and no beginning of a record has been found behind it.
    search: Option<search::Search>,
    /// One has been found in this part.
    has_resumed: bool,
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
        self.search = None;
        self.has_resumed = false;
        self.sessions.left_out = 0;
    }

    /// Leaves out the unit at the front, which is damaged or cut, and everything up to the next beginning of a record.
    /// Sessions that are open then have no end.
    pub(crate) fn resync(&mut self) {
        self.search = Some(search::Search::default());
    }

    /// Number of bytes of this part that were left out; `None` if nothing could be decoded behind the first of them.
    pub(crate) fn left_out(&self) -> Option<u64> {
        self.has_resumed.then_some(self.sessions.left_out)
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
        let encoding = match &mut self.encoding {
            Some(encoding) => encoding,
            none => match Encoding::of(bytes, is_all)? {
                Some(encoding) => none.insert(encoding),
                // Not even the first block has a type.
                None if self.search.is_some() => return Ok(Decoded::Bytes(bytes.len())),
                None => return Ok(Decoded::Needs(bytes.len() + 1)),
            },
        };
        if let Some(search) = &mut self.search {
            match search.step(encoding, bytes, is_all) {
                Searched::Needs(number) => return Ok(Decoded::Needs(number)),
                Searched::Skip(number) => {
                    self.sessions.left_out += number as u64;
                    return Ok(Decoded::Bytes(number));
                }
                Searched::Found => {}
            }
            encoding.resume();
            self.sessions.lose_open();
            self.streams = stream::OpenStreams::default();
            (self.search, self.has_resumed) = (None, true);
        }
        match encoding {
            Encoding::Pcapng(section) => {
                section.take((bytes, is_all), &mut self.sessions, &mut self.streams, sink)
            }
            Encoding::Ndjson => ndjson::take(bytes, is_all, &mut self.sessions, sink),
        }
    }
}

impl Encoding {
    /// The encoding of a part that begins with these bytes; `None` if more are needed.
    fn of<E>(bytes: &[u8], is_all: bool) -> Result<Option<Encoding>, DecodeError<E>> {
        let section = pcapng::SECTION_TYPE;
        // The first block was cut within its type, and another record follows.
        let cut = [1, 2].map(|length| [&section[..length], &section].concat());
        let is_section = bytes.starts_with(&section) || cut.iter().any(|cut| bytes.starts_with(cut));
        let may_be_cut = !is_all && cut.iter().any(|cut| cut.starts_with(bytes));
        match bytes {
            [b'{', ..] => Ok(Some(Encoding::Ndjson)),
            _ if is_section => Ok(Some(Encoding::Pcapng(pcapng::Section::default()))),
            _ if section.starts_with(bytes) || may_be_cut => Ok(None),
            _ => Err(DecodeError::Foreign),
        }
    }

    /// Begins anew where a record begins.
    fn resume(&mut self) {
        if let Encoding::Pcapng(section) = self {
            *section = pcapng::Section::default();
        }
    }
}
