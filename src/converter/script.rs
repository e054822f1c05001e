//! One session of a record, as one of its peers has to play it again.

use std::time::Duration;

use crate::messages::{Side, Unplayable};
use crate::record::{Event, Kind, Time};

/// Maximum number of bytes in a session that is played.
const MOST: usize = 64 << 20;

/// What the player does, in order.
pub(super) struct PlaybackStep {
    /// Bytes of the other side that come first, in all.
    pub(super) after: usize,
    /// Time since the session began.
    pub(super) at: Duration,
    pub(super) act: Act,
}

pub(super) enum Act {
    Send(Vec<u8>),
    /// Half-close.
    Finish,
}

/// The session, so far.
pub(super) struct PlaybackScript {
    me: Side,
    started: Option<Time>,
    pub(super) number: u64,
    pub(super) steps: Vec<PlaybackStep>,
    /// What the other side sent.
    pub(super) theirs: Vec<u8>,
    /// It sent an end, too.
    pub(super) they_finish: bool,
    sent: u64,
    session: Option<u64>,
    /// Has the end been read?
    pub(super) is_over: bool,
    pub(super) unplayable: Option<Unplayable>,
}

impl PlaybackScript {
    pub(super) fn new(me: Side) -> PlaybackScript {
        PlaybackScript {
            me,
            started: None,
            number: 0,
            steps: Vec::new(),
            theirs: Vec::new(),
            they_finish: false,
            sent: 0,
            session: None,
            is_over: false,
            unplayable: None,
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.session.is_some()
    }

    /// Takes an event in, if it is of the session that is played: the one with this number, or the first.
    pub(super) fn add(&mut self, event: &Event, payload: &[u8], wanted: Option<u64>) {
        if let Kind::Start(info) = &event.kind {
            if self.session.is_none() && wanted.is_none_or(|number| number == info.number) {
                (self.session, self.number) = (Some(event.session), info.number);
                self.started = Some(event.time);
            }
            return;
        }
        if self.session != Some(event.session) || self.is_over || self.unplayable.is_some() {
            return;
        }
        match event.kind {
            Kind::Data { from, position, .. } => self.data(event.time, from, position, payload),
            Kind::Eof { from, total } => self.end_of_side(event.time, from, total),
            Kind::End(end) => {
                let has_all = [Side::Client, Side::Server]
                    .iter()
                    .all(|side| end.totals[*side as usize] <= self.known(*side));
                self.unplayable = (!has_all).then_some(Unplayable::Gap);
                self.is_over = true;
            }
            Kind::Start(_) | Kind::Secrets | Kind::Note(_) => {}
        }
    }

    /// Number of bytes of a side up to now.
    fn known(&self, side: Side) -> u64 {
        if side == self.me { self.sent } else { self.theirs.len() as u64 }
    }

    /// The total is larger than the number of known bytes where a side is not in the record (`--only`).
    fn end_of_side(&mut self, time: Time, from: Side, total: u64) {
        if total > self.known(from) {
            self.unplayable = Some(Unplayable::Gap);
        } else if from == self.me {
            self.step(time, Act::Finish);
        } else {
            self.they_finish = true;
        }
    }

    fn data(&mut self, time: Time, from: Side, position: u64, payload: &[u8]) {
        let before = self.known(from);
        self.unplayable = match payload.len() {
            0 => Some(Unplayable::OnlyLengths),
            _ if position != before => Some(Unplayable::Gap),
            length if self.sent as usize + self.theirs.len() + length > MOST => Some(Unplayable::TooLong),
            _ => None,
        };
        if self.unplayable.is_some() {
            return;
        }
        if from == self.me {
            self.sent += payload.len() as u64;
            self.step(time, Act::Send(payload.to_vec()));
        } else {
            self.theirs.extend_from_slice(payload);
        }
    }

    fn step(&mut self, time: Time, act: Act) {
        let at = self.started.map_or(0, |started| time.since(started));
        self.steps.push(PlaybackStep { after: self.theirs.len(), at: Duration::from_nanos(at), act });
    }
}
