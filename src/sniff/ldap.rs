//! LDAP (RFC 4511): BindRequest with a name and a password, or with SASL, and BindResponse.

use super::conversation::Conversation;
use super::frames::{Cursor, Frames, Measure};
use super::lines::{Cutting, LinePiece};
use super::sasl;
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol};

const LDAP: Protocol = Protocol::Named("LDAP");

/// Tags of BER.
pub(super) const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const SIMPLE: u8 = 0x80;
const SASL: u8 = 0xa3;

/// Result codes: success, and a step of SASL.
const SUCCESS: u8 = 0;
const IN_PROGRESS: u8 = 14;

pub(super) struct Ldap {
    client: Frames,
    server: Frames,
}

impl Default for Ldap {
    fn default() -> Self {
        Ldap { client: Frames::new(2), server: Frames::new(2) }
    }
}

/// Checks for the start of LDAP: a sequence of an integer and an operation. `None` asks for more bytes.
pub(super) fn is_opening(prefix: &[u8]) -> Option<bool> {
    let start = match prefix {
        [_] => return None,
        [_, length, ..] if *length < 0x80 => 2,
        [_, length, ..] if (0x81..=0x84).contains(length) => 2 + usize::from(length & 0x7f),
        _ => return Some(false),
    };
    match prefix.get(start..) {
        None | Some([]) => None,
        Some([INTEGER]) => None,
        Some([INTEGER, length @ 1..=4, rest @ ..]) => {
            rest.get(usize::from(*length)).map(|operation| matches!(operation, 0x40..=0x7f))
        }
        Some(_) => Some(false),
    }
}

fn measure(head: &[u8]) -> Measure {
    match head {
        [SEQUENCE, length] if *length < 0x80 => Measure::Body(u64::from(*length)),
        [SEQUENCE, length] if (0x81..=0x84).contains(length) => Measure::More(usize::from(length & 0x7f)),
        [SEQUENCE, _, length @ ..] if !length.is_empty() => {
            Measure::Body(length.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
        }
        _ => Measure::Foreign,
    }
}

impl Conversation for Ldap {
    fn start(&self) -> [Cutting; 2] {
        [self.client.start(), self.server.start()]
    }

    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let frame = match self.client.read(item, measure) {
            Ok(frame) => frame,
            Err(next) => return next,
        };
        if let Some((message, operation, content)) = operation(frame.body)
            && operation == BIND_REQUEST
        {
            logins.prove();
            match bind(content) {
                Some(Some(found)) => logins.expect_tag(message, LDAP, found, out),
                Some(None) => {}
                None => logins.too_long(LDAP, "a bind", frame.length(), out),
            }
        }
        self.client.after(frame.rest)
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let frame = match self.server.read(item, measure) {
            Ok(frame) => frame,
            Err(next) => return next,
        };
        if let Some((message, BIND_RESPONSE, content)) = operation(frame.body)
            && let Some((ENUMERATED, [code], _)) = element(content)
            && *code != IN_PROGRESS
        {
            let verdict = if *code == SUCCESS { LoginVerdict::Accepted } else { LoginVerdict::Refused };
            logins.answer_tag(message, |_| verdict, code.to_string().as_bytes(), out);
        }
        self.server.after(frame.rest)
    }
}

/// The message's number, and the tag and the content of its operation, which may be cut.
fn operation(body: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let (INTEGER, message, rest) = element(body)? else { return None };
    let (tag, length) = header(rest)?;
    Some((message, tag, &rest[length..]))
}

/// Parses a bind; `Some(None)` is an anonymous one, `None` an unreadable one.
fn bind(content: &[u8]) -> Option<Option<Credentials>> {
    let (INTEGER, _, rest) = element(content)? else { return Some(None) };
    let (OCTETS, name, rest) = element(rest)? else { return Some(None) };
    let found = match element(rest)? {
        (SIMPLE, [], _) => return Some(None),
        (SIMPLE, password, _) => Credentials::password(name, password),
        (SASL, credentials, _) => {
            let (OCTETS, mechanism, rest) = element(credentials)? else { return Some(None) };
            let response = element(rest).map(|(_, response, _)| response).unwrap_or_default();
            return Some(by_sasl(name, mechanism, response));
        }
        _ => return Some(None),
    };
    Some(Some(found))
}

/// Every step of an exchange is a bind of its own; only the first has a name in it.
fn by_sasl(name: &[u8], mechanism: &[u8], response: &[u8]) -> Option<Credentials> {
    let mechanism = mechanism[..mechanism.len().min(32)].to_ascii_uppercase();
    let mut found = sasl::response(&mechanism, response)?;
    if found.user.is_empty() {
        found.user = name.to_vec();
    }
    (!found.user.is_empty() || mechanism == b"GSSAPI" || mechanism == b"GSS-SPNEGO").then_some(found)
}

/// Tag, content and rest of the first element.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, start) = header(bytes)?;
    let length = match bytes[1] {
        short @ ..0x80 => usize::from(short),
        _ => bytes[2..start]
            .iter()
            .try_fold(0_usize, |sum, &byte| sum.checked_mul(256)?.checked_add(byte.into()))?,
    };
    let (content, rest) = bytes[start..].split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Tag of the first element, and where its content begins.
fn header(bytes: &[u8]) -> Option<(u8, usize)> {
    let mut cursor = Cursor(bytes);
    let tag = cursor.u8()?;
    let start = match cursor.u8()? {
        ..=0x7f => 2,
        length @ 0x81..=0x84 => 2 + usize::from(length & 0x7f),
        _ => return None,
    };
    (bytes.len() >= start).then_some((tag, start))
}

#[cfg(test)]
mod tests {
    use super::super::overheard_bytes as overheard;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        match u8::try_from(content.len()) {
            Ok(length @ ..0x80) => [&[tag, length], content].concat(),
            _ => [&[tag, 0x82], &(content.len() as u16).to_be_bytes()[..], content].concat(),
        }
    }

    fn message(number: u8, tag: u8, content: &[&[u8]]) -> Vec<u8> {
        tlv(0x30, &[tlv(2, &[number]), tlv(tag, &content.concat())].concat())
    }

    fn simple(number: u8, name: &[u8], password: &[u8]) -> Vec<u8> {
        message(number, 0x60, &[&tlv(2, &[3]), &tlv(4, name), &tlv(0x80, password)])
    }

    fn answer(number: u8, code: u8) -> Vec<u8> {
        message(number, 0x61, &[&tlv(10, &[code]), &tlv(4, b""), &tlv(4, b"")])
    }

    #[test]
    fn simple_binds() {
        let name = b"cn=bob,dc=x";
        let (client, server) = (simple(1, name, b"s3cret"), answer(1, 0));
        assert_eq!(overheard(&[(b'<', &client), (b'>', &server)]), "LDAP: cn=bob,dc=x:s3cret (accepted) 0\n");
        let client = [client, simple(2, name, &[b'x'; 300])].concat();
        let server = [answer(2, 49), answer(1, 0)].concat();
        assert_eq!(
            overheard(&[(b'<', &client), (b'>', &server)]),
            format!(
                "LDAP: cn=bob,dc=x:{} (refused) 49\nLDAP: cn=bob,dc=x:s3cret (accepted) 0\n",
                "x".repeat(300)
            )
        );
    }

    #[test]
    fn anonymous_binds_and_searches_tell_nothing() {
        let search = message(2, 0x63, &[&[b'x'; 5000]]);
        let said = [simple(1, b"", b""), search, simple(3, b"", b"pw")].concat();
        assert_eq!(overheard(&[(b'<', &said), (b'>', &answer(3, 0))]), "LDAP: :pw (accepted) 0\n");
    }

    #[test]
    fn binds_that_are_too_long_say_so() {
        let said = [simple(1, b"", &[b'x'; 5000]), simple(2, b"a", b"b")].concat();
        assert_eq!(overheard(&[(b'<', &said)]), "LDAP: (a bind of 5016 bytes is not read)\nLDAP: a:b\n");
    }

    #[test]
    fn sasl() {
        let plain = [tlv(4, b"PLAIN"), tlv(4, b"\0bob\0pw")].concat();
        let said = message(1, 0x60, &[&tlv(2, &[3]), &tlv(4, b""), &tlv(0xa3, &plain)]);
        assert_eq!(overheard(&[(b'<', &said), (b'>', &answer(1, 0))]), "LDAP: bob:pw (accepted) 0\n");
        let digest = [tlv(4, b"DIGEST-MD5"), tlv(4, b"username=\"bob\",realm=\"x\"")].concat();
        let said = message(1, 0x60, &[&tlv(2, &[3]), &tlv(4, b""), &tlv(0xa3, &digest)]);
        assert_eq!(
            overheard(&[(b'<', &said), (b'>', &answer(1, 14)), (b'>', &answer(1, 49))]),
            "LDAP: bob (DIGEST-MD5) (refused) 49\n"
        );
    }

    #[test]
    fn digits_are_text() {
        assert_eq!(overheard(&[(b'>', b"220 x\r\n"), (b'<', b"0 x\r\nUSER a\r\nPASS b\r\n")]), "FTP: a:b\n");
    }
}
