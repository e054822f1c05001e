//! The resolver while the bridge runs: the one role whose loss costs names alone.

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::{Phase, Supervisor};
use crate::exit::Failure;
use crate::messages::Level;

impl Supervisor<'_> {
    /// Receives from the resolver, which has nothing to say once the addresses are known.
    pub(super) fn hear_resolver(&mut self) {
        let Some(resolver) = &self.roles.resolver else { return };
        let failure = match resolver.receive() {
            Ok(None) => return,
            Ok(Some(_)) => resolver.nonsense(),
            Err(failure) => failure,
        };
        self.lose_resolver(failure);
    }

    /// Gives the resolver up, with one error: no name is worth a session. The end of its channel ends it, if it
    /// has not ended already; the logger has seen the end of its own channel and shows numbers.
    pub(super) fn lose_resolver(&mut self, why: Failure) {
        let Some(resolver) = self.roles.resolver.take() else { return };
        self.leaving.push(resolver.pid);
        // A logger that finishes may be gone.
        if !matches!(self.phase, Phase::WritingOut { .. }) {
            self.notice(Level::Error, why.text);
        }
    }

    /// Reaps roles that were given up.
    pub(super) fn reap_leaving(&mut self) {
        let flags = Some(WaitPidFlag::WNOHANG);
        self.leaving.retain(|pid| matches!(waitpid(*pid, flags), Ok(WaitStatus::StillAlive)));
    }
}
