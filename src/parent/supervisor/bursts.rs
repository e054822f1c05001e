//! What happens again and again is told when it begins, and how often it did when it is over.

use std::time::{Duration, Instant};

use super::Supervisor;
use crate::messages::{Level, Side};

/// A burst is over when so long nothing has come.
const QUIET: Duration = Duration::from_secs(5);

/// What comes in bursts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A client more than `--max-per-client` allows.
    TurnedAway,
    /// `-F`: clients wait.
    Full,
    /// A peer that does not answer within `--connect-timeout`.
    TimedOut(Side),
    /// The system has no descriptors for us.
    NoDescriptors,
    /// Or no processes.
    NoProcesses,
    /// The process of a lookup was killed.
    LookupLost,
}

/// One that is going on.
pub(super) struct Burst {
    kind: Kind,
    level: Level,
    text: String,
    /// After the first.
    more: u64,
    last: Instant,
}

impl Supervisor<'_> {
    pub(super) fn tell_of(&mut self, kind: Kind, level: Level, text: String) {
        let last = Instant::now();
        match self.bursts.iter_mut().find(|burst| burst.kind == kind) {
            Some(burst) => {
                burst.more += 1;
                burst.last = last;
            }
            None => {
                self.bursts.push(Burst { kind, level, text: text.clone(), more: 0, last });
                self.notice(level, text);
            }
        }
    }

    pub(super) fn has_told_of(&self, kind: Kind) -> bool {
        self.bursts.iter().any(|burst| burst.kind == kind)
    }

    /// There is room again: from now on it may be over.
    pub(super) fn is_less_full(&mut self) {
        if let Some(burst) = self.bursts.iter_mut().find(|burst| burst.kind == Kind::Full) {
            burst.last = Instant::now();
        }
    }

    /// Tells of those that are over.
    pub(super) fn end_quiet_bursts(&mut self) {
        if !self.bursts.is_empty() {
            let is_full = self.is_full();
            let now = Instant::now();
            self.end_bursts(|burst| burst.last + QUIET <= now && !(burst.kind == Kind::Full && is_full));
        }
    }

    pub(super) fn end_bursts(&mut self, are_over: impl Fn(&Burst) -> bool) {
        let (over, going_on): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.bursts).into_iter().partition(are_over);
        self.bursts = going_on;
        for burst in over.into_iter().filter(|burst| burst.more > 0) {
            self.notice(burst.level, format!("{} ({} more)", burst.text, burst.more));
        }
    }

    /// When the first of them may be over.
    pub(super) fn next_quiet(&self) -> Option<Instant> {
        let lasting = |burst: &&Burst| burst.kind == Kind::Full && self.is_full();
        self.bursts.iter().filter(|burst| !lasting(burst)).map(|burst| burst.last + QUIET).min()
    }
}
