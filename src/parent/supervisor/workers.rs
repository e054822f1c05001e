//! Workers: requested in advance, and checked when they end.

use crate::parent::startup::roles::IdleWorker;
use std::time::Instant;

use privsep::channel::{Channel, one_fd};
use privsep::sys::Fds;

use super::{Phase, RECOVERY, RunningSession, Supervisor, TURN};
use crate::exit::{Failure, Status};
use crate::messages::{Level, ProcessEnd, ToLogger, ToParent, ToZygote};
use crate::parent::startup::limits;
use crate::parent::supervisor::rate_limit::NoticeKind;
use crate::policy::Role;
use crate::signals::{advice, describe};

/// Number of workers kept ready.
const SPARE: u32 = 4;

impl Supervisor<'_> {
    /// Keeps as many workers ready as sessions may soon begin.
    pub(super) fn order_workers(&mut self) -> Result<(), Failure> {
        if self.accept_backoff.is_some() || self.fork_backoff.is_some() {
            return Ok(());
        }
        let pairs = (self.pairs.len() + self.discarded.len()) as u64;
        let free = u64::from(self.config.at_once).saturating_sub(self.running.len() as u64);
        let wanted = match self.phase {
            // One more than may run, so that the next session need not wait for a fork.
            Phase::Serving => pairs + u64::from(SPARE).min(free + 1).min(self.remaining()),
            Phase::Draining { .. } => pairs,
            Phase::Ending { .. } => self.discarded.len() as u64,
            Phase::WritingOut { .. } => return Ok(()),
        };
        let missing = wanted.saturating_sub(self.idle.len() as u64 + u64::from(self.ordered)) as u32;
        // Requested in pairs if there is time, which halves the number of messages; at once if a session would
        // have to wait.
        let short = self.idle.len() + self.ordered as usize <= pairs as usize;
        if missing > 1 || missing > 0 && short {
            self.roles.zygote.send_now(&ToZygote::Fork(missing))?;
            self.ordered += missing;
        }
        Ok(())
    }

    pub(super) fn handle_zygote_messages(&mut self) -> Result<(), Failure> {
        for _ in 0..TURN {
            let Some((message, fds)) = self.roles.zygote.receive()? else { break };
            self.handle_zygote_message(message, fds)?;
        }
        Ok(())
    }

    pub(super) fn handle_zygote_message(&mut self, message: ToParent, fds: Fds) -> Result<(), Failure> {
        match message {
            ToParent::WorkerStarted { pid } if self.ordered > 0 => {
                let channel = one_fd(fds).and_then(Channel::adopt);
                let channel = channel.map_err(|_| self.roles.zygote.nonsense())?;
                // A second worker with the same process id would replace the first, which would run on
                // uncounted.
                if self.running.contains_key(&pid) || self.idle.iter().any(|worker| worker.pid == pid) {
                    return Err(self.roles.zygote.nonsense());
                }
                self.ordered -= 1;
                if !self.is_without_zygote() {
                    self.idle.push_back(IdleWorker { pid, channel });
                }
            }
            ToParent::ForkFailed { errno } if self.ordered > 0 => {
                self.ordered -= 1;
                let text = format!("Process creation: {}", limits::shortage(errno));
                self.limited_notice(NoticeKind::NoProcesses, Level::Error, text);
                self.fork_backoff = Some(Instant::now() + RECOVERY);
            }
            ToParent::Exited { pid, end } => self.ended(pid, end),
            ToParent::Alive if fds.iter().all(Option::is_none) && self.has_answered(Role::Zygote) => {}
            _ => return Err(self.roles.zygote.nonsense()),
        }
        Ok(())
    }

    pub(super) fn ended(&mut self, pid: i32, end: ProcessEnd) {
        if self.closing.remove(&pid) {
            self.fork_backoff = None;
            self.is_less_full();
            return;
        }
        let Some(RunningSession { number, .. }) = self.running.remove(&pid) else {
            return self.ended_unused(pid);
        };
        // The exit freed room for another process.
        self.fork_backoff = None;
        self.is_less_full();
        match end {
            ProcessEnd::Status(0) => return,
            ProcessEnd::Status(status) => {
                self.notice(Level::Error, format!("Child {pid} returned an error ({status})"));
            }
            ProcessEnd::Signal(signal) => {
                let text = describe(signal);
                self.notice(
                    Level::Error,
                    format!("Child {pid} killed by signal {signal} ({text}) in session {number}"),
                );
                if let Some(advice) = advice(signal, pid) {
                    self.notice(Level::Error, advice);
                }
            }
        }
        self.failed = Some(Status::Software);
        self.queue(ToLogger::Died { number, end });
    }

    /// Handles the end of a worker without a session. A failed idle worker suggests that others would fail,
    /// too; the loss of one that never arrived was reported when it could not be sent. Neither makes room: no
    /// worker is requested before the delay is over.
    fn ended_unused(&mut self, pid: i32) {
        let before = self.idle.len();
        self.idle.retain(|worker| worker.pid != pid);
        if self.idle.len() < before {
            let text = format!("Child {pid} ended before it had a session");
            self.limited_notice(NoticeKind::NoProcesses, Level::Warning, text);
            self.fork_backoff = Some(Instant::now() + RECOVERY);
        }
    }
}
