//! Queued questions, running lookups, and answers.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use privsep::channel::{Channel, Incoming, Wait, no_fds};
use privsep::confine::Confined;
use privsep::sys::{self, Alone};

use super::lookup::{self, NO_ANSWER, Question};
use super::process::Lookup;
use super::{LoggerChannel, Parent};
use crate::messages::{LookupAnswer, NameAnswer, NameQuestion, ProcessEnd, ToParent, ToResolver};
use crate::role::RoleError;

/// Maximum number of lookups at the same time.
const LOOKUPS: usize = 16;

/// Maximum number of waiting questions of the logger. Further names are not looked up: the logger shows numbers.
pub(super) const QUEUE: usize = 64;

/// Maximum number of waiting questions of both. The parent has one for each side, whatever the logger asks.
const BOTH: usize = 2 * QUEUE;

/// Time for which a question of the parent waits for the system to have a process for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Retry delay after the system refused a process.
const RETRY: Duration = Duration::from_millis(50);

/// The system refuses processes.
struct Shortage {
    since: Instant,
    /// Time of the next attempt.
    retry: Instant,
}

/// A running lookup.
struct RunningLookup {
    pid: Pid,
    answer: Channel<(), LookupAnswer>,
    question: Question,
    started: Instant,
}

/// Unanswered questions.
pub(super) struct Desk {
    parent: Parent,
    /// `None` with `-n`, and once the logger has closed its end.
    logger: Option<LoggerChannel>,
    waiting: VecDeque<Question>,
    running: Vec<RunningLookup>,
    /// Set while a question of the parent waits for a process.
    shortage: Option<Shortage>,
    alone: Alone,
}

impl Desk {
    pub(super) fn new(parent: Parent, logger: Option<LoggerChannel>, alone: Alone) -> Desk {
        Desk { parent, logger, waiting: VecDeque::new(), running: Vec::new(), shortage: None, alone }
    }

    /// Serves until the parent closes its end; returns the lookup in a child.
    pub(super) fn serve(
        &mut self,
        children: &SignalFd,
        _locked: &Confined,
    ) -> Result<Option<Lookup>, RoleError> {
        loop {
            if let Some(lookup) = self.start_lookups()? {
                return Ok(Some(lookup));
            }
            let mut fds = vec![readable(&self.parent), readable(children)];
            fds.extend(self.logger.as_ref().map(readable));
            match poll(&mut fds, self.until_retry()) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if !self.receive_from_parent()? {
                return Ok(None);
            }
            self.receive_from_logger()?;
            self.reap(children)?;
        }
    }

    /// Receives a question from the parent; returns `false` if the parent has closed its end.
    pub(super) fn receive_from_parent(&mut self) -> Result<bool, RoleError> {
        match self.parent.receive(Wait::No)? {
            Incoming::Message(ToResolver::Find(find), fds) => {
                no_fds(fds)?;
                let find = Question::Find(find);
                match self.waiting.len() {
                    // The parent waits for every answer.
                    BOTH.. => self.answer(find, None)?,
                    _ => self.waiting.push_front(find),
                }
            }
            Incoming::Message(ToResolver::Prepare(_), _) => return Err(RoleError::Protocol),
            Incoming::Closed => return Ok(false),
            Incoming::Nothing => {}
        }
        Ok(true)
    }

    /// Receives a question from the logger.
    pub(super) fn receive_from_logger(&mut self) -> Result<(), RoleError> {
        let Some(logger) = &self.logger else { return Ok(()) };
        match logger.receive(Wait::No)? {
            Incoming::Message(question, fds) => {
                no_fds(fds)?;
                if self.waiting.len() < QUEUE {
                    self.waiting.push_back(Question::Name(question));
                }
            }
            // The parent decides about the consequences.
            Incoming::Closed => self.logger = None,
            Incoming::Nothing => {}
        }
        Ok(())
    }

    /// The next question to look up.
    pub(super) fn next(&mut self) -> Option<Question> {
        self.waiting.pop_front()
    }

    fn start_lookups(&mut self) -> Result<Option<Lookup>, RoleError> {
        while self.running.len() < LOOKUPS
            && self.shortage.as_ref().is_none_or(|shortage| shortage.retry <= Instant::now())
            && let Some(question) = self.next()
        {
            let (theirs, ours) = Channel::pair()?;
            let resolver = Pid::this();
            // Taken before the lookup sets its timer, so that the deadline is never early.
            let started = Instant::now();
            match sys::fork(&self.alone) {
                Ok(ForkResult::Child) => return Ok(Some(Lookup::new(question, theirs, resolver))),
                Ok(ForkResult::Parent { child }) => {
                    self.running.push(RunningLookup { pid: child, answer: ours, question, started });
                    self.shortage = None;
                }
                Err(error) => self.fork_failed(question, error.raw_os_error().unwrap_or(0))?,
            }
        }
        Ok(None)
    }

    /// Time until the next attempt, rounded up to milliseconds. With all lookups running, the end of one comes first.
    fn until_retry(&self) -> PollTimeout {
        let shortage = self.shortage.as_ref().filter(|_| self.running.len() < LOOKUPS);
        shortage.map_or(PollTimeout::NONE, |shortage| {
            let left = shortage.retry.saturating_duration_since(Instant::now());
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::NONE)
        })
    }

    /// Puts off a question of the parent, for which a start waits. A name is not retried: by the time a process is
    /// available, it is of no use.
    fn fork_failed(&mut self, question: Question, errno: i32) -> Result<(), RoleError> {
        if matches!(question, Question::Name(_)) {
            return self.answer(question, None);
        }
        let now = Instant::now();
        let since = self.shortage.as_ref().map_or(now, |shortage| shortage.since);
        if now < since + PATIENCE {
            self.shortage = Some(Shortage { since, retry: now + RETRY });
            self.waiting.push_front(question);
            return Ok(());
        }
        self.shortage = None;
        Ok(self.parent.send(&ToParent::ForkFailed { errno })?)
    }

    /// Receives the answers of lookups that have ended. One signal may stand for several.
    fn reap(&mut self, children: &SignalFd) -> Result<(), RoleError> {
        while children.read_signal()?.is_some() {}
        loop {
            let (pid, end) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid, ProcessEnd::Status(status)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, ProcessEnd::Signal(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            if let Some(index) = self.running.iter().position(|lookup| lookup.pid == pid) {
                let lookup = self.running.swap_remove(index);
                self.ended(lookup, end)?;
            }
        }
    }

    fn ended(&mut self, lookup: RunningLookup, end: ProcessEnd) -> Result<(), RoleError> {
        let answer = match lookup.answer.receive(Wait::No) {
            Ok(Incoming::Message(answer, fds)) => no_fds(fds).ok().map(|()| answer),
            Ok(Incoming::Closed | Incoming::Nothing) | Err(_) => None,
        };
        // A name server that does not answer is not reported.
        let late = lookup.started.elapsed() >= lookup.question.time_limit();
        if !late && (answer.is_none() || end != ProcessEnd::Status(0)) {
            self.parent.send(&ToParent::LookupLost { pid: lookup.pid.as_raw(), end })?;
        }
        self.answer(lookup.question, answer)
    }

    /// Answers a question. Without an answer, or with one of another kind, reports that there is none.
    pub(super) fn answer(&self, question: Question, answer: Option<LookupAnswer>) -> Result<(), RoleError> {
        match question {
            Question::Find(_) => {
                let answer = match answer {
                    Some(LookupAnswer::Found(addresses)) => ToParent::Found(addresses),
                    Some(LookupAnswer::NotFound { code, errno }) => {
                        ToParent::NotFound { reason: lookup::reason(code, errno).into() }
                    }
                    Some(LookupAnswer::Named(_)) | None => ToParent::NotFound { reason: NO_ANSWER.into() },
                };
                Ok(self.parent.send(&answer)?)
            }
            Question::Name(NameQuestion { id, address }) => {
                let name = match answer {
                    Some(LookupAnswer::Named(name)) => name,
                    _ => address.numeric(),
                };
                if let Some(logger) = &self.logger {
                    // If the channel is full, the logger shows numbers.
                    let _ = logger.send_with(&NameAnswer { id, name }, &[], Wait::No);
                }
                Ok(())
            }
        }
    }
}

fn readable<T: AsFd>(fd: &T) -> PollFd<'_> {
    PollFd::new(fd.as_fd(), PollFlags::POLLIN)
}
