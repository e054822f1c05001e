//! A session in the logger: the records that its worker may send in each state, and those held until its names are
//! known.

#[cfg(fuzzing)]
pub(crate) mod fuzz;

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::libc;
use privsep::channel::Channel;

use crate::messages::{CloseReason, Name, ProcessEnd, Record, Side, TcpInfo, ToWorker, rights};
use crate::reason::reason;
use crate::record::{self, ConnState, Event, Kind, Meeting, SessionInfo, State, Time};
use crate::signals;

/// Time for the parent to report why a worker vanished.
const REASON_DEADLINE: Duration = Duration::from_secs(2);

/// A record that waits for the names.
pub(in crate::logger) struct HeldRecord {
    pub(in crate::logger) event: Event,
    /// The payload, where the event is data.
    pub(in crate::logger) bytes: Vec<u8>,
}

/// Names that have not come.
struct Pending {
    until: Instant,
    missing: [bool; 2],
    held: Vec<HeldRecord>,
    size: usize,
}

/// State of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WorkerState {
    Running,
    /// It has sent its last record.
    Closed,
    /// Its channel ended without a last record.
    Vanished {
        until: Instant,
    },
    /// Its end is known and recorded.
    Gone,
}

/// One session.
pub(in crate::logger) struct LoggedSession {
    pub(in crate::logger) number: u64,
    /// `None` for a session that had no worker.
    pub(in crate::logger) channel: Option<Channel<ToWorker, Record>>,
    /// With the names that are known.
    info: SessionInfo,
    /// Of its last event.
    last: Time,
    pending: Option<Pending>,
    ended: [bool; 2],
    /// Bytes from client and server, as far as they are counted.
    bytes: [u64; 2],
    /// `-b`
    limit: Option<u64>,
    /// Records that its worker may wait for, as `ToWorker::Recorded` counts them.
    pub(in crate::logger) steps: u64,
    /// Time of the last record.
    heard: Instant,
    worker: WorkerState,
    died: Option<ProcessEnd>,
    /// Of the connections, from the worker's last record.
    tcp: [TcpInfo; 2],
}

impl LoggedSession {
    pub(in crate::logger) fn new(
        info: SessionInfo,
        channel: Option<Channel<ToWorker, Record>>,
        limit: Option<u64>,
    ) -> LoggedSession {
        LoggedSession {
            number: info.number,
            channel,
            last: info.started,
            info,
            pending: None,
            ended: [false; 2],
            bytes: [0; 2],
            limit,
            steps: 0,
            heard: Instant::now(),
            worker: WorkerState::Running,
            died: None,
            tcp: Default::default(),
        }
    }

    pub(in crate::logger) fn meeting(&self) -> Meeting {
        self.info.meeting
    }

    /// Of client and server.
    pub(in crate::logger) fn names(&self) -> [&Name; 2] {
        [0, 1].map(|index| &self.info.peers[index].name)
    }

    /// Seconds since the epoch.
    pub(in crate::logger) fn started(&self) -> u64 {
        self.info.started.seconds()
    }

    pub(in crate::logger) fn bytes(&self) -> [u64; 2] {
        self.bytes
    }

    /// Time since the last record.
    pub(in crate::logger) fn idle(&self) -> Duration {
        self.heard.elapsed()
    }

    /// Adds a record to the counts.
    pub(in crate::logger) fn count(&mut self, record: &Record, payload: usize) {
        self.heard = Instant::now();
        match *record {
            Record::Data { from, .. } => self.add(from, payload as u64),
            Record::Passed { from, bytes, .. } => self.add(from, bytes),
            Record::Descriptors { .. } | Record::Undelivered { .. } | Record::EmptyMessage { .. } => {}
            Record::Ended { from, total, .. } => self.bytes[from as usize] = total,
            Record::Closed { totals, .. } => {
                for (bytes, total) in self.bytes.iter_mut().zip(totals) {
                    *bytes = total.unwrap_or(*bytes);
                }
            }
        }
    }

    /// A worker may claim any number, so that additions saturate.
    fn add(&mut self, from: Side, bytes: u64) {
        let sum = &mut self.bytes[from as usize];
        *sum = sum.saturating_add(bytes);
    }

    /// Waits for the names of these sides.
    pub(in crate::logger) fn wait_for_names(&mut self, client: Option<Instant>, server: Option<Instant>) {
        self.pending = client.or(server).map(|until| Pending {
            until,
            missing: [client.is_some(), server.is_some()],
            held: Vec::new(),
            size: 0,
        });
    }

    /// Holds everything back until the session begins, whether or not names are waited for.
    pub(in crate::logger) fn wait_for_turn(&mut self) {
        let now = Instant::now();
        self.pending.get_or_insert_with(|| Pending {
            until: now,
            missing: [false; 2],
            held: Vec::new(),
            size: 0,
        });
    }

    /// Stops waiting for names; held records are kept until the session begins.
    pub(in crate::logger) fn stop_waiting(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.missing = [false; 2];
        }
    }

    /// Applies a name; returns whether it was the last one missing.
    pub(in crate::logger) fn named(&mut self, side: Side, name: Name) -> bool {
        let Some(pending) = &mut self.pending else { return false };
        let index = side as usize;
        self.info.peers[index].name = name;
        pending.missing[index] = false;
        pending.missing == [false; 2]
    }

    /// Checks whether records are held until the names are known or given up.
    pub(in crate::logger) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The names are known or given up, so the session can begin when it is its turn.
    pub(in crate::logger) fn can_begin(&self) -> bool {
        self.pending.as_ref().is_none_or(|pending| pending.missing == [false; 2])
    }

    /// Holds a record back. Returns the memory that this takes.
    pub(in crate::logger) fn hold(&mut self, event: Event, bytes: Vec<u8>) -> usize {
        let Some(pending) = &mut self.pending else { return 0 };
        // Twice, because a vector grows by doubling.
        let text = if let Kind::Note(text) = &event.kind { text.len() } else { 0 };
        let size = bytes.len() + text + 2 * size_of::<HeldRecord>();
        pending.size += size;
        pending.held.push(HeldRecord { event, bytes });
        size
    }

    /// Memory that records take which are held back.
    pub(in crate::logger) fn held(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| pending.size)
    }

    /// Stops waiting for names. Returns what the session begins with, what was held back, and the memory that it took.
    pub(in crate::logger) fn begin(&mut self) -> (Event, Vec<HeldRecord>, usize) {
        let (held, size) =
            self.pending.take().map(|pending| (pending.held, pending.size)).unwrap_or_default();
        let kind = Kind::Start(Arc::new(self.info.clone()));
        (Event { time: self.info.started, session: self.number, kind }, held, size)
    }

    /// An event at `time`, clamped: time does not go back in a session, and no event is in the future.
    pub(in crate::logger) fn event(&mut self, time: Option<Time>, kind: Kind) -> Event {
        let now = Time::now();
        self.last = self.last.max(time.unwrap_or(now).min(now));
        Event { time: self.last, session: self.number, kind }
    }

    /// The last event.
    pub(in crate::logger) fn end(&mut self, time: Option<Time>, (state, errno): (State, i32)) -> Event {
        let conn_state = match state {
            State::Refused => ConnState::of_refusal(errno),
            state => ConnState::of(state, self.ended),
        };
        let (totals, tcp) = (self.bytes, self.tcp);
        self.event(time, Kind::End(record::End { state, conn_state, errno, totals, tcp }))
    }

    /// Checks whether the worker may send this record in its state.
    pub(in crate::logger) fn allows(&mut self, record: &Record, payload: usize) -> bool {
        let running = self.worker == WorkerState::Running;
        match *record {
            Record::Data { from, .. } => running && payload > 0 && self.may_grow(from),
            // A record of no bytes would fill a disk without counting towards a limit.
            Record::Passed { from, bytes, .. } => running && payload == 0 && bytes > 0 && self.may_grow(from),
            Record::Descriptors { from, .. } => {
                running && (1..=rights::MOST).contains(&payload) && self.may_grow(from)
            }
            Record::Undelivered { .. } => running && payload == 0,
            Record::EmptyMessage { from, .. } => running && payload == 0 && self.may_grow(from),
            Record::Ended { from, .. } => {
                let first = !std::mem::replace(&mut self.ended[from as usize], true);
                running && payload == 0 && first
            }
            Record::Closed { totals, .. } => {
                let news = totals.iter().zip(self.ended).all(|(total, ended)| !(ended && total.is_some()));
                running && payload == 0 && news
            }
        }
    }

    /// Checks whether more may come from this side. The record that reaches the limit is the last one.
    fn may_grow(&self, from: Side) -> bool {
        let [client, server] = self.bytes;
        !self.ended[from as usize] && self.limit.is_none_or(|limit| client.saturating_add(server) < limit)
    }

    /// The worker has sent its last record.
    pub(in crate::logger) fn closed(&mut self, tcp: [TcpInfo; 2]) {
        self.tcp = tcp;
        self.worker = WorkerState::Closed;
    }

    /// The channel has ended. Returns a note if that is abnormal and its cause known.
    pub(in crate::logger) fn hung_up(&mut self, now: Instant) -> Option<String> {
        match (self.worker, self.died) {
            (WorkerState::Running, Some(end)) => {
                self.worker = WorkerState::Gone;
                Some(abnormal_end_message(end))
            }
            (WorkerState::Running, None) => {
                self.worker = WorkerState::Vanished { until: now + REASON_DEADLINE };
                None
            }
            _ => {
                self.worker = WorkerState::Gone;
                None
            }
        }
    }

    /// The parent reports the end of the worker. Returns a note if it was awaited.
    pub(in crate::logger) fn died(&mut self, end: ProcessEnd) -> Option<String> {
        self.died = Some(end);
        match self.worker {
            WorkerState::Vanished { .. } => {
                self.worker = WorkerState::Gone;
                Some(abnormal_end_message(end))
            }
            _ => None,
        }
    }

    /// Stops waiting for the cause of a lost worker.
    pub(in crate::logger) fn give_up(&mut self) {
        self.worker = WorkerState::Gone;
    }

    pub(in crate::logger) fn is_gone(&self) -> bool {
        self.worker == WorkerState::Gone
    }

    /// Checks for a wait with a deadline.
    pub(in crate::logger) fn has_deadline(&self) -> bool {
        let (names, death) = self.deadlines();
        names.is_some() || death.is_some()
    }

    /// Deadline for the names, or for the reason of a worker's death.
    pub(in crate::logger) fn deadlines(&self) -> (Option<Instant>, Option<Instant>) {
        let death = match self.worker {
            WorkerState::Vanished { until } => Some(until),
            _ => None,
        };
        let names = self.pending.as_ref().filter(|pending| pending.missing != [false; 2]);
        (names.map(|pending| pending.until), death)
    }
}

fn abnormal_end_message(end: ProcessEnd) -> String {
    match end {
        ProcessEnd::Signal(number) => {
            format!("Session ended abnormally: signal {number} ({}).", signals::describe(number))
        }
        ProcessEnd::Status(status) => format!("Session ended abnormally: exit status {status}."),
    }
}

/// Note in the record about a cause; `None` for an orderly end.
pub(in crate::logger) fn close_message(cause: CloseReason) -> Option<String> {
    let why = match cause {
        CloseReason::Done => return None,
        CloseReason::Reset(side) => format!("connection reset by the {}", side_name(side)),
        CloseReason::Lost { side, errno } => lost(side_name(side), errno),
        CloseReason::Limit => "byte limit reached".into(),
        CloseReason::Idle => "idle for too long".into(),
        CloseReason::NotReading(side) => format!("the {} does not read", side_name(side)),
        CloseReason::Stopped => "stopped by the operator".into(),
        CloseReason::Failed { errno } => reason(errno),
    };
    Some(format!("Session ended: {why}."))
}

/// The same for programs, with errno.
pub(in crate::logger) fn state_of(cause: CloseReason) -> (State, i32) {
    match cause {
        CloseReason::Done => (State::Done, 0),
        CloseReason::Reset(side) => (State::reset_by(side), 0),
        CloseReason::Lost { side, errno: libc::EPIPE } => (State::reset_by(side), libc::EPIPE),
        CloseReason::Lost { errno, .. } => (State::NoAnswer, errno),
        CloseReason::Limit => (State::Limit, 0),
        CloseReason::Idle | CloseReason::NotReading(_) => (State::Idle, 0),
        CloseReason::Stopped => (State::Stopped, 0),
        CloseReason::Failed { errno } => (State::Failed, errno),
    }
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

fn lost(side: &str, errno: i32) -> String {
    match errno {
        libc::ETIMEDOUT => format!("no answer from the {side}"),
        libc::EPIPE => format!("connection closed by the {side}"),
        libc::EMSGSIZE => format!("a message is too long (connection to the {side})"),
        _ => format!("connection to the {side} lost: {}", reason(errno)),
    }
}

#[cfg(test)]
pub(in crate::logger) mod tests {
    use super::*;
    use crate::messages::Address;
    use crate::record::Peer;

    const DATA: Record = Record::Data { from: Side::Client, urgent: false, time: 0 };
    const ENDED: Record = Record::Ended { from: Side::Client, total: 1, time: 0 };
    const NO_TCP: [TcpInfo; 2] = [TcpInfo { rtt: 0, rttvar: 0, retransmissions: 0, delivery_rate: 0 }; 2];
    const CLOSED: Record =
        Record::Closed { cause: CloseReason::Done, totals: [None, Some(0)], tcp: NO_TCP, time: 0 };

    pub(in crate::logger) fn info() -> SessionInfo {
        let address = Address::Unix(Vec::new());
        let peer = Peer { name: address.numeric(), address, local: None };
        let (accepted, started) = (Time::default(), Time::default());
        SessionInfo {
            number: 1,
            run: "run".into(),
            accepted,
            started,
            peers: [peer.clone(), peer],
            meeting: Meeting::Both,
        }
    }

    fn note() -> Event {
        Event { time: Time::default(), session: 1, kind: Kind::Note(String::new()) }
    }

    fn session() -> LoggedSession {
        limited(None)
    }

    fn limited(limit: Option<u64>) -> LoggedSession {
        let (channel, _) = Channel::pair().expect("a pair");
        LoggedSession::new(info(), Some(channel), limit)
    }

    #[test]
    fn an_orderly_session_is_allowed() {
        let mut session = session();
        for (record, payload) in [(DATA, 1), (ENDED, 0), (CLOSED, 0)] {
            assert!(session.allows(&record, payload), "{record:?}");
        }
    }

    #[test]
    fn data_without_bytes_and_bytes_without_data_are_not_allowed() {
        assert!(!session().allows(&DATA, 0));
        assert!(!session().allows(&ENDED, 1));
        assert!(!session().allows(&CLOSED, 1));
    }

    #[test]
    fn a_side_ends_once_and_sends_nothing_afterwards() {
        let mut session = session();
        assert!(session.allows(&ENDED, 0));
        assert!(!session.allows(&ENDED, 0));
        assert!(!session.allows(&DATA, 1));
        assert!(!session.allows(
            &Record::Closed { cause: CloseReason::Done, totals: [Some(1), None], tcp: NO_TCP, time: 0 },
            0
        ));
    }

    #[test]
    fn no_more_than_one_record_goes_beyond_the_limit_whichever_side_it_is_from() {
        let passed = |bytes| Record::Passed { from: Side::Server, bytes, time: 0 };
        for (record, payload) in
            [(Record::Data { from: Side::Server, urgent: false, time: 0 }, 5), (passed(5), 0)]
        {
            let mut session = limited(Some(10));
            for (record, payload) in [(DATA, 4), (record, payload), (DATA, 100)] {
                assert!(session.allows(&record, payload), "{record:?}");
                session.count(&record, payload);
            }
            assert!(!session.allows(&DATA, 1));
            assert!(!session.allows(&passed(1), 0));
            assert!(session.allows(&ENDED, 0) && session.allows(&CLOSED, 0));
        }
        assert!(!limited(Some(0)).allows(&DATA, 1));
        assert!(!limited(None).allows(&passed(0), 0), "a line for nothing");
    }

    #[test]
    fn nothing_is_allowed_after_the_last_word() {
        let mut session = session();
        session.closed(NO_TCP);
        for (record, payload) in [(DATA, 1), (ENDED, 0), (CLOSED, 0)] {
            assert!(!session.allows(&record, payload), "{record:?}");
        }
    }

    #[test]
    fn a_death_is_told_whichever_comes_first_the_news_or_the_end_of_the_channel() {
        let killed = ProcessEnd::Signal(9);
        let mut session = session();
        assert_eq!(session.died(killed), None);
        let note = session.hung_up(Instant::now()).expect("a note");
        assert_eq!(note, "Session ended abnormally: signal 9 (Killed).");

        let mut session = self::session();
        assert_eq!(session.hung_up(Instant::now()), None);
        assert!(!session.is_gone());
        assert_eq!(session.died(killed).as_deref(), Some(note.as_str()));
        assert!(session.is_gone());
    }

    #[test]
    fn time_does_not_go_back_in_a_session_nor_ahead_of_the_clock() {
        let mut session = session();
        let mut at = |nanos| session.event(nanos, Kind::Note(String::new())).time;
        let early = at(Some(Time::from_nanos(5)));
        assert_eq!(early, Time::from_nanos(5));
        assert_eq!(at(Some(Time::from_nanos(3))), early);
        let before = Time::now();
        let late = at(Some(Time::from_nanos(u64::MAX)));
        assert!(late >= before && late <= Time::now());
        assert!(at(None) >= late);
        assert!(at(Some(early)) >= late);
    }

    #[test]
    fn no_claim_of_a_worker_overflows_a_sum() {
        let mut session = session();
        let passed = Record::Passed { from: Side::Client, bytes: u64::MAX, time: 0 };
        session.count(&passed, 0);
        session.count(&passed, 0);
        assert_eq!(session.bytes(), [u64::MAX, 0]);
        let mut statistics = super::super::statistics::Statistics::default();
        statistics.add(&session);
        statistics.add(&session);
        let lines = statistics.lines([&session].into_iter(), true);
        assert!(lines[1].contains(&u64::MAX.to_string()), "{lines:?}");
    }

    #[test]
    fn memory_of_records_that_wait_for_names_is_counted_and_given_back() {
        let mut session = session();
        assert_eq!(session.hold(note(), Vec::new()), 0, "no name is waited for");
        session.wait_for_names(Some(Instant::now()), None);
        let sizes = [0, 1, 64 * 1024].map(|length| session.hold(note(), vec![0; length]));
        assert!(sizes[0] >= size_of::<HeldRecord>() && sizes[2] >= 64 * 1024, "{sizes:?}");
        assert_eq!(session.held(), sizes.iter().sum::<usize>());
        let (_, held, size) = session.begin();
        assert_eq!((held.len(), size), (3, sizes.iter().sum()));
        assert_eq!(session.held(), 0);
    }
}
