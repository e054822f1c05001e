//! PostgreSQL's protocol 3: the user in the start-up packet, and the password, or the scheme, that the server asks for.

use super::conversation::{Conversation, Switch};
use super::frames::{Cursor, Frame, Frames, Measure};
use super::lines::{Cutting, LinePiece};
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol};

const POSTGRES: Protocol = Protocol::Named("PostgreSQL");

/// Codes of the client's first packets.
const CANCEL: u32 = 80_877_102;
const TLS: u32 = 80_877_103;
const GSSAPI: u32 = 80_877_104;

/// Kinds of the server's requests for authentication.
const OK: u32 = 0;
const CLEARTEXT: u32 = 3;
const MD5: u32 = 5;
const SASL: u32 = 10;

/// Packets before the start-up packet, and the packet itself, are not longer than this in any server.
const STARTUP: u64 = 10_000;

pub(super) struct Postgres {
    client: Frames,
    server: Frames,
    started: bool,
    user: Vec<u8>,
    /// The server's last request for authentication, until it is answered.
    wanted: Option<u32>,
    /// The server's next byte answers a request to encrypt.
    negotiating: bool,
    encrypted: bool,
}

impl Default for Postgres {
    fn default() -> Self {
        Postgres {
            client: Frames::new(4),
            server: Frames::new(1),
            started: false,
            user: Vec::new(),
            wanted: None,
            negotiating: false,
            encrypted: false,
        }
    }
}

/// Checks for the start of a client's stream: a length, and a version or one of the codes.
pub(super) fn is_opening(prefix: &[u8]) -> Option<bool> {
    if prefix.len() < 8 {
        return None;
    }
    let mut cursor = Cursor(prefix);
    let (length, code) = (cursor.u32()?, cursor.u32()?);
    Some((8..=STARTUP).contains(&length.into()) && (code >> 16 == 3 || (CANCEL..=GSSAPI).contains(&code)))
}

/// The length counts itself.
fn body(length: &[u8]) -> Measure {
    match Cursor(length).u32() {
        Some(length @ 4..) => Measure::Body(u64::from(length) - 4),
        _ => Measure::Foreign,
    }
}

impl Conversation for Postgres {
    fn start(&self) -> [Cutting; 2] {
        [self.client.start(), self.server.start()]
    }

    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let started = self.started;
        let frame = match self.client.read(item, |head| body(if started { &head[1..] } else { head })) {
            Ok(frame) => frame,
            Err(next) => return next,
        };
        if !started {
            self.startup(&frame, logins, out);
        } else if frame.head[0] == b'p'
            && let Some(wanted) = self.wanted.take()
        {
            self.password(wanted, &frame, logins, out);
        }
        self.client.after(frame.rest)
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let negotiating = self.negotiating;
        let frame = match self.server.read(item, |head| match head {
            [b'S' | b'N' | b'G'] if negotiating => Measure::Body(0),
            [_] => Measure::More(4),
            [_, length @ ..] => body(length),
            [] => Measure::Foreign,
        }) {
            Ok(frame) => frame,
            Err(next) => return next,
        };
        if self.negotiating && frame.head.len() == 1 {
            self.encrypted = frame.head[0] != b'N';
        }
        self.negotiating = false;
        match (frame.head[0], Cursor(frame.body).u32()) {
            (b'R', Some(OK)) => logins.answer_all(LoginVerdict::Accepted, b"", out),
            (b'R', Some(kind)) => self.wanted = Some(kind),
            (b'E', _) => logins.answer_all(LoginVerdict::Refused, sqlstate(frame.body), out),
            _ => {}
        }
        self.server.after(frame.rest)
    }

    fn gives_way(&mut self) -> Option<Switch> {
        self.encrypted.then_some(Switch::Opaque)
    }
}

impl Postgres {
    fn startup(&mut self, frame: &Frame<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        let mut cursor = Cursor(frame.body);
        match cursor.u32() {
            Some(TLS | GSSAPI) => self.negotiating = true,
            Some(CANCEL) | None => {}
            Some(_) => {
                self.started = true;
                self.client.header = 5;
                if frame.is_cut() {
                    logins.too_long(POSTGRES, "a start-up packet", frame.length(), out);
                }
                while let (Some(name @ [_, ..]), Some(value)) = (cursor.c_string(), cursor.c_string()) {
                    if name == b"user" {
                        self.user = value.to_vec();
                    }
                }
            }
        }
    }

    fn password(&self, wanted: u32, frame: &Frame<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        let text = Cursor(frame.body).c_string().unwrap_or(frame.body);
        let found = match wanted {
            CLEARTEXT => Credentials::password(&self.user, text).cut(frame.is_cut()),
            MD5 => Credentials::scheme(&self.user, b"MD5"),
            SASL => Credentials::scheme(&self.user, text),
            _ => return,
        };
        logins.prove();
        logins.expect_tag(b"", POSTGRES, found, out);
    }
}

/// The field C of an error.
fn sqlstate(body: &[u8]) -> &[u8] {
    let mut fields = body.split(|&byte| byte == 0);
    fields.find_map(|field| field.strip_prefix(b"C")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::overheard_bytes as overheard;

    const START: &[u8] = b"\0\0\0\x1e\0\x03\0\0user\0bob\0database\0db\0\0";
    const ACCEPTED: &[u8] = b"R\0\0\0\x08\0\0\0\0";
    const REFUSED: &[u8] = b"E\0\0\0\x13SFATAL\0C28P01\0\0";

    #[test]
    fn cleartext() {
        assert_eq!(START.len(), 0x1e);
        for (answer, verdict) in [(ACCEPTED, "(accepted)"), (REFUSED, "(refused) 28P01")] {
            let said: [(u8, &[u8]); 4] = [
                (b'<', START),
                (b'>', b"R\0\0\0\x08\0\0\0\x03"),
                (b'<', b"p\0\0\0\x0bs3cret\0"),
                (b'>', answer),
            ];
            assert_eq!(overheard(&said), format!("PostgreSQL: bob:s3cret {verdict}\n"));
        }
    }

    #[test]
    fn md5_and_scram_show_the_user() {
        let said: [(u8, &[u8]); 4] = [
            (b'<', START),
            (b'>', b"R\0\0\0\x0c\0\0\0\x05salt"),
            (b'<', b"p\0\0\0\x28md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0"),
            (b'>', ACCEPTED),
        ];
        assert_eq!(overheard(&said), "PostgreSQL: bob (MD5) (accepted)\n");
        let said: [(u8, &[u8]); 6] = [
            (b'<', START),
            (b'>', b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"),
            (b'<', b"p\0\0\0\x1aSCRAM-SHA-256\0\0\0\0\x04n,,n"),
            (b'>', b"R\0\0\0\x0a\0\0\0\x0br="),
            (b'<', b"p\0\0\0\x06c="),
            (b'>', REFUSED),
        ];
        assert_eq!(overheard(&said), "PostgreSQL: bob (SCRAM-SHA-256) (refused) 28P01\n");
    }

    #[test]
    fn encryption_may_be_refused() {
        let ask: (u8, &[u8]) = (b'<', b"\0\0\0\x08\x04\xd2\x16\x2f");
        let login: [(u8, &[u8]); 3] =
            [(b'<', START), (b'>', b"R\0\0\0\x08\0\0\0\x03"), (b'<', b"p\0\0\0\x07pw\0")];
        assert_eq!(overheard(&[&[ask, (b'>', b"N")], &login[..]].concat()), "PostgreSQL: bob:pw\n");
        assert_eq!(overheard(&[&[ask, (b'>', b"S")], &login[..]].concat()), "");
    }
}
