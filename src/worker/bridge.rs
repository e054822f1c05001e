//! A bridge: two flows, and the decision when the session ends and why.
//!
//! A failed connection ends the flow *to* its peer at once, but not the flow *from* it: what the peer sent before is
//! read to the end, recorded and delivered, and only then is the failure passed on, as a reset.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::ends::{Ends, report};
use super::flow::{Buffer, Flow, FlowStep, Pool};
use super::idle::IdleTimer;
use super::local::report_undelivered;
use super::loss::Losses;
use super::ready::{Events, INPUT, InputWaiter};
use super::receipt::{Received, RecordSteps};
use super::transport::PeerSocket;
use crate::format::CaptureLevel;
use crate::messages::{self, CloseReason, Record, Side, TcpInfo, WorkersEnd};

/// Time for a receiver to accept data that a failed peer sent before.
const GRACE: Duration = Duration::from_secs(10);

/// Maximum interval of checks of what a receiver has acknowledged.
const LOOK: Duration = Duration::from_millis(40);

const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// Parameters of a session.
pub(super) struct Terms {
    pub(super) need: CaptureLevel,
    /// `-b`
    pub(super) limit: Option<u64>,
    pub(super) idle: Option<Duration>,
    /// Peers that have reset their connections. What they sent before is read all the same.
    pub(super) reset: [bool; 2],
    pub(super) receipts: RecordSteps,
    /// An output has [`TcpInfo`].
    pub(super) tcp_info: bool,
}

/// A session in progress.
pub(super) struct Bridge<'a> {
    channel: &'a WorkersEnd,
    /// Client, server.
    peers: [PeerSocket; 2],
    /// From the client, from the server.
    flows: [Flow; 2],
    pool: Pool,
    limit: Option<u64>,
    /// `-b` is reached: nothing more is read, what is held is passed on.
    full: bool,
    /// Sides whose POLLHUP has been handled.
    hup_seen: [bool; 2],
    losses: Losses,
    idle: IdleTimer,
    waiter: InputWaiter,
    receipts: RecordSteps,
    tcp_info: bool,
    logger_lost: bool,
    /// A receiver took nothing for [`GRACE`]: it is not waited for again.
    gave_up: bool,
}

impl<'a> Bridge<'a> {
    pub(super) fn new(
        channel: &'a WorkersEnd,
        terms: Terms,
        peers: [PeerSocket; 2],
        buffers: [Buffer; 2],
    ) -> Bridge<'a> {
        let Terms { need, limit, idle, reset, receipts, tcp_info } = terms;
        let flow = |from| Flow::new(from, &peers[from as usize], need, limit.is_some());
        let mut bridge = Bridge {
            channel,
            flows: SIDES.map(flow),
            peers,
            pool: Pool::new(buffers),
            limit,
            full: limit == Some(0),
            hup_seen: [false; 2],
            losses: Losses::default(),
            idle: IdleTimer::new(idle),
            waiter: InputWaiter::new(),
            receipts,
            tcp_info,
            logger_lost: false,
            gave_up: false,
        };
        for index in [0, 1].into_iter().filter(|index| reset[*index]) {
            bridge.lose(index, Some(Errno::ECONNRESET));
        }
        bridge
    }

    pub(super) fn logger_lost(&self) -> bool {
        self.logger_lost
    }

    /// Forwards until the session has a cause to end.
    pub(super) fn run(&mut self) -> io::Result<CloseReason> {
        loop {
            if let Some(cause) = self.verdict() {
                return Ok(cause);
            }
            let timeout = self.timeout();
            let [client, server, channel] = self.wait(timeout)?;
            if !channel.is_empty() && self.receive_acknowledgements() {
                return Ok(CloseReason::Stopped);
            }
            if channel.is_empty()
                && (client | server).is_empty()
                && !(self.drains(0) || self.drains(1) || self.awaits_record())
                && let Some(cause) = self.overdue()
            {
                return Ok(cause);
            }
            for (index, mut events) in [client, server].into_iter().enumerate() {
                if self.drains(index) {
                    events |= PollFlags::POLLIN;
                }
                self.react(index, events)?;
            }
        }
    }

    /// Receives acknowledgements; returns whether the session must end. Waiting for a record does not count
    /// as a peer's idle time.
    fn receive_acknowledgements(&mut self) -> bool {
        let heard = self.receipts.receive(self.channel);
        if heard == Received::Progress {
            self.idle.moved();
            self.losses.progressed();
        }
        heard == Received::End
    }

    fn awaits_record(&self) -> bool {
        self.flows.iter().any(|flow| flow.awaits_record(&self.receipts))
    }

    /// The reason to end the session now, if there is one.
    fn verdict(&self) -> Option<CloseReason> {
        if self.full && self.flows.iter().all(Flow::is_empty) {
            return Some(CloseReason::Limit);
        }
        if let Some(first) = self.losses.first() {
            let both = self.losses.of(first.other()).is_some();
            let over = |side: Side| self.flows[side as usize].has_ended();
            return (over(first) && (!both || over(first.other()))).then(|| self.loss(first));
        }
        self.flows.iter().all(Flow::has_ended).then_some(CloseReason::Done)
    }

    fn loss(&self, side: Side) -> CloseReason {
        let unread = || self.peers[side.other() as usize].has_input();
        self.losses.cause(side, self.peers[side as usize].is_tcp(), unread)
    }

    /// Time to the next deadline.
    fn timeout(&mut self) -> PollTimeout {
        if self.drains(0) || self.drains(1) {
            return PollTimeout::ZERO;
        }
        let resumes = self.flows.iter().filter_map(Flow::resumes).min();
        let due = if self.awaits_record() {
            resumes
        } else {
            let patience = self.is_delivering().then(|| self.losses.waiting_since() + GRACE);
            [patience, self.idle.next_look(), resumes].into_iter().flatten().min()
        };
        let Some(due) = due else { return PollTimeout::NONE };
        // Rounded up: a time-out that ends early would be followed by others of 0 ms.
        let rest = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX)
    }

    /// A connection has failed, and there is data to deliver, or no receiver for it. A peer that only stopped
    /// reading (as Unix sockets can signal) may continue to send, and gets no extra time.
    fn is_delivering(&self) -> bool {
        let pending = self.losses.are_both() || self.flows.iter().any(|flow| !flow.is_empty());
        self.losses.first().is_some() && pending
    }

    /// The reason to end the session after a time-out without events, if there is one.
    fn overdue(&mut self) -> Option<CloseReason> {
        let now = Instant::now();
        if let Some(first) = self.losses.first().filter(|_| self.is_delivering())
            && now >= self.losses.waiting_since() + GRACE
        {
            self.gave_up = true;
            return Some(self.loss(first));
        }
        if !self.idle.is_over(now, || [0, 1].map(|index| self.peers[index].outstanding())) {
            return None;
        }
        let waits = |side: &Side| !self.flows[side.other() as usize].is_empty();
        let stuck = SIDES.into_iter().find(waits).or_else(|| self.idle.not_reading());
        Some(stuck.map_or(CloseReason::Idle, CloseReason::NotReading))
    }

    /// Waits for something to do; no events at all is the time-out.
    fn wait(&mut self, timeout: PollTimeout) -> io::Result<Events> {
        if self.hup_seen == [false; 2] && [0, 1].into_iter().all(|index| self.interest(index) == INPUT) {
            let [client, server] = &self.peers;
            let descriptors = [client.as_fd(), server.as_fd(), self.channel.as_fd()];
            if let Some(events) = self.waiter.wait(descriptors, timeout) {
                return Ok(events?);
            }
        }
        self.poll(timeout)
    }

    fn poll(&self, timeout: PollTimeout) -> io::Result<Events> {
        // A closed connection without pending work would be reported continuously: it is left out, and the
        // channel takes its place because poll(2) needs a descriptor there.
        let [client, server] = [0, 1].map(|index| self.hup_seen[index] && self.interest(index).is_empty());
        let watched =
            |index: usize, hup_seen| if hup_seen { self.channel.as_fd() } else { self.peers[index].as_fd() };
        // The logger closes its side of the channel to end us; nothing else ever comes from there.
        let mut fds = [
            PollFd::new(watched(0, client), self.interest(0)),
            PollFd::new(watched(1, server), self.interest(1)),
            PollFd::new(self.channel.as_fd(), PollFlags::POLLIN),
        ];
        loop {
            match poll(&mut fds, timeout) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let events = |index: usize| fds[index].revents().unwrap_or(PollFlags::empty());
        Ok([events(0), events(1), events(2)])
    }

    /// Checks whether to read from side `index`: its flow has room, and there is a receiver, or it is the
    /// last data of a lost peer, which is recorded in any case.
    fn reads(&self, index: usize) -> bool {
        let flow = &self.flows[index];
        let wanted = !flow.is_abandoned() || self.losses.of(flow.from).is_some();
        flow.is_empty() && !flow.has_ended() && !self.full && wanted
    }

    /// A broken TCP connection is read without waiting: nothing more arrives on it.
    fn drains(&self, index: usize) -> bool {
        self.reads(index) && self.peers[index].is_tcp() && self.losses.of(SIDES[index]).is_some()
    }

    /// Checks whether the flow to side `index` has data that may be forwarded.
    fn writes(&self, index: usize) -> bool {
        let flow = &self.flows[1 - index];
        let may_resume = flow.resumes().is_none_or(|resumes| resumes <= Instant::now());
        !flow.is_empty() && !flow.awaits_record(&self.receipts) && may_resume
    }

    fn interest(&self, index: usize) -> PollFlags {
        let mut flags = PollFlags::empty();
        if self.reads(index) {
            flags |= INPUT;
        }
        if self.writes(index) {
            flags |= PollFlags::POLLOUT;
        }
        flags
    }

    fn react(&mut self, index: usize, events: PollFlags) -> io::Result<()> {
        let trouble = PollFlags::POLLERR | PollFlags::POLLHUP;
        if self.writes(index) && events.intersects(PollFlags::POLLOUT | trouble) {
            self.write(1 - index)?;
        }
        if self.reads(index) {
            if events.intersects(PollFlags::POLLIN | PollFlags::POLLPRI | trouble) {
                self.read(index, events)?;
            }
        } else if events.intersects(trouble) {
            if events.contains(PollFlags::POLLERR) {
                self.lose(index, self.peers[index].error());
            }
            self.hup_seen[index] = true;
        }
        if events.contains(PollFlags::POLLHUP) {
            self.hung_up(index);
        }
        Ok(())
    }

    /// Handles the hang-up of a Unix socket that was not sent everything: its peer has closed it. TCP does not report
    /// this.
    fn hung_up(&mut self, index: usize) {
        let [this, other] = [&self.flows[index], &self.flows[1 - index]];
        if self.peers[index].is_tcp() || !this.has_ended() || other.has_ended() {
            return;
        }
        if other.is_empty() {
            self.losses.closed(this.from);
            self.abandon(1 - index);
        } else {
            self.lose(index, Some(Errno::EPIPE));
        }
    }

    fn read(&mut self, index: usize, events: PollFlags) -> io::Result<()> {
        let ends = ends(self.channel, &self.receipts, &self.peers, index);
        let before = self.flows[index].total;
        let step = self.flows[index].read(&ends, &mut self.pool, events.contains(PollFlags::POLLPRI));
        if self.flows[index].total > before {
            self.idle.moved();
            self.losses.progressed();
        } else if self.drains(index) {
            self.flows[index].cut();
        }
        self.full = self.limit.is_some_and(|limit| self.flows[0].total + self.flows[1].total >= limit);
        self.apply(index, step)
    }

    fn write(&mut self, index: usize) -> io::Result<()> {
        let ends = ends(self.channel, &self.receipts, &self.peers, index);
        let step = self.flows[index].write(&ends, &mut self.pool);
        self.apply(index, step)
    }

    /// Handles the result of a step of flow `index`.
    fn apply(&mut self, index: usize, step: io::Result<FlowStep>) -> io::Result<()> {
        match step {
            Ok(FlowStep::Moved) => {
                self.idle.moved();
                self.losses.progressed();
            }
            Ok(FlowStep::Blocked) => {}
            Ok(FlowStep::Ended) => return self.end(index),
            Ok(FlowStep::SourceFailed(errno)) => {
                self.lose(index, Some(errno));
                // A socket of packets reports a reset before the messages that came before it.
                if !(errno == Errno::ECONNRESET && self.peers[index].has_packets()) {
                    self.flows[index].cut();
                }
            }
            Ok(FlowStep::SinkFailed(errno)) => self.lose(1 - index, Some(errno)),
            Err(error) => {
                self.logger_lost = matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET));
                return Err(error);
            }
        }
        Ok(())
    }

    fn end(&mut self, index: usize) -> io::Result<()> {
        let flow = &self.flows[index];
        // The end of a connection that failed before: the error was reported once, by a write.
        if self.losses.of(flow.from).is_some() {
            self.flows[index].cut();
            return Ok(());
        }
        let last = self.flows[1 - index].has_ended();
        let ends = ends(self.channel, &self.receipts, &self.peers, index);
        self.flows[index].end(&ends, last).inspect_err(|_| self.logger_lost = true)
    }

    /// Handles a failed connection to side `index`. The error may become known later, by a read.
    fn lose(&mut self, index: usize, errno: Option<Errno>) {
        self.losses.failed(SIDES[index], errno);
        self.abandon(1 - index);
    }

    /// Gives up the flow `index`, whose receiver is gone, and informs its sender where the kernel has a means.
    fn abandon(&mut self, index: usize) {
        let undelivered = self.flows[index].abandon(&mut self.pool);
        // The next record reports a broken channel.
        let _ = report_undelivered(
            SIDES[index],
            undelivered,
            &ends(self.channel, &self.receipts, &self.peers, index),
        );
        self.peers[index].refuse();
    }

    /// Ends the session in order: the record first, then the connections.
    pub(super) fn finish(&mut self, cause: CloseReason) -> io::Result<()> {
        let lost = self.losses.first().filter(|side| self.losses.of(side.other()).is_none());
        match cause {
            CloseReason::Limit => SIDES.into_iter().for_each(|side| self.wait_for_delivery(side)),
            CloseReason::Reset(_) | CloseReason::Lost { .. } | CloseReason::Done => {
                lost.into_iter().for_each(|side| self.wait_for_delivery(side.other()));
            }
            CloseReason::Idle
            | CloseReason::NotReading(_)
            | CloseReason::Stopped
            | CloseReason::Failed { .. } => {}
        }
        for index in [0, 1] {
            let ends = ends(self.channel, &self.receipts, &self.peers, index);
            report_undelivered(SIDES[index], self.flows[index].rights(), &ends)?;
        }
        let totals = [0, 1].map(|index| self.flows[index].unreported_total());
        let tcp = self.tcp_info();
        report(self.channel, &Record::Closed { cause, totals, tcp, time: messages::now() })?;
        match cause {
            CloseReason::Reset(side) | CloseReason::Lost { side, .. } => {
                self.peers[side.other() as usize].reset()
            }
            // Refused: its files could not be made.
            CloseReason::Stopped if !self.receipts.has_begun() => {
                self.peers.iter().for_each(PeerSocket::reset)
            }
            _ => {}
        }
        Ok(())
    }

    /// Of both connections, at their end: two system calls, where an output has them.
    fn tcp_info(&self) -> [TcpInfo; 2] {
        if self.tcp_info { [0, 1].map(|index| self.peers[index].tcp_info()) } else { Default::default() }
    }

    /// A reset, and a close with something unread, discards what is still on its way to the peer: waits until the
    /// peer has acknowledged it, while it goes on taking something.
    fn wait_for_delivery(&self, side: Side) {
        let peer = &self.peers[side as usize];
        // What was sent to a Unix socket is in the peer's queue, and stays there.
        if self.gave_up || !peer.is_tcp() {
            return;
        }
        let (mut least, mut since, mut pause) = (usize::MAX, None, Duration::from_millis(1));
        loop {
            let outstanding = peer.outstanding();
            if outstanding == 0 || peer.is_broken() {
                return;
            }
            let now = Instant::now();
            if outstanding < least {
                (least, since) = (outstanding, Some(now));
            }
            if since.is_some_and(|since| now >= since + GRACE) || self.is_stopped_within(pause) {
                return;
            }
            pause = LOOK.min(2 * pause);
        }
    }

    /// Waits; returns whether the logger ends the session meanwhile.
    fn is_stopped_within(&self, pause: Duration) -> bool {
        let mut fds = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
        let pause = PollTimeout::try_from(pause).unwrap_or(PollTimeout::ZERO);
        match poll(&mut fds, pause) {
            Ok(0) | Err(Errno::EINTR) => false,
            _ => self.receipts.receive(self.channel) == Received::End,
        }
    }
}

/// The surroundings of flow `index`.
fn ends<'a>(
    channel: &'a WorkersEnd,
    receipts: &'a RecordSteps,
    peers: &'a [PeerSocket; 2],
    index: usize,
) -> Ends<'a> {
    Ends { source: &peers[index], sink: &peers[1 - index], channel, receipts }
}
