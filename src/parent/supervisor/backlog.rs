//! Sessions that the logger has not yet recorded completely. Their number is bounded in addition to `-F`: if outputs
//! do not keep up with short sessions, the next client waits, as back-pressure makes the peers of a long session
//! wait.

use super::Supervisor;

/// Counts the sessions that have been or will be sent to the logger.
pub(crate) struct Backlog {
    /// Maximum number of sessions that are over and not recorded.
    most: u64,
    /// Sessions sent to the logger that it has not reported as recorded.
    unrecorded: u64,
}

impl Backlog {
    pub(crate) fn new(most: u32) -> Backlog {
        Backlog { most: most.into(), unrecorded: 0 }
    }

    /// Counts a session sent to the logger.
    pub(super) fn given(&mut self) {
        self.unrecorded += 1;
    }

    /// Subtracts recorded sessions that the logger reports. Fails if the logger never received that number.
    fn recorded(&mut self, sessions: u32) -> Option<()> {
        self.unrecorded = self.unrecorded.checked_sub(sessions.into())?;
        Some(())
    }

    /// Number of sessions that the logger can take besides those it has.
    fn room(&self, at_once: u32) -> u64 {
        (u64::from(at_once) + self.most).saturating_sub(self.unrecorded)
    }
}

impl Supervisor<'_> {
    /// Number of further sessions that the logger's backlog permits.
    pub(super) fn room_in_the_logger(&self) -> u64 {
        self.roles.backlog.room(self.config.at_once).saturating_sub(self.pairs.len() as u64)
    }

    /// Applies the logger's report; returns `false` if it is invalid.
    pub(super) fn has_recorded(&mut self, sessions: u32) -> bool {
        self.roles.backlog.recorded(sessions).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_may_run_and_what_may_be_over() {
        let mut backlog = Backlog::new(8);
        assert_eq!(backlog.room(2), 10);
        (0..12).for_each(|_| backlog.given());
        assert_eq!(backlog.room(2), 0);
        assert_eq!((backlog.recorded(5), backlog.room(2)), (Some(()), 3));
        assert_eq!(backlog.recorded(8), None, "only seven are left");
    }
}
