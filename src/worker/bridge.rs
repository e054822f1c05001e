//! A bridge is two flows and one verdict.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use super::flow::{Buffer, Ends, Flow, Pool, Step, report};
use crate::format::Need;
use crate::messages::{Cause, Record, Side, WorkersEnd};

/// A session in progress.
pub(super) struct Bridge<'a> {
    channel: &'a WorkersEnd,
    client: OwnedFd,
    server: OwnedFd,
    /// From the client, from the server.
    flows: [Flow; 2],
    pool: Pool,
    limit: Option<u64>,
    /// `-b` is reached: nothing more is read, what is held is passed on.
    full: bool,
    /// Sides whose hang-up has been seen and says nothing new.
    muted: [bool; 2],
    logger_lost: bool,
}

impl<'a> Bridge<'a> {
    pub(super) fn new(
        channel: &'a WorkersEnd,
        need: Need,
        limit: Option<u64>,
        [client, server]: [OwnedFd; 2],
        buffers: [Buffer; 2],
    ) -> Bridge<'a> {
        let flow = |from| Flow::new(from, need, limit.is_some());
        Bridge {
            channel,
            client,
            server,
            flows: [flow(Side::Client), flow(Side::Server)],
            pool: Pool::new(buffers),
            limit,
            full: limit == Some(0),
            muted: [false; 2],
            logger_lost: false,
        }
    }

    pub(super) fn logger_lost(&self) -> bool {
        self.logger_lost
    }

    /// Forwards until the session has a cause to end.
    pub(super) fn run(&mut self, idle: Option<Duration>) -> io::Result<Cause> {
        let timeout = idle.and_then(|idle| PollTimeout::try_from(idle).ok()).unwrap_or(PollTimeout::NONE);
        loop {
            if self.full && self.flows.iter().all(Flow::is_empty) {
                return Ok(Cause::Limit);
            }
            if self.flows.iter().all(|flow| flow.ended) {
                return Ok(Cause::Done);
            }
            let [client, server, channel] = self.wait(timeout)?;
            if (client | server | channel).is_empty() {
                return Ok(Cause::Idle);
            }
            if !channel.is_empty() {
                return Ok(Cause::Stopped);
            }
            for (index, events) in [client, server].into_iter().enumerate() {
                if let Some(cause) = self.react(index, events)? {
                    return Ok(cause);
                }
            }
        }
    }

    /// Waits for something to do; no events at all is the time-out.
    fn wait(&self, timeout: PollTimeout) -> io::Result<[PollFlags; 3]> {
        // What has hung up and has nothing to do for us would be reported for ever: it is left out, and
        // the channel takes its place because poll(2) wants a descriptor there.
        let [client, server] = [0, 1].map(|index| self.muted[index] && self.interest(index).is_empty());
        let watched = |socket, muted| if muted { self.channel.as_fd() } else { socket };
        // The logger closes its side of the channel to end us; nothing else ever comes from there.
        let mut fds = [
            PollFd::new(watched(self.client.as_fd(), client), self.interest(0)),
            PollFd::new(watched(self.server.as_fd(), server), self.interest(1)),
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

    /// What we want to know of side `index`: whether it sends, if its flow can take something; whether it
    /// receives, if the other flow holds something.
    fn interest(&self, index: usize) -> PollFlags {
        let mut flags = PollFlags::empty();
        let flow = &self.flows[index];
        if flow.is_empty() && !flow.ended && !self.full {
            flags |= PollFlags::POLLIN | PollFlags::POLLPRI;
        }
        if !self.flows[1 - index].is_empty() {
            flags |= PollFlags::POLLOUT;
        }
        flags
    }

    fn react(&mut self, index: usize, events: PollFlags) -> io::Result<Option<Cause>> {
        let trouble = PollFlags::POLLERR | PollFlags::POLLHUP;
        if events.contains(PollFlags::POLLOUT)
            && let Some(cause) = self.write(1 - index)?
        {
            return Ok(Some(cause));
        }
        let flow = &self.flows[index];
        if flow.is_empty() && !flow.ended && !self.full {
            if events.intersects(PollFlags::POLLIN | PollFlags::POLLPRI | trouble) {
                return self.read(index, events.contains(PollFlags::POLLPRI));
            }
        } else if events.contains(PollFlags::POLLERR) {
            return Ok(Some(Cause::Reset(flow.from)));
        } else if events.contains(PollFlags::POLLHUP) {
            self.muted[index] = true;
        }
        Ok(None)
    }

    fn read(&mut self, index: usize, urgent: bool) -> io::Result<Option<Cause>> {
        let ends = ends(self.channel, &self.client, &self.server, index);
        let last = self.flows[1 - index].ended;
        let step = self.flows[index].read(&ends, &mut self.pool, urgent, last);
        self.full = self.limit.is_some_and(|limit| self.flows[0].total + self.flows[1].total >= limit);
        self.judge(step)
    }

    fn write(&mut self, index: usize) -> io::Result<Option<Cause>> {
        let ends = ends(self.channel, &self.client, &self.server, index);
        let step = self.flows[index].write(&ends, &mut self.pool);
        self.judge(step)
    }

    fn judge(&mut self, step: io::Result<Step>) -> io::Result<Option<Cause>> {
        match step {
            Ok(Step::Moved | Step::Blocked | Step::Ended) => Ok(None),
            Ok(Step::Reset(side)) => Ok(Some(Cause::Reset(side))),
            Err(error) => {
                self.logger_lost = matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET));
                Err(error)
            }
        }
    }

    /// Ends the session in order: the record first, then the connections.
    pub(super) fn finish(&mut self, cause: Cause) -> io::Result<()> {
        let told = !matches!(cause, Cause::Stopped | Cause::Failed { .. });
        let totals = [0, 1].map(|index| {
            let flow = &self.flows[index];
            (told && !flow.reported).then_some(flow.total)
        });
        report(self.channel, &Record::Closed { cause, totals })?;
        if let Cause::Reset(side) = cause {
            let other = match side {
                Side::Client => &self.server,
                Side::Server => &self.client,
            };
            // Closing with a zero linger time is how TCP resets. Not on a Unix socket, which has no reset.
            let _ = setsockopt(other, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
        }
        Ok(())
    }
}

/// What flow `index` works with.
fn ends<'a>(channel: &'a WorkersEnd, client: &'a OwnedFd, server: &'a OwnedFd, index: usize) -> Ends<'a> {
    let (source, sink): (BorrowedFd<'a>, BorrowedFd<'a>) = match index {
        0 => (client.as_fd(), server.as_fd()),
        _ => (server.as_fd(), client.as_fd()),
    };
    Ends { source, sink, channel }
}
