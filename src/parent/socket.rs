//! Addresses as the system writes them, and the options of a session's sockets.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage, UnixAddr, getpeername, setsockopt,
    sockopt,
};

use crate::messages::Address;

pub(super) fn family_of(address: &Address) -> AddressFamily {
    match address {
        Address::V4 { .. } => AddressFamily::Inet,
        Address::V6 { .. } => AddressFamily::Inet6,
        Address::Unix(_) => AddressFamily::Unix,
    }
}

/// Calls `action` with the address as the system wants it.
pub(super) fn with_sockaddr<T>(
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

/// An IPv4 address in IPv6 clothes is shown as what it is.
pub(super) fn address_of(sockaddr: &SockaddrStorage) -> Address {
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

pub(super) fn peer_of(socket: &OwnedFd) -> Result<Address, Errno> {
    getpeername(socket.as_raw_fd()).map(|sockaddr| address_of(&sockaddr))
}

/// Leaves urgent bytes at their place in the stream. Where the kernel takes them out, it keeps one and drops it for
/// the next. Set before the first byte can arrive; accepted sockets inherit it from the listener.
pub(super) fn keep_urgent_bytes(socket: &OwnedFd) {
    // A connection that is gone already shows itself to the worker.
    let _ = setsockopt(socket, sockopt::OobInline, &true);
}

/// What a session's socket needs before a worker gets it, who may not set it: urgent bytes in place, and no delay of
/// small writes.
pub(super) fn prepare(socket: &OwnedFd, address: &Address) {
    keep_urgent_bytes(socket);
    if address.ip().is_some() {
        // A connection that is gone already shows itself to the worker.
        let _ = setsockopt(socket, sockopt::TcpNoDelay, &true);
    }
}

/// Closes so that the peer sees a reset: what it would see of a server that refuses.
pub(super) fn reset(socket: OwnedFd) {
    let _ = setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
}

/// How a connection attempt ended.
pub(super) fn pending_error(socket: impl AsFd) -> io::Result<()> {
    match nix::sys::socket::getsockopt(&socket, sockopt::SocketError)? {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Whether a peer has gone for good; one that only has nothing more to send is still there.
pub(super) fn is_gone(socket: &OwnedFd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
