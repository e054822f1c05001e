//! Events as text.

use std::collections::HashMap;

use super::SessionText;
use crate::format::Format;
use crate::messages::{Side, View};
use crate::record::color::{RESET, TROUBLE, of_side};
use crate::record::encoder::{Encoder, FileStart, Purpose};
use crate::record::event::{End, Event, Kind, Meeting, Peer, SessionInfo, State};

/// The encoder of all text formats.
pub(crate) struct TextEncoder {
    view: View,
    purpose: Purpose,
    sessions: HashMap<u64, Open>,
}

/// A session that has not ended.
struct Open {
    text: SessionText,
    /// Sides whose end is in the text.
    finished: [bool; 2],
    /// Not in the text yet: at the end of a session, totals come before them.
    notes: Vec<String>,
    is_painted: bool,
}

impl TextEncoder {
    pub(crate) fn new(view: View, purpose: Purpose) -> TextEncoder {
        TextEncoder { view, purpose, sessions: HashMap::new() }
    }

    /// The frame of text has no words for a server that is not reached, and 1.4.4 had none.
    fn start(&mut self, session: u64, info: &SessionInfo, out: &mut Vec<u8>) {
        if info.meeting == Meeting::Refused {
            return;
        }
        let label = self.purpose.labelled.then_some(info.number);
        let mut text = SessionText::new(self.view.format, label, self.purpose.terminal).only(self.view.only);
        let [client, server] = &info.peers;
        text.begin(words(client), words(server), out);
        let is_painted = is_painted(self.view, self.purpose);
        self.sessions.insert(session, Open { text, finished: [false; 2], notes: Vec::new(), is_painted });
    }
}

/// Whether lines of this output are painted. The bytes of `raw` are nobody's lines, except on a terminal.
fn is_painted(view: View, purpose: Purpose) -> bool {
    purpose.color && (view.format != Format::Raw || purpose.terminal)
}

/// Puts every line that begins at `start` into a colour, which ends before the line does.
fn paint(color: &[u8], start: usize, out: &mut Vec<u8>) {
    let lines = out.split_off(start);
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let (text, end): (_, &[u8]) = line.strip_suffix(b"\n").map_or((line, b""), |text| (text, b"\n"));
        for part in [color, text, RESET, end] {
            out.extend_from_slice(part);
        }
    }
}

/// Node and service.
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
                    open.end(end, out);
                }
                return b"";
            }
            _ => {}
        }
        let Some(open) = self.sessions.get_mut(&event.session) else { return b"" };
        open.tell_notes(out);
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
            Kind::Start(_) | Kind::End(_) => {}
        }
        b""
    }

    fn end_file(&mut self, _: &mut Vec<u8>) {}
}

impl Open {
    fn tell_notes(&mut self, out: &mut Vec<u8>) {
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
    fn end(mut self, end: &End, out: &mut Vec<u8>) {
        for side in [Side::Client, Side::Server] {
            if !self.finished[side as usize] && end.state != State::Lost {
                self.finish(side, end.totals[side as usize], out);
            }
        }
        self.tell_notes(out);
        self.text.close(out);
    }
}
