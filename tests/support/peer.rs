//! The two peers of a session. Every read has a deadline; both ends log length and digest.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{Linger, OobInline, PeerCredentials};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrStorage, bind, connect,
    getsockname, getsockopt, listen, recv, send, setsockopt, socket,
};

use super::payload::{Digest, Hasher, Payload};
use super::under_test::is_original;
use super::wait::{PATIENCE, until};

/// One end of a connection: the client's or the server's.
pub struct Peer {
    stream: TcpStream,
    sent: Hasher,
    received: Hasher,
}

/// Traffic seen by one end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    pub sent: Digest,
    pub received: Digest,
}

impl Peer {
    #[track_caller]
    pub fn connect(port: u16) -> Self {
        Peer::connect_to((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Connects without returning the socket's error, which the first read or write returns instead: the other side
    /// may have sent its last data and a reset before this side is connected, and a blocking connect would return
    /// that reset.
    #[track_caller]
    pub fn connect_to(address: SocketAddr) -> Self {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family, SockType::Stream, flags, None).expect("socket");
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => panic!("connect to {address}: {errno}"),
        }
        let writable = PollFd::new(socket.as_fd(), PollFlags::POLLOUT);
        let patience = PollTimeout::try_from(PATIENCE).expect("a time");
        assert_eq!(poll(&mut [writable], patience), Ok(1), "connect to {address}");
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(false).expect("fcntl");
        Peer::over(stream)
    }

    /// Connects; `None` if no process listens at the address.
    pub fn try_connect(address: SocketAddr) -> Option<Self> {
        TcpStream::connect(address).ok().map(Peer::over)
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Peer::with_deadlines(stream)
    }

    /// Wraps a Unix socket: everything except urgent data works as over TCP.
    pub fn over_unix(stream: UnixStream) -> Self {
        Peer::with_deadlines(OwnedFd::from(stream).into())
    }

    fn with_deadlines(stream: TcpStream) -> Self {
        Peer { stream, sent: Hasher::default(), received: Hasher::default() }.with_patience(PATIENCE)
    }

    fn with_patience(self, patience: Duration) -> Self {
        self.stream.set_read_timeout(Some(patience)).expect("SO_RCVTIMEO");
        self.stream.set_write_timeout(Some(patience)).expect("SO_SNDTIMEO");
        self
    }

    pub fn local_port(&self) -> u16 {
        self.stream.local_addr().expect("getsockname").port()
    }

    /// Identity of the process at the other end of a Unix socket.
    #[track_caller]
    pub fn credentials(&self) -> nix::sys::socket::UnixCredentials {
        getsockopt(&self.stream, PeerCredentials).expect("SO_PEERCRED")
    }

    pub fn traffic(&self) -> Traffic {
        Traffic { sent: self.sent.digest(), received: self.received.digest() }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("send");
        self.sent.add(bytes.as_ref());
    }

    /// Sends, and returns whether the connection accepted the bytes.
    pub fn try_send(&mut self, bytes: &str) -> bool {
        self.stream.write_all(bytes.as_bytes()).is_ok()
    }

    /// Sends FIN.
    #[track_caller]
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("shutdown");
    }

    /// Closes with RST.
    pub fn reset(self) {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.stream, Linger, &linger).expect("SO_LINGER");
    }

    /// Reads exactly as many bytes as expected, and compares.
    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let mut buffer = vec![0; bytes.as_ref().len()];
        self.stream.read_exact(&mut buffer).expect("receive");
        assert_eq!(buffer.escape_ascii().to_string(), bytes.as_ref().escape_ascii().to_string());
        self.received.add(&buffer);
    }

    /// Reads `length` bytes of any value.
    #[track_caller]
    pub fn skip(&mut self, length: usize) {
        let mut buffer = vec![0; length];
        self.stream.read_exact(&mut buffer).expect("receive");
        self.received.add(&buffer);
    }

    /// Waits while the connection must stay open. Data that arrives is not received.
    #[track_caller]
    pub fn expect_no_end(&mut self, duration: Duration) {
        thread::sleep(duration);
        let mut byte = [0];
        let seen = recv(self.stream.as_raw_fd(), &mut byte, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        assert!(!matches!(seen, Ok(0) | Err(Errno::ECONNRESET)), "{seen:?}");
    }

    /// Returns the rest of the stream, which must end with FIN.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("receive until the end");
        self.received.add(&rest);
        rest
    }

    /// Returns the bytes that arrive within `limit`, if any.
    pub fn words_within(&mut self, limit: Duration) -> Option<Vec<u8>> {
        self.stream.set_read_timeout(Some(limit)).expect("SO_RCVTIMEO");
        let mut buffer = vec![0; 4096];
        let length = self.stream.read(&mut buffer).ok().filter(|&length| length > 0)?;
        buffer.truncate(length);
        Some(buffer)
    }

    /// Checks that the other side ends soon without having sent anything.
    pub fn is_over_without_a_word(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(200))).expect("SO_RCVTIMEO");
        self.stream.read(&mut [0]).is_ok_and(|length| length == 0)
    }

    /// Runs a whole conversation with an echo server.
    #[track_caller]
    pub fn gets_its_echo(mut self) {
        self.send("hello");
        self.expect("hello");
        self.finish();
        self.expect_end();
    }

    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.rest().escape_ascii().to_string(), "", "nothing but the end");
    }

    /// Expects RST from the other side; data sent before it may be lost.
    #[track_caller]
    pub fn expect_reset(&mut self) {
        assert_eq!(self.end().map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    }

    /// Expects a reset, as from a server that refuses; 1.4.4 does not send it.
    #[track_caller]
    pub fn expect_refusal(&mut self) {
        if is_original() { self.expect_hang_up() } else { self.expect_reset() }
    }

    /// Expects the other side to close, in any way.
    #[track_caller]
    pub fn expect_hang_up(&mut self) {
        match self.end() {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("still connected after {PATIENCE:?}")
            }
            _ => {}
        }
    }

    fn end(&mut self) -> io::Result<u64> {
        io::copy(&mut self.stream, &mut io::sink())
    }

    /// Expects an open connection on which nothing has arrived.
    #[track_caller]
    pub fn expect_silence(&mut self, duration: Duration) {
        self.stream.set_read_timeout(Some(duration)).expect("SO_RCVTIMEO");
        let error = self.stream.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(error, Err(ErrorKind::WouldBlock));
        self.stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
    }

    #[track_caller]
    pub fn send_urgent(&mut self, byte: u8) {
        send(self.stream.as_raw_fd(), &[byte], MsgFlags::MSG_OOB).expect("send urgent data");
    }

    /// Waits for an urgent byte, out of band.
    #[track_caller]
    pub fn urgent(&mut self) -> u8 {
        until("urgent data", || {
            let mut byte = [0];
            match recv(self.stream.as_raw_fd(), &mut byte, MsgFlags::MSG_OOB | MsgFlags::MSG_DONTWAIT) {
                Ok(1) => Some(byte[0]),
                Ok(_) | Err(Errno::EAGAIN | Errno::EINVAL) => None,
                Err(error) => panic!("receive urgent data: {error}"),
            }
        })
    }

    /// Keeps urgent bytes in the stream from now on (`SO_OOBINLINE`).
    pub fn keep_urgent_inline(&self) {
        setsockopt(&self.stream, OobInline, &true).expect("SO_OOBINLINE");
    }

    /// Sends until nothing has been accepted for half a second; returns the number of bytes sent.
    #[track_caller]
    pub fn send_until_stalled(&mut self, payload: &mut Payload, most: u64) -> u64 {
        self.stream.set_write_timeout(Some(Duration::from_millis(500))).expect("SO_SNDTIMEO");
        let before = self.sent.digest().length;
        let mut chunk = vec![0; 64 * 1024];
        let stalled = loop {
            let sent = self.sent.digest().length - before;
            assert!(sent < most, "nobody reads, and yet {sent} bytes went out");
            let length = payload.read(&mut chunk).expect("a payload never fails");
            let (taken, stalled) = self.send_what_goes(&chunk[..length]);
            self.sent.add(&chunk[..taken]);
            if stalled {
                break sent + taken as u64;
            }
        };
        self.stream.set_write_timeout(Some(PATIENCE)).expect("SO_SNDTIMEO");
        stalled
    }

    fn send_what_goes(&mut self, chunk: &[u8]) -> (usize, bool) {
        let mut taken = 0;
        while taken < chunk.len() {
            match self.stream.write(&chunk[taken..]) {
                Ok(length) => taken += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return (taken, true),
                Err(error) => panic!("send: {error}"),
            }
        }
        (taken, false)
    }

    /// Sends `payload` then FIN while reading to the end.
    pub fn exchange(mut self, payload: Payload) -> io::Result<Traffic> {
        let mut sending = self.stream.try_clone()?;
        let sender = thread::spawn(move || send_all(&mut sending, payload));
        let received = self.hash_to_end();
        let sent = sender.join().expect("no panic")?;
        received.map(|()| Traffic { sent, received: self.received.digest() })
    }

    /// Reads to the end without keeping the bytes.
    #[track_caller]
    pub fn read_to_end_hashing(&mut self) {
        self.hash_to_end().expect("receive");
    }

    fn hash_to_end(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match self.stream.read(&mut buffer)? {
                0 => return Ok(()),
                length => self.received.add(&buffer[..length]),
            }
        }
    }

    /// Echoes until the other side ends.
    pub fn echo(mut self) -> Traffic {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = self.stream.read(&mut buffer) {
            self.received.add(&buffer[..length]);
            if self.stream.write_all(&buffer[..length]).is_err() {
                break;
            }
            self.sent.add(&buffer[..length]);
        }
        self.traffic()
    }
}

fn send_all(stream: &mut TcpStream, mut payload: Payload) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut chunk = vec![0; 256 * 1024];
    loop {
        let length = payload.read(&mut chunk)?;
        if length == 0 {
            stream.shutdown(Shutdown::Write)?;
            return Ok(hasher.digest());
        }
        stream.write_all(&chunk[..length])?;
        hasher.add(&chunk[..length]);
    }
}

/// The server that the bridge connects to.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    pub fn listen() -> Self {
        Server::over(TcpListener::bind("127.0.0.1:0").expect("a port of the kernel's choice"))
    }

    pub fn over(listener: TcpListener) -> Self {
        listener.set_nonblocking(true).expect("O_NONBLOCK");
        Server { listener }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("getsockname").port()
    }

    #[track_caller]
    pub fn accept(&self) -> Peer {
        until("a connection to the server", || self.accept_now())
    }

    /// Returns a connection that has already arrived.
    pub fn accept_now(&self) -> Option<Peer> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("O_NONBLOCK");
                Some(Peer::over(stream))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("accept: {error}"),
        }
    }

    /// Serves every client in a thread until the test ends.
    pub fn serve<T: Send + 'static>(
        self,
        session: impl Fn(Peer) -> T + Clone + Send + 'static,
    ) -> Service<T> {
        let port = self.port();
        let (report, results) = mpsc::channel();
        self.listener.set_nonblocking(false).expect("O_NONBLOCK");
        thread::spawn(move || {
            while let Ok((stream, _)) = self.listener.accept() {
                let (report, session) = (report.clone(), session.clone());
                // A test may have thousands of clients and return to this one last.
                let peer = Peer::over(stream).with_patience(10 * PATIENCE);
                thread::spawn(move || report.send(session(peer)));
            }
        });
        Service { port, results }
    }
}

/// A port that refuses every connection, until it listens.
pub struct Refusing(OwnedFd);

impl Refusing {
    pub fn new() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("a socket");
        bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).expect("a port of the kernel's choice");
        Refusing(socket)
    }

    pub fn port(&self) -> u16 {
        getsockname::<SockaddrIn>(self.0.as_raw_fd()).expect("getsockname").port()
    }

    pub fn listen(self) -> Server {
        listen(&self.0, Backlog::MAXCONN).expect("listen");
        Server::over(self.0.into())
    }
}

/// A running server, which reports each session.
pub struct Service<T> {
    pub port: u16,
    results: Receiver<T>,
}

impl<T> Service<T> {
    /// Waits for the report of the next session that ends.
    #[track_caller]
    pub fn result(&self) -> T {
        self.results.recv_timeout(PATIENCE).expect("a session at the server")
    }
}

/// A server that sends back what it receives.
pub fn echo_server() -> Service<Traffic> {
    Server::listen().serve(Peer::echo)
}
