//! Reaching a peer: through its addresses, one after the other, without ever waiting.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockFlag, SockProtocol, SockType, connect, socket};

use super::socket::{family_of, keep_urgent_bytes, peer_of, pending_error, with_sockaddr};
use crate::messages::Address;

/// A connection attempt.
pub(super) struct Dial {
    addresses: Rc<[Address]>,
    next: usize,
    socket: Option<OwnedFd>,
    pub(super) deadline: Instant,
    last: Errno,
}

/// How far it is.
pub(super) enum Progress {
    Waiting,
    Connected(OwnedFd, Address),
    Failed(Errno),
}

impl Dial {
    pub(super) fn new(addresses: Rc<[Address]>, patience: Duration) -> Dial {
        let last = Errno::EADDRNOTAVAIL;
        Dial { addresses, next: 0, socket: None, deadline: Instant::now() + patience, last }
    }

    /// What becomes writable when there is news.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Goes on as far as possible now.
    pub(super) fn advance(&mut self) -> Progress {
        loop {
            let Some(socket) = self.socket.take() else {
                match self.try_next() {
                    Some(socket) => self.socket = Some(socket),
                    None => return Progress::Failed(self.last),
                }
                continue;
            };
            // Who has a peer is connected; on loopback that is so at once.
            let none = match peer_of(&socket) {
                Ok(peer) => return Progress::Connected(socket, peer),
                Err(errno) => errno,
            };
            let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut fds, PollTimeout::ZERO) == Ok(0) {
                if Instant::now() >= self.deadline {
                    return Progress::Failed(Errno::ETIMEDOUT);
                }
                self.socket = Some(socket);
                return Progress::Waiting;
            }
            self.last = match pending_error(&socket) {
                // Connected between the two questions, or gone again already.
                Ok(()) => match peer_of(&socket) {
                    Ok(peer) => return Progress::Connected(socket, peer),
                    Err(_) => none,
                },
                Err(error) => error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
            }
        }
    }

    /// Starts on the next address that can be started on.
    fn try_next(&mut self) -> Option<OwnedFd> {
        while let Some(address) = self.addresses.get(self.next) {
            self.next += 1;
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let attempt = socket(family_of(address), SockType::Stream, flags, None::<SockProtocol>).and_then(
                |socket| {
                    keep_urgent_bytes(&socket);
                    match with_sockaddr(address, |to| connect(socket.as_raw_fd(), to)) {
                        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
                        Err(errno) => Err(errno),
                    }
                },
            );
            match attempt {
                Ok(socket) => return Some(socket),
                Err(errno) => self.last = errno,
            }
        }
        None
    }
}
