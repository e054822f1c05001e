//! `--idle-timeout`: the time since a byte last moved, in either direction. A byte moves when it is received, when it
//! is sent, and when the peer takes it out of the send queue of our socket.

use std::time::{Duration, Instant};

use crate::messages::Side;

/// Number of checks of the send queues within one time-out.
const LOOKS: u32 = 4;

/// Without a limit there is nothing to measure, and the clock is never read.
pub(super) struct IdleTimer(Option<IdleWatch>);

struct IdleWatch {
    limit: Duration,
    moved: Instant,
    /// Length of the send queues to client and server at the last check.
    outstanding: [usize; 2],
    looked: Instant,
}

impl IdleTimer {
    pub(super) fn new(limit: Option<Duration>) -> IdleTimer {
        IdleTimer(limit.map(|limit| {
            let now = Instant::now();
            IdleWatch { limit, moved: now, outstanding: [0; 2], looked: now }
        }))
    }

    /// A byte was received or sent.
    pub(super) fn moved(&mut self) {
        if let Some(watch) = &mut self.0 {
            watch.moved = Instant::now();
        }
    }

    /// Time of the next check.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.0.as_ref().map(IdleWatch::next_look)
    }

    /// Checks the send queues; returns whether nothing has moved for the whole time.
    pub(super) fn is_over(&mut self, now: Instant, outstanding: impl FnOnce() -> [usize; 2]) -> bool {
        self.0.as_mut().is_some_and(|watch| watch.is_over(now, outstanding()))
    }

    /// A side that had not read what was sent to it at the last check.
    pub(super) fn not_reading(&self) -> Option<Side> {
        let watch = self.0.as_ref()?;
        [Side::Client, Side::Server].into_iter().find(|side| watch.outstanding[*side as usize] > 0)
    }
}

impl IdleWatch {
    fn next_look(&self) -> Instant {
        (self.looked.max(self.moved) + self.limit / LOOKS).min(self.moved + self.limit)
    }

    fn is_over(&mut self, now: Instant, outstanding: [usize; 2]) -> bool {
        if outstanding.iter().zip(self.outstanding).any(|(&now, before)| now < before) {
            self.moved = now;
        }
        (self.outstanding, self.looked) = (outstanding, now);
        now >= self.moved + self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(4);

    #[test]
    fn a_queue_that_shrinks_is_movement_and_one_that_stands_is_not() {
        let mut idle = IdleTimer::new(Some(LIMIT));
        let start = idle.0.as_ref().expect("a limit").moved;
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
        let mut idle = IdleTimer::new(None);
        assert_eq!(idle.next_look(), None);
        assert!(!idle.is_over(Instant::now() + 100 * LIMIT, || [0, 100]));
    }
}
