//! A worker between two peers, a parent and a logger that do anything at any time. It must come to its end when
//! they leave; what it records is what was sent, and what it passes on has been recorded before.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, recv, send as transmit, setsockopt, shutdown,
    socket, sockopt,
};
use privsep::channel::{Channel, Frame, Wait};
use privsep::wire;

use super::{Buffer, forward, take_session};
use crate::format::CaptureLevel;
use crate::fuzz::{FuzzInput, descriptors, send};
use crate::messages::{Acknowledge, CloseReason, Record, Side, ToWorker, Transport, WorkersEnd};

type WorkerSide = WorkersEnd;
type LoggerSide = Channel<ToWorker, Record, { wire::SHORT }>;

/// Fits into a channel as it is, and is more than makes a flow a bulk one.
const RECORD: usize = 128 * 1024;

/// Things that happen in one run.
const MOST: usize = 64;

/// Milliseconds for which the peers wait for the worker.
const MOMENT: u8 = 2;

static LISTENER: LazyLock<TcpListener> = LazyLock::new(|| TcpListener::bind("127.0.0.1:0").expect("a port"));

/// Does what Rust's runtime does before `main`, which is not Rust's here: writing to a closed connection is
/// only an error. Must run before there are threads.
pub fn prepare() {
    SigSet::from(Signal::SIGPIPE).thread_block().expect("a signal");
}

pub fn fuzz(data: &[u8]) {
    LazyLock::force(&LISTENER);
    let open = descriptors();
    play(&mut FuzzInput::new(data));
    assert_eq!(descriptors(), open, "descriptors are left over");
}

fn play(script: &mut FuzzInput<'_>) {
    let (channel, ours) = WorkerSide::pair().expect("a pair");
    let mut cast = WorkerActors::begin(ours, script);
    let worker = thread::spawn(move || work(&channel));
    for _ in 0..MOST {
        let Some(what) = script.next() else { break };
        cast.act(what, script);
    }
    cast.leave();
    let status = worker.join().expect("a worker");
    cast.apply(status);
}

/// The life of a worker but for what it does to its process.
fn work(channel: &WorkerSide) -> i32 {
    match take_session(channel, true) {
        Ok(Some(session)) => {
            let mut bridge = session.bridge(channel, [Buffer::new(RECORD), Buffer::new(RECORD)]);
            forward(&mut bridge)
        }
        Ok(None) => 0,
        Err(_) => 1,
    }
}

/// One peer, and what it said and heard.
struct FuzzPeer {
    /// Gone after a reset, or where the worker got what is no connection.
    socket: Option<OwnedFd>,
    sent: Vec<u8>,
    heard: Vec<u8>,
    /// Nothing more comes from the worker.
    over: bool,
}

/// Fails temporarily when all ports have been used.
fn connection() -> io::Result<(Option<OwnedFd>, OwnedFd)> {
    let ours = TcpStream::connect(LISTENER.local_addr()?)?;
    Ok((Some(ours.into()), LISTENER.accept()?.0.into()))
}

fn pair() -> (Option<OwnedFd>, OwnedFd) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    (Some(ours.into()), theirs.into())
}

/// The peer that a worker gets as its client or server, of a kind, and what it gets.
fn peer(kind: u8) -> (FuzzPeer, OwnedFd) {
    let (ours, theirs): (Option<OwnedFd>, OwnedFd) = match kind & 7 {
        0..=2 => connection().unwrap_or_else(|_| pair()),
        3 | 4 => pair(),
        5 => (None, WorkerSide::pair().expect("a pair").0.into_socket()),
        6 => (None, nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("a pipe").0),
        _ => {
            let alone = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
            (None, alone.expect("a socket"))
        }
    };
    fcntl(&theirs, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("flags");
    // As the parent does, where it is a socket.
    let _ = setsockopt(&theirs, sockopt::OobInline, &true);
    (FuzzPeer { over: ours.is_none(), socket: ours, sent: Vec::new(), heard: Vec::new() }, theirs)
}

impl FuzzPeer {
    fn send(&mut self, bytes: &[u8], flags: MsgFlags) {
        let Some(socket) = &self.socket else { return };
        let flags = flags | MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let sent = transmit(socket.as_raw_fd(), bytes, flags).unwrap_or(0);
        self.sent.extend_from_slice(&bytes[..sent]);
    }

    fn end(&self) {
        if let Some(socket) = &self.socket {
            let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
        }
    }

    fn reset(&mut self) {
        if let Some(socket) = self.socket.take() {
            let _ = setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
        }
        self.over = true;
    }

    fn hear(&mut self) {
        let mut room = [0; 16 * 1024];
        while let Some(socket) = &self.socket
            && !self.over
        {
            match recv(socket.as_raw_fd(), &mut room, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Ok(0) | Err(_) => self.over = true,
                Ok(length) => self.heard.extend_from_slice(&room[..length]),
            }
        }
    }
}

/// The peers of the worker.
struct WorkerActors {
    /// Client and server.
    peers: [FuzzPeer; 2],
    logger: Option<LoggerSide>,
    /// The logger went first.
    deserted: bool,
    /// Where there is a session: what the logger wants to know.
    need: Option<CaptureLevel>,
    recorded: [Vec<u8>; 2],
    passed: [u64; 2],
    ended: [bool; 2],
    closed: Option<CloseReason>,
    urgent: bool,
    reset: bool,
    room: Vec<u8>,
}

impl WorkerActors {
    /// Sends what a worker receives before its session.
    fn begin(logger: LoggerSide, script: &mut FuzzInput<'_>) -> WorkerActors {
        let (kinds, how) = (script.byte(), script.byte());
        let [(client, its), (server, theirs)] = [peer(kinds), peer(kinds >> 3)];
        let need = [CaptureLevel::Bytes, CaptureLevel::Bytes, CaptureLevel::Lengths, CaptureLevel::Totals]
            [usize::from(how & 3)];
        let bytes = (how & 0x0c == 0x0c).then(|| u64::from(script.byte()) << (how >> 4));
        let idle_ms = (how & 0x30 == 0x30).then(|| u32::from(script.byte()));
        let transport = |kind: u8| if kind & 7 < 3 { Transport::Tcp } else { Transport::Unix };
        let transports = [transport(kinds), transport(kinds >> 3)];
        let acknowledge = Acknowledge::Nothing;
        let reset = [false; 2];
        let order = ToWorker::Session { need, bytes, idle_ms, transports, reset, acknowledge };
        let streams = [its.as_fd(), theirs.as_fd()];
        let good = kinds >> 6 == 0 && client.socket.is_some() && server.socket.is_some();
        match kinds >> 6 {
            3 => send(&logger, script.bytes(), its.as_fd(), how),
            missing => {
                let streams = &streams[..usize::from(2 - missing)];
                logger.send_with(&order, streams, Wait::No).expect("room");
            }
        }
        // Without it the worker would wait for ever.
        let _ = logger.send_with(&ToWorker::Proceed, &[], Wait::No);
        WorkerActors {
            peers: [client, server],
            logger: Some(logger),
            deserted: false,
            need: good.then_some(need),
            recorded: Default::default(),
            passed: [0; 2],
            ended: [false; 2],
            closed: None,
            urgent: false,
            reset: false,
            room: vec![0; Record::LONGEST],
        }
    }

    fn act(&mut self, what: u8, script: &mut FuzzInput<'_>) {
        let argument = script.byte();
        let peer = &mut self.peers[usize::from(argument & 1)];
        match what % 8 {
            0 | 1 => peer.send(script.bytes(), MsgFlags::empty()),
            2 => {
                let bulk: Vec<u8> = (0..usize::from(argument) << 11).map(|at| (at >> 3) as u8).collect();
                peer.send(&bulk, MsgFlags::empty());
            }
            3 => {
                peer.send(&[argument], MsgFlags::MSG_OOB);
                self.urgent = true;
            }
            4 => peer.end(),
            5 => {
                peer.reset();
                self.reset = true;
            }
            6 => self.hear(),
            _ => self.trouble(argument, script),
        }
    }

    /// Something happens to the channel.
    fn trouble(&mut self, argument: u8, script: &mut FuzzInput<'_>) {
        match (argument % 4, &self.logger) {
            (0, Some(logger)) => drop(logger.finish_sending()),
            (1, Some(logger)) => send(logger, script.bytes(), logger.as_fd(), argument >> 6),
            (2, Some(_)) => (self.logger, self.deserted) = (None, true),
            _ => self.hear(),
        }
    }

    /// Everybody hears what has come, or comes within a moment.
    fn hear(&mut self) {
        let mut fds: Vec<_> =
            self.logger.iter().map(|logger| PollFd::new(logger.as_fd(), PollFlags::POLLIN)).collect();
        let listening = self.peers.iter().filter(|peer| !peer.over).filter_map(|peer| peer.socket.as_ref());
        fds.extend(listening.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        let _ = poll(&mut fds, PollTimeout::from(MOMENT));
        self.peers.iter_mut().for_each(FuzzPeer::hear);
        while self.read_record() {}
    }

    /// Reads one record; returns `false` if there is none.
    fn read_record(&mut self) -> bool {
        let Some(logger) = &self.logger else { return false };
        let length = match logger.receive_frame(&mut self.room, Wait::No).expect("a record") {
            Frame::Bytes(length) => length,
            Frame::Nothing => return false,
            Frame::Closed => {
                self.logger = None;
                return false;
            }
        };
        let (record, head) = wire::decode_head::<Record>(&self.room[..length]).expect("a record");
        let payload = self.room[head..length].to_vec();
        self.take(record, &payload);
        true
    }

    fn take(&mut self, record: Record, payload: &[u8]) {
        assert!(self.closed.is_none(), "{record:?} after the last one");
        let has_payload = matches!(record, Record::Data { .. } | Record::Descriptors { .. });
        assert_eq!(has_payload, !payload.is_empty(), "{record:?}");
        match record {
            Record::Data { from, .. } => {
                self.recorded[from as usize].extend_from_slice(payload);
                self.pass(from, payload.len() as u64);
            }
            Record::Passed { from, bytes, .. } => self.pass(from, bytes),
            Record::Ended { from, total, .. } => self.end(from, total),
            Record::Descriptors { .. } | Record::Undelivered { .. } | Record::EmptyMessage { .. } => {}
            Record::Closed { cause, totals, .. } => {
                for (from, total) in [Side::Client, Side::Server].into_iter().zip(totals) {
                    total.into_iter().for_each(|total| self.end(from, total));
                }
                self.closed = Some(cause);
            }
        }
    }

    fn pass(&mut self, from: Side, bytes: u64) {
        assert!(!self.ended[from as usize], "{from:?} says more after its end");
        self.passed[from as usize] += bytes;
    }

    fn end(&mut self, from: Side, total: u64) {
        assert!(!std::mem::replace(&mut self.ended[from as usize], true), "{from:?} ends twice");
        match self.need {
            Some(CaptureLevel::Totals) => self.passed[from as usize] = total,
            Some(_) => assert_eq!(self.passed[from as usize], total, "of {from:?}"),
            None => {}
        }
    }

    /// Receives the rest and sends nothing more. Without its channel a worker ends whatever the peers do.
    fn leave(&mut self) {
        if self.logger.is_some() {
            self.peers.iter().for_each(FuzzPeer::end);
        }
        while self.logger.is_some() {
            self.hear();
        }
    }

    fn apply(mut self, status: i32) {
        self.peers.iter_mut().for_each(FuzzPeer::hear);
        let Some(need) = self.need else { return };
        let told = self.closed.is_some();
        assert!(status != 0 || told || self.deserted, "in order, without a last word");
        // Urgent data has a separate position, or none.
        if self.urgent {
            return;
        }
        for (from, to) in [(0, 1), (1, 0)] {
            let (sent, heard) = (&self.peers[from].sent, &self.peers[to].heard);
            assert!(sent.starts_with(heard), "a peer heard what was not sent");
            if need == CaptureLevel::Bytes && told {
                assert!(sent.starts_with(&self.recorded[from]), "what was not sent is recorded");
                assert!(self.recorded[from].starts_with(heard), "a peer heard what is not recorded");
            }
            if self.closed == Some(CloseReason::Done) && !self.reset {
                assert_eq!(heard, sent, "lost on the way");
            }
        }
    }
}
