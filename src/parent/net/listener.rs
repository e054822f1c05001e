//! Listening sockets: the only task that needs privileges.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, bind, connect, getsockname, getsockopt, listen,
    setsockopt, socket, sockopt,
};

use crate::messages::Address;
use crate::parent::net::socket::{SocketOptions, address_of, family_of, prepare, with_sockaddr};
use crate::parent::startup::own_file::{DirectoryEntry, OwnFile};

/// A socket that accepts peers. Dropping it removes the file of a Unix socket.
pub(in crate::parent) struct Listener {
    socket: OwnedFd,
    pub(in crate::parent) address: Address,
    file: Option<OwnFile>,
    /// Inherited: the process that opened the socket knows its address.
    pub(in crate::parent) is_handed: bool,
    /// Also accepts IPv4 clients although its address is IPv6 (`IPV6_V6ONLY` off).
    pub(in crate::parent) is_dual_stack: bool,
    /// Other sockets may be bound to the same port (`SO_REUSEPORT`).
    pub(in crate::parent) is_shared: bool,
}

impl Listener {
    /// Wraps an inherited socket, whose file belongs to its creator.
    pub(in crate::parent) fn handed(socket: OwnedFd, address: Address) -> Listener {
        let v6_only = getsockopt(&socket, sockopt::Ipv6V6Only).unwrap_or(true);
        let is_shared = getsockopt(&socket, sockopt::ReusePort).unwrap_or(false);
        Listener { socket, address, file: None, is_handed: true, is_dual_stack: !v6_only, is_shared }
    }

    /// Binds to the first address that works. Accepted connections have the options of [`prepare`].
    pub(in crate::parent) fn bind(addresses: &[Address], options: SocketOptions) -> Result<Listener, Errno> {
        let mut last = Errno::EADDRNOTAVAIL;
        for address in addresses {
            match Listener::bind_one(address, options) {
                Ok(listener) => return Ok(listener),
                // Retries only for a family that this machine lacks: a port in use must not move the listener
                // elsewhere.
                Err(errno @ (Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)) => last = errno,
                Err(errno) => return Err(errno),
            }
        }
        Err(last)
    }

    fn bind_one(address: &Address, options: SocketOptions) -> Result<Listener, Errno> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family_of(address), options.kind(), flags, None::<SockProtocol>)?;
        prepare(&socket, address, options);
        if let Address::V6 { host, .. } = address {
            // `::` includes IPv4, regardless of the system's default.
            setsockopt(&socket, sockopt::Ipv6V6Only, &!host.is_unspecified())?;
        }
        let file = match address {
            Address::Unix(path) => {
                make_room(path)?;
                with_sockaddr(address, |sockaddr| bind(socket.as_raw_fd(), sockaddr))?;
                match path.first() {
                    Some(b'@') => None,
                    _ => Some(OwnFile::find(DirectoryEntry::of(Path::new(OsStr::from_bytes(path)))?)?),
                }
            }
            _ => {
                setsockopt(&socket, sockopt::ReuseAddr, &true)?;
                with_sockaddr(address, |sockaddr| bind(socket.as_raw_fd(), sockaddr))?;
                None
            }
        };
        listen(&socket, Backlog::MAXCONN)?;
        let address = match address {
            Address::Unix(_) => address.clone(),
            // A dynamic port is known only now.
            _ => address_of(&getsockname(socket.as_raw_fd())?),
        };
        let is_dual_stack = matches!(&address, Address::V6 { host, .. } if host.is_unspecified());
        Ok(Listener { socket, address, file, is_handed: false, is_dual_stack, is_shared: false })
    }

    /// Accepts the next peer, if there is one.
    pub(in crate::parent) fn accept(&self) -> io::Result<Option<(OwnedFd, Address)>> {
        let (peer, address) = match privsep::sys::accept(self.socket.as_fd()) {
            Ok(accepted) => accepted,
            Err(error) => {
                return match error.raw_os_error().map(Errno::from_raw) {
                    // The peer disconnected before it was accepted, or a network error was reported.
                    Some(
                        Errno::EAGAIN
                        | Errno::EINTR
                        | Errno::ECONNABORTED
                        | Errno::EPROTO
                        | Errno::ENETDOWN
                        | Errno::ENETUNREACH
                        | Errno::EHOSTUNREACH
                        | Errno::EHOSTDOWN
                        | Errno::ENONET
                        | Errno::ENOPROTOOPT
                        | Errno::EOPNOTSUPP,
                    ) => Ok(None),
                    _ => Err(error),
                };
            }
        };
        // A peer that has reset the connection may have sent something before.
        let address = address.map_or_else(|| Address::Unix(Vec::new()), |address| address_of(&address));
        Ok(Some((peer, address)))
    }
}

impl Listener {
    /// Directory of the file that this listener removes at the end.
    pub(in crate::parent) fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// Removes the file of a Unix socket. In a directory owned by root the file stays, and refuses connections until the
    /// next start replaces the file.
    pub(in crate::parent) fn remove_file(&mut self) {
        if let Some(file) = self.file.take() {
            let _ = file.remove();
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.remove_file();
    }
}

/// Removes a socket that no process listens on. Any other file at the path stays, and is an error.
fn make_room(path: &[u8]) -> Result<(), Errno> {
    use std::os::unix::fs::FileTypeExt;
    let file = Path::new(OsStr::from_bytes(path));
    let stale = file.symlink_metadata().is_ok_and(|found| found.file_type().is_socket());
    if path.first() == Some(&b'@') || !stale {
        return Ok(());
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None::<SockProtocol>)?;
    let address = Address::Unix(path.to_vec());
    match with_sockaddr(&address, |sockaddr| connect(probe.as_raw_fd(), sockaddr)) {
        Err(Errno::ECONNREFUSED) => nix::unistd::unlink(file),
        _ => Err(Errno::EADDRINUSE),
    }
}
