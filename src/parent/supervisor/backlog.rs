//! Sessions that the logger has not yet recorded to the end. Their number is bounded beyond `-F`: where outputs do not
//! keep up with short sessions, the next client waits, as the peers of a long one do.

use super::Supervisor;

/// Counts the sessions that the logger has, or will have.
pub(crate) struct Backlog {
    /// Maximum number of sessions that are over and not recorded.
    most: u64,
    /// Sessions given to the logger that it has not reported.
    unrecorded: u64,
}

impl Backlog {
    pub(crate) fn new(most: u32) -> Backlog {
        Backlog { most: most.into(), unrecorded: 0 }
    }

    /// The logger gets one more session.
    pub(super) fn given(&mut self) {
        self.unrecorded += 1;
    }

    /// The logger reports sessions. Fails if it was never given that many.
    fn recorded(&mut self, sessions: u32) -> Option<()> {
        self.unrecorded = self.unrecorded.checked_sub(sessions.into())?;
        Some(())
    }

    /// Sessions that the logger can take besides those it has.
    fn room(&self, at_once: u32) -> u64 {
        (u64::from(at_once) + self.most).saturating_sub(self.unrecorded)
    }
}

impl Supervisor<'_> {
    /// More sessions that may begin as far as the logger is concerned.
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
