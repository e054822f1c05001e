//! A logger whose parent, resolver and workers are the test.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};
use privsep::channel::{Channel, Wait};

use crate::support::hostile;
use crate::support::proc;
use crate::support::role::{Role, prepare};
use crate::support::scratch::Scratch;
use crate::support::wait::until;
use tcpreen::format::Format;
use tcpreen::messages::{
    Acknowledge, Address, Appearance, Beginning, CloseReason, Hangup, MinLevel, Name, NameAnswer,
    NameQuestion, NoticeSink, Notices, OutputMode, OutputTarget, Record, Recording, RotationPlan,
    SessionOpening, Side, Taken, TcpInfo, ToLogger, ToWorker, View,
};

pub(crate) type Worker = Channel<Record, ToWorker>;
pub(crate) type Answers = Channel<NameAnswer, NameQuestion>;

pub(crate) const DATA: Record = Record::Data { from: Side::Client, urgent: false, time: 0 };
pub(crate) const PASSED: Record = Record::Passed { from: Side::Client, bytes: 1, time: 0 };
pub(crate) const ENDED: Record = Record::Ended { from: Side::Client, total: 1, time: 0 };
const NO_TCP: TcpInfo = TcpInfo { rtt: 0, rttvar: 0, retransmissions: 0, delivery_rate: 0 };
pub(crate) const CLOSED: Record =
    Record::Closed { cause: CloseReason::Done, totals: [None; 2], tcp: [NO_TCP; 2], time: 0 };

/// A logger that writes one file, with a session that must not be affected.
pub(crate) struct Logger {
    pub(super) role: Role<ToLogger>,
    pub(super) scratch: Scratch,
    pub(super) bystander: Worker,
    pub(super) sessions: u64,
}

impl Logger {
    /// With a test in place of the resolver, and the logger's end of that channel.
    pub(super) fn start(names: Option<(&Answers, &Channel<NameQuestion, NameAnswer>)>) -> Self {
        let (role, scratch) = (Role::start("logger"), Scratch::new());
        let prepare = prepared();
        let fds: Vec<_> = names.iter().map(|(_, theirs)| theirs.as_fd()).collect();
        role.channel.send_with(&prepare, &fds, Wait::Yes).expect("a logger");
        let path = scratch.path("record").into_os_string().into_encoded_bytes();
        role.send(&ToLogger::Output { target: OutputTarget::File(path), view: shown_in(Format::C) });
        role.send(&ToLogger::Serve);
        role.expect_ready();
        let (bystander, theirs) = Worker::pair().expect("a channel");
        let mut logger = Logger { role, scratch, bystander, sessions: 0 };
        logger.begin(&theirs);
        if let Some((answers, _)) = names {
            answer(answers, 1);
        }
        logger.is_recorded("a first word");
        logger
    }

    pub(super) fn message(&mut self) -> ToLogger {
        self.sessions += 1;
        begin(self.sessions)
    }

    pub(super) fn begin(&mut self, theirs: &impl AsFd) {
        let message = self.message();
        self.role.channel.send_with(&message, &[theirs.as_fd()], Wait::Yes).expect("a logger");
    }

    /// Starts a session; returns its number and its worker.
    pub(super) fn worker(&mut self) -> (u64, Worker) {
        let (worker, theirs) = Worker::pair().expect("a channel");
        setsockopt(&worker, sockopt::SndBuf, &(2 * Record::LONGEST)).expect("SO_SNDBUF");
        self.begin(&theirs);
        (self.sessions, worker)
    }

    /// Checks that the other session is still recorded.
    #[track_caller]
    pub(super) fn is_recorded(&self, words: &str) {
        self.bystander.send_frame(&data(words)).expect("a logger");
        let line = format!("[1] <<< {words}\n");
        until("the record of the other session", || self.record().contains(&line).then_some(()));
    }

    pub(super) fn record(&self) -> String {
        self.scratch.record("record")
    }

    /// Record of a session, line by line.
    pub(super) fn lines(&self, session: u64) -> Vec<String> {
        let label = format!("[{session}] ");
        self.record().lines().filter_map(|line| Some(line.strip_prefix(&label)?.to_owned())).collect()
    }

    pub(super) fn descriptors(&self) -> usize {
        proc::descriptors(self.role.pid()).len()
    }

    pub(super) fn memory(&self) -> u64 {
        proc::status(self.role.pid()).expect("a logger").memory()
    }
}

/// Sends names for both peers of a session.
pub(crate) fn answer(answers: &Answers, session: u64) {
    let name = Name { node: "name".into(), service: "service".into() };
    for id in [2 * session, 2 * session + 1] {
        answers.send(&NameAnswer { id, name: name.clone() }).expect("a logger");
    }
}

pub(crate) fn begin(number: u64) -> ToLogger {
    let peer = Address::V4 { host: Ipv4Addr::LOCALHOST, port: 9 };
    let opening =
        SessionOpening { number, peers: [peer.clone(), peer], locals: [None, None], accepted: 0, started: 0 };
    ToLogger::Session { opening, bytes: None }
}

pub(crate) fn prepared() -> ToLogger {
    let notices = Notices { sink: NoticeSink::Stderr, min_level: MinLevel::Errors };
    ToLogger::Prepare {
        prepare: prepare(),
        sharing: OutputMode::Labelled,
        backlog: 64,
        notices,
        hangup: Hangup::Ends,
        rotation: RotationPlan::default(),
        beginning: Beginning::Empty,
        appearance: Appearance::default(),
        recording: Recording { acknowledge: Acknowledge::Nothing, taken: Taken::Written },
    }
}

pub(crate) fn shown_in(format: Format) -> View {
    View { format, only: None, time: None }
}

pub(crate) fn data(words: &str) -> Vec<u8> {
    [hostile::encoded(&DATA).as_slice(), words.as_bytes()].concat()
}
