//! Checks of a worker's messages: no data of a side that has ended, nothing after the close, and one end of
//! the worker.
//!
//! Each byte of an input is something that happens; the logger's own steps are those of `reader`.

use std::time::Instant;

use privsep::channel::Channel;

use crate::logger::intake::session::LoggedSession;
use crate::messages::{Address, CloseReason, ProcessEnd, Record, Side};
use crate::record::{Meeting, Peer, SessionInfo, Time};

pub fn fuzz(data: &[u8]) {
    let (channel, _other) = Channel::pair().expect("a pair");
    let address = Address::Unix(Vec::new());
    let peer = Peer { name: address.numeric(), address, local: None };
    let (accepted, started) = (Time::default(), Time::default());
    let peers = [peer.clone(), peer];
    let info =
        SessionInfo { number: 1, run: "fuzz".into(), accepted, started, peers, meeting: Meeting::Both };
    let mut session = LoggedSession::new(info, Some(channel), None);
    let mut seen = Seen::default();
    let now = Instant::now();
    for &byte in data {
        match byte & 7 {
            0..=4 => seen.record(&mut session, byte),
            5 => seen.abnormal_end_message(session.hung_up(now)),
            6 => seen.abnormal_end_message(session.died(ProcessEnd::Signal(i32::from(byte >> 3)))),
            _ => {
                let waits = session.deadlines().1.is_some();
                assert!(!(waits && session.is_gone()), "waits for news of what is gone");
            }
        }
        if byte & 7 == 5 {
            seen.over = true;
        }
    }
}

/// Messages accepted up to now.
#[derive(Default)]
struct Seen {
    ended: [bool; 2],
    /// The last word, or the end of the channel.
    over: bool,
    obituaries: u32,
}

impl Seen {
    fn record(&mut self, session: &mut LoggedSession, byte: u8) {
        let from = if byte & 8 == 0 { Side::Client } else { Side::Server };
        let total = |side: Side| (byte >> 6 & 1 << side as u8 != 0).then_some(1);
        let (record, payload) = match byte & 7 {
            0 | 1 => (Record::Data { from, urgent: byte & 1 != 0, time: 0 }, usize::from(byte >> 4 & 3)),
            2 => (Record::Passed { from, bytes: 1, time: 0 }, usize::from(byte >> 4 & 1)),
            3 => (Record::Ended { from, total: 1, time: 0 }, usize::from(byte >> 4 & 1)),
            4 => (Record::Descriptors { from, time: 0 }, usize::from(byte >> 4 & 3)),
            5 if byte & 0x20 == 0 => (Record::EmptyMessage { from, time: 0 }, usize::from(byte >> 4 & 1)),
            5 => (Record::Undelivered { from, count: 1, time: 0 }, usize::from(byte >> 4 & 1)),
            _ => {
                let totals = [total(Side::Client), total(Side::Server)];
                (
                    Record::Closed { cause: CloseReason::Done, totals, tcp: Default::default(), time: 0 },
                    usize::from(byte >> 4 & 1),
                )
            }
        };
        // A worker is not listened to after its first offence.
        if self.over {
            assert!(!session.allows(&record, payload), "after the end: {record:?}");
            return;
        }
        if !session.allows(&record, payload) {
            session.closed(Default::default());
            self.over = true;
            return;
        }
        self.allowed(record, payload);
        if self.over {
            session.closed(Default::default());
        }
    }

    fn allowed(&mut self, record: Record, payload: usize) {
        let has_payload = matches!(record, Record::Data { .. } | Record::Descriptors { .. });
        assert_eq!(has_payload, payload > 0, "{record:?} with {payload} bytes");
        match record {
            Record::Undelivered { .. } => {}
            Record::Data { from, .. }
            | Record::Passed { from, .. }
            | Record::Descriptors { from, .. }
            | Record::EmptyMessage { from, .. } => {
                assert!(!self.ended[from as usize], "{record:?} of a side that has ended");
            }
            Record::Ended { from, .. } => {
                let again = std::mem::replace(&mut self.ended[from as usize], true);
                assert!(!again, "{record:?} for the second time");
            }
            Record::Closed { totals, .. } => {
                let told_twice = totals.iter().zip(self.ended).any(|(total, ended)| ended && total.is_some());
                assert!(!told_twice, "{record:?} of a side that has ended");
                self.over = true;
            }
        }
    }

    fn abnormal_end_message(&mut self, text: Option<String>) {
        self.obituaries += u32::from(text.is_some());
        assert!(self.obituaries <= 1, "died for the second time: {text:?}");
    }
}
