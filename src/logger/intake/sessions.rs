//! Reports of workers, each for its own session, in the order of recording.

use std::sync::Arc;
use std::time::Instant;

use nix::sys::epoll::{EpollEvent, EpollFlags};
use privsep::channel::{Channel, ChannelError, Frame, Wait};
use privsep::wire;

use crate::logger::batch::BatchItem;
use crate::logger::intake::session::{HeldRecord, LoggedSession, close_message, state_of};
use crate::logger::intake::{LISTENING, Reader};
use crate::logger::output::passed;
use crate::messages::{CloseReason, Level, OutputMode, Record, Side};
use crate::record::{Event, Kind, Meeting, SessionInfo, State, Time};
use crate::role::RoleError;

/// Maximum number of bytes that sessions hold back, all together, while their names are looked up.
const HELD: usize = 4 << 20;

/// Note of the other outputs about a session that ends because one is lost.
const OUTPUT_LOST: &str = "Session ended: an output cannot be written any more.";

impl Reader<'_> {
    pub(super) fn open(
        &mut self,
        info: SessionInfo,
        channel: Channel<crate::messages::ToWorker, Record>,
        bytes: Option<u64>,
    ) -> Result<(), RoleError> {
        let number = info.number;
        self.admit(info, |info| LoggedSession::new(info, Some(channel), bytes))?;
        if self.sharing == OutputMode::Labelled || self.turn.len() == 1 {
            self.start(number)?;
        }
        Ok(())
    }

    /// Records a session that never had a worker, with the reason.
    pub(super) fn unserved(
        &mut self,
        info: SessionInfo,
        state: (State, i32),
        note: Option<String>,
    ) -> Result<(), RoleError> {
        let number = info.number;
        self.admit(info, |info| {
            let mut session = LoggedSession::new(info, None, None);
            session.give_up();
            session
        })?;
        if let Some(session) = self.sessions.get_mut(&number) {
            session.wait_for_turn();
        }
        self.close(number, None, state, note);
        if self.sharing == OutputMode::Labelled || self.turn.len() == 1 {
            self.start(number)?;
        }
        Ok(())
    }

    /// Enters a session, which waits for the names of its peers.
    fn admit(
        &mut self,
        mut info: SessionInfo,
        new: impl FnOnce(SessionInfo) -> LoggedSession,
    ) -> Result<(), RoleError> {
        let number = info.number;
        if number >= LISTENING / 2 || self.sessions.contains_key(&number) {
            return Err(RoleError::Protocol);
        }
        let mut until = [None; 2];
        for (index, peer) in info.peers.iter_mut().enumerate() {
            (peer.name, until[index]) = self.names.ask(2 * number + index as u64, &peer.address);
        }
        let files = BatchItem::Open { session: number, info: Arc::new(info.clone()) };
        let mut session = new(info);
        let [client, server] = until;
        // A worker that waits for its records cannot wait for names.
        if !self.receipts.are_for_records() {
            session.wait_for_names(client, server);
        }
        if self.lost {
            let _ = session.channel.as_ref().map(Channel::finish_sending);
        }
        self.watch(number, session.has_deadline());
        self.sessions.insert(number, session);
        self.turn.push_back(number);
        // Before all other records of the session.
        self.step(number);
        self.add(files);
        Ok(())
    }

    /// Adds a session that waits to those whose deadlines are checked, once: one listed twice would be given up twice.
    pub(super) fn watch(&mut self, number: u64, waits: bool) {
        if waits && !self.watched.contains(&number) {
            self.watched.push(number);
        }
    }

    /// Begins to read a session.
    pub(super) fn start(&mut self, number: u64) -> Result<(), RoleError> {
        let Some(session) = self.sessions.get(&number) else { return Ok(()) };
        if let Some(channel) = &session.channel {
            self.epoll.add(channel, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
        }
        if session.can_begin() {
            self.begin(number);
        }
        Ok(())
    }

    /// Records the beginning of a session, now that its names are known or given up.
    pub(super) fn begin(&mut self, number: u64) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let (begin, held, size) = session.begin();
        self.held = self.held.saturating_sub(size);
        if session.meeting() != Meeting::Refused {
            let [client, server] = session.names();
            self.notes.session(client, server);
        }
        self.record(begin, (0, 0));
        for HeldRecord { event, bytes } in held {
            let payload = self.batch.copy(&bytes);
            self.record(event, payload);
        }
        self.forget_if_gone(number);
    }

    /// Holds a record back until the names of its session are known. Where all sessions together hold too much, those
    /// that hold most begin without names.
    fn hold(&mut self, event: Event, bytes: Vec<u8>) {
        let Some(session) = self.sessions.get_mut(&event.session) else { return };
        self.held += session.hold(event, bytes);
        while self.held > HELD {
            let holding = self.sessions.values().filter(|session| session.held() > 0);
            let Some(largest) = holding.max_by_key(|session| session.held()) else { return };
            self.begin(largest.number);
        }
    }

    pub(super) fn handle_worker_records(&mut self, number: u64, budget: usize) -> Result<(), RoleError> {
        for _ in 0..budget {
            // A worker that was disconnected may still wait for its names; its records are not read.
            let speaking = self.sessions.get_mut(&number).filter(|session| !session.is_gone());
            let Some(session) = speaking else { return Ok(()) };
            let Some(channel) = &session.channel else { return Ok(()) };
            match channel.receive_frame(self.batch.space(), Wait::No) {
                Ok(Frame::Bytes(length)) => {
                    self.pace.read(length);
                    self.accept(number, length);
                }
                Ok(Frame::Nothing) => return Ok(()),
                Ok(Frame::Closed) => return self.hung_up(number),
                Err(ChannelError::TooLong | ChannelError::Descriptors) => self.cut_off(number),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A frame of `length` bytes stands in the batch.
    pub(super) fn accept(&mut self, number: u64, length: usize) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let (record, head) = match wire::decode_head::<Record>(self.batch.frame(length)) {
            Ok((record, head)) if session.allows(&record, length - head) => (record, head),
            _ => return self.cut_off(number),
        };
        let (before, time) = (session.bytes(), Some(Time::from_nanos(record.time())));
        session.count(&record, length - head);
        if matches!(record, Record::Data { .. } | Record::Passed { .. }) {
            self.step(number);
        }
        let Some(session) = self.sessions.get_mut(&number) else { return };
        match record {
            Record::Data { from, urgent, .. } => {
                let (position, bytes) = (before[from as usize], (length - head) as u64);
                let event = session.event(time, Kind::Data { from, position, bytes, urgent });
                if session.is_pending() {
                    let bytes = self.batch.frame(length)[head..].to_vec();
                    return self.hold(event, bytes);
                }
                let payload = self.batch.keep(head, length);
                self.record(event, payload);
            }
            Record::Passed { from, bytes, .. } => {
                let position = before[from as usize];
                self.happened(number, time, Kind::Data { from, position, bytes, urgent: false });
            }
            Record::Descriptors { from, .. } => {
                let note = passed::descriptors(from, &self.batch.frame(length)[head..]);
                self.happened(number, time, Kind::Note(note));
            }
            Record::Undelivered { from, count, .. } => {
                self.happened(number, time, Kind::Note(passed::undelivered(from, count)));
            }
            Record::EmptyMessage { from, .. } => {
                self.happened(number, time, Kind::Note(passed::empty_message(from)));
            }
            Record::Ended { from, total, .. } => self.happened(number, time, Kind::Eof { from, total }),
            Record::Closed { cause, totals, tcp, .. } => {
                session.closed(tcp);
                if cause == CloseReason::Done {
                    self.finish_sides(number, time, totals);
                }
                let note = match cause {
                    CloseReason::Stopped if self.lost => Some(OUTPUT_LOST.to_owned()),
                    cause => close_message(cause),
                };
                self.close(number, time, state_of(cause), note);
            }
        }
    }

    /// The ends of sides that were reported with the end of the session.
    fn finish_sides(&mut self, number: u64, time: Option<Time>, totals: [Option<u64>; 2]) {
        for (from, total) in [Side::Client, Side::Server].into_iter().zip(totals) {
            if let Some(total) = total {
                self.happened(number, time, Kind::Eof { from, total });
            }
        }
    }

    /// Disconnects a worker that violates the protocol; the end of its channel ends it.
    pub(super) fn cut_off(&mut self, number: u64) {
        self.notes.print(Level::Error, &format!("session {number}: the worker broke the protocol"));
        self.end_abnormally(number, "Session ended abnormally: the worker broke the protocol.".into());
    }

    pub(super) fn hung_up(&mut self, number: u64) -> Result<(), RoleError> {
        let Some(session) = self.sessions.get_mut(&number) else { return Ok(()) };
        if let Some(channel) = &session.channel {
            self.epoll.delete(channel)?;
        }
        let note = session.hung_up(Instant::now());
        let waits = session.has_deadline();
        self.watch(number, waits);
        if let Some(note) = note {
            self.close(number, None, (State::Lost, 0), Some(note));
        }
        self.forget_if_gone(number);
        Ok(())
    }

    pub(super) fn end_abnormally(&mut self, number: u64, note: String) {
        if let Some(session) = self.sessions.get_mut(&number) {
            session.give_up();
            // Later messages are not received; a worker that is still alive ends.
            if let Some(channel) = &session.channel {
                let _ = channel.finish_sending();
                let _ = self.epoll.delete(channel);
            }
        }
        self.close(number, None, (State::Lost, 0), Some(note));
        self.forget_if_gone(number);
    }

    /// Records the end of a session, with a note about its cause.
    fn close(&mut self, number: u64, time: Option<Time>, state: (State, i32), note: Option<String>) {
        if let Some(note) = note {
            self.happened(number, time, Kind::Note(note));
        }
        if let Some(session) = self.sessions.get_mut(&number) {
            let end = session.end(time, state);
            self.in_turn(end);
        }
    }

    /// Records something without payload, in its turn.
    fn happened(&mut self, number: u64, time: Option<Time>, kind: Kind) {
        if let Some(session) = self.sessions.get_mut(&number) {
            let event = session.event(time, kind);
            self.in_turn(event);
        }
    }

    fn in_turn(&mut self, event: Event) {
        if self.sessions.get(&event.session).is_some_and(LoggedSession::is_pending) {
            self.hold(event, Vec::new());
        } else {
            self.record(event, (0, 0));
        }
    }

    fn record(&mut self, event: Event, payload: (usize, usize)) {
        self.add(BatchItem::Event { event, payload });
    }

    /// A session that is over and written is dropped; with `OutputMode::Serial` the next one begins.
    pub(super) fn forget_if_gone(&mut self, number: u64) {
        let over =
            self.sessions.get(&number).is_some_and(|session| session.is_gone() && !session.is_pending());
        if !over {
            return;
        }
        if let Some(session) = self.sessions.remove(&number) {
            self.statistics.add(&session);
            self.backlog.recorded();
        }
        self.turn.retain(|&other| other != number);
        if let (OutputMode::Serial, Some(&next)) = (self.sharing, self.turn.front())
            && self.start(next).is_err()
        {
            self.notes.print(Level::Error, &format!("session {next} cannot be recorded"));
            self.end_abnormally(next, "Session ended abnormally: not recorded.".into());
        }
    }

    /// Begins a session if it is the one, or one of those, being read.
    pub(super) fn begin_in_turn(&mut self, number: u64) {
        if self.sharing == OutputMode::Labelled || self.turn.front() == Some(&number) {
            self.begin(number);
        }
    }
}
