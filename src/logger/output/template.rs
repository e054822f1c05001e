//! Names with `%`: an output with files of its own for each session.
//!
//! Pure functions: bytes in, bytes out. Values that a peer influences (its address, its port) are shown as numbers,
//! so that no peer can bring a `/`, a NUL or a control character into a name, or select a file.

use std::fmt;

use crate::messages::{Address, Side};
use crate::record::SessionInfo;
use crate::record::civil::Civil;

/// Maximum length of a file name (`NAME_MAX`).
const LONGEST: usize = 255;

/// Values for a session's file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::logger) struct TemplateValues {
    pub(in crate::logger) number: u64,
    pub(in crate::logger) client: Address,
    /// Seconds since the epoch.
    pub(in crate::logger) started: u64,
}

impl TemplateValues {
    pub(in crate::logger) fn of(info: &SessionInfo) -> TemplateValues {
        let client = info.peer(Side::Client).address.clone();
        TemplateValues { number: info.number, client, started: info.started.seconds() }
    }
}

/// A field after `%`, except `%%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    /// `%n`
    Number,
    /// `%a`
    Address,
    /// `%p`
    Port,
    /// `%t`
    Start,
    /// `%d`
    Direction,
}

impl Placeholder {
    fn by_letter(letter: u8) -> Option<Placeholder> {
        Some(match letter {
            b'n' => Placeholder::Number,
            b'a' => Placeholder::Address,
            b'p' => Placeholder::Port,
            b't' => Placeholder::Start,
            b'd' => Placeholder::Direction,
            _ => return None,
        })
    }

    /// Maximum length of the value in bytes.
    const fn longest(self) -> usize {
        match self {
            Placeholder::Number => "18446744073709551615".len(),
            // Eight groups and a scope.
            Placeholder::Address => "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%4294967295".len(),
            Placeholder::Port => "65535".len(),
            Placeholder::Start => "20260131T235959Z".len(),
            Placeholder::Direction => "client".len(),
        }
    }

    fn text(self, values: &TemplateValues, side: Side) -> String {
        match self {
            Placeholder::Number => values.number.to_string(),
            // A Unix peer chooses its own path, and has no port.
            Placeholder::Address => match values.client {
                Address::Unix(_) => "unix".into(),
                Address::V4 { .. } | Address::V6 { .. } => values.client.numeric().node,
            },
            Placeholder::Port => match values.client {
                Address::V4 { port, .. } | Address::V6 { port, .. } => port.to_string(),
                Address::Unix(_) => "0".into(),
            },
            Placeholder::Start => utc(values.started),
            Placeholder::Direction => match side {
                Side::Client => "client".into(),
                Side::Server => "server".into(),
            },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePiece {
    Literal(Vec<u8>),
    Placeholder(Placeholder),
}

/// Argument of `-o`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::logger) enum OutputName {
    /// One file for all sessions; every `%%` has become `%`.
    Plain(Vec<u8>),
    Template(Template),
}

impl OutputName {
    pub(in crate::logger) fn parse(typed: &[u8]) -> Result<OutputName, TemplateError> {
        let mut pieces = pieces(typed)?;
        match pieces.as_mut_slice() {
            [] => Ok(OutputName::Plain(Vec::new())),
            [TemplatePiece::Literal(path)] => Ok(OutputName::Plain(std::mem::take(path))),
            _ => Template::new(pieces).map(OutputName::Template),
        }
    }
}

/// Splits a name into literals with at least one field between them, or into one literal.
fn pieces(typed: &[u8]) -> Result<Vec<TemplatePiece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut bytes = typed.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            literal.push(byte);
            continue;
        }
        match bytes.next() {
            None => return Err(TemplateError::Unfinished),
            Some(b'%') => literal.push(b'%'),
            Some(letter) => {
                let field = Placeholder::by_letter(letter).ok_or(TemplateError::Unknown(letter))?;
                if !literal.is_empty() {
                    pieces.push(TemplatePiece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(TemplatePiece::Placeholder(field));
            }
        }
    }
    if !literal.is_empty() {
        pieces.push(TemplatePiece::Literal(literal));
    }
    Ok(pieces)
}

/// A name with at least one field. Two are equal if they give the same names, in any directory.
#[derive(Clone, Debug, Eq)]
pub(in crate::logger) struct Template {
    directory: Vec<u8>,
    /// Literals and fields, without `/`.
    pieces: Vec<TemplatePiece>,
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.pieces == other.pieces
    }
}

impl Template {
    /// Cuts off the directory. The directory has no fields: it is opened once, at the start; making directories per
    /// session would need additional permissions.
    fn new(mut pieces: Vec<TemplatePiece>) -> Result<Template, TemplateError> {
        let has_slash =
            |piece: &TemplatePiece| matches!(piece, TemplatePiece::Literal(text) if text.contains(&b'/'));
        let directory = match (pieces.iter().rposition(has_slash), pieces.first_mut()) {
            (None, _) => b".".to_vec(),
            (Some(0), Some(TemplatePiece::Literal(text))) => {
                let end = text.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
                text.drain(..end).collect()
            }
            _ => return Err(TemplateError::Directory),
        };
        pieces.retain(|piece| !matches!(piece, TemplatePiece::Literal(text) if text.is_empty()));
        Ok(Template { directory, pieces })
    }

    /// The directory of the files.
    pub(in crate::logger) fn directory(&self) -> &[u8] {
        &self.directory
    }

    /// Checks whether each direction has a file of its own.
    pub(in crate::logger) fn is_one_way(&self) -> bool {
        self.pieces.contains(&TemplatePiece::Placeholder(Placeholder::Direction))
    }

    /// Checks whether the name of any session could exceed the file system's limit. Called at the start, not
    /// when the first IPv6 client connects.
    pub(in crate::logger) fn is_too_long(&self) -> bool {
        let lengths = self.pieces.iter().map(|piece| match piece {
            TemplatePiece::Literal(text) => text.len(),
            TemplatePiece::Placeholder(field) => field.longest(),
        });
        let suffix = 2 + Placeholder::Start.longest() + Placeholder::Number.longest();
        lengths.sum::<usize>() + suffix > LONGEST
    }

    /// Returns the name for a session; `side` selects the direction if each has a file of its own.
    pub(in crate::logger) fn expand(&self, values: &TemplateValues, side: Side) -> Vec<u8> {
        let mut name = Vec::new();
        for piece in &self.pieces {
            match piece {
                TemplatePiece::Literal(text) => name.extend_from_slice(text),
                TemplatePiece::Placeholder(field) => {
                    name.extend_from_slice(field.text(values, side).as_bytes())
                }
            }
        }
        name
    }
}

/// Suffix of a name for the last attempt, after it and all numbered variants exist: unique to the session.
pub(in crate::logger) fn last_resort(values: &TemplateValues) -> String {
    format!("-{}-{}", utc(values.started), values.number)
}

/// Error in a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logger) enum TemplateError {
    /// `%` and an unknown character.
    Unknown(u8),
    /// `%` at the end.
    Unfinished,
    /// A field before the last `/`.
    Directory,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TemplateError::Unknown(letter) => write!(f, "%{} means nothing", letter.escape_ascii())?,
            TemplateError::Unfinished => f.write_str("% at the end means nothing")?,
            TemplateError::Directory => return f.write_str("% in the directory of a file is not possible"),
        }
        f.write_str(
            "; a name may have %n (session number), %a (client address), %p (client port), \
             %t (start time), %d (direction) and %% (a %)",
        )
    }
}

/// Formats a time as `20260131T235959Z`: sorts by time, and has no colon, which some file systems refuse.
fn utc(seconds: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(seconds);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests;
