//! The encoder of the text formats.

use std::collections::HashMap;
use std::sync::Arc;

use super::SessionText;
use super::clock::Clock;
use super::timing::Timing;
use crate::format::Format;
use crate::messages::{Side, View};
use crate::record::color::{RESET, TROUBLE, of_side};
use crate::record::encoder::{Encoder, FileStart, Purpose};
use crate::record::event::{End, Event, Kind, Meeting, Peer, SessionInfo, State, Time};

/// The encoder of all text formats.
pub(crate) struct TextEncoder {
    view: View,
    purpose: Purpose,
    clock: Option<Clock>,
    sessions: HashMap<u64, TextSession>,
}

/// A session that has not ended.
struct TextSession {
    text: SessionText,
    /// Sides whose end has been written.
    finished: [bool; 2],
    /// Notes that have not been written: at the end of a session, the totals come before them.
    notes: Vec<String>,
    is_painted: bool,
    /// State for `--time`.
    watch: Option<Watched>,
}

struct Watched {
    clock: Clock,
    timing: Timing,
    info: Arc<SessionInfo>,
    /// The time of the last line.
    previous: Time,
}

impl TextEncoder {
    pub(crate) fn new(view: View, purpose: Purpose) -> TextEncoder {
        let form = view.time.filter(|_| view.format.has_time(purpose.terminal));
        let clock = form.map(|form| Clock { form, zone: Arc::clone(&purpose.zone) });
        TextEncoder { view, purpose, clock, sessions: HashMap::new() }
    }

    /// Begins a session. One whose server was not reached is left out, as in 1.4.4.
    fn start(&mut self, session: u64, info: &Arc<SessionInfo>, out: &mut Vec<u8>) {
        if info.meeting == Meeting::Refused {
            return;
        }
        let label = self.purpose.labelled.then_some(info.number);
        let text = SessionText::new(self.view.format, label, self.purpose.terminal).only(self.view.only);
        let [client, server] = &info.peers;
        let watch = self.clock.clone().map(|clock| Watched {
            clock,
            timing: Timing::new(info),
            info: Arc::clone(info),
            previous: info.started,
        });
        let is_painted = is_painted(self.view, &self.purpose);
        let mut open = TextSession { text, finished: [false; 2], notes: Vec::new(), is_painted, watch };
        open.look_at_clock(info.started);
        open.text.begin(words(client), words(server), out);
        self.sessions.insert(session, open);
    }
}

/// Checks whether lines of this output are coloured. `raw` has lines only on a terminal.
fn is_painted(view: View, purpose: &Purpose) -> bool {
    purpose.color && (view.format != Format::Raw || purpose.terminal)
}

/// Colours every line from `start` on. The colour is reset before each line feed.
fn paint(color: &[u8], start: usize, out: &mut Vec<u8>) {
    let lines = out.split_off(start);
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let (text, end): (_, &[u8]) = line.strip_suffix(b"\n").map_or((line, b""), |text| (text, b"\n"));
        for part in [color, text, RESET, end] {
            out.extend_from_slice(part);
        }
    }
}

/// Returns node and service.
fn words(peer: &Peer) -> (&str, &str) {
    (&peer.name.node, &peer.name.service)
}

impl Encoder for TextEncoder {
    fn begin_file(&mut self, _: &FileStart, _: &mut Vec<u8>) {}

    fn event<'a>(&mut self, event: &Event, payload: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        match &event.kind {
            Kind::Start(info) => {
                self.start(event.session, info, out);
                return b"";
            }
            Kind::End(end) => {
                if let Some(open) = self.sessions.remove(&event.session) {
                    open.end(event.time, end, out);
                }
                return b"";
            }
            _ => {}
        }
        let Some(open) = self.sessions.get_mut(&event.session) else { return b"" };
        open.write_notes(out);
        open.happened(event);
        let start = out.len();
        match &event.kind {
            Kind::Data { from, bytes, .. } if payload.is_empty() => open.text.passed(*from, *bytes, out),
            Kind::Data { from, urgent, .. } => {
                let rest = open.text.piece(*from, *urgent, payload, out);
                if open.is_painted {
                    paint(of_side(*from), start, out);
                }
                return rest;
            }
            Kind::Eof { from, total } => open.finish(*from, *total, out),
            Kind::Note(note) => open.notes.push(note.clone()),
            Kind::Start(_) | Kind::Secrets | Kind::End(_) => {}
        }
        b""
    }

    fn end_file(&mut self, _: &mut Vec<u8>) {}
}

impl TextSession {
    /// Sets the time that the next lines show.
    fn look_at_clock(&mut self, time: Time) {
        if let Some(Watched { clock, info, previous, .. }) = &mut self.watch {
            let text = self.text.time();
            clock.write(time, info.started, *previous, text);
            text.push(b' ');
            *previous = time;
        }
    }

    fn happened(&mut self, event: &Event) {
        self.look_at_clock(event.time);
        if let Some(Watched { timing, .. }) = &mut self.watch {
            match event.kind {
                Kind::Data { from, .. } => timing.acted(from, event.time, true),
                Kind::Eof { from, .. } => timing.acted(from, event.time, false),
                Kind::Start(_) | Kind::Secrets | Kind::Note(_) | Kind::End(_) => {}
            }
        }
    }

    fn write_notes(&mut self, out: &mut Vec<u8>) {
        for note in self.notes.drain(..) {
            let start = out.len();
            self.text.note(&note, out);
            if self.is_painted {
                paint(TROUBLE, start, out);
            }
        }
    }

    fn finish(&mut self, from: Side, total: u64, out: &mut Vec<u8>) {
        self.finished[from as usize] = true;
        self.text.ended(from, total, out);
    }

    /// The totals of sides that did not finish are shown, too, except where the worker could not report them.
    fn end(mut self, time: Time, end: &End, out: &mut Vec<u8>) {
        self.look_at_clock(time);
        for side in [Side::Client, Side::Server] {
            if !self.finished[side as usize] && end.state != State::Lost {
                self.finish(side, end.totals[side as usize], out);
            }
        }
        self.write_notes(out);
        if let Some(Watched { timing, .. }) = self.watch {
            self.text.note(&timing.summary(time, end.totals), out);
        }
        self.text.close(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Format, TimeForm};
    use crate::messages::Address;
    use crate::record::ConnState;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64, kind: Kind) -> Event {
        Event { time: Time::from_nanos(seconds * SECOND), session: 7, kind }
    }

    /// A session whose server takes its time.
    fn shown(format: Format, labelled: bool) -> String {
        let view = View { format, only: None, time: Some(TimeForm::Clock) };
        let mut encoder = TextEncoder::new(view, Purpose { labelled, ..Purpose::default() });
        let address = Address::V4 { host: [192, 0, 2, 1].into(), port: 9 };
        let peer = Peer { name: address.numeric(), address, local: None };
        let info = SessionInfo {
            number: 7,
            run: "run".into(),
            accepted: Time::from_nanos(0),
            started: Time::from_nanos(SECOND),
            peers: [peer.clone(), peer],
            meeting: Meeting::Both,
        };
        let data = |from| Kind::Data { from, position: 0, bytes: 1, urgent: false };
        let (state, conn_state) = (State::Done, ConnState::Sf);
        let end = End { state, conn_state, errno: 0, totals: [1, 1], tcp: Default::default() };
        let events = [
            (at(1, Kind::Start(Arc::new(info))), ""),
            (at(2, data(Side::Client)), "a"),
            (at(5, data(Side::Server)), "b"),
            (at(6, Kind::End(end)), ""),
        ];
        let mut out = Vec::new();
        for (event, payload) in events {
            let rest = encoder.event(&event, payload.as_bytes(), &mut out).to_vec();
            out.extend_from_slice(&rest);
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn times_stand_first_and_a_summary_last() {
        let expected = "00:00:01.000000 [7] Connection from: 192.0.2.1 port 9\n\
                        00:00:01.000000 [7] Connection to: 192.0.2.1 port 9\n\
                        00:00:01.000000 [7] Transmission follows...\n\
                        00:00:02.000000 [7] <<< a\n\
                        00:00:05.000000 [7] >>> b\n\
                        00:00:06.000000 [7] End of input: 1 byte received.\n\
                        00:00:06.000000 [7] End of output: 1 byte sent.\n\
                        00:00:06.000000 [7] Session took 5.000000 s, connecting 1.000000 s; 1 byte received, \
                        1 byte sent; first byte of the server after 4.000000 s; longest silence 3.000000 s, \
                        until the server acted.\n\
                        00:00:06.000000 [7] End of transmission.\n";
        assert_eq!(shown(Format::C, true), expected);
        assert_eq!(shown(Format::Strip, true), expected);
        assert_eq!(shown(Format::C, false), expected.replace("[7] ", ""));
        let hex = shown(Format::Hex, true);
        assert!(
            hex.contains(
                "\n[7] <<<    |  0  1  2  3  4  5  6  7  8  9  A  B  C  D  E  F | 00:00:02.000000\n"
            ),
            "{hex}"
        );
        assert!(hex.contains("\n[7] 0x0000 | 61 "), "{hex}");
        assert!(!shown(Format::Raw, false).contains("00:00"), "raw is the bytes");
    }
}
