//! The names of the output formats, as the command line and the messages use them. What each one
//! writes is in `record`.

use serde::{Deserialize, Serialize};

/// How an output shows the traffic.
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

/// What a format needs of the monitored traffic; ordered, so that the greediest output decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Need {
    /// Only that sessions begin and end, with the totals.
    Totals,
    /// How many bytes each piece had.
    Lengths,
    /// The bytes themselves.
    Bytes,
}

impl Format {
    /// Every format, in the order in which `--help` lists them.
    pub const ALL: [Format; 7] =
        [Format::C, Format::Hex, Format::Count, Format::Null, Format::Raw, Format::Password, Format::Strip];

    /// The name first, then its aliases. Case matters, as in 1.4.4.
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

    /// The format that `name` stands for.
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
