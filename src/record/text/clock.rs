//! `--time`: the time before each line.

use std::sync::Arc;

use super::decimal;
use crate::format::TimeForm;
use crate::record::civil::Civil;
use crate::record::event::Time;
use crate::record::json::digits;
use crate::record::zone::Zone;

/// Time format of an output.
#[derive(Clone)]
pub(super) struct Clock {
    pub(super) form: TimeForm,
    pub(super) zone: Arc<Zone>,
}

impl Clock {
    /// Appends a time of a session that began at `start` and whose line before was at `previous`.
    pub(super) fn write(&self, time: Time, start: Time, previous: Time, out: &mut Vec<u8>) {
        match self.form {
            TimeForm::Clock => self.of_day(time, out),
            TimeForm::Date => {
                self.day(time, out);
                out.push(b' ');
                self.of_day(time, out);
            }
            TimeForm::Iso => {
                self.day(time, out);
                out.push(b'T');
                self.of_day(time, out);
                offset(self.zone.offset(time), out);
            }
            TimeForm::Unix => seconds(time.nanos(), out),
            TimeForm::Start => since(time.since(start), out),
            TimeForm::Delta => since(time.since(previous), out),
        }
    }

    fn local(&self, time: Time) -> Civil {
        Civil::of(time.seconds().saturating_add_signed(self.zone.offset(time)))
    }

    fn day(&self, time: Time, out: &mut Vec<u8>) {
        let Civil { year, month, day, .. } = self.local(time);
        digits(year, 4, out);
        for number in [month, day] {
            out.push(b'-');
            digits(number, 2, out);
        }
    }

    fn of_day(&self, time: Time, out: &mut Vec<u8>) {
        let Civil { hour, minute, second, .. } = self.local(time);
        digits(hour, 2, out);
        for number in [minute, second] {
            out.push(b':');
            digits(number, 2, out);
        }
        out.push(b'.');
        digits(micros(time.nanos()), 6, out);
    }
}

fn micros(nanos: u64) -> u64 {
    nanos / 1000 % 1_000_000
}

/// Seconds with six digits behind the point.
pub(super) fn seconds(nanos: u64, out: &mut Vec<u8>) {
    decimal(nanos / 1_000_000_000, 1, out);
    out.push(b'.');
    digits(micros(nanos), 6, out);
}

fn since(nanos: u64, out: &mut Vec<u8>) {
    out.push(b'+');
    seconds(nanos, out);
}

/// `+01:00`
fn offset(seconds: i64, out: &mut Vec<u8>) {
    out.push(if seconds < 0 { b'-' } else { b'+' });
    let minutes = seconds.unsigned_abs() / 60;
    digits(minutes / 60, 2, out);
    out.push(b':');
    digits(minutes % 60, 2, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_as_documented() {
        let time = Time::from_nanos(1_764_152_547_523_456_789);
        let start = Time::from_nanos(1_764_152_547_523_345_600);
        let previous = Time::from_nanos(1_764_152_546_000_000_000);
        let expected = [
            (TimeForm::Clock, "10:22:27.523456"),
            (TimeForm::Date, "2025-11-26 10:22:27.523456"),
            (TimeForm::Iso, "2025-11-26T10:22:27.523456+00:00"),
            (TimeForm::Unix, "1764152547.523456"),
            (TimeForm::Start, "+0.000111"),
            (TimeForm::Delta, "+1.523456"),
        ];
        for (form, expected) in expected {
            let clock = Clock { form, zone: Arc::new(Zone::default()) };
            let mut out = Vec::new();
            clock.write(time, start, previous, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn offsets_have_a_sign() {
        for (seconds, expected) in [(0, "+00:00"), (-12_600, "-03:30"), (45_900, "+12:45")] {
            let mut out = Vec::new();
            offset(seconds, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
