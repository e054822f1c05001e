//! `json`: an object a line, for programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::encoder::{Encoder, FileStart};
use super::event::{Event, Kind, SessionInfo};
use super::object::{self, SessionTotals};
use crate::messages::Side;

pub(crate) struct NdjsonEncoder {
    /// `--only`: the side whose payload is recorded.
    only: Option<Side>,
    /// Open sessions; each new file repeats them in the order of their numbers.
    sessions: BTreeMap<u64, JsonSession>,
    /// The session of the last event, in the state before it.
    before: Option<(u64, Option<JsonSession>)>,
    /// The last event is written to the next file.
    carries: bool,
}

#[derive(Clone)]
struct JsonSession {
    info: Arc<SessionInfo>,
    progress: SessionTotals,
}

impl NdjsonEncoder {
    pub(crate) fn new(only: Option<Side>) -> NdjsonEncoder {
        NdjsonEncoder { only, sessions: BTreeMap::new(), before: None, carries: false }
    }

    fn write(&self, event: &Event, payload: &[u8], out: &mut Vec<u8>) {
        let Some(open) = self.sessions.get(&event.session) else { return };
        object::write(event, payload, &open.info, out);
        out.push(b'\n');
    }
}

impl Encoder for NdjsonEncoder {
    fn begin_file(&mut self, _: &FileStart, out: &mut Vec<u8>) {
        let mut sessions: BTreeMap<u64, &JsonSession> =
            self.sessions.iter().map(|(&number, open)| (number, open)).collect();
        if let Some((number, before)) = self.before.as_ref().filter(|_| self.carries) {
            match before {
                Some(open) => sessions.insert(*number, open),
                None => sessions.remove(number),
            };
        }
        for open in sessions.values() {
            object::write_continue(&open.info, &open.progress, out);
            out.push(b'\n');
        }
    }

    fn event<'a>(&mut self, event: &Event, payload: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        self.before = Some((event.session, self.sessions.get(&event.session).cloned()));
        if let Kind::Start(info) = &event.kind {
            let open = JsonSession { info: Arc::clone(info), progress: SessionTotals::default() };
            self.sessions.insert(event.session, open);
        }
        let Some(open) = self.sessions.get_mut(&event.session) else { return b"" };
        open.progress.add(event);
        match event.kind {
            Kind::Data { from, .. } if self.only.is_some_and(|only| only != from) => {}
            Kind::Secrets => {}
            _ => self.write(event, payload, out),
        }
        if let Kind::End(_) = event.kind {
            self.sessions.remove(&event.session);
        }
        b""
    }

    fn carry(&mut self, carries: bool) {
        self.carries = carries;
    }

    fn end_file(&mut self, _: &mut Vec<u8>) {}
}
