//! The fuzz targets of `contrib/fuzz`, and the common parts of those that play the other end of a channel.
//!
//! The targets read an input as a list of actions: one byte selects the action, the bytes after it are its arguments.
//! Compiled only with `--cfg fuzzing`.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use privsep::confine::{Confined, SandboxStatus, Unrestricted};
use privsep::landlock;
use privsep::memory::Memory;
use privsep::seccomp::Violation;
use privsep::sys::Alone;

pub use crate::logger::fuzz::fuzz as logger;
pub use crate::logger::intake::session::fuzz::fuzz as session;
pub use crate::messages::fuzz::fuzz as wire;
pub use crate::parent::fuzz::fuzz as parent;
pub use crate::record::read::fuzz::fuzz as record;
pub use crate::record::text::fuzz::fuzz as formats;
pub use crate::resolver::fuzz::fuzz as resolver;
pub use crate::sniff::fuzz::fuzz as password;
pub use crate::worker::fuzz::{fuzz as worker, prepare as prepare_worker};
pub use crate::zygote::fuzz::{fuzz as zygote, prepare as prepare_zygote};

/// Proves that the process has one thread; waits until a thread that has been joined has left the process.
///
/// libFuzzer watches memory in a thread of its own: targets that fork run with `-rss_limit_mb=0`.
pub(crate) fn alone() -> Alone {
    for _ in 0..1000 {
        if let Ok(alone) = Alone::check() {
            return alone;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("more than one thread: run this target with -rss_limit_mb=0");
}

pub(crate) struct FuzzInput<'a>(&'a [u8]);

impl<'a> FuzzInput<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        FuzzInput(data)
    }

    /// The next byte; `None` at the end of the input.
    pub(crate) fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// Reads a length byte and that number of bytes, or the remaining ones if there are fewer.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }
}

/// Sends bytes unchanged with up to three descriptors, unless the channel is full.
pub(crate) fn send(channel: impl AsFd, bytes: &[u8], fd: BorrowedFd<'_>, count: u8) {
    let fds = vec![fd.as_raw_fd(); usize::from(count % 4)];
    let control = [ControlMessage::ScmRights(&fds)];
    let control = if fds.is_empty() { &[] } else { &control[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let _ = sendmsg::<()>(channel.as_fd().as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None);
}

pub(crate) fn text(script: &mut FuzzInput<'_>) -> String {
    String::from_utf8_lossy(script.bytes()).into_owned()
}

/// The number of open descriptors of this process.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// Stands for the proof of confinement that the loops ask for; a fuzz target is not confined.
pub(crate) fn unlocked() -> Confined {
    Confined {
        sandbox_status: SandboxStatus {
            landlock: landlock::Status::None,
            seccomp: Violation::Kill,
            kept: Unrestricted::default(),
            memory: Memory::default(),
        },
    }
}
