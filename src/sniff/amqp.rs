//! AMQP 0-9-1 (Connection.Start-Ok) and AMQP 1.0 (its layer of SASL).

use super::conversation::Conversation;
use super::frames::{Cursor, Frames, Measure};
use super::lines::{Cutting, LinePiece};
use super::sasl;
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol};

const AMQP: Protocol = Protocol::Named("AMQP");

/// The header with which a client begins.
const OPENING: usize = 8;

/// Methods of 0-9-1's class Connection.
const CONNECTION: u16 = 10;
const START_OK: u16 = 11;
const TUNE: u16 = 30;
const CLOSE: u16 = 50;

/// Bodies of 1.0's SASL frames.
const INIT: &[u8] = b"\0\x53\x41";
const OUTCOME: &[u8] = b"\0\x53\x44";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    /// The client's header has not been read.
    Unknown,
    V091,
    /// With SASL, until the second header.
    V10,
}

pub(super) struct Amqp {
    client: Frames,
    server: Frames,
    version: Version,
}

impl Default for Amqp {
    fn default() -> Self {
        Amqp { client: Frames::new(OPENING), server: Frames::new(7), version: Version::Unknown }
    }
}

fn measure(version: Version) -> impl FnOnce(&[u8]) -> Measure {
    move |head| match (version, head) {
        (_, [b'A', b'M', b'Q', b'P', ..]) if head.len() < OPENING => Measure::More(OPENING - head.len()),
        (_, [b'A', b'M', b'Q', b'P', ..]) => Measure::Body(0),
        (Version::V091, [1..=8, _, _, ..]) if head.len() == 7 => {
            Cursor(&head[3..]).u32().map_or(Measure::Foreign, |size| Measure::Body(u64::from(size) + 1))
        }
        (Version::V10, head) if head.len() < OPENING => Measure::More(OPENING - head.len()),
        (Version::V10, head) => match Cursor(head).u32() {
            Some(size @ 8..) => Measure::Body(u64::from(size) - 8),
            _ => Measure::Foreign,
        },
        _ => Measure::Foreign,
    }
}

impl Conversation for Amqp {
    fn start(&self) -> [Cutting; 2] {
        [self.client.start(), self.server.start()]
    }

    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let frame = match self.client.read(item, measure(self.version)) {
            Ok(frame) => frame,
            Err(next) => return next,
        };
        if frame.head.starts_with(b"AMQP") {
            self.version = match frame.head[4..] {
                [0, 0, 9, 1] => Version::V091,
                [3, 1, 0, 0] => Version::V10,
                // Older drafts, and 1.0 without SASL.
                _ => return Cutting::Ignore,
            };
            self.client.header = if self.version == Version::V091 { 7 } else { OPENING };
            return self.client.after(0);
        }
        logins.prove();
        let found = match self.version {
            Version::V10 => init(frame.body),
            _ => start_ok(&frame.head, frame.body),
        };
        match found {
            Some(Some(found)) => logins.expect_tag(b"", AMQP, found, out),
            Some(None) if frame.is_cut() => logins.too_long(AMQP, "a login", frame.length(), out),
            Some(None) | None => {}
        }
        self.client.after(frame.rest)
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let frame = match self.server.read(item, measure(self.version)) {
            Ok(frame) => frame,
            Err(next) => return next,
        };
        if self.version == Version::V10 {
            if let Some(code) = outcome(frame.body) {
                let verdict = match code {
                    0 => LoginVerdict::Accepted,
                    1 => LoginVerdict::Refused,
                    _ => LoginVerdict::Undecided,
                };
                logins.answer_all(verdict, code.to_string().as_bytes(), out);
            }
            return self.server.after(frame.rest);
        }
        let mut cursor = Cursor(frame.body);
        match (frame.head[0], cursor.u16(), cursor.u16()) {
            (1, Some(CONNECTION), Some(TUNE)) => logins.answer_all(LoginVerdict::Accepted, b"", out),
            (1, Some(CONNECTION), Some(CLOSE)) => {
                let code = cursor.u16().unwrap_or_default();
                let verdict = if code == 403 { LoginVerdict::Refused } else { LoginVerdict::Undecided };
                logins.answer_all(verdict, code.to_string().as_bytes(), out);
            }
            _ => {}
        }
        self.server.after(frame.rest)
    }
}

/// Parses Start-Ok; `Some(None)` if it is unreadable.
fn start_ok(head: &[u8], body: &[u8]) -> Option<Option<Credentials>> {
    let mut cursor = Cursor(body);
    let is = head[0] == 1 && cursor.u16() == Some(CONNECTION) && cursor.u16() == Some(START_OK);
    is.then(|| {
        cursor.string32()?; // properties of the client
        let mechanism = cursor.short_string()?.to_ascii_uppercase();
        let response = cursor.string32()?;
        if mechanism == b"AMQPLAIN" { amqplain(response) } else { sasl::response(&mechanism, response) }
    })
}

/// A table with LOGIN and PASSWORD, both long strings.
fn amqplain(table: &[u8]) -> Option<Credentials> {
    let mut cursor = Cursor(table);
    let (mut user, mut password) = (None, None);
    while let Some(name) = cursor.short_string() {
        if cursor.u8()? != b'S' {
            return None;
        }
        let value = cursor.string32()?;
        match name {
            b"LOGIN" => user = Some(value),
            b"PASSWORD" => password = Some(value),
            _ => {}
        }
    }
    Some(Credentials::password(user?, password?))
}

/// Parses 1.0's sasl-init; `Some(None)` if it is unreadable.
fn init(body: &[u8]) -> Option<Option<Credentials>> {
    let mut cursor = list(body.strip_prefix(INIT)?);
    Some(cursor.as_mut().and_then(|cursor| {
        let mechanism = variable(cursor)?.to_ascii_uppercase();
        let response = variable(cursor).unwrap_or_default();
        sasl::response(&mechanism, response)
    }))
}

fn outcome(body: &[u8]) -> Option<u8> {
    let mut cursor = list(body.strip_prefix(OUTCOME)?)?;
    (cursor.u8()? == 0x50).then_some(())?;
    cursor.u8()
}

/// The elements of a list.
fn list(bytes: &[u8]) -> Option<Cursor<'_>> {
    let mut cursor = Cursor(bytes);
    match cursor.u8()? {
        0xc0 => cursor.take(2)?,
        0xd0 => cursor.take(8)?,
        _ => return None,
    };
    Some(cursor)
}

/// A symbol or a binary; nothing for null.
fn variable<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    match cursor.u8()? {
        0x40 => Some(b""),
        0xa0 | 0xa1 | 0xa3 => cursor.short_string(),
        0xb0 | 0xb1 | 0xb3 => cursor.string32(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::overheard_bytes as overheard;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind, 0, 0], &(body.len() as u32).to_be_bytes()[..], body, b"\xce"].concat()
    }

    fn start_ok(mechanism: &[u8], response: &[u8]) -> Vec<u8> {
        let body = [
            &[0, 10, 0, 11, 0, 0, 0, 0, mechanism.len() as u8],
            mechanism,
            &(response.len() as u32).to_be_bytes()[..],
            response,
            b"\x05en_US",
        ];
        [b"AMQP\0\0\x09\x01".as_slice(), &frame(1, &body.concat())].concat()
    }

    #[test]
    fn version_091() {
        let tune = [frame(1, b"\0\x0a\0\x0a\0\x09"), frame(1, b"\0\x0a\0\x1e\0\0")].concat();
        let close = frame(1, b"\0\x0a\0\x32\x01\x93\x04oops");
        for (mechanism, response) in [
            (&b"PLAIN"[..], &b"\0bob\0pw"[..]),
            (b"AMQPLAIN", b"\x05LOGINS\0\0\0\x03bob\x08PASSWORDS\0\0\0\x02pw"),
        ] {
            let login = start_ok(mechanism, response);
            assert_eq!(overheard(&[(b'<', &login), (b'>', &tune)]), "AMQP: bob:pw (accepted)\n");
            assert_eq!(overheard(&[(b'<', &login), (b'>', &close)]), "AMQP: bob:pw (refused) 403\n");
        }
    }

    #[test]
    fn version_10() {
        let login =
            b"AMQP\x03\x01\0\0\0\0\0\x1f\x02\x01\0\0\0\x53\x41\xc0\x12\x03\xa3\x05PLAIN\xa0\x07\0bob\0pw\x40";
        let outcome = b"AMQP\x03\x01\0\0\0\0\0\x10\x02\x01\0\0\0\x53\x44\xc0\x03\x01\x50\x01";
        assert_eq!(overheard(&[(b'<', login), (b'>', outcome)]), "AMQP: bob:pw (refused) 1\n");
    }

    #[test]
    fn other_versions_are_left_alone() {
        assert_eq!(overheard(&[(b'<', b"AMQP\x01\x01\0\x0a\nUSER a\nPASS b\n")]), "");
        assert_eq!(overheard(&[(b'>', b"220 x\n"), (b'<', b"AMQ\nUSER a\nPASS b\n")]), "FTP: a:b\n");
    }
}
