//! Inherited sockets: inetd's on descriptor 0, a service manager's from descriptor 3 on. Each is checked
//! before use.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, setsockopt, sockopt,
};
use nix::sys::stat::{SFlag, fstat};
use privsep::sys;

use crate::config::{Approach, Config, Endpoint};
use crate::exit::{Failure, Status};
use crate::messages::{Address, Side};
use crate::parent::net::address::failure;
use crate::parent::net::dial::Connection;
use crate::parent::net::listener::Listener;
use crate::parent::net::socket::{SocketOptions, address_of, peer_of};
use crate::reason::reason;

/// An inherited descriptor, not yet checked.
pub(crate) struct HandedSocket {
    fd: OwnedFd,
    /// Name given by the service manager.
    name: String,
    number: RawFd,
}

/// An inherited socket by type.
pub(in crate::parent) enum InheritedSocket {
    /// Accepts clients, or the server.
    Listening(Listener),
    /// A connected client, and the local address that it connected to.
    Client { client: Connection, here: Address },
}

/// Inherited sockets by side.
#[derive(Default)]
pub(in crate::parent) struct InheritedSockets {
    pub(in crate::parent) client: Option<InheritedSocket>,
    pub(in crate::parent) server: Option<Listener>,
}

impl HandedSocket {
    /// Takes over the service manager's descriptors, by the numbers and names that it gave.
    pub(in crate::parent) fn adopt(
        sockets: Vec<(RawFd, String)>,
        inherited: &mut BTreeMap<RawFd, OwnedFd>,
    ) -> std::io::Result<Vec<HandedSocket>> {
        let mut adopt = |(number, name)| {
            let fd = inherited.remove(&number).ok_or(std::io::ErrorKind::NotFound)?;
            never_linger(&fd);
            Ok(HandedSocket { fd, name, number })
        };
        sockets.into_iter().map(&mut adopt).collect()
    }

    /// The number under which the descriptor was passed.
    pub(in crate::parent) fn number(&self) -> RawFd {
        self.number
    }

    /// Takes over inetd's socket and closes its other copies in the standard streams.
    fn stdin() -> std::io::Result<HandedSocket> {
        let fd = std::io::stdin().as_fd().try_clone_to_owned()?;
        never_linger(&fd);
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
        sys::replace_streams(null.as_fd(), 0..=0)?;
        let copies = [std::io::stdout().as_fd(), std::io::stderr().as_fd()].map(|stream| same(&fd, stream));
        for (stream, _) in (1..).zip(copies).filter(|(_, is_copy)| *is_copy) {
            sys::replace_streams(null.as_fd(), stream..=stream)?;
        }
        Ok(HandedSocket { fd, name: side_name(Side::Client).into(), number: 0 })
    }

    /// Selects the side of the socket: the side in its name; without a name, the only side that listens.
    fn side(&self, config: &Config) -> Result<Side, Failure> {
        let waits = |side: &Side| endpoint(config, *side).approach == Approach::Listen;
        let sides = [Side::Client, Side::Server];
        match sides.into_iter().find(|side| side_name(*side) == self.name) {
            Some(side) if waits(&side) => Ok(side),
            Some(side) => {
                let option = if side == Side::Client { "-c" } else { "no -l" };
                Err(self.refused(&format!("is for the {}, which does not come to us ({option})", self.name)))
            }
            None => match sides.into_iter().filter(waits).collect::<Vec<_>>().as_slice() {
                [side] => Ok(*side),
                [] => Err(self.refused("is unused with -c: the bridge connects to both sides")),
                _ => Err(self.refused("has to be named client or server with -l (FileDescriptorName=)")),
            },
        }
    }

    fn refused(&self, why: &str) -> Failure {
        let name = self.name.escape_default();
        let name = if self.number == 0 { String::new() } else { format!(" ({name})") };
        Failure::new(Status::Config, format!("descriptor {}{name} {why}", self.number))
    }

    fn wrong_kind(&self, kind: &str) -> Failure {
        self.refused(&format!("is {kind}, and has to be a stream socket, TCP or Unix"))
    }

    /// Determines the type of the socket.
    fn open(self, kind: SockType) -> Result<InheritedSocket, Failure> {
        let here = self.socket(kind)?;
        let unusable = |errno: Errno| self.refused(&format!("is of no use: {}", reason(errno as i32)));
        // The flags are shared with the process that passed the socket and does not depend on them.
        let flags = fcntl(&self.fd, FcntlArg::F_GETFL).map_err(unusable)?;
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
        fcntl(&self.fd, FcntlArg::F_SETFL(flags)).map_err(unusable)?;
        if getsockopt(&self.fd, sockopt::AcceptConn).map_err(unusable)? {
            return Ok(InheritedSocket::Listening(Listener::handed(self.fd, here)));
        }
        match peer_of(&self.fd) {
            Ok(address) => {
                let client = Connection { socket: self.fd, address, is_reset: false };
                Ok(InheritedSocket::Client { client, here })
            }
            // A port without a peer: the client has reset the connection. What it sent before can still be read.
            Err(Errno::ENOTCONN) if has_port(&here) => {
                let client = Connection { socket: self.fd, address: unknown_peer(&here), is_reset: true };
                Ok(InheritedSocket::Client { client, here })
            }
            Err(Errno::ENOTCONN) => Err(self.wrong_kind("a socket that neither listens nor is connected")),
            Err(errno) => Err(unusable(errno)),
        }
    }

    /// Returns the local address of a supported socket.
    fn socket(&self, kind: SockType) -> Result<Address, Failure> {
        let mode = fstat(&self.fd).map_or(0, |found| found.st_mode);
        match SFlag::from_bits_truncate(mode) & SFlag::S_IFMT {
            SFlag::S_IFSOCK => {}
            SFlag::S_IFIFO => return Err(self.wrong_kind("a pipe")),
            SFlag::S_IFREG => return Err(self.wrong_kind("a file")),
            _ if nix::unistd::isatty(&self.fd).unwrap_or(false) => {
                return Err(self.wrong_kind("a terminal"));
            }
            _ => return Err(self.wrong_kind("no socket")),
        }
        match getsockopt(&self.fd, sockopt::SockType) {
            Ok(found) if found == kind => {}
            Ok(SockType::Stream) => {
                return Err(self.refused("is a stream socket, but -p is unix-seqpacket"));
            }
            Ok(SockType::SeqPacket) => {
                return Err(self.wrong_kind("a socket for packets (-p unix-seqpacket)"));
            }
            Ok(SockType::Datagram) => return Err(self.wrong_kind("a datagram socket")),
            _ => return Err(self.wrong_kind("a socket for packets")),
        }
        match getsockname::<SockaddrStorage>(self.fd.as_raw_fd()) {
            Ok(name) if name.family() == Some(AddressFamily::Unix) => Ok(address_of(&name)),
            Ok(name) if kind == SockType::Stream && name.family().is_some_and(is_bridged) => {
                Ok(address_of(&name))
            }
            _ => Err(self.wrong_kind("a socket of another family")),
        }
    }
}

/// Assigns each inherited socket to its side.
pub(in crate::parent) fn open(
    mut handed: Vec<HandedSocket>,
    config: &Config,
) -> Result<InheritedSockets, Failure> {
    if config.inetd {
        let os = |error| Failure::new(Status::Os, format!("descriptor 0: {error}"));
        handed.push(HandedSocket::stdin().map_err(os)?);
    }
    let mut sockets = InheritedSockets::default();
    for one in handed {
        let side = one.side(config)?;
        let (second, no_client) = (
            one.refused(&format!("is the second one for the {}", side_name(side))),
            one.refused("is connected: only a client can come that way"),
        );
        match (side, one.open(SocketOptions::of(config).kind())?) {
            (Side::Client, door) if sockets.client.is_none() => sockets.client = Some(door),
            (Side::Server, InheritedSocket::Listening(listener)) if sockets.server.is_none() => {
                sockets.server = Some(listener);
            }
            (Side::Server, InheritedSocket::Client { .. }) => return Err(no_client),
            _ => return Err(second),
        }
    }
    Ok(sockets)
}

/// The address of a peer that the system does not know any more.
fn unknown_peer(here: &Address) -> Address {
    match here {
        Address::V4 { .. } => Address::V4 { host: Ipv4Addr::UNSPECIFIED, port: 0 },
        Address::V6 { .. } => Address::V6 { host: Ipv6Addr::UNSPECIFIED, port: 0, scope: 0 },
        Address::Unix(_) => Address::Unix(Vec::new()),
    }
}

/// Checks the socket against the address given on the command line for its side, if any.
pub(in crate::parent) fn check(
    endpoint: &Endpoint,
    typed: &[Address],
    here: &Address,
) -> Result<(), Failure> {
    if typed.iter().any(|typed| fits(typed, here)) {
        return Ok(());
    }
    Err(failure(endpoint, Status::Config, &format!("the socket that was handed over is {here}")))
}

fn fits(typed: &Address, here: &Address) -> bool {
    let port = |typed: u16, here: u16| typed == 0 || typed == here;
    match (typed, here) {
        (Address::Unix(typed), Address::Unix(here)) => typed == here,
        (_, Address::Unix(_)) => is_free(typed),
        (Address::V4 { port: typed_port, .. } | Address::V6 { port: typed_port, .. }, _) => {
            let (typed_host, host) = (typed.ip(), here.ip());
            let anywhere = typed_host.is_some_and(|host| host.is_unspecified());
            let here_port = match here {
                Address::V4 { port, .. } | Address::V6 { port, .. } => *port,
                Address::Unix(_) => 0,
            };
            port(*typed_port, here_port) && (anywhere || typed_host == host)
        }
        (Address::Unix(_), _) => false,
    }
}

/// Checks for any port of any address, which specifies nothing.
fn is_free(typed: &Address) -> bool {
    match typed {
        Address::V4 { host, port } => host.is_unspecified() && *port == 0,
        Address::V6 { host, port, .. } => host.is_unspecified() && *port == 0,
        Address::Unix(_) => false,
    }
}

fn endpoint(config: &Config, side: Side) -> &Endpoint {
    match side {
        Side::Client => &config.client,
        Side::Server => &config.server,
    }
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

fn is_bridged(family: AddressFamily) -> bool {
    matches!(family, AddressFamily::Inet | AddressFamily::Inet6 | AddressFamily::Unix)
}

fn has_port(address: &Address) -> bool {
    matches!(address, Address::V4 { port: 1.., .. } | Address::V6 { port: 1.., .. })
}

/// Disables `SO_LINGER`, with which the last close would block on the peer. Connections inherit the option
/// from a listener.
fn never_linger(socket: &OwnedFd) {
    // Other descriptors are rejected later.
    let _ = setsockopt(socket, sockopt::Linger, &libc::linger { l_onoff: 0, l_linger: 0 });
}

fn same(one: &OwnedFd, other: std::os::fd::BorrowedFd<'_>) -> bool {
    match (fstat(one), fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(host: [u8; 4], port: u16) -> Address {
        Address::V4 { host: host.into(), port }
    }

    #[test]
    fn what_was_typed_must_be_true() {
        let here = v4([127, 0, 0, 1], 80);
        for typed in [v4([0; 4], 0), v4([0; 4], 80), v4([127, 0, 0, 1], 0), v4([127, 0, 0, 1], 80)] {
            assert!(fits(&typed, &here), "{typed}");
        }
        for typed in [v4([0; 4], 81), v4([127, 0, 0, 2], 0), Address::Unix(b"/run/x".to_vec())] {
            assert!(!fits(&typed, &here), "{typed}");
        }
        // An address that is given on the command line is a restriction.
        assert!(!fits(&v4([127, 0, 0, 1], 80), &v4([0; 4], 80)));
        let unix = Address::Unix(b"/run/x".to_vec());
        assert!(fits(&unix, &unix) && fits(&v4([0; 4], 0), &unix) && !fits(&v4([0; 4], 80), &unix));
    }
}
