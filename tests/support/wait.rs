//! Waits for events, never for a fixed time.

use std::thread;
use std::time::{Duration, Instant};

/// Deadline of every wait. Generous, because only a failing test waits that long and the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls `probe` until it finds something; the test fails at the deadline.
#[track_caller]
pub fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, probe)
}

/// Same as [`until`], with a given limit.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        // Polled before the clock is read, so that the probe runs once more after the limit.
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
