//! Messages that a compromised process might send: malformed ones, and descriptors of every kind.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, setsockopt, socket, sockopt,
};
use nix::unistd::Pid;
use privsep::channel::{Channel, ChannelError, Wait};
use privsep::wire;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::proc;

/// Maximum number of descriptors in one message (`SCM_MAX_FD`).
pub const MOST: usize = 253;

/// Duplicates a descriptor of another process, to send in its place.
pub fn steal(pid: Pid, descriptor: RawFd) -> OwnedFd {
    let pid = rustix::process::Pid::from_raw(pid.as_raw()).expect("a process id");
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("the process");
    pidfd_getfd(process, descriptor, PidfdGetfdFlags::empty()).expect("its descriptor")
}

/// Lets descriptors reach a process whose kernel would refuse them at its channels, to test the process's own
/// checks, as on an older kernel.
pub fn let_descriptors_through(pid: Pid) {
    for (number, target) in proc::descriptors(pid) {
        if target.starts_with("socket:") {
            // Only Unix sockets have the option.
            let _ = privsep::sys::allow_descriptors(steal(pid, number).as_fd());
        }
    }
}

/// A connection whose last close waits for a peer that does not read.
pub struct Lingering {
    socket: TcpStream,
    peer: TcpStream,
}

impl Lingering {
    /// Far longer than any test waits.
    const SECONDS: i32 = 600;

    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let socket = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        make_linger(&socket);
        let peer = listener.accept().expect("a connection").0;
        Lingering { socket, peer }
    }

    /// Sends the connection over a channel as the last of `count` descriptors and keeps no copy, so that the receiver
    /// closes it. Returns the peer that does not read.
    pub fn hand_over(self, channel: impl AsFd, message: &[u8], count: usize) -> TcpStream {
        let Lingering { socket, peer } = self;
        let mut fds = vec![peer.as_raw_fd(); count - 1];
        fds.push(socket.as_raw_fd());
        send(channel, message, &fds).expect("a receiver");
        peer
    }
}

/// Fills a connection whose peer does not read, and makes its last close wait.
pub fn make_linger(socket: &(impl AsFd + AsRawFd)) {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    while nix::sys::socket::send(socket.as_raw_fd(), &[0; 65536], flags).is_ok() {}
    let linger = nix::libc::linger { l_onoff: 1, l_linger: Lingering::SECONDS };
    setsockopt(socket, sockopt::Linger, &linger).expect("SO_LINGER");
}

/// Sends bytes as one message, unchanged.
pub fn send(channel: impl AsFd, bytes: &[u8], fds: &[RawFd]) -> nix::Result<()> {
    let control = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &[] } else { &control[..] };
    let flags = MsgFlags::MSG_NOSIGNAL;
    let channel = channel.as_fd().as_raw_fd();
    sendmsg::<()>(channel, &[IoSlice::new(bytes)], control, flags, None).map(drop)
}

pub fn encoded(message: &impl Serialize) -> Vec<u8> {
    let mut room = vec![0; wire::LIMIT];
    let length = wire::encode(message, &mut room).expect("a message");
    room.truncate(length);
    room
}

/// Derives malformed messages from valid ones.
pub fn malformed<T: Serialize + DeserializeOwned>(good: &[T]) -> Vec<Vec<u8>> {
    let mut bad = vec![vec![0xff; 4], vec![0xff; 64], vec![0xff; wire::LIMIT], vec![0; wire::LIMIT + 1]];
    for message in good.iter().map(encoded) {
        let message = message.as_slice();
        bad.extend([&message[..1], &message[..message.len() / 2 + 1]].map(<[u8]>::to_vec));
        bad.push([message, &[0][..]].concat());
        bad.push([message, message].concat());
        bad.push([message, &vec![0; wire::LIMIT][..]].concat());
        // Another variant with the same fields, and a length of 1 GiB where a length may be.
        bad.push([&999u32.to_le_bytes(), &message[4..]].concat());
        if message.len() >= 12 {
            bad.push([&message[..4], &(1u64 << 30).to_le_bytes(), &message[12..]].concat());
        }
    }
    // The replaced bytes may be valid as a number or a length.
    bad.retain(|message| wire::decode::<T>(message).is_err());
    bad
}

/// Descriptors of unexpected types.
pub struct WrongKinds(Vec<(&'static str, OwnedFd)>);

impl WrongKinds {
    pub fn new() -> Self {
        let stream = || socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
        let aimed = UdpSocket::bind("127.0.0.1:0").expect("a UDP socket");
        aimed.connect("127.0.0.1:9").expect("an address for it");
        WrongKinds(vec![
            ("a pipe", io::pipe().expect("a pipe").0.into()),
            ("a directory", File::open("/").expect("a directory").into()),
            ("a file", File::open("/etc/passwd").expect("a file").into()),
            ("a UDP socket", UdpSocket::bind("127.0.0.1:0").expect("a UDP socket").into()),
            ("a UDP socket with an address", aimed.into()),
            ("a listening socket", TcpListener::bind("127.0.0.1:0").expect("a listener").into()),
            ("an unconnected socket", stream().expect("a socket")),
        ])
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        self.0.iter().map(|(name, fd)| (*name, fd.as_fd()))
    }
}

/// Sends a message repeatedly from several threads, as fast as it is accepted, while `during` runs.
pub fn flood<Out: Serialize + Sync, In, T>(
    channel: &Channel<Out, In>,
    message: &Out,
    meanwhile: impl FnOnce() -> T,
) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    match channel.send_with(message, &[], Wait::No) {
                        Ok(()) => {}
                        Err(ChannelError::Full) => thread::yield_now(),
                        Err(_) => break,
                    }
                }
            });
        }
        let result = panic::catch_unwind(AssertUnwindSafe(meanwhile));
        over.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}
