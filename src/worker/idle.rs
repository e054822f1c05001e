//! `--idle-timeout`: the time since a byte last moved, in either direction. A byte moves when it is received, when it
//! is sent, and when the peer takes it out of the send queue of our socket.

use std::time::{Duration, Instant};

use crate::messages::Side;

/// Looks at the send queues within one time-out.
const LOOKS: u32 = 4;

pub(super) struct Idle {
    limit: Option<Duration>,
    moved: Instant,
    /// What was outstanding to client and server at the last look.
    outstanding: [usize; 2],
    looked: Instant,
}

impl Idle {
    pub(super) fn new(limit: Option<Duration>) -> Idle {
        let now = Instant::now();
        Idle { limit, moved: now, outstanding: [0; 2], looked: now }
    }

    /// A byte was received or sent.
    pub(super) fn moved(&mut self) {
        if self.limit.is_some() {
            self.moved = Instant::now();
        }
    }

    /// When to look again.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let limit = self.limit?;
        Some((self.looked.max(self.moved) + limit / LOOKS).min(self.moved + limit))
    }

    /// Looks at the send queues; says whether nothing has moved for the whole time.
    pub(super) fn is_over(&mut self, now: Instant, outstanding: impl FnOnce() -> [usize; 2]) -> bool {
        let Some(limit) = self.limit else { return false };
        let outstanding = outstanding();
        if outstanding.iter().zip(self.outstanding).any(|(&now, before)| now < before) {
            self.moved = now;
        }
        (self.outstanding, self.looked) = (outstanding, now);
        now >= self.moved + limit
    }

    /// A side that did not take what was sent to it, as of the last look.
    pub(super) fn not_reading(&self) -> Option<Side> {
        [Side::Client, Side::Server].into_iter().find(|side| self.outstanding[*side as usize] > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(4);

    #[test]
    fn a_queue_that_shrinks_is_movement_and_one_that_stands_is_not() {
        let mut idle = Idle::new(Some(LIMIT));
        let start = idle.moved;
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(idle.next_look(), Some(after(1)));
        assert!(!idle.is_over(after(1), || [0, 100]));
        assert!(!idle.is_over(after(3), || [0, 90]));
        assert!(!idle.is_over(after(6), || [0, 90]), "4 seconds from the last movement on");
        assert_eq!(idle.not_reading(), Some(Side::Server));
        assert!(idle.is_over(after(7), || [0, 90]));
    }

    #[test]
    fn without_a_limit_there_is_nothing_to_look_at() {
        let mut idle = Idle::new(None);
        assert_eq!(idle.next_look(), None);
        assert!(!idle.is_over(idle.moved + 100 * LIMIT, || [0, 100]));
    }
}
