//! Rotation schedule: a file becomes a finished part when its size or its time is reached.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::sys::stat::fstat;

use crate::logger::output::claim;
use crate::logger::output::rotated::{Rotated, RotatedFiles};
use crate::messages;

/// Minimum interval of attempts after an error.
const RETRY: Duration = Duration::from_secs(1);

/// State of the schedule.
struct Schedule {
    size: Option<u64>,
    /// Interval and end of the current part, counted from the start: a late write does not delay the following ends.
    every: Option<(Duration, Instant)>,
    /// The end of a part has been reached, and the file is not rotated yet.
    is_due: bool,
    /// A rotation has failed: no attempt before this time.
    retry: Option<Instant>,
}

impl Schedule {
    fn new(rotation: messages::RotationPlan, now: Instant) -> Schedule {
        let every = rotation.every.map(|every| (every, now + every));
        Schedule { size: rotation.size, every, is_due: false, retry: None }
    }

    /// Time of the next [`Schedule::is_time`].
    fn due(&self) -> Option<Instant> {
        let next = self.every.map(|(_, next)| next);
        match self.retry {
            Some(retry) if self.is_due => Some(retry),
            _ => next,
        }
    }

    fn is_time(&mut self, now: Instant) -> bool {
        if let Some((every, next)) = &mut self.every
            && *next <= now
        {
            *next += missed(now - *next, *every);
            self.is_due = true;
        }
        self.is_due && self.may_try(now)
    }

    /// Checks whether `more` exceeds the size. A larger record gets a file of its own.
    fn is_full(&self, written: u64, more: u64) -> bool {
        written > 0 && self.size.is_some_and(|size| written.saturating_add(more) > size)
    }

    fn may_try(&self, now: Instant) -> bool {
        self.retry.is_none_or(|retry| retry <= now)
    }

    fn done(&mut self) {
        (self.is_due, self.retry) = (false, None);
    }

    fn failed(&mut self, now: Instant) {
        self.retry = Some(now + RETRY);
    }
}

/// Time from an end of a part that is `late` to the next end in the future.
fn missed(late: Duration, every: Duration) -> Duration {
    let periods = late.as_nanos() / every.as_nanos().max(1) + 1;
    Duration::from_nanos(u64::try_from(periods * every.as_nanos()).unwrap_or(u64::MAX))
}

/// A file that is rotated.
pub(in crate::logger) struct Rotation {
    schedule: Schedule,
    parts: RotatedFiles,
    written: u64,
    /// Length of the beginning of every file, which contains no recorded data.
    head: u64,
    /// A failed rotation has been reported.
    has_reported: bool,
}

/// Events to report to the operator.
pub(in crate::logger) enum RotationEvent {
    /// The file cannot be rotated; the old file is still written.
    KeptOldFile(io::Error),
    /// This part cannot be removed.
    Stays(String, io::Error),
}

impl Rotation {
    /// Starts the schedule of `file`, which may have contents already.
    pub(in crate::logger) fn of(
        rotation: messages::RotationPlan,
        parts: RotatedFiles,
        file: &File,
    ) -> Rotation {
        let written = length(file).unwrap_or(0);
        Rotation {
            schedule: Schedule::new(rotation, Instant::now()),
            parts,
            written,
            head: 0,
            has_reported: false,
        }
    }

    /// The directory in which parts are made and removed.
    pub(in crate::logger) fn directory(&self) -> BorrowedFd<'_> {
        self.parts.directory()
    }

    /// Excludes other outputs from the parts, whatever their names.
    pub(in crate::logger) fn exclude(&mut self, others: &[claim::FileId]) {
        self.parts.exclude(others);
    }

    /// Sets the length of the beginning of each file to `head` bytes.
    pub(in crate::logger) fn begins_with(&mut self, head: usize) {
        self.head = head as u64;
    }

    pub(in crate::logger) fn wrote(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes as u64);
    }

    /// Another program has rotated: `file` is the new file.
    pub(in crate::logger) fn reopened(&mut self, file: &File) {
        self.written = length(file).unwrap_or(0);
    }

    pub(in crate::logger) fn due(&self) -> Option<Instant> {
        self.schedule.due()
    }

    pub(in crate::logger) fn is_time(&mut self) -> bool {
        let now = Instant::now();
        if self.written <= self.head && self.schedule.is_time(now) {
            // An empty file becomes no part.
            self.schedule.done();
        }
        self.schedule.is_time(now)
    }

    /// Checks whether a record of this length, after `pending` unwritten bytes, belongs to the next file.
    pub(in crate::logger) fn is_full(&mut self, file: &File, pending: usize, record: usize) -> bool {
        let full = |written: u64| {
            written + pending as u64 > self.head
                && self.schedule.is_full(written + pending as u64, record as u64)
        };
        if !full(self.written) || !self.schedule.may_try(Instant::now()) {
            return false;
        }
        // Another program may have truncated it.
        let found = length(file).unwrap_or(self.written);
        let is_full = full(found);
        self.written = found;
        is_full
    }

    /// Rotates the file; returns the new file, if there is one, and an event to report. An error means that written
    /// data was lost.
    pub(in crate::logger) fn rotate(
        &mut self,
        file: &File,
    ) -> io::Result<(Option<File>, Option<RotationEvent>)> {
        // A part is renamed only once its contents are on the disk.
        match file.sync_data() {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
            _ => {}
        }
        match self.parts.rotate(file) {
            Ok(Rotated { file, stays }) => {
                self.parts.settle()?;
                self.schedule.done();
                (self.written, self.has_reported) = (0, false);
                Ok((Some(file), stays.map(|(name, error)| RotationEvent::Stays(name, error))))
            }
            Err(error) => {
                self.schedule.failed(Instant::now());
                let is_first = !std::mem::replace(&mut self.has_reported, true);
                Ok((None, is_first.then_some(RotationEvent::KeptOldFile(error))))
            }
        }
    }
}

/// Length of the file, or `None` if it cannot be determined.
fn length(file: &File) -> Option<u64> {
    u64::try_from(fstat(file).ok()?.st_size).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(size: Option<u64>, every: Option<Duration>, now: Instant) -> Schedule {
        Schedule::new(messages::RotationPlan { size, every, keep: None }, now)
    }

    #[test]
    fn a_record_that_does_not_fit_begins_a_part_unless_it_would_be_the_first() {
        let schedule = schedule(Some(100), None, Instant::now());
        assert!(!schedule.is_full(0, 1000));
        assert!(!schedule.is_full(60, 40));
        assert!(schedule.is_full(60, 41));
        assert!(schedule.is_full(1000, 1));
    }

    #[test]
    fn the_ends_of_parts_do_not_move_with_what_comes_late() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut schedule = schedule(None, Some(10 * second), start);
        assert!(!schedule.is_time(start + 9 * second));
        assert!(schedule.is_time(start + 13 * second));
        schedule.done();
        assert_eq!(schedule.due(), Some(start + 20 * second));
        assert!(schedule.is_time(start + 57 * second));
        schedule.done();
        assert_eq!(schedule.due(), Some(start + 60 * second));
        assert!(schedule.is_time(start + 60 * second));
    }

    #[test]
    fn what_failed_is_tried_again_and_the_next_end_stays_where_it_is() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut schedule = schedule(Some(1), Some(10 * second), start);
        assert!(schedule.is_time(start + 10 * second));
        schedule.failed(start + 10 * second);
        assert!(!schedule.is_time(start + 10 * second));
        assert_eq!(schedule.due(), Some(start + 11 * second));
        assert!(schedule.is_time(start + 11 * second));
        schedule.done();
        assert_eq!(schedule.due(), Some(start + 20 * second));
    }
}
