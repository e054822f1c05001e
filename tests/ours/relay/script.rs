//! Scripts of two peers: what they do, one line each, and what each of them observes.
//!
//! Steps are separated by `;`. Each names the peer, `a` or `b`, what it does, and a number where one is needed:
//! `a.send 10; a.finish; b.rest`. The server is accepted when it does something for the first time.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, setsockopt, shutdown, sockopt};
use nix::sys::stat::fstat;
use nix::sys::time::TimeVal;
use privsep::sys::{at_mark, receive_rights, send_rights, unread};

use super::pattern::{is_piece, pattern, piece};
use crate::support::wait::PATIENCE;

/// Time without progress after which a peer that pushes is stalled.
const STALL: Duration = Duration::from_millis(200);

/// More than any message has bytes.
const MESSAGE: u64 = 300_000;

/// One peer: its end of the connection, and how much it has sent and received.
pub struct Actor {
    socket: Option<OwnedFd>,
    seed: u64,
    sent: u64,
    received: u64,
    sending: Option<JoinHandle<()>>,
}

/// A file in memory that holds a number.
fn numbered_file(number: u64) -> OwnedFd {
    let file = memfd_create(c"tcpreen-test", MFdFlags::MFD_CLOEXEC).expect("a file in memory");
    let mut file = File::from(file);
    write!(file, "{number}").expect("room");
    file.into()
}

fn number_in(file: OwnedFd) -> u64 {
    let (mut file, mut text) = (File::from(file), String::new());
    file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("a file");
    text.parse().expect("a number")
}

impl Actor {
    pub fn new(socket: OwnedFd, seed: u64) -> Actor {
        let _ = setsockopt(&socket, sockopt::TcpNoDelay, &true);
        setsockopt(&socket, sockopt::OobInline, &true).expect("SO_OOBINLINE");
        let patience = TimeVal::new(PATIENCE.as_secs().try_into().expect("seconds"), 0);
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience).expect("SO_RCVTIMEO");
        setsockopt(&socket, sockopt::SendTimeout, &patience).expect("SO_SNDTIMEO");
        Actor { socket: Some(socket), seed, sent: 0, received: 0, sending: None }
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("the script has not closed it").as_fd()
    }

    /// Does one thing; returns the observation, if the direct connection and the bridge are to agree on it. `there`
    /// is the seed of the other peer, and what it has sent.
    fn act(&mut self, verb: &str, number: u64, there: (u64, u64)) -> Option<String> {
        match verb {
            "send" => self.send(number, MsgFlags::empty()),
            "bytes" => (0..number).find_map(|_| self.send(1, MsgFlags::empty())),
            "urgent" => self.send(number, MsgFlags::MSG_OOB),
            "push" => self.push(number),
            "stream" => self.stream(number),
            "get" => Some(self.get(number, there.0)),
            "all" => {
                Some(self.get(there.1 - self.received, there.0)).map(|it| it.replace(char::is_numeric, ""))
            }
            "rest" => Some(self.rest(there.0)),
            "ending" => Some(self.rest(there.0).replace(char::is_numeric, "")),
            "marks" => Some(self.marks(number, there.0)),
            "pass" => self.pass(number, 5, false),
            "tow" => self.pass(1, number, false),
            "hail" => self.pass(number, 1, true),
            "wakes" => Some(self.wakes()),
            "catch" => Some(self.catch(number, there.0)),
            "empty" => {
                send(self.socket().as_raw_fd(), &[], MsgFlags::MSG_NOSIGNAL).err().map(|it| it.to_string())
            }
            "messages" => {
                Some((0..number).map(|_| self.catch(MESSAGE, there.0)).collect::<Vec<_>>().join("; "))
            }
            "remainder" => Some(self.remainder(there.0)),
            "fails" => Some(self.fails()),
            "sees" => self.sees(number),
            "pause" => {
                thread::sleep(Duration::from_millis(number));
                None
            }
            "finish" => shutdown(self.socket().as_raw_fd(), Shutdown::Write).err().map(|it| it.to_string()),
            "deaf" => shutdown(self.socket().as_raw_fd(), Shutdown::Read).err().map(|it| it.to_string()),
            "close" => {
                self.socket = None;
                None
            }
            "reset" => {
                let linger = libc::linger { l_onoff: 1, l_linger: 0 };
                setsockopt(&self.socket(), sockopt::Linger, &linger).expect("SO_LINGER");
                self.socket = None;
                None
            }
            other => panic!("no such step: {other}"),
        }
    }

    fn send(&mut self, length: u64, flags: MsgFlags) -> Option<String> {
        let bytes = piece(self.seed, self.sent, length);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match send(self.socket().as_raw_fd(), rest, flags | MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::EAGAIN) => return Some("not taken".into()),
                Err(_) => return Some("broken".into()),
            }
        }
        self.sent += length;
        None
    }

    /// Sends until nothing more is taken. Errors are not compared: their moment varies.
    fn push(&mut self, most: u64) -> Option<String> {
        let end = self.sent + most;
        while self.sent < end {
            let bytes = piece(self.seed, self.sent, (end - self.sent).min(64 * 1024));
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            match send(self.socket().as_raw_fd(), &bytes, flags) {
                Ok(sent) => self.sent += sent as u64,
                Err(Errno::EAGAIN) if self.is_ready(PollFlags::POLLOUT, STALL) => {}
                Err(_) => return None,
            }
        }
        Some("everything was taken".into())
    }

    /// Sends in a thread of its own.
    fn stream(&mut self, length: u64) -> Option<String> {
        let (seed, from) = (self.seed, self.sent);
        let socket = self.socket().try_clone_to_owned().expect("dup");
        self.sending = Some(thread::spawn(move || {
            let bytes = piece(seed, from, length);
            let mut rest = &bytes[..];
            // No call without bytes: it would take the error of a reset from the one that reads.
            while !rest.is_empty()
                && let Ok(sent @ 1..) = send(socket.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL)
            {
                rest = &rest[sent..];
            }
        }));
        self.sent += length;
        None
    }

    /// Receives at most `most` bytes, and judges them.
    fn receive(&mut self, most: u64, seed: u64) -> Result<u64, &'static str> {
        let mut buffer = vec![0; most.min(256 * 1024) as usize];
        let length = match recv(self.socket().as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => length as u64,
            Err(Errno::EAGAIN) => return Err("nothing"),
            Err(Errno::ECONNRESET) => return Err("reset"),
            Err(_) => return Err("broken"),
        };
        if !is_piece(seed, self.received, &buffer[..length as usize]) {
            return Err("other bytes");
        }
        self.received += length;
        Ok(length)
    }

    fn get(&mut self, length: u64, seed: u64) -> String {
        let end = self.received + length;
        while self.received < end {
            match self.receive(end - self.received, seed) {
                Ok(0) => return format!("the end at {} of {end}", self.received),
                Ok(_) => {}
                Err(what) => return format!("{what} at {} of {end}", self.received),
            }
        }
        format!("{length} bytes")
    }

    fn rest(&mut self, seed: u64) -> String {
        let start = self.received;
        let how = loop {
            match self.receive(u64::MAX, seed) {
                Ok(0) => break "end",
                Ok(_) => {}
                Err(what) => break what,
            }
        };
        format!("{} bytes, then {how}", self.received - start)
    }

    /// Receives `length` bytes with an eye on the urgent mark; returns the position of the last one
    /// among them: the number of bytes before them varies where a peer has pushed.
    fn marks(&mut self, length: u64, seed: u64) -> String {
        let (start, end) = (self.received, self.received + length);
        let mut last = None;
        while self.received < end {
            let here = self.received;
            let mark = self.is_readable() && at_mark(self.socket()).expect("SIOCATMARK");
            let most = if mark { 1 } else { end - here };
            match self.receive(most, seed) {
                Ok(0) => return format!("the end at {here}"),
                Ok(_) => last = if mark { Some(here - start) } else { last },
                Err(what) => return format!("{what} at {here}"),
            }
        }
        format!("{length} bytes, urgent at {last:?}")
    }

    fn is_readable(&self) -> bool {
        self.is_ready(PollFlags::POLLIN, Duration::from_secs(10))
    }

    fn is_ready(&self, for_what: PollFlags, limit: Duration) -> bool {
        let mut fds = [PollFd::new(self.socket(), for_what)];
        let limit = PollTimeout::try_from(limit).expect("a time-out");
        poll(&mut fds, limit).is_ok_and(|ready| ready > 0)
    }

    /// What poll reports first.
    fn wakes(&self) -> String {
        let mut fds = [PollFd::new(self.socket(), PollFlags::POLLIN | PollFlags::POLLPRI)];
        poll(&mut fds, PollTimeout::from(10_000u16)).expect("poll");
        format!("{:?}", fds[0].revents().unwrap_or(PollFlags::empty()) & PollFlags::POLLPRI)
    }

    fn fails(&mut self) -> String {
        for _ in 0..2000 {
            match send(self.socket().as_raw_fd(), &[pattern(self.seed, self.sent)], MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => self.sent += 1,
                Err(_) => return "writing fails".into(),
            }
            thread::sleep(Duration::from_millis(2));
        }
        "it is still taken".into()
    }

    /// Sends descriptors with the first of `length` bytes, of which the last may be urgent. Each is of a file in memory
    /// that holds its number.
    fn pass(&mut self, count: u64, length: u64, urgent: bool) -> Option<String> {
        let files: Vec<OwnedFd> = (0..count).map(numbered_file).collect();
        let bytes = piece(self.seed, self.sent, length);
        let sent = loop {
            match send_rights(self.socket(), &bytes, &files, urgent) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(2))
                }
                result => break result,
            }
        };
        match sent {
            Ok(sent) if sent as u64 == length => {
                self.sent += length;
                None
            }
            Ok(_) => Some("not taken".into()),
            Err(_) => Some("broken".into()),
        }
    }

    /// Receives once, at most `most` bytes; returns their number, and the numbers in the files that came with them.
    fn catch(&mut self, most: u64, seed: u64) -> String {
        let mut buffer = vec![0; most as usize];
        let received = loop {
            match receive_rights(self.socket(), &mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && self.is_readable() => {}
                Err(error) => return error.to_string(),
                Ok(received) => break received,
            }
        };
        let length = received.bytes as u64;
        if !is_piece(seed, self.received, &buffer[..received.bytes]) {
            return "other bytes".into();
        }
        self.received += length;
        let files: Vec<u64> = received.fds.into_iter().map(number_in).collect();
        match files.as_slice() {
            [] => format!("{length} bytes"),
            files => format!("{length} bytes, descriptors {files:?}"),
        }
    }

    /// Receives every message to the end. A reset is reported before the messages that are queued.
    fn remainder(&mut self, seed: u64) -> String {
        let (mut lengths, mut end) = (Vec::new(), "end");
        loop {
            match self.catch(MESSAGE, seed).as_str() {
                "0 bytes" => return format!("{}, then {end}", lengths.join(", ")),
                reset if reset.contains("reset") && end == "end" => end = "reset",
                message if message.ends_with("bytes") => lengths.push(message.to_owned()),
                error => return error.to_owned(),
            }
        }
    }

    /// Bytes that have arrived and were not received. The system has a table for TCP, in which urgent bytes count.
    fn arrived(&self) -> u64 {
        let inode = fstat(self.socket()).expect("fstat").st_ino.to_string();
        let table = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let queues =
            rows.into_iter().find(|row| row.get(9) == Some(&inode.as_str())).map(|row| row[4].to_owned());
        if let Some((_, waiting)) = queues.as_deref().and_then(|queues| queues.split_once(':')) {
            return u64::from_str_radix(waiting, 16).expect("a number");
        }
        unread(self.socket()).map_or(0, |seen| seen as u64)
    }

    /// Waits until `length` bytes have arrived, without receiving them.
    fn sees(&mut self, length: u64) -> Option<String> {
        for _ in 0..5000 {
            if self.arrived() >= length {
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
        Some(format!("{length} bytes do not arrive"))
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if let Some(socket) = &self.socket {
            let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
        }
        let sending = self.sending.take();
        sending.into_iter().for_each(|sending| drop(sending.join()));
    }
}

/// The two peers. The server is made when it is needed.
pub struct Stage<'a> {
    actors: [Option<Actor>; 2],
    accept: &'a dyn Fn() -> OwnedFd,
    /// `a` is the server.
    swapped: bool,
}

const SEEDS: [u64; 2] = [3, 9];

pub fn seed(side: usize) -> u64 {
    SEEDS[side]
}

impl<'a> Stage<'a> {
    pub fn new(client: OwnedFd, accept: &'a dyn Fn() -> OwnedFd, swapped: bool) -> Stage<'a> {
        Stage { actors: [Some(Actor::new(client, SEEDS[0])), None], accept, swapped }
    }

    /// Plays a script; what came of each step.
    pub fn play(&mut self, script: &str) -> Vec<String> {
        script
            .split(';')
            .filter_map(|step| Some(format!("{}: {}", step.trim(), self.step(step.trim())?)))
            .collect()
    }

    fn step(&mut self, step: &str) -> Option<String> {
        let (peer, deed) = step.split_once('.').unwrap_or_else(|| panic!("a peer and a deed, not {step:?}"));
        let (verb, number) = deed.split_once(' ').unwrap_or((deed, "0"));
        let number = number.parse().unwrap_or_else(|_| panic!("a number in {step:?}"));
        let side = usize::from((peer == "b") != self.swapped);
        let other = self.actors[1 - side].as_ref().map_or(0, Actor::sent);
        let actor = self.actors[side].get_or_insert_with(|| Actor::new((self.accept)(), SEEDS[side]));
        actor.act(verb, number, (SEEDS[1 - side], other))
    }

    /// Bytes received by client and server.
    pub fn received(&self) -> [u64; 2] {
        [0, 1].map(|side| self.actors[side].as_ref().map_or(0, Actor::received))
    }
}

/// Checks for an error of `accept` or `connect` that only means "not yet".
pub fn is_early(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::ConnectionRefused | ErrorKind::NotFound)
}
