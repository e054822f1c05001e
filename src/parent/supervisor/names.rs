//! The resolver while the bridge runs: the only role whose loss does not end the program.

use crate::parent::net::address::lost_lookup;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::{Phase, Supervisor, TURN};
use crate::exit::Failure;
use crate::messages::{Level, ProcessEnd, ToParent};
use crate::parent::net::address::no_process;
use crate::parent::supervisor::rate_limit::NoticeKind;

impl Supervisor<'_> {
    /// Receives from the resolver: lost lookups, and the answer to the question.
    pub(super) fn handle_resolver_messages(&mut self) {
        for _ in 0..TURN {
            let Some(resolver) = &self.roles.resolver else { return };
            let answer = match resolver.receive() {
                Ok(None) => return,
                Ok(Some((ToParent::LookupLost { pid, end }, [None, None]))) => {
                    self.lookup_lost(pid, end);
                    continue;
                }
                Ok(Some((ToParent::Found(addresses), [None, None]))) => Ok(addresses),
                Ok(Some((ToParent::NotFound { reason }, [None, None]))) => Err(reason),
                Ok(Some((ToParent::ForkFailed { errno }, [None, None]))) => Err(no_process(errno).into()),
                Ok(Some(_)) => return self.lose_resolver(resolver.nonsense()),
                Err(failure) => return self.lose_resolver(failure),
            };
            let nonsense = resolver.nonsense();
            if !self.found(answer) {
                self.lose_resolver(nonsense);
            }
        }
    }

    /// Reports a lost lookup: a peer is shown as a number, or a server keeps its addresses.
    fn lookup_lost(&mut self, pid: i32, end: ProcessEnd) {
        if !matches!(self.phase, Phase::WritingOut { .. }) {
            let is_first = !self.has_notice(NoticeKind::LookupLost);
            let text = lost_lookup(pid, end);
            let (text, advice) = text.split_once('\n').unwrap_or((&text, ""));
            self.limited_notice(NoticeKind::LookupLost, Level::Error, text.to_owned());
            if is_first && !advice.is_empty() {
                self.notice(Level::Error, advice.to_owned());
            }
        }
    }

    /// Drops the resolver, with one error. Closing its channel makes the resolver exit if it still runs; the logger
    /// has seen the end of its own channel and shows numbers.
    pub(super) fn lose_resolver(&mut self, why: Failure) {
        let Some(resolver) = self.roles.resolver.take() else { return };
        self.leaving.push(resolver.pid);
        // A logger that is finishing may have exited.
        if !matches!(self.phase, Phase::WritingOut { .. }) {
            why.text.lines().for_each(|line| self.notice(Level::Error, line.to_owned()));
        }
    }

    /// Reaps roles that were dropped.
    pub(super) fn reap_leaving(&mut self) {
        let flags = Some(WaitPidFlag::WNOHANG);
        self.leaving.retain(|pid| matches!(waitpid(*pid, flags), Ok(WaitStatus::StillAlive)));
    }
}
