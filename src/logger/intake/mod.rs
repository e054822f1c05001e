//! The reader: one thread that listens to the parent, the resolver and every worker.

mod backlog;
pub(super) mod names;
mod pace;
mod receipts;
mod saved;
mod selection;
pub(crate) mod session;
mod sessions;
pub(super) mod statistics;
mod waiting;

use std::collections::{HashMap, VecDeque};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use privsep::channel::{Channel, Incoming, Wait, no_fds, one_fd};
use privsep::confine::Confined;
use privsep::sys;

use crate::logger::Parent;
use crate::logger::batch::{Batch, BatchItem};
use crate::logger::intake::backlog::RecordedCount;
use crate::logger::intake::names::{NameClient, Resolver};
use crate::logger::intake::pace::{NextAction, Pacing};
use crate::logger::intake::receipts::PendingReceipts;
use crate::logger::intake::saved::SavedSessions;
use crate::logger::intake::selection::{Decision, HeldItem, Selection};
use crate::logger::intake::session::{LoggedSession, close_message, state_of};
use crate::logger::intake::statistics::Statistics;
use crate::logger::notices::Notes;
use crate::logger::output::report::OutputEvent;
use crate::logger::writer::Writers;
use crate::messages::{
    Acknowledge, Address, Level, OutputMode, SessionOpening, ToLogger, ToParent, Unserved,
};
use crate::pattern::Pattern;
use crate::reason::reason;
use crate::record::{Meeting, Peer, SessionInfo, State, Time};
use crate::role::RoleError;

/// Epoll ids of descriptors other than sessions, which are numbered from 1.
const PARENT: u64 = u64::MAX;
const RESOLVER: u64 = u64::MAX - 1;
const WRITERS: u64 = u64::MAX - 2;
const PARENT_DIED: u64 = u64::MAX - 3;
const SAVED: u64 = u64::MAX - 4;

/// Maximum number of messages read from one peer before the others are read.
const READ_BUDGET: usize = 8;

/// Interval of checks on the parent while the writers hold all batches.
const LOOK_UP: Duration = Duration::from_millis(200);

/// Questions about addresses that we listen on have numbers from here; sessions have two each below.
const LISTENING: u64 = 1 << 62;

/// Limits of the intake of sessions.
pub(super) struct Intake {
    pub(super) sharing: OutputMode,
    /// Maximum number of sessions that are over and not yet recorded to the end.
    pub(super) backlog: u32,
    /// Identifies this start of the program in records.
    pub(super) run: Arc<str>,
    pub(super) acknowledge: Acknowledge,
    /// `--match`
    pub(super) pattern: Option<Arc<Pattern>>,
}

pub(super) struct Reader<'a> {
    parent: &'a Parent,
    parent_pid: Pid,
    parent_died: &'a SignalFd,
    names: NameClient,
    sharing: OutputMode,
    run: Arc<str>,
    epoll: Epoll,
    sessions: HashMap<u64, LoggedSession>,
    /// Those with a deadline: they wait for names, or for the reason of a worker's death.
    watched: Vec<u64>,
    statistics: Statistics,
    /// An output needs at least lengths, so that bytes are counted as they pass.
    counted: bool,
    /// With `OutputMode::Serial`, sessions that begin when the one before them is written. The first is the
    /// one that is read.
    turn: VecDeque<u64>,
    /// Sessions of a saved record, while the converter sends them.
    saved: Option<SavedSessions>,
    /// Addresses we listen on whose names have not come.
    listening: Vec<(u64, Address, Instant)>,
    /// Bytes of records that wait for names, of all sessions.
    held: usize,
    backlog: RecordedCount,
    batch: Batch,
    selection: Option<Selection>,
    pace: Pacing,
    receipts: PendingReceipts,
    /// An output cannot be written any more.
    lost: bool,
    writers: Writers,
    notes: Notes,
    /// Outputs that have not yet reported that they are open again.
    reopening: usize,
    /// Outputs that are FIFOs without a reader.
    waiting: usize,
    /// The parent runs and reads.
    pinged: bool,
    finishing: bool,
    /// The parent is gone.
    orphaned: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        parent: &'a Parent,
        parent_pid: Pid,
        parent_died: &'a SignalFd,
        resolver: Option<Resolver>,
        Intake { sharing, backlog, run, acknowledge, pattern }: Intake,
        writers: Writers,
        notes: Notes,
    ) -> Result<Reader<'a>, RoleError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let readable = |data| EpollEvent::new(EpollFlags::EPOLLIN, data);
        epoll.add(parent, readable(PARENT))?;
        epoll.add(parent_died, readable(PARENT_DIED))?;
        epoll.add(writers.alarm(), readable(WRITERS))?;
        if let Some(resolver) = &resolver {
            epoll.add(resolver, readable(RESOLVER))?;
        }
        let waiting = writers.waiting();
        let batch = writers.take(LOOK_UP).unwrap_or_else(Batch::new);
        Ok(Reader {
            parent,
            parent_pid,
            parent_died,
            names: NameClient::new(resolver),
            sharing,
            run,
            epoll,
            sessions: HashMap::new(),
            watched: Vec::new(),
            statistics: Statistics::default(),
            counted: writers.count(),
            turn: VecDeque::new(),
            saved: None,
            listening: Vec::new(),
            held: 0,
            backlog: RecordedCount::new(backlog),
            batch,
            selection: pattern.map(Selection::new),
            pace: Pacing::default(),
            receipts: PendingReceipts::new(acknowledge),
            lost: false,
            writers,
            notes,
            reopening: 0,
            waiting,
            pinged: false,
            finishing: false,
            orphaned: false,
        })
    }

    /// Runs until the parent orders the end, or is gone.
    pub(super) fn serve(mut self, _locked: &Confined) -> Result<(), RoleError> {
        let mut events = [EpollEvent::empty(); 64];
        let mut patience = EpollTimeout::ZERO;
        loop {
            if self.finishing && self.is_idle() {
                return self.finish();
            }
            let found = self.react(&mut events, patience)?;
            self.expire();
            self.relieve();
            self.report_recorded();
            patience = match found {
                0 => self.settle(),
                _ => self.go_on(),
            };
        }
    }

    /// Checks that no session is open whose records may still arrive.
    fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.listening.is_empty() && self.saved.is_none()
    }

    /// Waits for events and handles them; returns their number.
    fn react(&mut self, events: &mut [EpollEvent], patience: EpollTimeout) -> Result<usize, RoleError> {
        let count = match self.epoll.wait(events, patience) {
            Err(Errno::EINTR) => 0,
            result => result?,
        };
        let budget = if count > 0 { self.pace.woken() } else { 0 };
        for event in &events[..count] {
            match event.data() {
                PARENT => self.handle_parent_messages()?,
                RESOLVER => self.handle_resolver_messages()?,
                WRITERS => self.handle_output_events()?,
                SAVED => self.handle_converter_messages()?,
                PARENT_DIED => self.look_up()?,
                number => self.handle_worker_records(number, budget)?,
            }
        }
        Ok(count)
    }

    /// Polls again without waiting, so that every peer is read in turn until none has anything left.
    fn go_on(&mut self) -> EpollTimeout {
        if self.pace.is_bulk() {
            self.hand_on();
        }
        EpollTimeout::ZERO
    }

    /// Nothing is left to read.
    fn settle(&mut self) -> EpollTimeout {
        if self.receipts.are_for_records() || self.receipts.are_due() {
            self.hand_on();
            return self.timeout();
        }
        let next = self.pace.drained();
        if next != (NextAction::Pause { hand_on: false }) {
            self.hand_on();
        }
        match next {
            NextAction::Pause { .. } => {
                self.pause();
                EpollTimeout::ZERO
            }
            NextAction::Wait => self.timeout(),
        }
    }

    /// Lets the next records gather, where a session may begin at any time only until it does.
    fn pause(&self) {
        if self.receipts.are_for_files() {
            crate::logger::intake::pace::pause_until([self.parent.as_fd(), self.writers.alarm().as_fd()]);
        } else {
            crate::logger::intake::pace::pause();
        }
    }

    fn handle_parent_messages(&mut self) -> Result<(), RoleError> {
        for _ in 0..READ_BUDGET {
            match self.parent.receive(Wait::No)? {
                Incoming::Message(message, fds) => match message {
                    ToLogger::Session { opening, bytes } => {
                        let channel = Channel::adopt(one_fd(fds)?)?;
                        let info = self.info(opening, Meeting::Both);
                        self.open(info, channel, bytes)?;
                    }
                    ToLogger::Saved => self.open_saved(one_fd(fds)?)?,
                    other => {
                        no_fds(fds)?;
                        self.handle_parent_message(other)?;
                    }
                },
                Incoming::Closed => {
                    self.epoll.delete(self.parent)?;
                    self.orphan();
                    return Ok(());
                }
                Incoming::Nothing => return Ok(()),
            }
        }
        Ok(())
    }

    fn handle_parent_message(&mut self, message: ToLogger) -> Result<(), RoleError> {
        match message {
            ToLogger::Died { number, end } => {
                if let Some(note) = self.sessions.get_mut(&number).and_then(|session| session.died(end)) {
                    self.end_abnormally(number, note);
                }
            }
            ToLogger::Unserved { opening, end: Unserved::Left(cause) } => {
                let info = self.info(opening, Meeting::One);
                self.unserved(info, state_of(cause), close_message(cause))?;
            }
            ToLogger::Unserved { opening, end: Unserved::Refused { errno } } => {
                let info = self.info(opening, Meeting::Refused);
                let note = format!("Session ended: the server was not reached: {}.", reason(errno));
                self.unserved(info, (State::Refused, errno), Some(note))?;
            }
            ToLogger::Stop { number } => {
                if let Some(session) = self.sessions.get(&number) {
                    // It may have ended by itself in the meantime.
                    let _ = session.channel.as_ref().map(Channel::finish_sending);
                }
            }
            ToLogger::Notice { level, text } => self.notes.print(level, &text),
            ToLogger::Listening(address) => self.listening(address),
            ToLogger::Statistics => self.report_statistics(),
            ToLogger::Reopen => self.reopen(),
            ToLogger::Ping => {
                self.pinged = true;
                self.parent.send(&ToParent::Alive)?;
            }
            ToLogger::Finish => self.finishing = true,
            ToLogger::Prepare { .. } | ToLogger::Match(_) | ToLogger::Output { .. } | ToLogger::Serve => {
                return Err(RoleError::Protocol);
            }
            ToLogger::Session { .. } | ToLogger::Saved => unreachable!("handled with its descriptor"),
        }
        Ok(())
    }

    fn report_statistics(&mut self) {
        for line in self.statistics.lines(self.sessions.values(), self.counted) {
            self.notes.print(Level::Asked, &line);
        }
    }

    /// Times come from the parent, but are neither in the future nor out of order.
    fn info(&self, opening: SessionOpening, meeting: Meeting) -> SessionInfo {
        let SessionOpening { number, peers, locals, accepted, started } = opening;
        let started = Time::from_nanos(started).min(Time::now());
        let accepted = Time::from_nanos(accepted).min(started);
        let [client, server] = peers.map(|address| Peer { name: address.numeric(), address, local: None });
        let [client_local, server_local] = locals;
        let peers = [Peer { local: client_local, ..client }, Peer { local: server_local, ..server }];
        SessionInfo { number, run: Arc::clone(&self.run), accepted, started, peers, meeting }
    }

    fn add(&mut self, item: BatchItem) {
        let Some(selection) = &mut self.selection else { return self.push(item) };
        match selection.decide(item, &self.batch) {
            Decision::Recorded(item) => self.push(item),
            Decision::Kept { payload } => self.batch.give_back(payload),
            Decision::Matched { payload, record } => {
                self.batch.give_back(payload);
                record.into_iter().for_each(|held| self.push_held(held));
            }
        }
    }

    fn push_held(&mut self, HeldItem { mut item, bytes }: HeldItem) {
        if let BatchItem::Event { payload, .. } = &mut item {
            *payload = if bytes.is_empty() { (0, 0) } else { self.batch.copy(&bytes) };
        }
        self.push(item);
    }

    fn push(&mut self, item: BatchItem) {
        self.batch.add(item);
        if self.batch.is_full() {
            self.hand_on();
        }
    }

    /// Ordered with the records: the old files get those before the request, the new ones those after it, and none is
    /// lost or written twice.
    fn reopen(&mut self) {
        self.add(BatchItem::Reopen);
        self.reopening += self.writers.number();
        self.report_reopened();
    }

    fn report_reopened(&mut self) {
        if self.reopening == 0 && !self.orphaned {
            // If the parent is gone, its channel reports that.
            let _ = self.parent.send(&ToParent::Reopened);
        }
    }

    /// Gives the batch to the writers and waits for an empty one: this is where back-pressure begins.
    fn hand_on(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let next = loop {
            match self.writers.take(LOOK_UP) {
                Some(batch) => break batch,
                None => self.wait_for_outputs(),
            }
        };
        let mut batch = std::mem::replace(&mut self.batch, next);
        batch.receipt = self.receipt();
        self.writers.give(batch);
        self.pace.handed_on();
        if self.writers.number() == 0 {
            self.acknowledge();
        }
        // Bytes that an output did not accept reach no peer, including those read until the loss is reported.
        if self.writers.have_lost() {
            self.stop_all();
        }
    }

    /// Answers the parent while the writers hold all batches: a slow output delays every session, but the logger is
    /// alive.
    fn wait_for_outputs(&mut self) {
        self.orphan_if_alone();
        if self.pinged && !self.orphaned {
            let _ = self.parent.send(&ToParent::Alive);
        }
    }

    fn handle_output_events(&mut self) -> Result<(), RoleError> {
        while let Some(event) = self.writers.event() {
            match event {
                OutputEvent::Written(receipt) => self.written(receipt),
                OutputEvent::Reopened => {
                    self.reopening = self.reopening.saturating_sub(1);
                    self.report_reopened();
                }
                OutputEvent::Found => {
                    self.waiting -= 1;
                    if self.waiting == 0 {
                        self.parent.send(&ToParent::OutputsOpen)?;
                    }
                }
                other => {
                    if report_event(&mut self.notes, other) == OutputState::Lost {
                        self.stop_all();
                        self.parent.send(&ToParent::OutputLost)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn look_up(&mut self) -> Result<(), RoleError> {
        while let Some(signal) = self.parent_died.read_signal()? {
            // From a log rotation that addresses this process.
            if signal.ssi_signo == Signal::SIGHUP as u32 {
                self.reopen();
            }
        }
        self.orphan_if_alone();
        Ok(())
    }

    /// Checks, after a signal for a dead process, whether it was the parent.
    fn orphan_if_alone(&mut self) {
        if sys::parent() != self.parent_pid {
            self.orphan();
        }
    }

    /// The parent is gone, and the workers die with it: what has been recorded is written within a second.
    fn orphan(&mut self) {
        if !self.orphaned {
            self.orphaned = true;
            self.finishing = true;
            end_soon();
        }
    }

    /// Writes the rest of the records, and reports that.
    fn finish(mut self) -> Result<(), RoleError> {
        self.hand_on();
        let Reader { writers, parent, parent_pid, mut notes, mut orphaned, .. } = self;
        // Signals are no longer read, so that the parent is polled.
        let look_up = || {
            if !orphaned && sys::parent() != parent_pid {
                orphaned = true;
                end_soon();
            }
        };
        for event in writers.finish(LOOK_UP, look_up) {
            if report_event(&mut notes, event) == OutputState::Lost && !orphaned {
                parent.send(&ToParent::OutputLost)?;
            }
        }
        if !orphaned {
            parent.send(&ToParent::Finished)?;
        }
        Ok(())
    }
}

/// Ends the process in a second, whatever its threads are doing.
fn end_soon() {
    nix::unistd::alarm::set(1);
}

/// State of an output.
#[derive(PartialEq, Eq)]
enum OutputState {
    Lost,
    GoesOn,
}

fn report_event(notes: &mut Notes, event: OutputEvent) -> OutputState {
    let (lost, output, rest) = match event {
        OutputEvent::Lost(lost) => (lost, OutputState::Lost, ""),
        OutputEvent::KeptOldFile(kept) => (kept, OutputState::GoesOn, ": going on with the old file"),
        OutputEvent::Reopened | OutputEvent::Found | OutputEvent::Written(_) => return OutputState::GoesOn,
        OutputEvent::Stays(stays) => (stays, OutputState::GoesOn, ": this part stays"),
    };
    let why = lost.error.raw_os_error().map_or_else(|| lost.error.to_string(), reason);
    notes.print(Level::Error, &format!("Log file error: {why} ({}){rest}", lost.output));
    output
}
