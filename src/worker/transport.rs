//! The connection to one peer. Flows and the bridge use peers only through this type, which hides the differences
//! between TCP and Unix sockets.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use privsep::sys;

use crate::messages::{TcpInfo, Transport};

/// One of the two peers.
pub(super) struct PeerSocket {
    socket: OwnedFd,
    transport: Transport,
}

impl PeerSocket {
    pub(super) fn new(socket: OwnedFd, transport: Transport) -> PeerSocket {
        PeerSocket { socket, transport }
    }

    pub(super) fn is_tcp(&self) -> bool {
        self.transport == Transport::Tcp
    }

    /// Messages keep their boundaries.
    pub(super) fn has_packets(&self) -> bool {
        self.transport == Transport::UnixPackets
    }

    /// Receives bytes; 0 is the end of the stream. Stops before an urgent byte.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)
    }

    /// Checks for bytes that have arrived and have not been received.
    pub(super) fn has_input(&self) -> bool {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
        recv(self.socket.as_raw_fd(), &mut [0], flags).is_ok_and(|length| length > 0)
    }

    /// Checks whether the next byte is the urgent one.
    pub(super) fn at_mark(&self) -> bool {
        sys::at_mark(self.socket.as_fd()).unwrap_or(false)
    }

    pub(super) fn send(&self, bytes: &[u8], urgent: bool) -> Result<usize, Errno> {
        let urgency = if urgent { MsgFlags::MSG_OOB } else { MsgFlags::empty() };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT | urgency;
        send(self.socket.as_raw_fd(), bytes, flags)
    }

    /// Moves bytes into a pipe.
    pub(super) fn splice_to(&self, pipe: BorrowedFd<'_>, most: usize) -> Result<usize, Errno> {
        splice(self.socket.as_fd(), None, pipe, None, most, SPLICE)
    }

    /// Moves bytes out of a pipe.
    pub(super) fn splice_from(&self, pipe: BorrowedFd<'_>, length: usize) -> Result<usize, Errno> {
        splice(pipe, None, self.socket.as_fd(), None, length, SPLICE)
    }

    /// Half-closes: the peer sees the end of the stream, and may go on sending.
    pub(super) fn finish(&self) {
        // If the peer is gone, the next read reports it.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }

    /// Makes the next write of the peer fail, where the kernel has a way: on Unix sockets alone. What has been
    /// sent already can still be received.
    pub(super) fn refuse(&self) {
        if !self.is_tcp() {
            let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Read);
        }
    }

    /// Bytes that were sent to the peer and that it does not have: not acknowledged (TCP), not read (Unix).
    pub(super) fn outstanding(&self) -> usize {
        sys::outstanding(self.socket.as_fd()).unwrap_or(0)
    }

    /// The error that a broken TCP connection has to report; it reports it once.
    pub(super) fn error(&self) -> Option<Errno> {
        // Sends nothing, and returns the pending error.
        if self.is_tcp() { self.send(&[], false).err().filter(|errno| *errno != Errno::EAGAIN) } else { None }
    }

    /// Checks whether the connection is known to be broken.
    pub(super) fn is_broken(&self) -> bool {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
        let events = poll(&mut fds, PollTimeout::ZERO).ok().and_then(|_| fds[0].revents());
        events.is_some_and(|events| events.contains(PollFlags::POLLERR))
    }

    /// The kernel's figures of the connection; zeros for a Unix socket.
    pub(super) fn tcp_info(&self) -> TcpInfo {
        let info = self.is_tcp().then(|| sys::tcp_info(self.socket.as_fd()));
        let Some(Ok(info)) = info else { return TcpInfo::default() };
        TcpInfo {
            rtt: info.tcpi_rtt,
            rttvar: info.tcpi_rttvar,
            retransmissions: info.tcpi_total_retrans,
            delivery_rate: info.tcpi_delivery_rate,
        }
    }

    /// Resets the connection; the last thing that is done with it. A Unix socket has no reset of its own: its peer sees
    /// one where it has sent something that was not received.
    pub(super) fn reset(&self) {
        if self.is_tcp() {
            // Not SO_LINGER, with which the last close of a socket waits, in whatever process that is.
            let _ = privsep::sys::dissolve(self.socket.as_fd());
        }
    }
}

impl AsFd for PeerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

const SPLICE: SpliceFFlags = SpliceFFlags::SPLICE_F_MOVE.union(SpliceFFlags::SPLICE_F_NONBLOCK);
