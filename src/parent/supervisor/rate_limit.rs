//! Rate limiting of notices: the first event of a burst is reported at once, the number of further ones at
//! its end.

use std::time::{Duration, Instant};

use crate::messages::{Level, Side};
use crate::parent::supervisor::Supervisor;

/// Time without an event after which a burst is over.
const QUIET: Duration = Duration::from_secs(5);

/// Kinds of events that come in bursts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoticeKind {
    /// A client was rejected because of `--max-per-client`.
    TurnedAway,
    /// Clients wait because of `-F`.
    Full,
    /// A peer did not answer within `--connect-timeout`.
    TimedOut(Side),
    /// The system is out of descriptors.
    NoDescriptors,
    /// The system is out of processes.
    NoProcesses,
    /// The process of a lookup was killed.
    LookupLost,
}

/// A burst in progress.
pub(super) struct RateLimitedNotice {
    kind: NoticeKind,
    level: Level,
    text: String,
    /// Number of events after the first.
    more: u64,
    last: Instant,
}

impl Supervisor<'_> {
    pub(super) fn limited_notice(&mut self, kind: NoticeKind, level: Level, text: String) {
        let last = Instant::now();
        match self.bursts.iter_mut().find(|burst| burst.kind == kind) {
            Some(burst) => {
                burst.more += 1;
                burst.last = last;
            }
            None => {
                self.bursts.push(RateLimitedNotice { kind, level, text: text.clone(), more: 0, last });
                self.notice(level, text);
            }
        }
    }

    pub(super) fn has_notice(&self, kind: NoticeKind) -> bool {
        self.bursts.iter().any(|burst| burst.kind == kind)
    }

    /// Marks that there is room again, so that the burst may end.
    pub(super) fn is_less_full(&mut self) {
        if let Some(burst) = self.bursts.iter_mut().find(|burst| burst.kind == NoticeKind::Full) {
            burst.last = Instant::now();
        }
    }

    /// Reports the bursts that are over.
    pub(super) fn end_quiet_bursts(&mut self) {
        if !self.bursts.is_empty() {
            let is_full = self.is_full();
            let now = Instant::now();
            self.end_bursts(|burst| {
                burst.last + QUIET <= now && !(burst.kind == NoticeKind::Full && is_full)
            });
        }
    }

    pub(super) fn end_bursts(&mut self, are_over: impl Fn(&RateLimitedNotice) -> bool) {
        let (over, going_on): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.bursts).into_iter().partition(are_over);
        self.bursts = going_on;
        for burst in over.into_iter().filter(|burst| burst.more > 0) {
            self.notice(burst.level, format!("{} ({} more)", burst.text, burst.more));
        }
    }

    /// Earliest time at which a burst may be over.
    pub(super) fn next_quiet(&self) -> Option<Instant> {
        let lasting = |burst: &&RateLimitedNotice| burst.kind == NoticeKind::Full && self.is_full();
        self.bursts.iter().filter(|burst| !lasting(burst)).map(|burst| burst.last + QUIET).min()
    }
}
