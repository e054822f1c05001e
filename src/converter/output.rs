//! Events on their way to the logger.

use std::collections::HashSet;
use std::io;

use privsep::channel::Channel;
use privsep::wire;

use crate::messages::{FromConverter, Saved, SavedEnd, SavedEvent, SavedStart, ToParent};
use crate::record::{ConnState, End, Event, Kind, SessionInfo, State};
use crate::role::RoleError;

/// The way to the logger.
pub(super) struct EventOutput {
    logger: Channel<FromConverter, ()>,
    buffer: Vec<u8>,
    /// Maximum length of a payload: what a message holds, and the channel.
    room: usize,
    /// Wanted sessions; none stands for all.
    only: Vec<u64>,
    /// Those of them that have not begun.
    missing: Vec<u64>,
    /// Open sessions that are passed on.
    open: HashSet<u64>,
    sessions: u64,
}

/// Overhead of a message in a socket's buffer.
const OVERHEAD: usize = 4096;

impl EventOutput {
    pub(super) fn new(logger: Channel<FromConverter, ()>) -> Result<EventOutput, RoleError> {
        use nix::sys::socket::{getsockopt, sockopt};
        let holds = getsockopt(&logger, sockopt::SndBuf)?.saturating_sub(OVERHEAD);
        let room = Saved::LONGEST_PAYLOAD.min(holds.saturating_sub(Saved::MAX_HEAD)).max(1);
        let buffer = vec![0; Saved::MAX_HEAD + Saved::LONGEST_PAYLOAD];
        let (only, missing, open) = Default::default();
        Ok(EventOutput { logger, buffer, room, only, missing, open, sessions: 0 })
    }

    pub(super) fn only(self, only: Vec<u64>) -> EventOutput {
        let missing = only.clone();
        EventOutput { only, missing, ..self }
    }

    /// The end: what has been passed on.
    pub(super) fn finish(self) -> ToParent {
        let unended = self.open.len() as u64;
        ToParent::Converted { sessions: self.sessions, missing: self.missing, unended }
    }

    /// Sends an event, unless its session is not wanted.
    pub(super) fn send(&mut self, event: Event, payload: &[u8]) -> Result<(), RoleError> {
        let Event { time, session, kind } = event;
        if let Kind::Start(info) = &kind {
            if !self.only.is_empty() && !self.only.contains(&info.number) {
                return Ok(());
            }
            self.missing.retain(|number| *number != info.number);
            self.open.insert(session);
            self.sessions += 1;
        } else if !self.open.contains(&session) {
            return Ok(());
        }
        let head = |event| FromConverter::Saved(Saved { session, time: time.nanos(), event });
        match kind {
            Kind::Data { from, position, bytes, urgent } => {
                let data = |position, bytes| head(SavedEvent::Data { from, position, bytes, urgent });
                if payload.is_empty() {
                    return self.send_frame(&data(position, bytes), &[]);
                }
                // Records of ours have none that is longer.
                for (index, piece) in payload.chunks(self.room).enumerate() {
                    let position = position + (index * self.room) as u64;
                    self.send_frame(&data(position, piece.len() as u64), piece)?;
                }
                Ok(())
            }
            Kind::Start(info) => Ok(self.logger.send(&head(start(&info)))?),
            Kind::Eof { from, total } => Ok(self.logger.send(&head(SavedEvent::Eof { from, total }))?),
            Kind::Secrets => self.send_frame(&head(SavedEvent::Secrets), payload),
            Kind::Note(text) => Ok(self.logger.send(&head(SavedEvent::Note(text.into())))?),
            Kind::End(end) => {
                self.open.remove(&session);
                Ok(self.logger.send(&head(SavedEvent::End(saved_end(&end))))?)
            }
        }
    }

    /// Prints a line for the operator.
    pub(super) fn print(&self, line: String) -> Result<(), RoleError> {
        Ok(self.logger.send(&FromConverter::Line(line.into()))?)
    }

    fn send_frame(&mut self, head: &FromConverter, payload: &[u8]) -> Result<(), RoleError> {
        let used = wire::encode(head, &mut self.buffer).map_err(io::Error::other)?;
        let end = used + payload.len();
        self.buffer[used..end].copy_from_slice(payload);
        Ok(self.logger.send_frame(&self.buffer[..end])?)
    }
}

fn start(info: &SessionInfo) -> SavedEvent {
    let [client, server] = &info.peers;
    SavedEvent::Start(Box::new(SavedStart {
        number: info.number,
        run: info.run.to_string(),
        accepted: info.accepted.nanos(),
        addresses: [client.address.clone(), server.address.clone()],
        locals: [client.local.clone(), server.local.clone()],
        names: [client.name.clone(), server.name.clone()],
        meeting: info.meeting,
    }))
}

fn saved_end(end: &End) -> SavedEnd {
    let state = State::ALL.into_iter().position(|state| state == end.state).unwrap_or(usize::MAX);
    let conn_state =
        ConnState::ALL.into_iter().position(|state| state == end.conn_state).unwrap_or(usize::MAX);
    SavedEnd {
        state: state as u8,
        conn_state: conn_state as u8,
        errno: end.errno,
        totals: end.totals,
        tcp: end.tcp,
    }
}
