//! `--diff`: two records, session by session. They are read in turn, and a session is held until its counterpart is
//! over, too.

use std::collections::{HashMap, VecDeque};

use privsep::confine::Confined;
use regex::bytes::Regex;

use super::compare::{Comparison, Expected};
use super::input::PartReader;
use super::output::EventOutput;
use super::play::{around, name};
use super::{Break, Parent, step};
use crate::messages::{Side, ToParent, Unplayable};
use crate::record::read::Decoder;
use crate::record::{Event, Kind};
use crate::role::RoleError;

/// Maximum number of bytes of sessions that wait for their counterparts.
const MOST: usize = 64 << 20;

/// A session of one record.
#[derive(Default)]
struct DiffSession {
    number: u64,
    /// Of client and server.
    streams: [Vec<u8>; 2],
    /// Bytes that are not in the record: their number.
    unknown: [u64; 2],
    is_over: bool,
}

/// One record, as far as it has been read.
struct DiffRecord {
    decoder: Decoder,
    input: PartReader,
    /// Nothing more comes.
    is_over: bool,
    sessions: UncomparedSessions,
}

/// Sessions that have not been compared.
struct UncomparedSessions {
    wanted: Vec<u64>,
    /// In the order in which they began.
    waiting: VecDeque<DiffSession>,
    /// Sessions before these.
    compared: usize,
    /// The places of open sessions, counted from the first of all.
    open: HashMap<u64, usize>,
    held: usize,
}

/// Compares two records; reports each session that is different.
pub(super) fn compare(
    parent: &Parent,
    parts: Vec<PartReader>,
    (output, wanted): (&EventOutput, &[u64]),
    masks: &[Regex],
    _locked: &Confined,
) -> Result<(), RoleError> {
    let Ok(parts) = <[PartReader; 2]>::try_from(parts) else { return Err(RoleError::Protocol) };
    let mut records = parts.map(|input| DiffRecord::new(input, wanted));
    let mut tally = Tally::default();
    while !records.iter().all(|record| record.is_over) {
        for (part, record) in (0..).zip(&mut records) {
            match record.step(parent) {
                Ok(()) => {}
                Err(Break::Flaw(flaw)) => {
                    record.is_over = true;
                    parent.send(&ToParent::Flaw { part, flaw })?;
                }
                Err(Break::Unwanted) => return Ok(()),
                Err(Break::RoleError(trouble)) => return Err(trouble),
            }
        }
        if records.iter().map(|record| record.sessions.held).sum::<usize>() > MOST {
            return Ok(parent.send(&ToParent::Unplayable(Unplayable::TooLong))?);
        }
        while let Some(pair) = next_pair(&mut records) {
            tally.add(pair, masks, output)?;
        }
    }
    let left = records.map(|record| record.sessions.waiting.len());
    tally.finish(left, output)?;
    Ok(parent.send(&ToParent::Compared { same: tally.different == 0 })?)
}

/// The next session of both, once it is over in both.
fn next_pair([one, other]: &mut [DiffRecord; 2]) -> Option<[DiffSession; 2]> {
    let is_ready = |record: &DiffRecord| {
        record.sessions.waiting.front().is_some_and(|session| session.is_over || record.is_over)
    };
    (is_ready(one) && is_ready(other)).then(|| Some([one.sessions.take()?, other.sessions.take()?])).flatten()
}

impl DiffRecord {
    fn new(input: PartReader, wanted: &[u64]) -> DiffRecord {
        let sessions = UncomparedSessions {
            wanted: wanted.to_vec(),
            waiting: VecDeque::new(),
            compared: 0,
            open: HashMap::new(),
            held: 0,
        };
        DiffRecord { decoder: Decoder::default(), input, is_over: false, sessions }
    }

    fn step(&mut self, parent: &Parent) -> Result<(), Break> {
        if !self.is_over {
            let sessions = &mut self.sessions;
            let mut sink = |event: Event, payload: &[u8]| {
                sessions.add(&event, payload);
                Ok(())
            };
            self.is_over = !step(parent, &mut self.decoder, &mut self.input, &mut sink)?;
        }
        Ok(())
    }
}

impl UncomparedSessions {
    fn add(&mut self, event: &Event, payload: &[u8]) {
        if let Kind::Start(info) = &event.kind {
            if self.wanted.is_empty() || self.wanted.contains(&info.number) {
                self.open.insert(event.session, self.compared + self.waiting.len());
                self.waiting.push_back(DiffSession { number: info.number, ..DiffSession::default() });
            }
            return;
        }
        let place = self.open.get(&event.session).and_then(|place| place.checked_sub(self.compared));
        let Some(session) = place.and_then(|place| self.waiting.get_mut(place)) else { return };
        match event.kind {
            Kind::Data { from, bytes, .. } if payload.is_empty() => session.unknown[from as usize] += bytes,
            Kind::Data { from, .. } => {
                session.streams[from as usize].extend_from_slice(payload);
                self.held += payload.len();
            }
            Kind::End(_) => {
                session.is_over = true;
                self.open.remove(&event.session);
            }
            Kind::Start(_) | Kind::Eof { .. } | Kind::Secrets | Kind::Note(_) => {}
        }
    }

    fn take(&mut self) -> Option<DiffSession> {
        let session = self.waiting.pop_front()?;
        self.compared += 1;
        self.held -= session.streams.iter().map(Vec::len).sum::<usize>();
        Some(session)
    }
}

/// What was compared.
#[derive(Default)]
struct Tally {
    same: usize,
    different: usize,
}

impl Tally {
    fn add(
        &mut self,
        [one, other]: [DiffSession; 2],
        masks: &[Regex],
        output: &EventOutput,
    ) -> Result<(), RoleError> {
        let numbers = match one.number == other.number {
            true => format!("session {}", one.number),
            false => format!("sessions {} and {}", one.number, other.number),
        };
        let (mut is_same, unknown) = (true, [one.unknown, other.unknown]);
        let [client, server] = one.streams;
        let [other_client, other_server] = other.streams;
        for (side, record, now) in
            [(Side::Client, client, other_client), (Side::Server, server, other_server)]
        {
            let mut comparison = Comparison::new(Expected::new(record, masks));
            comparison.add(&now);
            let (record, now) = (comparison.record(), comparison.now());
            let lengths = [record.len(), now.len()];
            if let Some(place) = comparison.difference() {
                is_same = false;
                let (name, at) = (name(side), place.record);
                output.tell(format!(
                    "{numbers}: the {name} differs at byte {at} ({} and {})",
                    lengths[0], lengths[1]
                ))?;
                output.tell(format!("  first:  {}", around(record, place.record)))?;
                output.tell(format!("  second: {}", around(now, place.now)))?;
            } else if unknown[0][side as usize] != unknown[1][side as usize] {
                is_same = false;
                output.tell(format!("{numbers}: the {} differs in the number of bytes", name(side)))?;
            }
        }
        *if is_same { &mut self.same } else { &mut self.different } += 1;
        Ok(())
    }

    /// `left` are the sessions that have no counterpart.
    fn finish(&mut self, left: [usize; 2], output: &EventOutput) -> Result<(), RoleError> {
        for (which, left) in ["first", "second"].into_iter().zip(left).filter(|(_, left)| *left > 0) {
            self.different += left;
            output.tell(format!("sessions in the {which} record alone: {left}"))?;
        }
        let (same, different) = (self.same, self.different);
        output.tell(format!("sessions that are the same: {same}; different: {different}"))
    }
}
