//! Runs the zygote's loop and the start of its workers with a parent that sends arbitrary messages. Every order up to
//! the first protocol violation is executed, every child exits by itself, and every reported end follows a reported
//! start.
//!
//! The children are real processes: one that panics has another exit status.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, wait};
use privsep::channel::{Channel, Incoming, Wait, one_fd};
use privsep::confine::Identity;
use privsep::seccomp::Violation;
use privsep::wire;

use super::{Parent, serve};
use crate::format::CaptureLevel;
use crate::fuzz::{FuzzInput, alone, descriptors, send, unlocked};
use crate::messages::{
    Acknowledge, Prepare, ProcessEnd, Reaping, Record, Sandbox, ToParent, ToWorker, ToZygote, Transport,
    VERSION, WorkersNeed,
};
use crate::worker::{self, Buffer};

/// Number of messages in one run: no more than a channel holds.
const MOST: usize = 64;

/// Number of forks in one run.
const MAX_FORKS: u32 = 4;

/// Must run while there is one thread, because the signal could be delivered to any other.
pub fn prepare() {
    SigSet::from(Signal::SIGCHLD).thread_block().expect("a signal");
    worker::fuzz::prepare();
}

pub fn fuzz(data: &[u8]) {
    let open = descriptors();
    play(data);
    assert_eq!(descriptors(), open, "descriptors are left over");
}

fn play(data: &[u8]) {
    let (parent, ours) = Parent::pair().expect("a pair");
    let children = SignalFd::with_flags(&SigSet::from(Signal::SIGCHLD), SfdFlags::SFD_NONBLOCK);
    let children = children.expect("signals");
    let reaping = if data.len() & 1 == 0 { Reaping::AtOnce } else { Reaping::InTurns };
    let script = data.to_vec();
    let alone = alone();
    // Allocated while there is one thread: a second one could hold the heap's lock during a fork.
    let buffers = [Buffer::new(4096), Buffer::new(4096)];
    let cast = thread::spawn(move || ZygoteActors::new(ours).play(&mut FuzzInput::new(&script)));
    let ended = match serve(&parent, &children, reaping, &alone, &unlocked()) {
        Ok(Some(init)) => {
            drop((parent, children));
            let need = WorkersNeed { tcp_info: true, descriptors: false };
            init.live::<crate::hooks::None>(need, buffers, &unlocked())
        }
        ended => ended.is_ok(),
    };
    drop((parent, children));
    let cast = cast.join().expect("a cast");
    cast.check(ended);
    drop(cast);
    reap_all();
}

/// Waits for all children, whose channels are closed.
fn reap_all() {
    loop {
        match wait() {
            Ok(WaitStatus::Exited(_, status)) => assert!(status <= 1, "a worker ended with {status}"),
            Ok(other) => panic!("a worker ended with {other:?}"),
            Err(nix::errno::Errno::ECHILD) => return,
            Err(_) => {}
        }
    }
}

type Zygote = Channel<ToZygote, ToParent, { wire::SHORT }>;

/// The parent, the peers, and the zygote's answers.
struct ZygoteActors {
    zygote: Zygote,
    workers: Vec<Channel<ToWorker, Record>>,
    peers: Vec<UnixStream>,
    /// Workers requested up to now.
    requested: u32,
    pings: u32,
    nonsense: bool,
    over: bool,
    /// Workers reported as started.
    started: HashSet<i32>,
    failed: u32,
    alive: u32,
}

impl ZygoteActors {
    fn new(zygote: Zygote) -> ZygoteActors {
        let (workers, peers, started) = (Vec::new(), Vec::new(), HashSet::new());
        let (requested, pings, failed, alive) = (0, 0, 0, 0);
        ZygoteActors {
            zygote,
            workers,
            peers,
            requested,
            pings,
            nonsense: false,
            over: false,
            started,
            failed,
            alive,
        }
    }

    fn play(mut self, script: &mut FuzzInput<'_>) -> ZygoteActors {
        for _ in 0..MOST {
            let Some(what) = script.next() else { break };
            self.act(what, script);
        }
        self.zygote.finish_sending().expect("a channel");
        while self.receive_answer(Wait::Yes) {}
        self
    }

    fn act(&mut self, what: u8, script: &mut FuzzInput<'_>) {
        let argument = script.byte();
        match what % 8 {
            0 => self.send_message(ToZygote::Fork(u32::from(argument % 3))),
            1 => self.send_message(ToZygote::Ping),
            2 if argument & 0x70 == 0 => {
                self.send_message(ToZygote::Prepare {
                    prepare: preparation(),
                    reaping: Reaping::AtOnce,
                    workers: WorkersNeed { tcp_info: true, descriptors: false },
                });
            }
            2 | 3 => self.send_raw(script.bytes(), argument % 4),
            4 => drop(self.receive_answer(if self.awaits_answer() { Wait::Yes } else { Wait::No })),
            5 => drop(self.workers.pop()),
            6 => self.give_session(argument),
            _ => {
                let Some(worker) = self.workers.last() else { return };
                send(worker, script.bytes(), self.zygote.as_fd(), argument);
            }
        }
    }

    fn send_message(&mut self, message: ToZygote) {
        let mut room = [0; wire::LIMIT];
        let length = wire::encode(&message, &mut room).expect("a message");
        self.send_raw(&room[..length], 0);
    }

    /// Sends the bytes unless they exceed the number of forks.
    fn send_raw(&mut self, bytes: &[u8], fds: u8) {
        let message = wire::decode::<ToZygote>(bytes);
        if let Ok(ToZygote::Fork(count)) = message
            && count > MAX_FORKS - self.requested
        {
            return;
        }
        send(&self.zygote, bytes, self.zygote.as_fd(), fds);
        match message {
            _ if self.over => {}
            _ if bytes.is_empty() && fds == 0 => self.over = true,
            Ok(ToZygote::Fork(count)) if fds == 0 => self.requested += count,
            Ok(ToZygote::Ping) if fds == 0 => self.pings += 1,
            _ => (self.nonsense, self.over) = (true, true),
        }
    }

    /// Gives the last worker a session, whose peers leave at once or stay until the end.
    fn give_session(&mut self, argument: u8) {
        let Some(worker) = self.workers.last() else { return };
        let [(client, ours), (server, theirs)] = [0; 2].map(|_| UnixStream::pair().expect("a pair"));
        let order = ToWorker::Session {
            need: CaptureLevel::Bytes,
            bytes: None,
            idle_ms: None,
            transports: [Transport::Tcp; 2],
            reset: [false; 2],
            acknowledge: Acknowledge::Nothing,
        };
        let streams = [client.as_fd(), server.as_fd()];
        let _ = worker.send_with(&order, &streams[..usize::from(argument % 3)], Wait::No);
        if argument & 0x80 == 0 {
            self.peers.extend([ours, theirs]);
        }
    }

    /// Checks whether an answer is outstanding.
    fn awaits_answer(&self) -> bool {
        self.alive + self.failed + (self.started.len() as u32) < self.pings + self.requested
    }

    /// Receives one answer; returns `false` if there is none.
    fn receive_answer(&mut self, wait: Wait) -> bool {
        let Incoming::Message(answer, fds) = self.zygote.receive(wait).expect("an answer") else {
            return false;
        };
        match answer {
            ToParent::WorkerStarted { pid } => {
                let channel = one_fd(fds).expect("a channel");
                self.workers.push(Channel::adopt(channel).expect("a channel"));
                assert!(self.started.insert(pid), "{pid} is born twice");
            }
            ToParent::ForkFailed { .. } => self.failed += 1,
            ToParent::Exited { pid, end } => {
                assert!(self.started.contains(&pid), "{pid} ended, and never began");
                assert!(matches!(end, ProcessEnd::Status(0 | 1)), "{end:?}");
            }
            ToParent::Alive => self.alive += 1,
            other => panic!("{other:?} of a zygote"),
        }
        true
    }

    fn check(&self, in_order: bool) {
        assert_eq!(in_order, !self.nonsense, "ended without a reason, or went on with one");
        assert_eq!(self.alive, self.pings, "pings and answers");
        assert_eq!(self.started.len() as u32 + self.failed, self.requested, "births");
    }
}

fn preparation() -> Prepare {
    let sandbox = Sandbox { violation: Violation::Kill, full: false };
    Prepare { version: VERSION, parent: 0, identity: Identity::Keep, sandbox }
}
