//! Peers on Unix sockets, at a path or at an abstract name that begins with `@`.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, connect, socket};

use super::peer::Peer;
use super::wait::until;

/// An abstract name that no other test uses.
pub fn abstract_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("@tcpreen-test-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn address(name: &OsStr) -> SocketAddr {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name).expect("an abstract name"),
        None => SocketAddr::from_pathname(name).expect("a path"),
    }
}

fn nix_address(name: &OsStr) -> UnixAddr {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name).expect("an abstract name"),
        None => UnixAddr::new(Path::new(name)).expect("a path"),
    }
}

/// The server that the bridge connects to.
pub struct UnixServer {
    listener: UnixListener,
}

impl UnixServer {
    /// Listens at a path to which every account may connect.
    pub fn listen(name: impl AsRef<OsStr>) -> Self {
        let listener = UnixListener::bind_addr(&address(name.as_ref())).expect("a Unix socket");
        if !name.as_ref().as_bytes().starts_with(b"@") {
            fs::set_permissions(name.as_ref(), Permissions::from_mode(0o777)).expect("chmod");
        }
        listener.set_nonblocking(true).expect("O_NONBLOCK");
        UnixServer { listener }
    }

    #[track_caller]
    pub fn accept(&self) -> Peer {
        until("a connection to the server", || match self.listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("O_NONBLOCK");
                Some(Peer::over_unix(stream))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("accept: {error}"),
        })
    }
}

#[track_caller]
pub fn connect_to(name: impl AsRef<OsStr>) -> Peer {
    try_connect(&name).unwrap_or_else(|| panic!("nobody listens at {:?}", name.as_ref()))
}

/// A bare connection.
pub fn connect_stream(name: impl AsRef<OsStr>) -> UnixStream {
    UnixStream::connect_addr(&address(name.as_ref())).expect("a listener")
}

/// Connects; `None` if no process listens at the path.
pub fn try_connect(name: impl AsRef<OsStr>) -> Option<Peer> {
    UnixStream::connect_addr(&address(name.as_ref())).ok().map(Peer::over_unix)
}

/// Connects from a socket that is bound to a name.
pub fn connect_as(own: impl AsRef<OsStr>, name: impl AsRef<OsStr>) -> Peer {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).expect("a socket");
    bind(socket.as_raw_fd(), &nix_address(own.as_ref())).expect("a name for the client");
    connect(socket.as_raw_fd(), &nix_address(name.as_ref())).expect("connect");
    Peer::over_unix(socket.into())
}
