//! Names of the output formats, for the command line and the messages. The formats themselves are in `record`.

use serde::{Deserialize, Serialize};

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    C,
    Hex,
    Count,
    Null,
    Raw,
    Password(Finds),
    Strip,
    Json,
    Pcapng,
    View,
    Html,
}

/// Credentials that `password` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finds {
    /// Credentials that a protocol defines.
    Logins,
    /// `--password=all`: also HTTP forms and tokens, found by common names.
    All,
}

/// Data that a format needs; ordered, so that the most demanding output decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CaptureLevel {
    /// Start and end of sessions, with totals.
    Totals,
    /// Length of each piece.
    Lengths,
    /// The bytes themselves.
    Bytes,
}

/// Form of the times in text formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeForm {
    /// Time of day.
    Clock,
    /// Date and time of day.
    Date,
    /// Date and time of day with the offset from UTC.
    Iso,
    /// Seconds since 1970.
    Unix,
    /// Time since the start of the session.
    Start,
    /// Time since the previous line of the same session.
    Delta,
}

impl TimeForm {
    pub const ALL: [TimeForm; 6] =
        [TimeForm::Clock, TimeForm::Date, TimeForm::Iso, TimeForm::Unix, TimeForm::Start, TimeForm::Delta];

    pub const fn name(self) -> &'static str {
        match self {
            TimeForm::Clock => "clock",
            TimeForm::Date => "date",
            TimeForm::Iso => "iso",
            TimeForm::Unix => "unix",
            TimeForm::Start => "start",
            TimeForm::Delta => "delta",
        }
    }
}

impl Format {
    /// Every format, in the order of `--help`.
    pub const ALL: [Format; 11] = [
        Format::C,
        Format::Hex,
        Format::Count,
        Format::Null,
        Format::Raw,
        Format::Password(Finds::Logins),
        Format::Strip,
        Format::Json,
        Format::Pcapng,
        Format::View,
        Format::Html,
    ];

    /// The name, followed by its aliases. Case-sensitive, as in 1.4.4.
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Format::C => &["C", "c"],
            Format::Hex => &["hex", "hexa"],
            Format::Count => &["count"],
            Format::Null => &["null"],
            Format::Raw => &["raw"],
            Format::Password(_) => &["password", "pass", "pw"],
            Format::Strip => &["strip", "stripped"],
            Format::Json => &["json", "ndjson", "jsonl"],
            Format::Pcapng => &["pcapng", "pcap"],
            Format::View => &["view"],
            Format::Html => &["html"],
        }
    }

    /// Checks whether the format shows credentials only, and accepts `--password`.
    pub const fn has_secrets(self) -> bool {
        matches!(self, Format::Password(_))
    }

    /// Returns the format with this name.
    pub fn by_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.names().contains(&name))
    }

    pub const fn need(self) -> CaptureLevel {
        match self {
            Format::Null => CaptureLevel::Totals,
            Format::Count => CaptureLevel::Lengths,
            Format::C
            | Format::Hex
            | Format::Raw
            | Format::Password(_)
            | Format::Strip
            | Format::Json
            | Format::Pcapng
            | Format::View
            | Format::Html => CaptureLevel::Bytes,
        }
    }

    /// Checks whether `--time` puts times before the format's lines. On a terminal, `raw` has lines, too.
    pub const fn has_time(self, terminal: bool) -> bool {
        match self {
            Format::C | Format::Hex | Format::Count | Format::Null | Format::Strip => true,
            Format::Raw => terminal,
            Format::Password(_) | Format::Json | Format::Pcapng | Format::View | Format::Html => false,
        }
    }

    /// Checks whether files in this format are private, because they are easily searched for secrets.
    pub const fn is_private(self) -> bool {
        matches!(self, Format::Password(_) | Format::Json | Format::Pcapng | Format::Html)
    }

    /// Checks whether the format can represent sessions whose server was not reached.
    pub const fn has_refused(self) -> bool {
        matches!(self, Format::Json | Format::Pcapng | Format::View | Format::Html)
    }

    /// Checks whether the format shows the system's data about the connections at the end of a session.
    pub const fn has_tcp_info(self) -> bool {
        matches!(self, Format::Json | Format::Pcapng)
    }

    /// Checks for a binary format: not for terminals, and without lines.
    pub const fn is_binary(self) -> bool {
        matches!(self, Format::Pcapng)
    }
}
