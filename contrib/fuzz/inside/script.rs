//! How an input is read as a list of things to do: a byte says what, the next ones with what. And what all
//! who play need.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use privsep::confine::{Cage, Kept, Locked};
use privsep::landlock;

pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Script(data)
    }

    /// The next byte; none when the input is over.
    pub(crate) fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// As many bytes as the next one says.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }
}

/// Sends bytes as they are with up to three descriptors, if they are taken at once.
pub(crate) fn send(channel: impl AsFd, bytes: &[u8], fd: BorrowedFd<'_>, count: u8) {
    let fds = vec![fd.as_raw_fd(); usize::from(count % 4)];
    let control = [ControlMessage::ScmRights(&fds)];
    let control = if fds.is_empty() { &[] } else { &control[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let _ = sendmsg::<()>(channel.as_fd().as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None);
}

pub(crate) fn text(script: &mut Script<'_>) -> String {
    String::from_utf8_lossy(script.bytes()).into_owned()
}

/// How many descriptors this process has.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// For a loop that wants to see a cage: nobody is locked in here.
pub(crate) fn unlocked() -> Locked {
    Locked { cage: Cage { landlock: landlock::Status::None, kept: Kept::default() } }
}
