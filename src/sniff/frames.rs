//! Binary protocols: a direction cut into messages, each with a header that gives the length of the rest.

use super::lines::{Cutting, LIMIT, LinePiece};

/// Content of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// This many more bytes belong to the header.
    More(usize),
    /// A body of this many bytes follows.
    Body(u64),
    /// This is no header of the protocol.
    Foreign,
}

/// One direction.
pub(super) struct Frames {
    /// Bytes with which a header begins.
    pub(super) header: usize,
    head: Vec<u8>,
    /// The body comes next; this many bytes of it are not read.
    body: Option<u64>,
}

/// A message whose body is complete, or read as far as [`LIMIT`].
pub(super) struct Frame<'a> {
    pub(super) head: Vec<u8>,
    pub(super) body: &'a [u8],
    /// Bytes of the body that are not read.
    pub(super) rest: u64,
}

impl Frame<'_> {
    pub(super) fn is_cut(&self) -> bool {
        self.rest > 0
    }

    pub(super) fn length(&self) -> u64 {
        self.body.len() as u64 + self.rest
    }
}

impl Frames {
    pub(super) fn new(header: usize) -> Self {
        Frames { header, head: Vec::new(), body: None }
    }

    pub(super) fn start(&self) -> Cutting {
        Cutting::Take(self.header)
    }

    /// Takes the next piece: returns a message that it completes, or the cutting of the stream until one is
    /// complete.
    pub(super) fn read<'a>(
        &mut self,
        item: LinePiece<'a>,
        measure: impl FnOnce(&[u8]) -> Measure,
    ) -> Result<Frame<'a>, Cutting> {
        if let Some(rest) = self.body.take() {
            return Ok(Frame { head: std::mem::take(&mut self.head), body: item.bytes, rest });
        }
        self.head.extend_from_slice(item.bytes);
        match measure(&self.head) {
            Measure::More(count) if count <= LIMIT => Err(Cutting::Take(count)),
            Measure::More(_) | Measure::Foreign => Err(Cutting::Ignore),
            Measure::Body(0) => Ok(Frame { head: std::mem::take(&mut self.head), body: b"", rest: 0 }),
            Measure::Body(length) => {
                let read = length.min(LIMIT as u64);
                self.body = Some(length - read);
                Err(Cutting::Take(read as usize))
            }
        }
    }

    /// Cutting of the stream after a message of which `rest` has not been read.
    pub(super) fn after(&self, rest: u64) -> Cutting {
        match rest {
            0 => Cutting::Take(self.header),
            rest => Cutting::SkipThenTake(rest, self.header),
        }
    }
}

/// Reads numbers and strings; None where the bytes end too soon.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.take(2)?.first_chunk()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(*self.take(4)?.first_chunk()?))
    }

    /// A string behind its length in one byte.
    pub(super) fn short_string(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// A string behind its length in two bytes.
    pub(super) fn string16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A string behind its length in four bytes.
    pub(super) fn string32(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// A string with a NUL behind it.
    pub(super) fn c_string(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == 0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }
}
