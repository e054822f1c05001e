//! Memcached's binary protocol: SASL in requests of their own.

use super::conversation::Conversation;
use super::frames::{Cursor, Frames, Measure};
use super::lines::{Cutting, LinePiece};
use super::sasl;
use crate::sniff::pending::{LoginVerdict, PendingCredentials, Protocol};

const MEMCACHED: Protocol = Protocol::Named("Memcached");

/// First bytes of messages.
pub(super) const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;

/// Operations: the first step of an exchange, and the others.
const AUTHENTICATE: u8 = 0x21;
const STEP: u8 = 0x22;

const HEADER: usize = 24;

/// Status of a response that asks for another step.
const CONTINUE: u16 = 0x21;

pub(super) struct Memcached {
    client: Frames,
    server: Frames,
}

impl Default for Memcached {
    fn default() -> Self {
        Memcached { client: Frames::new(HEADER), server: Frames::new(HEADER) }
    }
}

/// Checks for the start of requests: the operation is valid, and the data type unused.
pub(super) fn is_opening(prefix: &[u8]) -> Option<bool> {
    match prefix {
        [_, operation, _, _, _, data_type, ..] => Some(*operation <= 0x4a && *data_type == 0),
        _ => None,
    }
}

fn measure(first: u8) -> impl FnOnce(&[u8]) -> Measure {
    move |head| match head.get(8..).and_then(|rest| Cursor(rest).u32()) {
        Some(length) if head.len() == HEADER && head[0] == first => Measure::Body(length.into()),
        _ => Measure::Foreign,
    }
}

impl Conversation for Memcached {
    fn start(&self) -> [Cutting; 2] {
        [self.client.start(), self.server.start()]
    }

    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let frame = match self.client.read(item, measure(REQUEST)) {
            Ok(frame) => frame,
            Err(next) => return next,
        };
        if frame.head[1] == AUTHENTICATE {
            logins.prove();
            let key = Cursor(&frame.head[2..]).u16().unwrap_or_default();
            if frame.is_cut() {
                logins.too_long(MEMCACHED, "a request", frame.length(), out);
            } else if let Some((mechanism, response)) = frame.body.split_at_checked(key.into())
                && let Some(found) = sasl::response(&mechanism.to_ascii_uppercase(), response)
            {
                logins.expect_tag(b"", MEMCACHED, found, out);
            }
        }
        self.client.after(frame.rest)
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let frame = match self.server.read(item, measure(RESPONSE)) {
            Ok(frame) => frame,
            Err(next) => return next,
        };
        let status = Cursor(&frame.head[6..]).u16().unwrap_or_default();
        if matches!(frame.head[1], AUTHENTICATE | STEP) && status != CONTINUE {
            let verdict = if status == 0 { LoginVerdict::Accepted } else { LoginVerdict::Refused };
            logins.answer_all(verdict, status.to_string().as_bytes(), out);
        }
        self.server.after(frame.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::overheard_bytes as overheard;

    fn message(first: u8, operation: u8, key: &[u8], status: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first, operation];
        bytes.extend((key.len() as u16).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(status.to_be_bytes());
        bytes.extend(((key.len() + value.len()) as u32).to_be_bytes());
        bytes.extend([0; 12]);
        [bytes.as_slice(), key, value].concat()
    }

    #[test]
    fn sasl() {
        let version = message(0x80, 0x0b, b"", 0, b"");
        let set = message(0x80, 1, b"k", 0, &[b'x'; 9000]);
        let login = message(0x80, 0x21, b"PLAIN", 0, b"\0bob\0pw");
        let said = [version, set, login].concat();
        for (status, verdict) in [(0, "accepted"), (0x20, "refused")] {
            let answer = message(0x81, 0x21, b"", status, b"x");
            let shown = format!("Memcached: bob:pw ({verdict}) {status}\n");
            assert_eq!(overheard(&[(b'<', &said), (b'>', &answer)]), shown);
        }
        let login = message(0x80, 0x21, b"SCRAM-SHA-1", 0, b"n,,n=bob,r=x");
        let steps = [message(0x81, 0x21, b"", 0x21, b"r"), message(0x81, 0x22, b"", 0, b"")].concat();
        let shown = "Memcached: bob (SCRAM-SHA-1) (accepted) 0\n";
        assert_eq!(overheard(&[(b'<', &login), (b'>', &steps)]), shown);
    }
}
