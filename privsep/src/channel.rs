//! A channel between two processes: a SEQPACKET pair, so that one message is one `recvmsg`.
//!
//! The two ends have different types: what one may send is what the other expects. The receiver checks
//! size and descriptors, then decodes; whether the message is allowed *now* is for the caller's state to
//! say. Any [`ChannelError`] but `Full`, `Crowded` and `System` means that the peer broke the rules: drop it.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, getsockopt, socketpair, sockopt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sys::{self, Fds, ForeignFd, Received};
use crate::wire::{self, WireError};

/// One end of a channel. No message that this end sends or receives is longer than `ROOM`, for which its calls
/// have a buffer on the stack. A process that is forked often keeps it [`wire::SHORT`]: each page of the stack
/// that parent and child both write to is copied for every child.
pub struct Channel<Out, In, const ROOM: usize = { wire::LIMIT }> {
    socket: OwnedFd,
    messages: PhantomData<fn(Out) -> In>,
}

/// What a channel has for us.
pub enum Incoming<In> {
    Message(In, Fds),
    /// The other end is closed.
    Closed,
    /// Nothing yet (only where the call does not wait).
    Nothing,
}

/// Bytes received as they are, for those who decode in place.
pub enum Frame {
    Bytes(usize),
    Closed,
    Nothing,
}

/// Why a message could not be sent or accepted.
#[derive(Debug)]
pub enum ChannelError {
    Wire(WireError),
    /// Larger than any message may be.
    TooLong,
    /// Descriptors that were cut off or are of another kind, unknown control data, or more of them than allowed.
    Descriptors,
    /// The other end does not keep up (only where the call does not wait).
    Full,
    /// This user has too many descriptors on their way between processes (`ETOOMANYREFS`); soon fewer.
    Crowded,
    System(io::Error),
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChannelError::Wire(error) => error.fmt(f),
            ChannelError::TooLong => f.write_str("message too long"),
            ChannelError::Descriptors => f.write_str("message with descriptors that do not belong to it"),
            ChannelError::Full => f.write_str("channel full"),
            ChannelError::Crowded => f.write_str("too many descriptors on their way"),
            ChannelError::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ChannelError {}

impl From<WireError> for ChannelError {
    fn from(error: WireError) -> Self {
        ChannelError::Wire(error)
    }
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

/// Whether a call waits.
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
    /// Two ends that belong together. Both are close-on-exec.
    pub fn pair() -> io::Result<(Channel<Out, In, ROOM>, Channel<In, Out, ROOM>)> {
        let (one, other) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Channel::from_socket(one), Channel::from_socket(other)))
    }

    /// An end that arrived from elsewhere, if that is what it is.
    pub fn adopt(socket: ForeignFd) -> Result<Self, ChannelError> {
        is_of(&socket, SockType::SeqPacket)?;
        Ok(Channel::from_socket(socket.accept()?))
    }

    /// The kernel refuses descriptors that are sent to this end from now on, where it can (Linux 6.16). Elsewhere
    /// they arrive, are closed, and the message is refused here.
    pub fn refuse_descriptors(&self) -> io::Result<()> {
        sys::refuse_descriptors(self.socket.as_fd()).map(drop)
    }

    pub(crate) fn from_socket(socket: OwnedFd) -> Self {
        Channel { socket, messages: PhantomData }
    }

    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Sends bytes that are a whole message already.
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

    /// One message as it came; nothing where the call does not wait and there is none.
    fn receive_bytes(&self, buffer: &mut [u8], wait: Wait) -> Result<Option<Received>, ChannelError> {
        let receive = if ROOM <= wire::SHORT { sys::receive_from_parent } else { sys::receive };
        loop {
            match receive(self.socket.as_fd(), buffer, wait.flag().bits()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The peer went away with messages of ours unread. The kernel says so once, and before
                // the messages that it left for us.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(ChannelError::System(error)),
                Ok(received) => return Ok(Some(received)),
            }
        }
    }

    /// Tells the other end that nothing more comes from here; it may go on sending.
    pub fn finish_sending(&self) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        Ok(nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Write)?)
    }
}

impl<Out: Serialize, In, const ROOM: usize> Channel<Out, In, ROOM> {
    /// Sends a message, waiting for room.
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

/// The descriptors of a message that must come with none.
pub fn no_fds(fds: Fds) -> Result<(), ChannelError> {
    let [None, None] = fds else { return Err(ChannelError::Descriptors) };
    Ok(())
}

/// The descriptor of a message that must come with one.
pub fn one_fd(fds: Fds) -> Result<ForeignFd, ChannelError> {
    let [Some(fd), None] = fds else { return Err(ChannelError::Descriptors) };
    Ok(fd)
}

/// The descriptors of a message that must come with two stream sockets.
///
/// Whether they are connected is for the sender to have seen: by now the peer may have reset one.
pub fn two_streams(fds: Fds) -> Result<(OwnedFd, OwnedFd), ChannelError> {
    let [Some(one), Some(other)] = fds else { return Err(ChannelError::Descriptors) };
    is_of(&one, SockType::Stream)?;
    is_of(&other, SockType::Stream)?;
    Ok((one.accept()?, other.accept()?))
}

/// Whether a descriptor is a socket of this type: a datagram could be sent anywhere.
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
