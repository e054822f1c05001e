//! Waiting for something to happen, never for a time to pass.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything on loopback may take before the test gives up on it. Only a test that fails waits so long, and
/// the machine may be busy with other work.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What `probe` finds, as soon as it finds something; the test fails when that takes too long.
#[track_caller]
pub fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, probe)
}

/// As [`until`], with a limit of its own.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        // Looked at before the clock, so that a probe gets its chance after the limit too.
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
