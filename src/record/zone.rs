//! The time zone of the system. The only module that uses jiff.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::event::Time;

/// Local time, read once: a confined process cannot read the file later.
#[derive(Debug)]
pub(crate) struct Zone(TimeZone);

/// UTC.
impl Default for Zone {
    fn default() -> Zone {
        Zone(TimeZone::UTC)
    }
}

impl Zone {
    /// The zone of `TZ`, where that is in the environment, or else of the system; UTC, where there is none.
    pub(crate) fn system() -> Zone {
        Zone(TimeZone::try_system().unwrap_or(TimeZone::UTC))
    }

    /// Seconds by which local time is ahead of UTC.
    pub(crate) fn offset(&self, time: Time) -> i64 {
        let seconds = i64::try_from(time.seconds()).unwrap_or(i64::MAX);
        let timestamp = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        self.0.to_offset(timestamp).seconds().into()
    }
}
