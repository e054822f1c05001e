//! Ends that no peer caused (`-b`, `--idle-timeout`, a signal), in each state that a session can be in.

use std::time::Duration;

use crate::ours::relay::script::Stage;
use crate::ours::relay::table::Bridge;
use crate::ours::relay::table::Family;
use crate::ours::relay::table::Listener;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use nix::sys::signal::Signal;

/// Cause of the end of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Signal(Signal),
    Idle,
    Limit,
}

impl Ending {
    fn options(self) -> &'static [&'static str] {
        match self {
            Ending::Signal(_) => &[],
            Ending::Idle => &["--idle-timeout", "1s"],
            Ending::Limit => &["-b", "9"],
        }
    }
}

/// The state in words, the script that leads there, and the sides that an idle session may name.
#[rustfmt::skip]
const STATES: &[(&str, &str, &[char])] = &[
    ("silent", "b.pause 0", &[]),
    ("in conversation", "a.send 10; b.get 10; b.send 20; a.get 20", &[]),
    ("half-closed", "a.send 10; a.finish; b.rest", &[]),
    ("a stalled receiver", "b.pause 0; a.push 64000000; a.push 1000000; a.push 1000000", &['b']),
    ("two stalled receivers", "b.pause 0; a.push 64000000; b.push 64000000; a.push 1000000; b.push 1000000", &['a', 'b']),
    ("a stalled receiver that has finished", "b.finish; a.rest; a.push 64000000; a.push 1000000", &['b']),
];

/// With `-b` the session ends before the script does: only states that need no more than that, or that follow from
/// one write, are reached.
#[rustfmt::skip]
const LIMITED: &[(&str, &str, &[char])] = &[
    ("in conversation", "b.send 4; a.get 4; a.send 10; b.get 10", &[]),
    ("half-closed", "a.send 4; a.finish; b.rest; b.send 10; a.get 10", &[]),
    ("half-closed by the receiver", "b.finish; a.rest; a.send 10; b.get 10", &[]),
    ("more than the limit", "b.pause 0; a.push 64000000", &[]),
];

/// Plays one state through a bridge of its own; what is wrong with the record, if anything.
fn complaint(
    family: Family,
    format: &str,
    ending: Ending,
    (script, stalled): (&str, &[char]),
    swapped: bool,
) -> Option<String> {
    let scratch = Scratch::new();
    let listener = Listener::new(family, &scratch);
    let bridge = Bridge::start(family, format, &listener, &scratch, ending.options());
    let accept = || listener.accept();
    let mut stage = Stage::new(bridge.connect(), &accept, swapped);
    let observed = stage.play(script);
    if let Ending::Signal(signal) = ending {
        bridge.signal(signal);
    }
    let Some(record) = bridge.record_within(Duration::from_secs(20)) else {
        return Some(format!("the session does not end; the peers saw {observed:?}"));
    };
    let side = |letter: &char| if (*letter == 'a') != swapped { "client" } else { "server" };
    let expected: Vec<String> = match ending {
        Ending::Signal(_) => vec!["stopped by the operator.".into()],
        Ending::Limit => vec!["byte limit reached.".into()],
        Ending::Idle if stalled.is_empty() => vec!["idle for too long.".into()],
        Ending::Idle => stalled.iter().map(|letter| format!("the {} does not read.", side(letter))).collect(),
    };
    let ended = record.lines().find_map(|line| line.strip_prefix("Session ended: "));
    let right = ended.is_some_and(|ended| expected.iter().any(|it| it == ended));
    (!right).then(|| format!("the record says {ended:?}; the peers saw {observed:?}"))
}

fn play(family: Family, format: &str, endings: &[Ending]) {
    if !needs(&[Need::Root]) {
        return;
    }
    let mut failed = Vec::new();
    for &ending in endings {
        let states = if ending == Ending::Limit { LIMITED } else { STATES };
        for (&(state, script, stalled), swapped) in
            states.iter().flat_map(|state| [(state, false), (state, true)])
        {
            if let Some(complaint) = complaint(family, format, ending, (script, stalled), swapped) {
                failed.push(format!("{ending:?}, {state}, swapped: {swapped}: {complaint}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} cases differ:\n{}", failed.len(), failed.join("\n"));
}

const ALL: &[Ending] = &[Ending::Signal(Signal::SIGINT), Ending::Idle, Ending::Limit];

#[test]
fn ends_over_tcp_recorded() {
    play(Family::Tcp, "C", ALL);
}

#[test]
fn ends_over_tcp_spliced() {
    play(Family::Tcp, "count", ALL);
}

#[test]
fn ends_over_unix_sockets() {
    play(Family::Unix, "C", ALL);
}

#[test]
fn ends_over_unix_sockets_of_packets() {
    play(Family::Packets, "C", ALL);
}
