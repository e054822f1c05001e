//! `--diff`: two records, session by session. They are read in turn, and a session is held until its counterpart is
//! over, too: the first one of the same peers with the first one in the other record, and so on, in whatever order they
//! began. Sessions without such a counterpart are compared in the order in which they began.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::take;

use privsep::confine::Confined;
use regex::bytes::Regex;

use super::compare::{Comparison, Expected};
use super::input::PartReader;
use super::output::EventOutput;
use super::play::{around, name};
use super::{Break, Parent, step};
use crate::messages::{Address, Side, ToParent, Unplayable};
use crate::record::read::Decoder;
use crate::record::{Event, Gaps, Kind, SessionInfo, State, quantity};
use crate::role::RoleError;

/// Maximum number of bytes of sessions that wait for their counterparts.
const MOST: usize = 64 << 20;

/// Maximum number of sessions of each record that wait for one of the same peers.
const MOST_SESSIONS: usize = 4096;

/// Client, without its port, and server.
type Peers = [Address; 2];

/// A session of one record.
struct DiffSession {
    number: u64,
    peers: Peers,
    /// Of client and server.
    streams: [Vec<u8>; 2],
    /// Bytes that are not in the record: their number.
    unknown: [u64; 2],
    gaps: Gaps,
    /// Ends of the streams, of client and server.
    has_ended: [bool; 2],
    /// Of its end, if the record has that.
    state: Option<State>,
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
    /// By their places in the order in which they began.
    waiting: BTreeMap<usize, DiffSession>,
    /// Those of `wanted` that have begun.
    found: BTreeSet<u64>,
    begun: usize,
    ended: usize,
    /// The places of open sessions.
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
    let mut seen = (0, false);
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
        // Otherwise there is no pair that was not there before.
        let now = (records.iter().map(DiffRecord::ends).sum(), is_full(&records));
        if seen == now && held(&records) <= MOST {
            continue;
        }
        seen = now;
        while let Some(pair) = next_pair(&mut records) {
            tally.add(pair, masks, output)?;
        }
        if held(&records) > MOST {
            return Ok(parent.send(&ToParent::Unplayable(Unplayable::TooLong))?);
        }
    }
    let has_begun = |number: &u64| records.iter().any(|record| record.sessions.found.contains(number));
    if !wanted.iter().all(has_begun) {
        return Ok(parent.send(&ToParent::Unplayable(Unplayable::Missing))?);
    }
    let left = records.map(|record| record.sessions.waiting.len());
    tally.finish(left, output)?;
    Ok(parent.send(&ToParent::Compared { same: tally.different == 0 })?)
}

fn held(records: &[DiffRecord; 2]) -> usize {
    records.iter().map(|record| record.sessions.held).sum()
}

/// Sessions wait no longer for others of the same peers.
fn is_full(records: &[DiffRecord; 2]) -> bool {
    held(records) > MOST || records.iter().any(|record| record.sessions.waiting.len() > MOST_SESSIONS)
}

/// Two sessions that are compared with each other, once both are over.
fn next_pair(records: &mut [DiffRecord; 2]) -> Option<[DiffSession; 2]> {
    let is_by_order = is_full(records) || records.iter().all(|record| record.is_over);
    let [one, other] = records;
    let by_order = || Some([one.first_ready()?, other.first_ready()?]);
    let places = same_peers(one, other).or_else(|| is_by_order.then(by_order).flatten())?;
    Some([one.sessions.take(places[0])?, other.sessions.take(places[1])?])
}

/// Places of the first sessions of the same peers, if both are over.
fn same_peers(one: &DiffRecord, other: &DiffRecord) -> Option<[usize; 2]> {
    let there = other.firsts();
    let here = one.firsts();
    let pairs = here.iter().filter_map(|(peers, place)| Some([*place, *there.get(peers)?]));
    pairs.filter(|[here, there]| one.is_ready(*here) && other.is_ready(*there)).min()
}

impl DiffRecord {
    fn new(input: PartReader, wanted: &[u64]) -> DiffRecord {
        let sessions = UncomparedSessions {
            wanted: wanted.to_vec(),
            waiting: BTreeMap::new(),
            found: BTreeSet::new(),
            begun: 0,
            ended: 0,
            open: HashMap::new(),
            held: 0,
        };
        DiffRecord { decoder: Decoder::default(), input, is_over: false, sessions }
    }

    /// Ends of sessions up to now, and that of the record.
    fn ends(&self) -> usize {
        self.sessions.ended + usize::from(self.is_over)
    }

    fn is_ready(&self, place: usize) -> bool {
        self.is_over || self.sessions.waiting.get(&place).is_some_and(|session| session.state.is_some())
    }

    /// The first session that waits, if it is over.
    fn first_ready(&self) -> Option<usize> {
        self.sessions.waiting.keys().next().copied().filter(|place| self.is_ready(*place))
    }

    /// The first session that waits, for all peers.
    fn firsts(&self) -> HashMap<&Peers, usize> {
        self.sessions.waiting.iter().rev().map(|(place, session)| (&session.peers, *place)).collect()
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
                self.open.insert(event.session, self.begun);
                self.waiting.insert(self.begun, DiffSession::new(info));
                self.begun += 1;
                self.found.insert(info.number);
            }
            return;
        }
        let place = self.open.get(&event.session);
        let Some(session) = place.and_then(|place| self.waiting.get_mut(place)) else { return };
        for (unknown, missing) in session.unknown.iter_mut().zip(session.gaps.add(event)) {
            *unknown = unknown.saturating_add(missing);
        }
        match event.kind {
            Kind::Data { from, bytes, .. } if payload.is_empty() => {
                let unknown = &mut session.unknown[from as usize];
                *unknown = unknown.saturating_add(bytes);
            }
            Kind::Data { from, .. } => {
                session.streams[from as usize].extend_from_slice(payload);
                self.held += payload.len();
            }
            Kind::End(end) => {
                session.state = Some(end.state);
                self.ended += 1;
                self.open.remove(&event.session);
            }
            Kind::Eof { from, .. } => session.has_ended[from as usize] = true,
            Kind::Start(_) | Kind::Secrets | Kind::Note(_) => {}
        }
    }

    fn take(&mut self, place: usize) -> Option<DiffSession> {
        let session = self.waiting.remove(&place)?;
        self.held -= session.streams.iter().map(Vec::len).sum::<usize>();
        Some(session)
    }
}

impl DiffSession {
    fn new(info: &SessionInfo) -> DiffSession {
        let [client, server] = [Side::Client, Side::Server].map(|side| info.peer(side).address.clone());
        DiffSession {
            number: info.number,
            peers: [without_port(client), server],
            streams: Default::default(),
            unknown: [0; 2],
            gaps: Gaps::default(),
            has_ended: [false; 2],
            state: None,
        }
    }
}

/// The client's port is another one in each session.
fn without_port(address: Address) -> Address {
    match address {
        Address::V4 { host, .. } => Address::V4 { host, port: 0 },
        Address::V6 { host, scope, .. } => Address::V6 { host, port: 0, scope },
        Address::Unix(path) => Address::Unix(path),
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
        [mut one, mut other]: [DiffSession; 2],
        masks: &[Regex],
        output: &EventOutput,
    ) -> Result<(), RoleError> {
        let numbers = match one.number == other.number {
            true => format!("session {}", one.number),
            false => format!("sessions {} and {}", one.number, other.number),
        };
        let mut lines: Vec<String> = [Side::Client, Side::Server]
            .into_iter()
            .flat_map(|side| differences(side, [&mut one, &mut other], masks))
            .collect();
        lines.extend(different_ends([one.state, other.state]));
        *if lines.is_empty() { &mut self.same } else { &mut self.different } += 1;
        for line in lines {
            let is_detail = line.starts_with(' ');
            output.print(if is_detail { line } else { format!("{numbers}: {line}") })?;
        }
        Ok(())
    }

    /// `left` are the sessions that have no counterpart.
    fn finish(&mut self, left: [usize; 2], output: &EventOutput) -> Result<(), RoleError> {
        for (which, left) in ["first", "second"].into_iter().zip(left).filter(|(_, left)| *left > 0) {
            self.different += left;
            output.print(format!("sessions in the {which} record alone: {left}"))?;
        }
        let (same, different) = (self.same, self.different);
        output.print(format!("sessions that are the same: {same}; different: {different}"))
    }
}

/// The first difference of one side, in lines; what follows the first line is indented.
fn differences(side: Side, [one, other]: [&mut DiffSession; 2], masks: &[Regex]) -> Vec<String> {
    let (side, name) = (side as usize, name(side));
    let unknown = [one.unknown[side], other.unknown[side]];
    if unknown[0] != unknown[1] {
        let missing = ["first", "second"].into_iter().zip(unknown).filter(|(_, missing)| *missing > 0);
        let line =
            |(which, missing)| format!("not in the {which} record: {} of the {name}", quantity(missing));
        return missing.map(line).collect();
    }
    let [record, now] = [&mut *one, &mut *other].map(|session| take(&mut session.streams[side]));
    let mut comparison = Comparison::new(Expected::new(record, masks));
    comparison.add(&now);
    let (record, now) = (comparison.record(), comparison.now());
    match comparison.difference() {
        Some(place) => vec![
            format!("the {name} differs at byte {} ({} and {})", place.record, record.len(), now.len()),
            format!("  first:  {}", around(record, place.record)),
            format!("  second: {}", around(now, place.now)),
        ],
        None => different_end(name, [one.has_ended[side], other.has_ended[side]]),
    }
}

/// An end of a stream is compared like the bytes before it.
fn different_end(name: &str, has_ended: [bool; 2]) -> Vec<String> {
    let alone = |which| vec![format!("the {name} ended the stream in the {which} record alone")];
    match has_ended {
        [true, false] => alone("first"),
        [false, true] => alone("second"),
        [true, true] | [false, false] => Vec::new(),
    }
}

fn different_ends(states: [Option<State>; 2]) -> Option<String> {
    match states {
        [Some(one), Some(other)] if one != other => {
            Some(format!("ended as {} and {}", one.name(), other.name()))
        }
        [Some(one), None] => Some(format!("ended as {} in the first record alone", one.name())),
        [None, Some(other)] => Some(format!("ended as {} in the second record alone", other.name())),
        [Some(_), Some(_)] | [None, None] => None,
    }
}
