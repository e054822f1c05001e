//! The reader: one thread that listens to the parent, the resolver and every worker.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use privsep::channel::{Channel, ChannelError, Frame, Incoming, Wait, no_fds, one_fd};
use privsep::confine::Locked;
use privsep::{sys, wire};

use super::Parent;
use super::batch::{Batch, Event, What};
use super::names::{Names, Resolver};
use super::notice::Notes;
use super::session::{Held, Session, epitaph};
use super::statistics::Statistics;
use super::template::Facts;
use super::writer::{News, Writers};
use crate::messages::{Address, Level, Name, Record, Sharing, Side, ToLogger, ToParent};
use crate::reason::reason;
use crate::role::Trouble;

/// What epoll calls the descriptors that are not sessions; sessions are numbered from 1.
const PARENT: u64 = u64::MAX;
const RESOLVER: u64 = u64::MAX - 1;
const WRITERS: u64 = u64::MAX - 2;
const PARENT_DIED: u64 = u64::MAX - 3;

/// Messages of one peer in a row, before others get their turn.
const TURN: usize = 8;

/// After a turn that brought little, what comes next gathers for so long: a wake-up for every small record
/// costs the peers more time on a processor than the record itself.
const BREATH: Duration = Duration::from_millis(1);

/// Bytes in a turn after which there is no time for that.
const BUSY: usize = 64 * 1024;

/// How often we look after the parent while all batches are with the writers.
const LOOK_UP: Duration = Duration::from_millis(200);

/// Questions about addresses that we listen on have numbers from here; sessions have two each below.
const LISTENING: u64 = 1 << 62;

pub(super) struct Reader<'a> {
    parent: &'a Parent,
    parent_pid: Pid,
    parent_died: &'a SignalFd,
    names: Names,
    sharing: Sharing,
    epoll: Epoll,
    sessions: HashMap<u64, Session>,
    /// Those of them that wait for something, but not for ever.
    watched: Vec<u64>,
    statistics: Statistics,
    /// Whether what passes is counted while it does.
    counted: bool,
    /// With `Sharing::Serial`, sessions that begin when the one before them is written. The first is the
    /// one that is read.
    turn: VecDeque<u64>,
    /// Addresses we listen on whose names have not come.
    listening: Vec<(u64, Address, Instant)>,
    batch: Batch,
    /// Bytes that this turn has brought.
    brought: usize,
    writers: Writers,
    notes: Notes,
    /// Outputs that have not said yet that they are opened again.
    reopening: usize,
    /// The parent looks after us.
    pinged: bool,
    /// Sessions at a time, those included that are over and not recorded to their end: a channel that finds
    /// no descriptor here is lost, and its session with it.
    most: usize,
    /// The parent is not listened to until there are fewer.
    deaf: bool,
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
        sharing: Sharing,
        writers: Writers,
        notes: Notes,
    ) -> Result<Reader<'a>, Trouble> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let readable = |data| EpollEvent::new(EpollFlags::EPOLLIN, data);
        epoll.add(parent, readable(PARENT))?;
        epoll.add(parent_died, readable(PARENT_DIED))?;
        epoll.add(writers.alarm(), readable(WRITERS))?;
        if let Some(resolver) = &resolver {
            epoll.add(resolver, readable(RESOLVER))?;
        }
        let batch = writers.take(LOOK_UP).unwrap_or_else(Batch::new);
        Ok(Reader {
            parent,
            parent_pid,
            parent_died,
            names: Names::new(resolver),
            sharing,
            epoll,
            sessions: HashMap::new(),
            watched: Vec::new(),
            statistics: Statistics::default(),
            counted: writers.count(),
            turn: VecDeque::new(),
            listening: Vec::new(),
            batch,
            brought: 0,
            writers,
            notes,
            reopening: 0,
            pinged: false,
            most: most_sessions()?,
            deaf: false,
            finishing: false,
            orphaned: false,
        })
    }

    /// Runs until the parent says that it is over, or is gone.
    pub(super) fn serve(mut self, _locked: &Locked) -> Result<(), Trouble> {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            if self.finishing && self.sessions.is_empty() && self.listening.is_empty() {
                return self.finish();
            }
            let count = match self.epoll.wait(&mut events, self.timeout()) {
                Err(Errno::EINTR) => 0,
                result => result?,
            };
            for event in &events[..count] {
                match event.data() {
                    PARENT => self.hear_parent()?,
                    RESOLVER => self.hear_resolver()?,
                    WRITERS => self.hear_writers()?,
                    PARENT_DIED => self.look_up()?,
                    number => self.hear_worker(number)?,
                }
            }
            self.expire();
            self.hand_on();
            self.listen_again()?;
            if std::mem::take(&mut self.brought) < BUSY {
                std::thread::sleep(BREATH);
            }
        }
    }

    /// Once the channel is full, the parent accepts nobody.
    fn listen_again(&mut self) -> Result<(), Trouble> {
        if self.deaf && self.sessions.len() < self.most {
            self.deaf = false;
            self.epoll.modify(self.parent, &mut EpollEvent::new(EpollFlags::EPOLLIN, PARENT))?;
        }
        Ok(())
    }

    fn hear_parent(&mut self) -> Result<(), Trouble> {
        for _ in 0..TURN {
            if self.sessions.len() >= self.most {
                self.deaf = true;
                self.epoll.modify(self.parent, &mut EpollEvent::new(EpollFlags::empty(), PARENT))?;
                return Ok(());
            }
            match self.parent.receive(Wait::No)? {
                Incoming::Message(message, fds) => match message {
                    ToLogger::Session { number, client, server, started, bytes } => {
                        let channel = Channel::adopt(one_fd(fds)?)?;
                        self.open(Facts { number, client, started }, channel, &server, bytes)?;
                    }
                    other => {
                        no_fds(fds)?;
                        self.obey(other)?;
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

    fn obey(&mut self, message: ToLogger) -> Result<(), Trouble> {
        match message {
            ToLogger::Died { number, end } => {
                if let Some(note) = self.sessions.get_mut(&number).and_then(|session| session.died(end)) {
                    self.end_abnormally(number, note);
                }
            }
            ToLogger::Stop { number } => {
                if let Some(session) = self.sessions.get(&number) {
                    // It may have ended by itself in the meantime.
                    let _ = session.channel.finish_sending();
                }
            }
            ToLogger::Notice { level, text } => self.notes.tell(level, &text),
            ToLogger::Listening(address) => self.listening(address),
            ToLogger::Statistics => self.tell_statistics(),
            ToLogger::Reopen => self.reopen(),
            ToLogger::Ping => {
                self.pinged = true;
                self.parent.send(&ToParent::Alive)?;
            }
            ToLogger::Finish => self.finishing = true,
            ToLogger::Prepare { .. } | ToLogger::Output { .. } | ToLogger::Serve => {
                return Err(Trouble::Protocol);
            }
            ToLogger::Session { .. } => unreachable!("handled with its descriptor"),
        }
        Ok(())
    }

    fn open(
        &mut self,
        facts: Facts,
        channel: Channel<crate::messages::ToWorker, Record>,
        server: &Address,
        bytes: Option<u64>,
    ) -> Result<(), Trouble> {
        let number = facts.number;
        if number >= LISTENING / 2 || self.sessions.contains_key(&number) {
            return Err(Trouble::Protocol);
        }
        let client_name = self.names.ask(2 * number, &facts.client);
        let mut session = Session::new(facts, channel, server, bytes);
        session.wait_for_names(client_name, self.names.ask(2 * number + 1, server));
        self.watch(number, session.has_deadline());
        self.sessions.insert(number, session);
        self.turn.push_back(number);
        if self.sharing == Sharing::Labelled || self.turn.len() == 1 {
            self.start(number)?;
        }
        Ok(())
    }

    /// Keeps an eye on a session that waits for something, so that those that do not cost nothing.
    /// Once is enough: what is overdue twice would be given up twice.
    fn watch(&mut self, number: u64, waits: bool) {
        if waits && !self.watched.contains(&number) {
            self.watched.push(number);
        }
    }

    /// Begins to read a session.
    fn start(&mut self, number: u64) -> Result<(), Trouble> {
        let Some(session) = self.sessions.get(&number) else { return Ok(()) };
        self.epoll.add(&session.channel, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
        if session.can_begin() {
            self.begin(number);
        }
        Ok(())
    }

    /// Records the beginning of a session, now that its names are known or given up.
    fn begin(&mut self, number: u64) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let (begin, held) = session.begin();
        if let What::Begin { client, server, .. } = &begin {
            self.notes.session(client, server);
        }
        self.record(number, begin);
        for Held { what, bytes } in held {
            let what = match what {
                What::Data { from, urgent, .. } => {
                    let (start, end) = self.batch.copy(&bytes);
                    What::Data { from, urgent, start, end }
                }
                other => other,
            };
            self.record(number, what);
        }
        self.forget_if_gone(number);
    }

    fn hear_worker(&mut self, number: u64) -> Result<(), Trouble> {
        for _ in 0..TURN {
            // One that has been cut off may still wait for its names. It has nothing more to say.
            let speaking = self.sessions.get_mut(&number).filter(|session| !session.is_gone());
            let Some(session) = speaking else { return Ok(()) };
            match session.channel.receive_frame(self.batch.space(), Wait::No) {
                Ok(Frame::Bytes(length)) => {
                    self.brought += length;
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
    fn accept(&mut self, number: u64, length: usize) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let (record, head) = match wire::decode_head::<Record>(self.batch.frame(length)) {
            Ok((record, head)) if session.allows(&record, length - head) => (record, head),
            _ => return self.cut_off(number),
        };
        session.count(&record, length - head);
        match record {
            Record::Data { from, urgent } if session.is_pending() => {
                let bytes = self.batch.frame(length)[head..].to_vec();
                let what = What::Data { from, urgent, start: 0, end: 0 };
                if !session.hold(what, bytes) {
                    self.begin(number);
                }
            }
            Record::Data { from, urgent } => {
                let (start, end) = self.batch.keep(head, length);
                self.record(number, What::Data { from, urgent, start, end });
            }
            Record::Passed { from, bytes } => self.note(number, What::Passed { from, bytes }),
            Record::Ended { from, total } => self.note(number, What::Ended { from, total }),
            Record::Closed { cause, totals } => {
                session.closed();
                for (from, total) in [Side::Client, Side::Server].into_iter().zip(totals) {
                    if let Some(total) = total {
                        self.note(number, What::Ended { from, total });
                    }
                }
                self.close(number, epitaph(cause));
            }
        }
    }

    fn tell_statistics(&mut self) {
        for line in self.statistics.lines(self.sessions.values(), self.counted) {
            self.notes.tell(Level::Asked, &line);
        }
    }

    /// A worker that breaks the rules loses its channel, and with it its life.
    fn cut_off(&mut self, number: u64) {
        self.notes.tell(Level::Error, &format!("session {number}: the worker broke the protocol"));
        self.end_abnormally(number, "Session ended abnormally: the worker broke the protocol.".into());
    }

    fn hung_up(&mut self, number: u64) -> Result<(), Trouble> {
        let Some(session) = self.sessions.get_mut(&number) else { return Ok(()) };
        self.epoll.delete(&session.channel)?;
        let note = session.hung_up(Instant::now());
        let waits = session.has_deadline();
        self.watch(number, waits);
        if let Some(note) = note {
            self.close(number, Some(note));
        }
        self.forget_if_gone(number);
        Ok(())
    }

    fn end_abnormally(&mut self, number: u64, note: String) {
        if let Some(session) = self.sessions.get_mut(&number) {
            session.give_up();
            // Whatever else comes from there is not heard; a worker that is still alive ends.
            let _ = session.channel.finish_sending();
            let _ = self.epoll.delete(&session.channel);
        }
        self.close(number, Some(note));
        self.forget_if_gone(number);
    }

    fn close(&mut self, number: u64, note: Option<String>) {
        if let Some(note) = note {
            self.note(number, What::Note(note));
        }
        self.note(number, What::Close);
    }

    /// Records something without payload, in its turn.
    fn note(&mut self, number: u64, what: What) {
        match self.sessions.get_mut(&number) {
            Some(session) if session.is_pending() => {
                if !session.hold(what, Vec::new()) {
                    self.begin(number);
                }
            }
            _ => self.record(number, what),
        }
    }

    /// A session that is over and written is dropped; with `Sharing::Serial` the next one begins.
    fn forget_if_gone(&mut self, number: u64) {
        let over =
            self.sessions.get(&number).is_some_and(|session| session.is_gone() && !session.is_pending());
        if !over {
            return;
        }
        if let Some(session) = self.sessions.remove(&number) {
            self.statistics.add(&session);
        }
        self.turn.retain(|&other| other != number);
        if let (Sharing::Serial, Some(&next)) = (self.sharing, self.turn.front())
            && self.start(next).is_err()
        {
            self.notes.tell(Level::Error, &format!("session {next} cannot be recorded"));
            self.end_abnormally(next, "Session ended abnormally: not recorded.".into());
        }
    }

    fn record(&mut self, session: u64, what: What) {
        self.batch.events.push(Event { session, what });
        if self.batch.is_full() {
            self.hand_on();
        }
    }

    /// In its turn like everything else: the old files get what was recorded before, the new ones what comes
    /// behind, and none of it is lost or written twice.
    fn reopen(&mut self) {
        self.record(0, What::Reopen);
        self.reopening += self.writers.number();
        self.tell_reopened();
    }

    fn tell_reopened(&mut self) {
        if self.reopening == 0 && !self.orphaned {
            // A parent that is gone does not want to know; we shall hear of that.
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
        self.writers.give(std::mem::replace(&mut self.batch, next));
    }

    /// That an output is slow holds everybody up, and is no reason to take us for dead.
    fn wait_for_outputs(&mut self) {
        self.orphan_if_alone();
        if self.pinged && !self.orphaned {
            let _ = self.parent.send(&ToParent::Alive);
        }
    }

    fn listening(&mut self, address: Address) {
        let id = LISTENING + self.listening.len() as u64;
        match self.names.ask(id, &address) {
            Some(until) => self.listening.push((id, address, until)),
            None => self.tell_listening(&address.numeric()),
        }
    }

    fn tell_listening(&mut self, name: &Name) {
        self.notes.tell(Level::Normal, &format!("Listening on: {name}"));
    }

    fn hear_resolver(&mut self) -> Result<(), Trouble> {
        for _ in 0..TURN {
            let (id, name) = match self.names.answer() {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(error) => {
                    let text = format!("the resolver: {error}; peers are shown as numbers from now on");
                    self.notes.tell(Level::Error, &text);
                    break;
                }
            };
            if id >= LISTENING {
                if let Some(index) = self.listening.iter().position(|(asked, ..)| *asked == id) {
                    self.listening.remove(index);
                    self.tell_listening(&name);
                }
                continue;
            }
            let side = if id % 2 == 0 { Side::Client } else { Side::Server };
            let complete = self.sessions.get_mut(&(id / 2)).is_some_and(|session| session.named(side, name));
            if complete {
                self.begin_in_turn(id / 2);
            }
        }
        Ok(())
    }

    /// Begins a session if it is the one, or one of those, being read.
    fn begin_in_turn(&mut self, number: u64) {
        if self.sharing == Sharing::Labelled || self.turn.front() == Some(&number) {
            self.begin(number);
        }
    }

    fn hear_writers(&mut self) -> Result<(), Trouble> {
        while let Some(news) = self.writers.news() {
            if matches!(news, News::Reopened) {
                self.reopening = self.reopening.saturating_sub(1);
                self.tell_reopened();
            } else if tell_news(&mut self.notes, news) == Output::Lost {
                self.parent.send(&ToParent::OutputLost)?;
            }
        }
        Ok(())
    }

    fn look_up(&mut self) -> Result<(), Trouble> {
        while let Some(signal) = self.parent_died.read_signal()? {
            // From somebody who rotates logs and takes us for the one to be told.
            if signal.ssi_signo == Signal::SIGHUP as u32 {
                self.reopen();
            }
        }
        self.orphan_if_alone();
        Ok(())
    }

    /// The signal says that somebody may have died; this is whether it was our parent.
    fn orphan_if_alone(&mut self) {
        if sys::parent() != self.parent_pid {
            self.orphan();
        }
    }

    /// The parent is gone, and so will be the workers: what has been recorded is written, for which a
    /// second must do.
    fn orphan(&mut self) {
        if !self.orphaned {
            self.orphaned = true;
            self.finishing = true;
            nix::unistd::alarm::set(1);
        }
    }

    fn timeout(&self) -> EpollTimeout {
        let watched = self.watched.iter().filter_map(|number| self.sessions.get(number));
        let waiting = watched.flat_map(|session| {
            let (names, death) = session.deadlines();
            [names, death].into_iter().flatten()
        });
        let first = waiting.chain(self.listening.iter().map(|(.., until)| *until)).min();
        match first {
            None => EpollTimeout::NONE,
            Some(until) => {
                let rest = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                EpollTimeout::try_from(rest).unwrap_or(EpollTimeout::ZERO)
            }
        }
    }

    /// Gives up what is overdue.
    fn expire(&mut self) {
        let now = Instant::now();
        let late = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let (sessions, orphaned) = (&self.sessions, self.orphaned);
        // Without a resolver no name comes any more, and without a parent there is no time for it.
        let no_names = orphaned || self.names.are_lost();
        self.watched.retain(|number| sessions.get(number).is_some_and(Session::has_deadline));
        let watched = self.watched.iter().filter_map(|number| sessions.get(number));
        let overdue: Vec<(u64, bool, bool)> = watched
            .map(|session| {
                let (names, death) = session.deadlines();
                (
                    session.number,
                    late(names) || no_names && names.is_some(),
                    late(death) || orphaned && death.is_some(),
                )
            })
            .filter(|(_, names, death)| *names || *death)
            .collect();
        for (number, names, death) in overdue {
            if names {
                self.names.overdue();
                if let Some(session) = self.sessions.get_mut(&number) {
                    session.stop_waiting();
                }
                self.begin_in_turn(number);
            }
            if death {
                self.end_abnormally(number, "Session ended abnormally.".into());
            }
        }
        while let Some(index) = self.listening.iter().position(|(.., until)| no_names || *until <= now) {
            let (_, address, _) = self.listening.remove(index);
            self.names.overdue();
            self.tell_listening(&address.numeric());
        }
    }

    /// Everything is recorded: writes it, and says so.
    fn finish(mut self) -> Result<(), Trouble> {
        self.hand_on();
        let Reader { writers, parent, mut notes, orphaned, .. } = self;
        for news in writers.finish() {
            if tell_news(&mut notes, news) == Output::Lost && !orphaned {
                parent.send(&ToParent::OutputLost)?;
            }
        }
        if !orphaned {
            parent.send(&ToParent::Finished)?;
        }
        Ok(())
    }
}

/// Half of the descriptors are for files of sessions, and some are the logger's own. The parent has as many
/// sessions at once as fit into that (`parent/limits.rs`), or one.
fn most_sessions() -> Result<usize, Trouble> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(usize::try_from(limit / 2).unwrap_or(usize::MAX).saturating_sub(16).max(1))
}

/// What has become of an output.
#[derive(PartialEq, Eq)]
enum Output {
    Lost,
    GoesOn,
}

fn tell_news(notes: &mut Notes, news: News) -> Output {
    let (lost, output, rest) = match news {
        News::Lost(lost) => (lost, Output::Lost, ""),
        News::Kept(kept) => (kept, Output::GoesOn, ": going on with the old file"),
        News::Reopened => return Output::GoesOn,
        News::Stays(stays) => (stays, Output::GoesOn, ": this part stays"),
    };
    let why = lost.error.raw_os_error().map_or_else(|| lost.error.to_string(), reason);
    notes.tell(Level::Error, &format!("Log file error: {why} ({}){rest}", lost.output));
    output
}
