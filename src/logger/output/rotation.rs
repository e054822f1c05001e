//! When a file becomes a finished part: it is as large as it may be, or its time is over.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::sys::stat::fstat;

use crate::logger::output::rotated::{Rotated, RotatedFiles};
use crate::messages;

/// Minimum interval of attempts after an error.
const RETRY: Duration = Duration::from_secs(1);

/// When it is time.
struct Schedule {
    size: Option<u64>,
    /// The end of a part, from the start on: no packet that comes late delays the ends after it.
    every: Option<(Duration, Instant)>,
    /// Such an end has come.
    owed: bool,
    /// Something is in the way until then.
    retry: Option<Instant>,
}

impl Schedule {
    fn new(rotation: messages::RotationPlan, now: Instant) -> Schedule {
        let every = rotation.every.map(|every| (every, now + every));
        Schedule { size: rotation.size, every, owed: false, retry: None }
    }

    /// When [`Schedule::is_time`] is to be asked.
    fn due(&self) -> Option<Instant> {
        let next = self.every.map(|(_, next)| next);
        match self.retry {
            Some(retry) if self.owed => Some(retry),
            _ => next,
        }
    }

    fn is_time(&mut self, now: Instant) -> bool {
        if let Some((every, next)) = &mut self.every
            && *next <= now
        {
            *next += missed(now - *next, *every);
            self.owed = true;
        }
        self.owed && self.may_try(now)
    }

    /// Checks whether `more` exceeds the size. A larger record gets a file of its own.
    fn is_full(&self, written: u64, more: u64) -> bool {
        written > 0 && self.size.is_some_and(|size| written.saturating_add(more) > size)
    }

    fn may_try(&self, now: Instant) -> bool {
        self.retry.is_none_or(|retry| retry <= now)
    }

    fn done(&mut self) {
        (self.owed, self.retry) = (false, None);
    }

    fn failed(&mut self, now: Instant) {
        self.retry = Some(now + RETRY);
    }
}

/// From an end of a part that is `late` to the first one that is still to come.
fn missed(late: Duration, every: Duration) -> Duration {
    let periods = late.as_nanos() / every.as_nanos().max(1) + 1;
    Duration::from_nanos(u64::try_from(periods * every.as_nanos()).unwrap_or(u64::MAX))
}

/// A file that is finished from time to time.
pub(in crate::logger) struct Rotation {
    schedule: Schedule,
    parts: RotatedFiles,
    written: u64,
    /// Length of what every file begins with, which is nothing that was recorded.
    head: u64,
    /// A failed rotation has been reported.
    told: bool,
}

/// Events to report to the operator.
pub(in crate::logger) enum RotationEvent {
    /// The file cannot be finished, and goes on.
    KeptOldFile(io::Error),
    /// This part cannot be removed, and stays.
    Stays(String, io::Error),
}

impl Rotation {
    /// `file` may have contents already.
    pub(in crate::logger) fn of(
        rotation: messages::RotationPlan,
        parts: RotatedFiles,
        file: &File,
    ) -> Rotation {
        let written = length(file).unwrap_or(0);
        Rotation { schedule: Schedule::new(rotation, Instant::now()), parts, written, head: 0, told: false }
    }

    /// Where parts are made and removed.
    pub(in crate::logger) fn directory(&self) -> BorrowedFd<'_> {
        self.parts.directory()
    }

    /// Other outputs are no parts, whatever they are called.
    pub(in crate::logger) fn exclude(&mut self, others: &[crate::logger::output::claim::FileId]) {
        self.parts.exclude(others);
    }

    /// `head` bytes are written at the beginning of each file.
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
            // Of nothing no part is made.
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

    /// Rotates the file; returns the new one, if there is one, and an event to report. An error is one of the
    /// file: written data was lost.
    pub(in crate::logger) fn rotate(
        &mut self,
        file: &File,
    ) -> io::Result<(Option<File>, Option<RotationEvent>)> {
        // A part gets its name when it is complete, and that is when it is on the disk.
        match file.sync_data() {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
            _ => {}
        }
        match self.parts.rotate(file) {
            Ok(Rotated { file, stays }) => {
                self.parts.settle()?;
                self.schedule.done();
                (self.written, self.told) = (0, false);
                Ok((Some(file), stays.map(|(name, error)| RotationEvent::Stays(name, error))))
            }
            Err(error) => {
                self.schedule.failed(Instant::now());
                let news = !std::mem::replace(&mut self.told, true);
                Ok((None, news.then_some(RotationEvent::KeptOldFile(error))))
            }
        }
    }
}

/// As far as it is to be had.
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
