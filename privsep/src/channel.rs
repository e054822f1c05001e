//! A channel between two processes: a SEQPACKET pair, so that one message is one `recvmsg`.
//!
//! The two ends have different types: each sends the message type that the other receives. The receiver
//! checks size and descriptors, then decodes; the caller decides whether its state allows the message at that
//! moment. Any [`ChannelError`] but `Full`, `Crowded` and `System` means that the peer violated the protocol:
//! close the channel.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, getsockopt, socketpair, sockopt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sys::{self, Fds, ForeignFd, Received};
use crate::wire::{self, WireError};

/// One end of a channel. No message in either direction is longer than `ROOM`, the size of the calls' stack
/// buffers. A process that forks often keeps it at [`wire::SHORT`], because each stack page that parent and
/// child both write to is copied for every child.
pub struct Channel<Out, In, const ROOM: usize = { wire::LIMIT }> {
    socket: OwnedFd,
    messages: PhantomData<fn(Out) -> In>,
}

/// Result of a receive.
pub enum Incoming<In> {
    Message(In, Fds),
    /// The other end is closed.
    Closed,
    /// No message is queued; only with [`Wait::No`].
    Nothing,
}

/// Received bytes, left for the caller to decode in place.
pub enum Frame {
    Bytes(usize),
    Closed,
    Nothing,
}

/// Reason why a message could not be sent or accepted.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Exceeds the size limit of a message.
    #[error("message too long")]
    TooLong,
    /// Descriptors that were cut off, are of another type or exceed the permitted number, or unknown control
    /// data.
    #[error("message with descriptors that do not belong to it")]
    Descriptors,
    /// The other end does not read fast enough; only with [`Wait::No`].
    #[error("channel full")]
    Full,
    /// The user has too many descriptors in flight (`ETOOMANYREFS`). Temporary.
    #[error("too many descriptors in flight")]
    Crowded,
    #[error(transparent)]
    System(io::Error),
}

impl From<io::Error> for ChannelError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => ChannelError::Full,
            _ if error.raw_os_error() == Some(Errno::ETOOMANYREFS as i32) => ChannelError::Crowded,
            _ => ChannelError::System(error),
        }
    }
}

/// Selects blocking or non-blocking operation of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Yes,
    No,
}

impl Wait {
    fn flag(self) -> MsgFlags {
        match self {
            Wait::Yes => MsgFlags::empty(),
            Wait::No => MsgFlags::MSG_DONTWAIT,
        }
    }
}

impl<Out, In, const ROOM: usize> Channel<Out, In, ROOM> {
    /// Creates two connected ends. Both are close-on-exec.
    pub fn pair() -> io::Result<(Channel<Out, In, ROOM>, Channel<In, Out, ROOM>)> {
        let (one, other) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Channel::from_socket(one), Channel::from_socket(other)))
    }

    /// Takes over a descriptor received from another process, after checking that it is a SEQPACKET socket.
    pub fn adopt(socket: ForeignFd) -> Result<Self, ChannelError> {
        is_of(&socket, SockType::SeqPacket)?;
        Ok(Channel::from_socket(socket.accept()?))
    }

    /// Makes the kernel refuse descriptors sent to this end from now on (Linux 6.16). On older kernels they
    /// arrive, are closed, and the message is refused here.
    pub fn refuse_descriptors(&self) -> io::Result<()> {
        sys::refuse_descriptors(self.socket.as_fd()).map(drop)
    }

    pub(crate) fn from_socket(socket: OwnedFd) -> Self {
        Channel { socket, messages: PhantomData }
    }

    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Sends bytes that form one complete message.
    pub fn send_frame(&self, bytes: &[u8]) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        loop {
            match nix::sys::socket::send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(sent) if sent == bytes.len() => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            }
        }
    }

    /// Receives the bytes of one message that must come without descriptors.
    pub fn receive_frame(&self, buffer: &mut [u8], wait: Wait) -> Result<Frame, ChannelError> {
        let Some(received) = self.receive_bytes(buffer, wait)? else { return Ok(Frame::Nothing) };
        match received.bytes {
            _ if received.fds.iter().any(Option::is_some) => Err(ChannelError::Descriptors),
            _ if !received.intact => Err(ChannelError::TooLong),
            0 => Ok(Frame::Closed),
            length => Ok(Frame::Bytes(length)),
        }
    }

    /// Receives one undecoded message; `None` with [`Wait::No`] if none is queued.
    fn receive_bytes(&self, buffer: &mut [u8], wait: Wait) -> Result<Option<Received>, ChannelError> {
        let receive = if ROOM <= wire::SHORT { sys::receive_from_parent } else { sys::receive };
        loop {
            match receive(self.socket.as_fd(), buffer, wait.flag().bits()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The peer closed with unread messages of this end. The kernel reports that once, before the
                // messages that the peer had queued.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(ChannelError::System(error)),
                Ok(received) => return Ok(Some(received)),
            }
        }
    }

    /// Shuts down the sending direction; the other end may continue to send.
    pub fn finish_sending(&self) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        Ok(nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Write)?)
    }
}

impl<Out: Serialize, In, const ROOM: usize> Channel<Out, In, ROOM> {
    /// Sends a message; blocks while the queue is full.
    pub fn send(&self, message: &Out) -> Result<(), ChannelError> {
        self.send_with(message, &[], Wait::Yes)
    }

    /// Sends a message with descriptors.
    pub fn send_with(&self, message: &Out, fds: &[BorrowedFd<'_>], wait: Wait) -> Result<(), ChannelError> {
        let mut buffer = [0; ROOM];
        let length = wire::encode(message, &mut buffer)?;
        loop {
            match sys::send(self.socket.as_fd(), &buffer[..length], fds, wait.flag().bits()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map_err(ChannelError::from),
            }
        }
    }
}

impl<Out, In: DeserializeOwned, const ROOM: usize> Channel<Out, In, ROOM> {
    /// Receives one message with its descriptors.
    pub fn receive(&self, wait: Wait) -> Result<Incoming<In>, ChannelError> {
        let mut buffer = [0; ROOM];
        let Some(received) = self.receive_bytes(&mut buffer, wait)? else { return Ok(Incoming::Nothing) };
        if !received.intact {
            return Err(ChannelError::Descriptors);
        }
        if received.bytes == 0 && received.fds.iter().all(Option::is_none) {
            return Ok(Incoming::Closed);
        }
        let message = wire::decode(&buffer[..received.bytes])?;
        Ok(Incoming::Message(message, received.fds))
    }
}

/// Checks that a message came without descriptors.
pub fn no_fds(fds: Fds) -> Result<(), ChannelError> {
    let [None, None] = fds else { return Err(ChannelError::Descriptors) };
    Ok(())
}

/// Returns the descriptor of a message that must have exactly one.
pub fn one_fd(fds: Fds) -> Result<ForeignFd, ChannelError> {
    let [Some(fd), None] = fds else { return Err(ChannelError::Descriptors) };
    Ok(fd)
}

/// Returns the descriptors of a message that must have exactly two, both sockets of this type.
///
/// The sender checks that they are connected: by now the peer may have reset one.
pub fn two_sockets(fds: Fds, kind: SockType) -> Result<(OwnedFd, OwnedFd), ChannelError> {
    let [Some(one), Some(other)] = fds else { return Err(ChannelError::Descriptors) };
    is_of(&one, kind)?;
    is_of(&other, kind)?;
    Ok((one.accept()?, other.accept()?))
}

/// Checks the socket type: a datagram socket could send to any address.
fn is_of(socket: &ForeignFd, kind: SockType) -> Result<(), ChannelError> {
    match getsockopt(socket, sockopt::SockType) {
        Ok(found) if found == kind => Ok(()),
        _ => Err(ChannelError::Descriptors),
    }
}

impl<Out, In, const ROOM: usize> AsFd for Channel<Out, In, ROOM> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
