//! MQTT 3.1, 3.1.1 and 5: user name and password in CONNECT, and the code in CONNACK.

use super::conversation::Conversation;
use super::frames::{Cursor, Frames, Measure};
use super::lines::{Cutting, LinePiece};
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol};

const MQTT: Protocol = Protocol::Named("MQTT");

/// First bytes of packets.
pub(super) const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;

/// Flags of CONNECT.
const WILL: u8 = 0x04;
const PASSWORD: u8 = 0x40;
const USER: u8 = 0x80;

pub(super) struct Mqtt {
    client: Frames,
    server: Frames,
    version: u8,
}

impl Default for Mqtt {
    fn default() -> Self {
        Mqtt { client: Frames::new(2), server: Frames::new(2), version: 4 }
    }
}

/// Checks for the start of MQTT: the protocol's name is near the front. `None` asks for more bytes.
pub(super) fn is_opening(prefix: &[u8]) -> Option<bool> {
    let length = prefix[1..].iter().take(4).take_while(|&&byte| byte & 0x80 != 0).count() + 1;
    if prefix.len() <= length {
        return if length > 4 { Some(false) } else { None };
    }
    let named = &prefix[1 + length..];
    let matches = |name: &[u8]| {
        let common = named.len().min(name.len());
        (named[..common] == name[..common]).then_some(common == name.len())
    };
    match matches(b"\0\x04MQTT").max(matches(b"\0\x06MQIsdp")) {
        Some(true) => Some(true),
        Some(false) => None,
        None => Some(false),
    }
}

/// The length is in groups of seven bits, the lowest first.
fn measure(head: &[u8]) -> Measure {
    match head {
        [_, groups @ ..] if groups.last().is_some_and(|byte| byte & 0x80 == 0) => {
            Measure::Body(groups.iter().rev().fold(0, |sum, &byte| sum << 7 | u64::from(byte & 0x7f)))
        }
        [_, groups @ ..] if groups.len() < 4 => Measure::More(1),
        _ => Measure::Foreign,
    }
}

impl Conversation for Mqtt {
    fn start(&self) -> [Cutting; 2] {
        [self.client.start(), self.server.start()]
    }

    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let frame = match self.client.read(item, measure) {
            Ok(frame) => frame,
            Err(next) => return next,
        };
        if frame.head[0] == CONNECT {
            logins.prove();
            match connect(frame.body) {
                Some((version, found)) => {
                    self.version = version;
                    if let Some(found) = found {
                        logins.expect_tag(b"", MQTT, found, out);
                    }
                }
                None if frame.is_cut() => logins.too_long(MQTT, "a CONNECT", frame.length(), out),
                None => {}
            }
        }
        self.client.after(frame.rest)
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let frame = match self.server.read(item, measure) {
            Ok(frame) => frame,
            Err(next) => return next,
        };
        if let (CONNACK, [_, code, ..]) = (frame.head[0], frame.body) {
            let code = *code;
            logins.answer_all(verdict(self.version, code), code.to_string().as_bytes(), out);
        }
        self.server.after(frame.rest)
    }
}

/// Codes that are about the credentials; others refuse the connection for other reasons.
fn verdict(version: u8, code: u8) -> LoginVerdict {
    match (version, code) {
        (_, 0) => LoginVerdict::Accepted,
        (5, 0x86 | 0x87 | 0x8c) | (..5, 4 | 5) => LoginVerdict::Refused,
        _ => LoginVerdict::Undecided,
    }
}

/// Version and, if present, user of the packet.
fn connect(body: &[u8]) -> Option<(u8, Option<Credentials>)> {
    let mut cursor = Cursor(body);
    cursor.string16()?;
    let (version, flags) = (cursor.u8()?, cursor.u8()?);
    cursor.u16()?;
    if version >= 5 {
        skip_properties(&mut cursor)?;
    }
    cursor.string16()?;
    if flags & WILL != 0 {
        if version >= 5 {
            skip_properties(&mut cursor)?;
        }
        cursor.string16()?;
        cursor.string16()?;
    }
    if flags & (USER | PASSWORD) == 0 {
        return Some((version, None));
    }
    let user = if flags & USER != 0 { cursor.string16()? } else { b"" };
    let password = if flags & PASSWORD != 0 { cursor.string16()? } else { b"" };
    Some((version, Some(Credentials::password(user, password))))
}

fn skip_properties(cursor: &mut Cursor<'_>) -> Option<()> {
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = cursor.u8()?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            cursor.take(length)?;
            return Some(());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::overheard_bytes as overheard;

    const CONNECT: &[u8] = b"\x10\x1a\0\x04MQTT\x04\xc2\0\x3c\0\x01x\0\x03bob\0\x06s3cret";

    #[test]
    fn version_4() {
        assert_eq!(CONNECT.len(), 2 + 0x1a);
        assert_eq!(overheard(&[(b'<', CONNECT), (b'>', b"\x20\x02\0\0")]), "MQTT: bob:s3cret (accepted) 0\n");
        assert_eq!(
            overheard(&[(b'<', CONNECT), (b'>', b"\x20\x02\0\x05")]),
            "MQTT: bob:s3cret (refused) 5\n"
        );
        assert_eq!(overheard(&[(b'<', CONNECT), (b'>', b"\x20\x02\0\x02")]), "MQTT: bob:s3cret\n");
    }

    #[test]
    fn version_5_has_properties_and_a_will() {
        let body = [
            &b"\0\x04MQTT\x05\xc6\0\x3c"[..],
            b"\x05\x11\0\0\0\x0a", // properties
            b"\0\0",               // identifier
            b"\0",                 // properties of the will
            b"\0\x01t\0\x02hi",    // the will
            b"\0\x03bob\0\x02pw",
        ]
        .concat();
        let connect = [&[0x10, body.len() as u8], body.as_slice()].concat();
        assert_eq!(
            overheard(&[(b'<', &connect), (b'>', b"\x20\x03\0\x86\0")]),
            "MQTT: bob:pw (refused) 134\n"
        );
    }

    #[test]
    fn publications_are_not_read() {
        let said = [CONNECT, b"\x30\xac\x27", &[0; 5036], CONNECT].concat();
        assert_eq!(overheard(&[(b'<', &said)]), "MQTT: bob:s3cret\nMQTT: bob:s3cret\n");
        assert_eq!(overheard(&[(b'<', b"\x10\x1a\0\x04MQTX\nUSER a\nPASS b\n")]), "");
    }
}
