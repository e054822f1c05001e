//! Shutdown: after all sessions, a signal, or the loss of an output or a role.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::phase::{Left, Phase, PhaseStep, Reaction};
use super::{Roles, Supervisor};
use crate::exit::{Failure, Status};
use crate::messages::{Hangup, Level, ProcessEnd, Side, ToLogger};
use crate::parent::startup::stop::{interrupted, signals_of};
use crate::parent::supervisor::pending::PendingSession;
use crate::signals::describe;

/// Time for roles to exit at the end: a little more than the second that the logger allows itself.
const FAREWELL: Duration = Duration::from_millis(1200);

impl Supervisor<'_> {
    /// Advances the phase; returns a status when the program is done.
    pub(super) fn progress(&mut self) -> Result<Option<u8>, Failure> {
        let now = Instant::now();
        let left = Left {
            to_come: self.remaining() > 0,
            pairs: !self.pairs.is_empty(),
            running: !self.running.is_empty()
                || self.discarded() > 0
                || self.phase == Phase::Serving && self.is_playing(),
        };
        match self.phase.step(now, left) {
            PhaseStep::Wait => {}
            // Closing them frees the port for other programs.
            PhaseStep::CloseListeners => self.close_listeners(),
            PhaseStep::AllServed => {
                self.close_listeners();
                self.say_stopping();
                let status = self.failed.map_or(0, |status| status as u8);
                self.write_out(now, status);
            }
            PhaseStep::EndSessions(status) => {
                let text = format!("Time to finish is over; sessions left: {}", self.running.len());
                self.notice(Level::Normal, text);
                self.end_sessions(status);
            }
            PhaseStep::GiveUpWorkers(status) => {
                self.give_up_workers();
                self.write_out(now, status);
            }
            PhaseStep::WriteOut(status) => self.write_out(now, status),
            PhaseStep::GiveUpLogger => {
                return Err(Failure::new(Status::Io, "the logger does not finish: records may be missing"));
            }
        }
        Ok(None)
    }

    pub(super) fn close_listeners(&mut self) {
        if self.awaiting(Side::Client).is_none() {
            self.close_listener(Side::Client);
            self.refuse_queued();
        }
        if self.awaiting(Side::Server).is_none() {
            self.close_listener(Side::Server);
        }
    }

    /// Ends workers that have not exited in time, stopped or compromised, with the zygote: the parent, whose
    /// filter has no kill, cannot end them itself. Records that they sent before are kept.
    fn give_up_workers(&mut self) {
        let mut sessions: Vec<u64> = self.running.drain().map(|(_, session)| session.number).collect();
        sessions.sort_unstable();
        self.closing.clear();
        for number in sessions {
            self.notice(Level::Error, format!("session {number} has not ended in time: killed"));
            self.queue(ToLogger::Died { number, end: ProcessEnd::Signal(Signal::SIGKILL as i32) });
        }
    }

    /// Checks whether the zygote has been ordered to exit, and may be gone.
    pub(super) fn is_without_zygote(&self) -> bool {
        matches!(self.phase, Phase::WritingOut { .. })
    }

    pub(super) fn write_out(&mut self, now: Instant, status: u8) {
        self.end_bursts(|_| true);
        // The logger waits for the end of the player's reports.
        self.dismiss_player();
        // The zygote's exit also kills every remaining worker (PR_SET_PDEATHSIG, SIGKILL).
        let _ = self.roles.zygote.channel.finish_sending();
        self.phase = Phase::writing_out(now, status);
        self.queue(ToLogger::Finish);
        // Closes the channels of idle workers. `wait` sends `Finish` before it blocks.
        self.idle.clear();
    }

    /// Ends every session in order, then the program.
    pub(super) fn stop(&mut self, status: u8) {
        self.say_stopping();
        self.end_sessions(status);
    }

    fn end_sessions(&mut self, status: u8) {
        self.close_listener(Side::Client);
        self.close_listener(Side::Server);
        std::mem::take(&mut self.pairs).into_iter().for_each(|pair| self.stop_pair(pair));
        self.refuse_queued();
        let sessions: Vec<u64> = self.running.values().map(|session| session.number).collect();
        for number in sessions {
            self.queue(ToLogger::Stop { number });
        }
        self.phase = Phase::ending(Instant::now(), status);
    }

    fn refuse_queued(&mut self) {
        std::mem::take(&mut self.queued).into_iter().for_each(|present| self.discard(present));
    }

    /// Lets running sessions continue for a limited time.
    fn drain(&mut self, status: u8, patience: Duration) {
        self.say_stopping();
        self.close_listener(Side::Client);
        self.close_listener(Side::Server);
        // Peers that wait for a counterpart to connect are dropped.
        let (begun, alone) = std::mem::take(&mut self.pairs).into_iter().partition(PendingSession::has_both);
        self.pairs = begun;
        alone.into_iter().for_each(|pair| self.discard_pair(pair));
        self.refuse_queued();
        self.phase = Phase::draining(Instant::now(), patience, status);
    }

    /// Ends the program: no byte may be forwarded that an output does not get.
    pub(super) fn output_lost(&mut self) {
        let failed = Status::Io as u8;
        match self.phase.with_status(failed) {
            Some(phase) => self.phase = phase,
            None if self.phase == Phase::Serving => self.stop(failed),
            None => self.end_sessions(failed),
        }
    }

    /// Sends the error to syslog through the logger, if it is still running: stderr does not reach syslog's
    /// readers.
    pub(super) fn last_words(&mut self, failure: &Failure) {
        self.notice(Level::Error, failure.text.clone());
        if self.phase == Phase::Serving {
            self.say_stopping();
        }
        let _ = self.flush_outbox();
    }

    /// Notifies the service manager, and syslog, which gets no other notice of the stop.
    pub(super) fn say_stopping(&mut self) {
        self.notify_stopping();
        if self.config.syslog {
            self.notice(Level::Normal, "stopping".into());
        }
    }

    pub(super) fn handle_signals(&mut self) -> Result<Option<u8>, Failure> {
        let signals: Vec<Signal> = signals_of(self.signals).collect();
        for signal in signals {
            match signal {
                Signal::SIGCHLD => {
                    self.check_roles()?;
                    self.reap_orphans();
                }
                Signal::SIGUSR1 => self.queue(ToLogger::Statistics),
                Signal::SIGUSR2 => {}
                Signal::SIGHUP if self.hangup == Hangup::Reopens => {
                    // A logger that is finishing may have exited.
                    if !matches!(self.phase, Phase::WritingOut { .. }) {
                        self.notice(Level::Normal, format!("Caught signal: {}", describe(signal as i32)));
                        self.want_lookup(Side::Client);
                        self.want_lookup(Side::Server);
                        self.notify_reloading();
                        self.queue(ToLogger::Reopen);
                    }
                }
                signal => {
                    if let Some(status) = self.handle_end_signal(signal) {
                        return Ok(Some(status));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Applies [`Phase::on_signal`]; returns a status if the program ends now.
    fn handle_end_signal(&mut self, signal: Signal) -> Option<u8> {
        let status = interrupted(signal);
        let may_drain = matches!(signal, Signal::SIGTERM | Signal::SIGINT);
        let reaction = self.phase.on_signal(self.config.drain_timeout.filter(|_| may_drain));
        if reaction == Reaction::Exit {
            self.is_cut_short = true;
            return Some(status);
        }
        self.notice(Level::Normal, format!("Caught signal: {}", describe(signal as i32)));
        match reaction {
            Reaction::Drain(patience) => self.drain(status, patience),
            Reaction::Stop => self.stop(status),
            Reaction::EndSessions | Reaction::Exit => self.end_sessions(status),
        }
        None
    }

    /// Checks the roles, the parent's only children. All but the resolver are needed until the end.
    pub(super) fn check_roles(&mut self) -> Result<(), Failure> {
        let ended = |pid| {
            use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            !matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::StillAlive))
        };
        if !self.is_without_zygote() && ended(self.roles.zygote.pid) {
            return Err(self.roles.zygote.lost());
        }
        // The logger may exit once everything is written, which its channel reports.
        if !matches!(self.phase, Phase::WritingOut { .. }) && ended(self.roles.logger.pid) {
            return Err(self.roles.logger.lost());
        }
        self.reap_leaving();
        if let Some(resolver) = self.roles.resolver.as_ref().filter(|resolver| ended(resolver.pid)) {
            let lost = resolver.lost();
            self.lose_resolver(lost);
        }
        Ok(())
    }

    /// As the first process of a container, reaps the inherited children of other processes. Own children are
    /// waited for elsewhere.
    fn reap_orphans(&self) {
        use nix::sys::wait::{Id, waitid};
        if std::process::id() != 1 {
            return;
        }
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(ended) = waitid(Id::All, flags) {
            let Some(pid) = ended.pid().filter(|pid| !self.is_ours(*pid)) else { return };
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        }
    }

    fn is_ours(&self, pid: Pid) -> bool {
        let Roles { resolver, logger, zygote, .. } = &self.roles;
        let roles = [Some(logger.pid), Some(zygote.pid), resolver.as_ref().map(|resolver| resolver.pid)];
        roles.contains(&Some(pid)) || self.leaving.contains(&pid)
    }

    /// Closes the channels, upon which every role exits, and waits for them: when the program has ended, no process is
    /// left. Returns `false` if the logger did not write everything: it then ends itself by a signal.
    pub(super) fn wait_for_children(self) -> bool {
        let Supervisor { roles, mut leaving, signals, .. } = self;
        let logger = roles.logger.pid;
        let mut is_complete = true;
        leaving.extend([logger, roles.zygote.pid]);
        leaving.extend(roles.resolver.as_ref().map(|resolver| resolver.pid));
        let mut left = leaving;
        drop(roles);
        let until = Instant::now() + FAREWELL;
        while Instant::now() < until {
            left.retain(|pid| {
                let status = waitpid(*pid, Some(WaitPidFlag::WNOHANG));
                is_complete &= *pid != logger || !matches!(status, Ok(WaitStatus::Signaled(..)));
                matches!(status, Ok(WaitStatus::StillAlive))
            });
            if left.is_empty() {
                return is_complete;
            }
            let rest = PollTimeout::try_from(until.saturating_duration_since(Instant::now()));
            let _ = poll(
                &mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)],
                rest.unwrap_or(PollTimeout::ZERO),
            );
            signals_of(signals).for_each(drop);
        }
        is_complete && !left.contains(&logger)
    }
}
