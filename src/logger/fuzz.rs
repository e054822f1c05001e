//! Runs the logger's intake with a parent, a resolver and workers that send arbitrary messages. The intake must end,
//! and the records of the well-behaved worker must be complete.

use std::io::{Read, Seek};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use privsep::channel::{Channel, Wait};

use super::writer::Writers;
use crate::format::Format;
use crate::fuzz::{FuzzInput, send, text, unlocked};
use crate::logger::intake::{Intake, Reader};
use crate::logger::notices::Notes;
use crate::logger::output::opening::{Plan, ReopenPolicy, open_all};
use crate::messages::{
    Acknowledge, Address, Appearance, Beginning, CloseReason, Hangup, Level, MinLevel, Name, NameAnswer,
    NameQuestion, NoticeSink, Notices, OutputMode, OutputTarget, ProcessEnd, Record, RotationPlan,
    SessionOpening, Side, Taken, ToLogger, ToWorker, View,
};

type WorkerEnd = Channel<Record, ToWorker>;

/// The session of a well-behaved worker, and its data.
const GOOD: u64 = 200;
const WORDS: &[u8] = b"never lost";

pub fn fuzz(data: &[u8]) {
    let mut script = FuzzInput::new(data);
    let sharing = if script.byte() & 1 == 0 { OutputMode::Serial } else { OutputMode::Labelled };
    let mut record = tempfile();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&record));
    let view = View { format: Format::C, only: None, time: None };
    let plan = Plan::new(OutputTarget::File(path.into_bytes()), None, view).ok().expect("a plan");
    let (hangup, rotation, beginning) = (Hangup::Ends, RotationPlan::default(), Beginning::Empty);
    let (taken, appearance) = (Taken::Written, Appearance::default());
    let outputs = open_all(
        vec![plan],
        &ReopenPolicy { hangup, rotation, beginning, sharing, taken, appearance, pattern: None },
    )
    .ok();
    let outputs = outputs.expect("an output");
    let writers = Writers::start(outputs).expect("writers");
    let (parent, theirs) = Channel::pair().expect("a pair");
    let (resolver, answers) = Channel::<NameQuestion, NameAnswer>::pair().expect("a pair");
    let died = SignalFd::with_flags(&SigSet::from(Signal::SIGTERM), SfdFlags::SFD_NONBLOCK).expect("signals");
    let notes =
        Notes::open(Notices { sink: NoticeSink::Stderr, min_level: MinLevel::Errors }, Pid::this(), &[])
            .expect("notices");
    let parent_pid = Pid::parent();
    let mut cast = LoggerActors { parent: theirs, answers, workers: Vec::new() };
    cast.begin(GOOD).send_frame(&data_of(WORDS)).expect("room");
    while let Some(what) = script.next() {
        cast.act(what, &mut script);
    }
    // All remaining peers close their channels, upon which the intake must end, as after the death of the parent.
    let good = cast.workers.remove(0);
    let _ = good.send_with(
        &Record::Closed {
            cause: CloseReason::Done,
            totals: [Some(10), Some(0)],
            tcp: Default::default(),
            time: 0,
        },
        &[],
        Wait::No,
    );
    drop((cast, good));
    let intake =
        Intake { sharing, backlog: 8, run: "fuzz".into(), acknowledge: Acknowledge::Nothing, pattern: None };
    let reader = Reader::new(&parent, parent_pid, &died, Some(resolver), intake, writers, notes);
    let ended = reader.ok().expect("a reader").serve(&unlocked());
    nix::unistd::alarm::cancel();
    // A protocol violation by the parent ends everything at once.
    if ended.is_ok() {
        let mut text = String::new();
        record.rewind().expect("a file");
        record.read_to_string(&mut text).expect("C is plain text");
        let label = if sharing == OutputMode::Labelled { "[200] " } else { "" };
        assert!(text.contains(&format!("{label}<<< never lost\n")), "{text}");
    }
}

fn tempfile() -> std::fs::File {
    let flags = nix::sys::memfd::MFdFlags::empty();
    nix::sys::memfd::memfd_create(c"record", flags).expect("a file in memory").into()
}

fn data_of(bytes: &[u8]) -> Vec<u8> {
    let mut room = [0; Record::MAX_HEAD];
    let record = Record::Data { from: Side::Client, urgent: false, time: 0 };
    let length = privsep::wire::encode(&record, &mut room).expect("a record");
    [&room[..length], bytes].concat()
}

/// The peers of the intake.
struct LoggerActors {
    parent: Channel<ToLogger, crate::messages::ToParent>,
    answers: Channel<NameAnswer, NameQuestion>,
    workers: Vec<WorkerEnd>,
}

impl LoggerActors {
    fn begin(&mut self, number: u64) -> &WorkerEnd {
        let (ours, theirs) = WorkerEnd::pair().expect("a pair");
        let peer = Address::V4 { host: Ipv4Addr::LOCALHOST, port: 9 };
        let opening = SessionOpening {
            number,
            peers: [peer.clone(), peer],
            locals: [None, None],
            accepted: 0,
            started: 0,
        };
        let message = ToLogger::Session { opening, bytes: None };
        let _ = self.parent.send_with(&message, &[theirs.as_fd()], Wait::No);
        self.workers.push(ours);
        &self.workers[self.workers.len() - 1]
    }

    fn act(&mut self, what: u8, script: &mut FuzzInput<'_>) {
        let argument = script.byte();
        // The first worker is well-behaved.
        let index = 1 + usize::from(argument) % self.workers.len();
        let worker = self.workers.get(index);
        match what % 8 {
            0 => drop(self.begin(u64::from(argument % 16))),
            1 => drop(self.parent.send_with(&said_by_the_parent(argument, script), &[], Wait::No)),
            2 => send(&self.parent, script.bytes(), self.answers.as_fd(), argument),
            3 => {
                let name = Name { node: text(script), service: text(script) };
                let answer = NameAnswer { id: u64::from(argument), name };
                let _ = self.answers.send_with(&answer, &[], Wait::No);
            }
            4 => send(&self.answers, script.bytes(), self.parent.as_fd(), argument),
            5 => drop(worker.map(|worker| send(worker, script.bytes(), self.parent.as_fd(), argument >> 6))),
            6 => drop(worker.map(|worker| worker.send_with(&said_by_a_worker(script), &[], Wait::No))),
            _ => {
                if worker.is_some() {
                    self.workers.remove(index);
                }
            }
        }
    }
}

fn said_by_the_parent(argument: u8, script: &mut FuzzInput<'_>) -> ToLogger {
    // Excludes the well-behaved session, which is never stopped.
    let number = u64::from(script.byte() % 16);
    match argument % 6 {
        0 => ToLogger::Died { number, end: ProcessEnd::Signal(argument.into()) },
        1 => ToLogger::Stop { number },
        2 => ToLogger::Notice { level: Level::Asked, text: text(script) },
        3 => ToLogger::Listening(Address::V4 { host: Ipv4Addr::LOCALHOST, port: 9 }),
        4 => ToLogger::Statistics,
        _ => ToLogger::Reopen,
    }
}

fn said_by_a_worker(script: &mut FuzzInput<'_>) -> Record {
    let what = script.byte();
    let from = if what & 8 == 0 { Side::Client } else { Side::Server };
    let number = u64::from(script.byte());
    match what % 7 {
        4 => Record::Descriptors { from, time: 0 },
        5 => Record::Undelivered { from, count: u32::from(what), time: 0 },
        6 => Record::EmptyMessage { from, time: 0 },
        0 => Record::Passed { from, bytes: number, time: 0 },
        1 => Record::Ended { from, total: number, time: 0 },
        2 => Record::Closed {
            cause: CloseReason::Reset(from),
            totals: [None, Some(number)],
            tcp: Default::default(),
            time: 0,
        },
        _ => Record::Closed {
            cause: CloseReason::Failed { errno: what.into() },
            totals: [None; 2],
            tcp: Default::default(),
            time: 0,
        },
    }
}
