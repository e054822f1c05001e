//! The names of the output formats, as the command line and the messages use them. What each one
//! writes is in `record`.

use serde::{Deserialize, Serialize};

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    C,
    Hex,
    Count,
    Null,
    Raw,
    Password,
    Strip,
}

/// Data that a format needs; ordered, so that the most demanding output decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Need {
    /// Begin and end of sessions, with totals.
    Totals,
    /// Length of each piece.
    Lengths,
    /// The bytes.
    Bytes,
}

impl Format {
    /// Every format, in the order of `--help`.
    pub const ALL: [Format; 7] =
        [Format::C, Format::Hex, Format::Count, Format::Null, Format::Raw, Format::Password, Format::Strip];

    /// The name, then its aliases. Case-sensitive, as in 1.4.4.
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Format::C => &["C", "c"],
            Format::Hex => &["hex", "hexa"],
            Format::Count => &["count"],
            Format::Null => &["null"],
            Format::Raw => &["raw"],
            Format::Password => &["password", "pass", "pw"],
            Format::Strip => &["strip", "stripped"],
        }
    }

    /// Finds the format with this name or alias.
    pub fn by_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.names().contains(&name))
    }

    pub const fn need(self) -> Need {
        match self {
            Format::Null => Need::Totals,
            Format::Count => Need::Lengths,
            Format::C | Format::Hex | Format::Raw | Format::Password | Format::Strip => Need::Bytes,
        }
    }
}
