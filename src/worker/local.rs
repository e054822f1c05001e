//! Descriptors that pass between two Unix sockets (`SCM_RIGHTS`), each with the byte it was sent with.
//!
//! A receive returns the descriptors of one message together with bytes that were sent before it, without the place
//! where that message began. A receiver that reads the earlier bytes alone must not get the descriptors with them, so
//! that the place is found first, by peeking at the queue.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use privsep::sys::{self, MOST_RIGHTS};

use super::ends::{Ends, report, report_with};
use super::transport::PeerSocket;
use crate::messages::{self, Record, Side, rights};

/// Delay before descriptors are sent again after `ETOOMANYREFS`.
const RETRY: Duration = Duration::from_millis(10);

/// Time after which they are given up: other descriptors of the same user remain in flight.
const PATIENCE: Duration = Duration::from_secs(10);

/// The result of one read.
#[derive(Default)]
pub(super) struct LocalRead {
    pub(super) length: usize,
    /// The end of the stream.
    pub(super) is_end: bool,
    /// Sent with the first byte.
    pub(super) rights: Rights,
}

impl LocalRead {
    /// Of a stream, without descriptors.
    pub(super) fn bytes(length: usize) -> LocalRead {
        LocalRead { length, is_end: length == 0, rights: Rights::default() }
    }
}

/// Descriptors on their way.
#[derive(Default)]
pub(super) struct Rights {
    fds: Vec<OwnedFd>,
    /// There were more, which the kernel has closed.
    is_cut: bool,
    /// Set after `ETOOMANYREFS`.
    wait: Option<Wait>,
}

struct Wait {
    until: Instant,
    deadline: Instant,
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// Receives from a Unix socket.
pub(super) fn receive(source: &PeerSocket, sink: &PeerSocket, room: &mut [u8]) -> Result<LocalRead, Errno> {
    if sink.is_tcp() {
        let (length, is_cut) = sys::receive_without_rights(source.as_fd(), room).map_err(errno)?;
        let rights = Rights { is_cut, ..Rights::default() };
        return Ok(LocalRead { length, is_end: length == 0, rights });
    }
    if source.has_packets() {
        return receive_packet(source, room);
    }
    let plain = sys::bytes_before_rights(source.as_fd(), room).map_err(errno)?;
    if plain > 0 {
        // Only these, so that no descriptors are among them.
        return source.receive(&mut room[..plain]).map(LocalRead::bytes);
    }
    let received = sys::receive_rights(source.as_fd(), room).map_err(errno)?;
    let rights = Rights { fds: received.fds, is_cut: received.is_cut, wait: None };
    Ok(LocalRead { length: received.bytes, is_end: received.bytes == 0, rights })
}

/// Checks that the next byte comes without descriptors.
pub(super) fn is_plain(source: &PeerSocket, room: &mut [u8]) -> bool {
    source.is_tcp() || sys::bytes_before_rights(source.as_fd(), room).is_ok_and(|length| length > 0)
}

/// Receives one message, which may be empty.
fn receive_packet(source: &PeerSocket, room: &mut [u8]) -> Result<LocalRead, Errno> {
    let received = sys::receive_rights(source.as_fd(), room).map_err(errno)?;
    if received.is_too_long {
        return Err(Errno::EMSGSIZE);
    }
    let is_end = received.bytes == 0 && !received.is_stamped;
    let rights = Rights { fds: received.fds, is_cut: received.is_cut, wait: None };
    Ok(LocalRead { length: received.bytes, is_end, rights })
}

/// The result of an attempt to send descriptors.
pub(super) enum Sent {
    /// This number of bytes, and the descriptors with the first.
    Bytes(usize),
    /// Nothing: the receiver takes no more for now.
    NotYet,
    /// Nothing: the descriptors have been given up, and the bytes can be sent without them.
    WithoutRights,
    Failed(Errno),
}

impl Rights {
    pub(super) fn is_empty(&self) -> bool {
        self.fds.is_empty()
    }

    pub(super) fn count(&self) -> usize {
        self.fds.len()
    }

    /// Time of the next attempt after `ETOOMANYREFS`.
    pub(super) fn due(&self) -> Option<Instant> {
        self.wait.as_ref().map(|wait| wait.until)
    }

    /// Reports the descriptors, before the bytes they came with.
    pub(super) fn report(&self, from: Side, ends: &Ends<'_>) -> io::Result<()> {
        if self.is_cut {
            report(ends.channel, &Record::Undelivered { from, count: 0, time: messages::now() })?;
        }
        if self.fds.is_empty() {
            return Ok(());
        }
        let mut codes = [0; MOST_RIGHTS];
        for (code, fd) in codes.iter_mut().zip(&self.fds) {
            *code = rights::code(sys::file_kind(fd.as_fd()));
        }
        report_with(
            ends.channel,
            &Record::Descriptors { from, time: messages::now() },
            &codes[..self.fds.len()],
        )
    }

    /// Sends them with bytes. Ours are closed as soon as they are on their way: the receiver must be the only holder.
    /// With `urgent` the last byte is.
    pub(super) fn send(&mut self, sink: &PeerSocket, bytes: &[u8], urgent: bool) -> Sent {
        match sys::send_rights(sink.as_fd(), bytes, &self.fds, urgent).map_err(errno) {
            Ok(sent) => {
                *self = Rights::default();
                Sent::Bytes(sent)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Sent::NotYet,
            Err(Errno::ETOOMANYREFS) if self.waits() => Sent::NotYet,
            // Too many for too long; the receiver takes none (`SO_PASSRIGHTS`); or none of this kind.
            Err(Errno::ETOOMANYREFS | Errno::EPERM | Errno::EINVAL) => Sent::WithoutRights,
            Err(errno) => Sent::Failed(errno),
        }
    }

    /// Schedules the next attempt; `false` when the deadline has passed.
    fn waits(&mut self) -> bool {
        let now = Instant::now();
        let deadline = self.wait.as_ref().map_or(now + PATIENCE, |wait| wait.deadline);
        self.wait = Some(Wait { until: now + RETRY, deadline });
        now < deadline
    }

    /// Closes them; returns how many there were.
    pub(super) fn give_up(&mut self) -> usize {
        std::mem::take(&mut self.fds).len()
    }
}

/// Reports descriptors that were not passed on.
pub(super) fn report_undelivered(from: Side, count: usize, ends: &Ends<'_>) -> io::Result<()> {
    match u32::try_from(count) {
        Ok(0) => Ok(()),
        Ok(count) => report(ends.channel, &Record::Undelivered { from, count, time: messages::now() }),
        Err(_) => Ok(()),
    }
}
