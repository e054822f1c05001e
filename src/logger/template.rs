//! Names with `%` in them: how an output gets files of its own for each session.
//!
//! Pure: bytes in, bytes out. What a peer has a say in (its address, its port) is shown in numbers, so no
//! peer can bring a `/`, a NUL or a control character into a name, nor choose a file.

use std::fmt;

use crate::messages::{Address, Side};
use crate::record::SessionInfo;
use crate::record::civil::Civil;

/// The longest name that file systems take (`NAME_MAX`).
const LONGEST: usize = 255;

/// Values for a session's file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) number: u64,
    pub(super) client: Address,
    /// Seconds since the epoch.
    pub(super) started: u64,
}

impl Facts {
    pub(super) fn of(info: &SessionInfo) -> Facts {
        let client = info.peer(Side::Client).address.clone();
        Facts { number: info.number, client, started: info.started.seconds() }
    }
}

/// A field after `%`, except `%%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
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

impl Field {
    fn by_letter(letter: u8) -> Option<Field> {
        Some(match letter {
            b'n' => Field::Number,
            b'a' => Field::Address,
            b'p' => Field::Port,
            b't' => Field::Start,
            b'd' => Field::Direction,
            _ => return None,
        })
    }

    /// The most bytes that it can become.
    const fn longest(self) -> usize {
        match self {
            Field::Number => "18446744073709551615".len(),
            // Eight groups, and a scope.
            Field::Address => "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%4294967295".len(),
            Field::Port => "65535".len(),
            Field::Start => "20260131T235959Z".len(),
            Field::Direction => "client".len(),
        }
    }

    fn text(self, facts: &Facts, side: Side) -> String {
        match self {
            Field::Number => facts.number.to_string(),
            // A Unix peer's path is its own choice, and it has no port.
            Field::Address => match facts.client {
                Address::Unix(_) => "unix".into(),
                Address::V4 { .. } | Address::V6 { .. } => facts.client.numeric().node,
            },
            Field::Port => match facts.client {
                Address::V4 { port, .. } | Address::V6 { port, .. } => port.to_string(),
                Address::Unix(_) => "0".into(),
            },
            Field::Start => utc(facts.started),
            Field::Direction => match side {
                Side::Client => "client".into(),
                Side::Server => "server".into(),
            },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Field(Field),
}

/// Argument of `-o`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// One file for all sessions; every `%%` has become `%`.
    Plain(Vec<u8>),
    Template(Template),
}

impl Name {
    pub(super) fn parse(typed: &[u8]) -> Result<Name, Mistake> {
        let mut pieces = pieces(typed)?;
        match pieces.as_mut_slice() {
            [] => Ok(Name::Plain(Vec::new())),
            [Piece::Literal(path)] => Ok(Name::Plain(std::mem::take(path))),
            _ => Template::new(pieces).map(Name::Template),
        }
    }
}

/// Literals between which there is at least one field, or one literal alone.
fn pieces(typed: &[u8]) -> Result<Vec<Piece>, Mistake> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut bytes = typed.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            literal.push(byte);
            continue;
        }
        match bytes.next() {
            None => return Err(Mistake::Unfinished),
            Some(b'%') => literal.push(b'%'),
            Some(letter) => {
                let field = Field::by_letter(letter).ok_or(Mistake::Unknown(letter))?;
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Field(field));
            }
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// A name with at least one field in it. Equal are those that give the same names, in whatever directory.
#[derive(Clone, Debug, Eq)]
pub(super) struct Template {
    directory: Vec<u8>,
    /// No `/` is in them.
    pieces: Vec<Piece>,
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.pieces == other.pieces
    }
}

impl Template {
    /// Cuts off the directory. It has no fields: it is opened once, at the start, and to make directories
    /// for a session would take rights that nothing else needs.
    fn new(mut pieces: Vec<Piece>) -> Result<Template, Mistake> {
        let has_slash = |piece: &Piece| matches!(piece, Piece::Literal(text) if text.contains(&b'/'));
        let directory = match (pieces.iter().rposition(has_slash), pieces.first_mut()) {
            (None, _) => b".".to_vec(),
            (Some(0), Some(Piece::Literal(text))) => {
                let end = text.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
                text.drain(..end).collect()
            }
            _ => return Err(Mistake::Directory),
        };
        pieces.retain(|piece| !matches!(piece, Piece::Literal(text) if text.is_empty()));
        Ok(Template { directory, pieces })
    }

    /// Where the files are.
    pub(super) fn directory(&self) -> &[u8] {
        &self.directory
    }

    /// Checks whether each direction has a file of its own.
    pub(super) fn is_one_way(&self) -> bool {
        self.pieces.contains(&Piece::Field(Field::Direction))
    }

    /// Checks whether the name of any session could exceed the file system's limit. Called at the start, not
    /// when the first IPv6 client connects.
    pub(super) fn is_too_long(&self) -> bool {
        let lengths = self.pieces.iter().map(|piece| match piece {
            Piece::Literal(text) => text.len(),
            Piece::Field(field) => field.longest(),
        });
        let suffix = 2 + Field::Start.longest() + Field::Number.longest();
        lengths.sum::<usize>() + suffix > LONGEST
    }

    /// The name for a session; `side` matters where the directions have files of their own.
    pub(super) fn expand(&self, facts: &Facts, side: Side) -> Vec<u8> {
        let mut name = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => name.extend_from_slice(text),
                Piece::Field(field) => name.extend_from_slice(field.text(facts, side).as_bytes()),
            }
        }
        name
    }
}

/// Suffix of a name for the last attempt, after it and all numbered variants exist: unique to the session.
pub(super) fn last_resort(facts: &Facts) -> String {
    format!("-{}-{}", utc(facts.started), facts.number)
}

/// Error in a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    /// `%` and something that means nothing.
    Unknown(u8),
    /// `%` at the end.
    Unfinished,
    /// A field before the last `/`.
    Directory,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::Unknown(letter) => write!(f, "%{} means nothing", letter.escape_ascii())?,
            Mistake::Unfinished => f.write_str("% at the end means nothing")?,
            Mistake::Directory => return f.write_str("% in the directory of a file is not possible"),
        }
        f.write_str(
            "; a name may have %n (session number), %a (client address), %p (client port), \
             %t (start time), %d (direction) and %% (a %)",
        )
    }
}

/// `20260131T235959Z`: sorts as time does, and has no colon, which some file systems refuse.
fn utc(seconds: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(seconds);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests;
