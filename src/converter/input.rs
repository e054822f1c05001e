//! One part of a record, and as much of it as is in memory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::read;

use crate::messages::Flaw;
use crate::record::read::LONGEST_UNIT;

/// Bytes that one read asks for.
const READ: usize = 256 << 10;

/// Result of a fetch.
pub(super) enum More {
    Bytes,
    /// Nothing more comes.
    End,
    /// The parent has closed its channel.
    Unwanted,
}

pub(super) struct PartReader {
    fd: OwnedFd,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Of `start`, in the part.
    offset: u64,
    /// Nothing more can be read.
    is_all: bool,
    /// The first place that cannot be decoded.
    flaw: Option<Flaw>,
}

impl PartReader {
    pub(super) fn new(fd: OwnedFd) -> PartReader {
        PartReader { fd, buffer: Vec::new(), start: 0, end: 0, offset: 0, is_all: false, flaw: None }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Nothing follows these bytes.
    pub(super) fn is_all(&self) -> bool {
        self.is_all
    }

    /// The bytes here cannot be decoded; the first place is kept.
    pub(super) fn add_flaw(&mut self, flaw: Flaw) {
        self.flaw.get_or_insert(flaw);
    }

    pub(super) fn flaw(&self) -> Option<Flaw> {
        self.flaw
    }

    pub(super) fn consume(&mut self, number: usize) {
        self.start += number;
        self.offset += number as u64;
    }

    /// Reads until there are more bytes than before, and at least `number` where the part has them.
    pub(super) fn fetch(&mut self, number: usize, parent: BorrowedFd<'_>) -> Result<More, super::Break> {
        self.make_room(number.min(LONGEST_UNIT));
        loop {
            if is_closed(&self.fd, parent)? {
                return Ok(More::Unwanted);
            }
            match read(&self.fd, &mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.is_all = true;
                    return Ok(More::End);
                }
                Ok(length) => self.end += length,
                Err(Errno::EINTR | Errno::EAGAIN) => continue,
                Err(errno) => return Err(super::Break::Flaw(Flaw::Read { errno: errno as i32 })),
            }
            if self.end - self.start >= number.min(LONGEST_UNIT) {
                return Ok(More::Bytes);
            }
        }
    }

    /// Moves what is left to the front, behind which there is room for a read, and for a unit of this length.
    fn make_room(&mut self, number: usize) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let wanted = (self.end + READ).max(number);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
    }
}

/// Waits for bytes; returns `true` if the parent has closed its channel instead.
fn is_closed(input: &OwnedFd, parent: BorrowedFd<'_>) -> Result<bool, Errno> {
    loop {
        let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN), PollFd::new(parent, PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => return Ok(fds[1].any().unwrap_or(false)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
