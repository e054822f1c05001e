//! Conversion of socket addresses, and the options of a session's sockets.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage, UnixAddr, getpeername,
    getsockname, setsockopt, sockopt,
};

use crate::config::{Config, Keepalive};
use crate::messages::Address;

/// Number of unanswered probes after which a peer counts as lost, with `--keepalive TIME`.
const KEEPALIVE_PROBES: u32 = 3;

/// Options of the sockets of a run.
#[derive(Clone, Copy)]
pub(in crate::parent) struct SocketOptions {
    pub(in crate::parent) keepalive: Keepalive,
    /// `SOCK_SEQPACKET`
    pub(in crate::parent) packets: bool,
}

impl SocketOptions {
    pub(in crate::parent) fn of(config: &Config) -> SocketOptions {
        SocketOptions { keepalive: config.keepalive, packets: config.has_packets() }
    }

    pub(in crate::parent) fn kind(self) -> SockType {
        if self.packets { SockType::SeqPacket } else { SockType::Stream }
    }
}

/// Size of the send buffer of a peer's packet socket: the longest message that a worker can record. The kernel limits
/// the size to `net.core.wmem_max` and doubles it.
const PACKET_ROOM: usize = 256 * 1024;

pub(in crate::parent) fn family_of(address: &Address) -> AddressFamily {
    match address {
        Address::V4 { .. } => AddressFamily::Inet,
        Address::V6 { .. } => AddressFamily::Inet6,
        Address::Unix(_) => AddressFamily::Unix,
    }
}

/// Calls `action` with the address in the system's form.
pub(in crate::parent) fn with_sockaddr<T>(
    address: &Address,
    action: impl FnOnce(&dyn SockaddrLike) -> Result<T, Errno>,
) -> Result<T, Errno> {
    match address {
        Address::V4 { host, port } => action(&SockaddrIn::from(std::net::SocketAddrV4::new(*host, *port))),
        Address::V6 { host, port, scope } => {
            action(&SockaddrIn6::from(std::net::SocketAddrV6::new(*host, *port, 0, *scope)))
        }
        Address::Unix(path) => match path.split_first() {
            Some((b'@', name)) => action(&UnixAddr::new_abstract(name)?),
            _ => action(&UnixAddr::new(path.as_slice())?),
        },
    }
}

/// Converts from the system's form; unmaps IPv4-mapped addresses.
pub(in crate::parent) fn address_of(sockaddr: &SockaddrStorage) -> Address {
    if let Some(v4) = sockaddr.as_sockaddr_in() {
        return Address::V4 { host: v4.ip(), port: v4.port() };
    }
    if let Some(v6) = sockaddr.as_sockaddr_in6() {
        return match v6.ip().to_ipv4_mapped() {
            Some(host) => Address::V4 { host, port: v6.port() },
            None => Address::V6 { host: v6.ip(), port: v6.port(), scope: v6.scope_id() },
        };
    }
    let unix = sockaddr.as_unix_addr();
    let path = unix.and_then(UnixAddr::path).map(|path| path.as_os_str().as_encoded_bytes().to_vec());
    let name = || unix.and_then(UnixAddr::as_abstract).map(|name| [b"@", name].concat());
    Address::Unix(path.or_else(name).unwrap_or_default())
}

pub(in crate::parent) fn peer_of(socket: &OwnedFd) -> Result<Address, Errno> {
    getpeername(socket.as_raw_fd()).map(|sockaddr| address_of(&sockaddr))
}

/// Keeps urgent bytes in the stream (`SO_OOBINLINE`). Otherwise the kernel takes the urgent byte out and drops it
/// when the next one arrives. Set before the first byte can arrive; accepted sockets inherit the option from the
/// listener.
pub(in crate::parent) fn keep_urgent_bytes(socket: &OwnedFd) {
    // The worker notices a closed connection.
    let _ = setsockopt(socket, sockopt::OobInline, &true);
}

/// Returns the local address of a socket.
pub(in crate::parent) fn local_of(socket: &OwnedFd) -> Result<Address, Errno> {
    getsockname(socket.as_raw_fd()).map(|sockaddr| address_of(&sockaddr))
}

/// Sets the options of a session's socket, which its worker may not set: urgent bytes in place, no delay of
/// small writes, and keep-alive probes. Errors are ignored: the worker notices a closed connection.
///
/// Accepted sockets inherit all of them from their listener. Options set once there are not set again for each
/// session: each such call runs the seccomp filter.
pub(in crate::parent) fn prepare(socket: &OwnedFd, address: &Address, options: SocketOptions) {
    if options.packets {
        return prepare_packets(socket);
    }
    keep_urgent_bytes(socket);
    set_tcp_options(socket, address, options.keepalive);
}

/// Sets the options of a packet socket, which are not inherited. Each message gets a time stamp, by which a worker
/// distinguishes an empty message from the end.
pub(in crate::parent) fn prepare_packets(socket: &OwnedFd) {
    let _ = setsockopt(socket, sockopt::ReceiveTimestamp, &true);
    let _ = setsockopt(socket, sockopt::SndBuf, &PACKET_ROOM);
}

/// Sets those options of [`prepare`] that may be set after the first bytes.
pub(in crate::parent) fn set_tcp_options(socket: &OwnedFd, address: &Address, keepalive: Keepalive) {
    if address.ip().is_none() {
        return;
    }
    let _ = setsockopt(socket, sockopt::TcpNoDelay, &true);
    // Also for `Off`: an accepted socket inherits the option from an inherited listener.
    let _ = setsockopt(socket, sockopt::KeepAlive, &(keepalive != Keepalive::Off));
    if let Keepalive::Every(seconds) = keepalive {
        let _ = setsockopt(socket, sockopt::TcpKeepIdle, &seconds);
        let _ = setsockopt(socket, sockopt::TcpKeepInterval, &seconds);
        let _ = setsockopt(socket, sockopt::TcpKeepCount, &KEEPALIVE_PROBES);
    }
}

/// Closes with a reset, as a server that refuses does.
pub(in crate::parent) fn reset(socket: OwnedFd) {
    let _ = setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
}

/// Returns the result of a connection attempt.
pub(in crate::parent) fn pending_error(socket: impl AsFd) -> io::Result<()> {
    match nix::sys::socket::getsockopt(&socket, sockopt::SocketError)? {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// State of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::parent) enum Standing {
    /// Open; the peer may have finished sending.
    Open,
    /// Closed or reset by the peer, with data to read or an orderly end: both can still be delivered.
    Left,
    /// Reset by the peer or timed out, with nothing to read.
    Lost,
}

/// Determines the state without reading from the connection. `is_reset`: the socket has reported a reset already.
pub(in crate::parent) fn standing(socket: &OwnedFd, is_reset: bool) -> Standing {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(1..) => {}
        _ => return Standing::Open,
    }
    let fails = fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR));
    if (fails || is_reset) && privsep::sys::unread(socket.as_fd()).unwrap_or(0) == 0 {
        Standing::Lost
    } else {
        Standing::Left
    }
}
