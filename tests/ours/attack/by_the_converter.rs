//! A compromised converter against parent and logger: the error names it, what it reported before is written, and
//! nothing of it acts on a terminal. And a logger against the parent of a run without peers.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use privsep::channel::Channel;

use crate::ours::attack::NONSENSE;
use crate::ours::reading::data;
use crate::ours::reading::start;
use crate::support::hostile::{self, Lingering, MOST};
use crate::support::leftovers::Leftovers;
use crate::support::proc;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::{until, within};
use tcpreen::messages::{
    Address, Flaw, FromConverter, Meeting, Name, Problem, ProcessEnd, Saved, SavedEnd, SavedEvent,
    SavedStart, Side, ToParent, Unplayable,
};

/// Descriptor of a role's channel to the parent.
const CHANNEL: i32 = 3;

/// The instant of the last event in [`Reading::start`], in nanoseconds since the epoch, and a little more.
const LATER: u64 = 1_900_000_000_000_000_000;

/// Maximum time from a signal to the end, on a busy machine.
const IN_TIME: Duration = Duration::from_secs(20);

/// A run with `--read` in the middle of a record: the record is a FIFO that has not ended.
struct Reading {
    tcpreen: Running,
    input: File,
    scratch: Scratch,
}

impl Reading {
    fn start() -> Reading {
        let scratch = Scratch::new();
        let pipe = scratch.path("input");
        mkfifo(&pipe, Mode::empty()).expect("mkfifo");
        fs::set_permissions(&pipe, Permissions::from_mode(0o666)).expect("chmod");
        let tcpreen = Tcpreen::reading([&pipe]).args(["-f", "C"]).output(scratch.path("output")).spawn();
        let mut input = File::options().write(true).open(&pipe).expect("the FIFO");
        let events = [start(1), data(1, 500_000, "client", 0, "before")].concat();
        input.write_all(events.as_bytes()).expect("a reader");
        let reading = Reading { tcpreen, input, scratch };
        until("the first event", || reading.output().contains("before").then_some(()));
        reading
    }

    /// Empty before the logger has made it.
    fn output(&self) -> String {
        fs::read_to_string(self.scratch.path("output")).unwrap_or_default()
    }

    /// The converter's end of its channel to the parent.
    fn to_parent(&self) -> OwnedFd {
        hostile::steal(self.tcpreen.role("converter"), CHANNEL)
    }

    /// The converter's end of its channel to the logger.
    fn to_logger(&self) -> OwnedFd {
        let converter = self.tcpreen.role("converter");
        let sockets = proc::descriptors(converter).into_iter();
        let mut sockets =
            sockets.filter(|(number, target)| *number != CHANNEL && target.starts_with("socket:"));
        hostile::steal(converter, sockets.next().expect("a channel").0)
    }

    /// The end of the record, and of the run.
    fn finish(self) -> (crate::support::tcpreen::Outcome, String) {
        drop(self.input);
        let outcome = self.tcpreen.finish();
        (outcome, self.scratch.record("output"))
    }
}

fn nonsense_for_the_parent() -> Vec<(Vec<u8>, usize)> {
    let flaw = ToParent::Flaw { part: 0, flaw: Flaw::Foreign };
    let malformed = hostile::malformed(&[
        flaw.clone(),
        ToParent::Converted { sessions: 1, missing: Vec::new(), unended: 0 },
    ]);
    let wrong = [
        ToParent::Failed(Problem::Confine("no".into())),
        ToParent::Found(vec![Address::Unix(Vec::new())]),
        ToParent::WorkerStarted { pid: 1 },
        ToParent::Exited { pid: 1, end: ProcessEnd::Status(0) },
        ToParent::OutputLost,
        ToParent::Recorded { sessions: 1 },
        ToParent::Finished,
        ToParent::Loaded,
        ToParent::Compared { same: true },
        ToParent::Unplayable(Unplayable::Missing),
        // Another session than was asked for.
        ToParent::Converted { sessions: 1, missing: vec![1], unended: 0 },
        // Another part than there is.
        ToParent::Flaw { part: 1, flaw: Flaw::Foreign },
        ToParent::Flaw { part: u32::MAX, flaw: Flaw::Foreign },
    ];
    let wrong = wrong.iter().map(hostile::encoded).chain(malformed).map(|message| (message, 0));
    wrong.chain([1, 2, 3, MOST].map(|count| (hostile::encoded(&flaw), count))).collect()
}

#[test]
fn invalid_messages_of_the_converter_end_the_run() {
    if !needs(&[Need::Root]) {
        return;
    }
    let nonsense = nonsense_for_the_parent();
    let try_one = |(message, count): &(Vec<u8>, usize)| {
        let mut reading = Reading::start();
        let what = format!("{:?} with {count}", message.escape_ascii().to_string());
        let processes = Leftovers::of(reading.tcpreen.pid());
        hostile::let_descriptors_through(reading.tcpreen.pid());
        hostile::send(reading.to_parent(), message, &vec![0; *count]).expect("a parent");
        let status = reading.tcpreen.wait_within(Duration::from_secs(10));
        assert_eq!(status.code(), Some(NONSENSE), "{what}: {}", reading.tcpreen.stderr());
        reading.tcpreen.stderr_line("the converter: ");
        within(Duration::from_secs(2), "the end of all processes", || processes.are_gone().then_some(()));
        assert!(reading.output().contains("before"), "{what}");
    };
    thread::scope(|scope| {
        for part in nonsense.chunks(nonsense.len().div_ceil(4)) {
            scope.spawn(move || part.iter().for_each(try_one));
        }
    });
}

fn saved(session: u64, time: u64, event: SavedEvent) -> FromConverter {
    FromConverter::Saved(Saved { session, time, event })
}

fn beginning(number: u64, name: &str) -> SavedEvent {
    let name = Name { node: name.into(), service: name.into() };
    SavedEvent::Start(Box::new(SavedStart {
        number,
        run: name.node.clone(),
        accepted: 1,
        addresses: [Address::Unix(b"/../../x\n\x1b[2J".to_vec()), Address::Unix(Vec::new())],
        locals: [None, None],
        names: [name.clone(), name],
        meeting: Meeting::Both,
    }))
}

/// Messages that a logger must reject, with bytes behind them.
fn nonsense_for_the_logger() -> Vec<(Vec<u8>, usize)> {
    let data = |position, bytes| SavedEvent::Data { from: Side::Client, position, bytes, urgent: false };
    let end = |state, conn_state| {
        SavedEvent::End(SavedEnd { state, conn_state, errno: 0, totals: [6, 0], tcp: Default::default() })
    };
    // Session 0 is the first one, of which six bytes have been reported.
    let wrong = [
        saved(99, LATER, data(6, 1)),
        saved(99, LATER, end(0, 0)),
        saved(5, LATER, beginning(0, "name")),
        saved(5, 0, beginning(5, "name")),
        saved(5, LATER, SavedEvent::Note("a note".into())),
        saved(5, LATER, SavedEvent::Eof { from: Side::Server, total: 0 }),
    ];
    let good = [FromConverter::Line("line".into()), saved(5, LATER, beginning(5, "name"))];
    let malformed = hostile::malformed(&good);
    let mut nonsense: Vec<_> = wrong.iter().map(hostile::encoded).chain(malformed).collect();
    nonsense.extend([vec![0xff; 300], vec![0; 1 << 17]]);
    let with_descriptors = [1, 3, MOST].map(|count| (hostile::encoded(&good[0]), count));
    nonsense.into_iter().map(|message| (message, 0)).chain(with_descriptors).collect()
}

#[test]
fn a_converter_that_violates_the_protocol_is_disconnected_and_what_came_before_is_written() {
    if !needs(&[Need::Root]) {
        return;
    }
    let nonsense = nonsense_for_the_logger();
    let try_one = |(message, count): &(Vec<u8>, usize)| {
        let reading = Reading::start();
        let what = format!("{:?} with {count}", message.escape_ascii().to_string());
        hostile::let_descriptors_through(reading.tcpreen.role("logger"));
        let channel = reading.to_logger();
        hostile::send(&channel, message, &vec![0; *count]).expect("a logger");
        reading.tcpreen.stderr_line("the converter broke the protocol");
        let late = hostile::encoded(&FromConverter::Line("late".into()));
        let refused = hostile::send(&channel, &late, &[]);
        assert_eq!(refused, Err(nix::errno::Errno::EPIPE), "{what}");
        drop(channel);
        let (outcome, output) = reading.finish();
        assert_ne!(outcome.code(), 0, "{what}: {outcome:?}");
        assert!(output.contains("before"), "{what}: {output}");
    };
    thread::scope(|scope| {
        for part in nonsense.chunks(nonsense.len().div_ceil(4)) {
            scope.spawn(move || part.iter().for_each(try_one));
        }
    });
}

/// Lines, notes, names and paths.
#[test]
fn no_text_of_a_converter_acts_on_a_terminal_or_forges_a_line() {
    if !needs(&[Need::Root]) {
        return;
    }
    let evil = "\x1b[2J\r\n[9] <<< forged\n\u{202e}\u{200b}";
    let reading = Reading::start();
    let channel = reading.to_logger();
    let messages = [
        FromConverter::Line(evil.into()),
        saved(77, LATER, beginning(5, evil)),
        saved(77, LATER, SavedEvent::Note(evil.into())),
        FromConverter::Line("the last line".into()),
    ];
    for message in &messages {
        hostile::send(&channel, &hostile::encoded(message), &[]).expect("a logger");
    }
    reading.tcpreen.stderr_line("the last line");
    drop(channel);
    let (outcome, output) = reading.finish();
    for text in [&outcome.stderr, &output] {
        assert!(text.contains("forged"), "{text:?}");
        assert!(!text.contains(['\x1b', '\r', '\u{202e}', '\u{200b}']), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("[9] <<< forged")), "{text:?}");
    }
}

#[test]
fn a_lingering_socket_from_the_converter_holds_up_neither_logger_nor_parent() {
    if !needs(&[Need::Root]) {
        return;
    }
    let message = hostile::encoded(&FromConverter::Line("line".into()));
    for count in [1, 3, MOST] {
        for (receiver, status) in [("logger", 74), ("parent", NONSENSE)] {
            let mut reading = Reading::start();
            hostile::let_descriptors_through(reading.tcpreen.role(receiver));
            let channel = if receiver == "logger" { reading.to_logger() } else { reading.to_parent() };
            let _peer = Lingering::new().hand_over(channel, &message, count);
            let ended = reading.tcpreen.wait_within(Duration::from_secs(10));
            assert_eq!(ended.code(), Some(status), "{receiver}, {count}: {}", reading.tcpreen.stderr());
        }
    }
}

/// Ends the run by a signal while `meanwhile` goes on.
fn expect_the_end(mut reading: Reading, status: i32, what: &str) {
    let processes = Leftovers::of(reading.tcpreen.pid());
    reading.tcpreen.signal(Signal::SIGTERM);
    let ended = reading.tcpreen.wait_within(IN_TIME);
    assert_eq!(ended.code(), Some(status), "{what}: {}", reading.tcpreen.stderr());
    within(Duration::from_secs(3), "the end of all processes", || processes.are_gone().then_some(()));
    assert!(reading.output().contains("before"), "{what}");
}

#[test]
fn a_stopped_converter_or_logger_does_not_keep_a_reading_from_its_end() {
    if !needs(&[Need::Root]) {
        return;
    }
    thread::scope(|scope| {
        for role in ["converter", "logger"] {
            scope.spawn(move || {
                let reading = Reading::start();
                kill(reading.tcpreen.role(role), Signal::SIGSTOP).expect("kill");
                expect_the_end(reading, 74, role);
            });
        }
    });
}

#[test]
fn a_converter_that_floods_the_logger_after_term_does_not_put_off_the_end() {
    if !needs(&[Need::Root]) {
        return;
    }
    let reading = Reading::start();
    let converter = reading.tcpreen.role("converter");
    let channel: Channel<FromConverter, ()> = Channel::adopt(reading.to_logger().into()).expect("a channel");
    kill(converter, Signal::SIGSTOP).expect("kill");
    let line = FromConverter::Saved(Saved { session: 77, time: LATER, event: beginning(5, "name") });
    channel.send(&line).expect("a logger");
    let note = saved(77, LATER, SavedEvent::Note("again".into()));
    hostile::flood(&channel, &note, || expect_the_end(reading, 74, "a flood"));
}

#[test]
fn a_logger_that_floods_the_parent_does_not_keep_a_reading_from_its_end() {
    if !needs(&[Need::Root]) {
        return;
    }
    let reading = Reading::start();
    let channel = hostile::steal(reading.tcpreen.role("logger"), CHANNEL);
    let channel: Channel<ToParent, ()> = Channel::adopt(channel.into()).expect("a channel");
    let message = ToParent::Recorded { sessions: 0 };
    hostile::flood(&channel, &message, || expect_the_end(reading, 128 + Signal::SIGTERM as i32, "a flood"));
}
